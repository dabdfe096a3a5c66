"""A disk that takes its time and forgets, at a crash, what it had not synced: the in-memory store with latency.

A batch is durable when its sync has ended, not when it was asked for. A crash in between leaves all of the batch on
the disk or nothing of it, by chance: LMDB switches one root. A batch whose sync was not asked for is lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

from zmqueue.store.memory import MemoryStore
from zmqueue.testing.clock import VirtualTime


@dataclass(frozen=True, slots=True)
class DiskSpeed:
    """Seconds that a sync takes; with the probability `hitch` it takes up to `hitch_max`."""

    sync_min: float = 0.0005
    sync_max: float = 0.003
    hitch: float = 0.0
    hitch_max: float = 0.3


class Disk:
    """One node's disk. `store` is what the node writes to; after a crash it is another one."""

    __slots__ = ("_random", "_syncing", "_time", "speed", "store", "syncing_since")

    def __init__(self, time: VirtualTime, dice: random.Random, speed: DiskSpeed | None = None) -> None:
        self.store = MemoryStore()
        self.speed = DiskSpeed() if speed is None else speed
        self.syncing_since: float | None = None
        self._time = time
        self._random = dice
        self._syncing = 0                  # number of the sync that goes on, to know one that a crash has ended

    @property
    def age(self) -> float:
        """Seconds since the unfinished sync began; 0 where there is none."""
        return 0.0 if self.syncing_since is None else self._time.now - self.syncing_since

    def sync(self, done: Callable[[], None]) -> None:
        """Begin to make the batch durable; `done` is called when it is, unless a crash comes first."""
        assert self.syncing_since is None, "one batch at a time"
        self.syncing_since = self._time.now
        self._syncing += 1
        this, speed, dice = self._syncing, self.speed, self._random
        took = speed.sync_min + (speed.sync_max - speed.sync_min) * dice.random()
        if speed.hitch and dice.random() < speed.hitch:
            took += speed.hitch_max * dice.random()
        self._time.after(took, lambda: self._end(this, done))

    def _end(self, this: int, done: Callable[[], None]) -> None:
        if this != self._syncing:
            return                         # a crash was faster
        self.syncing_since = None
        self.store.commit()
        done()

    def crash(self) -> bool:
        """The machine stops; say whether a batch that was being synced is on the disk all the same."""
        kept = self.syncing_since is not None and self._random.random() < 0.5
        self.store = self.store.crash(keep_unsynced=kept)
        self.syncing_since = None
        self._syncing += 1
        return kept
