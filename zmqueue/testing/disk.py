"""A disk that takes its time, forgets at a crash what it had not synced, and fails when it is told to.

A batch is durable when its sync has ended, not when it was asked for. A crash in between leaves all of the batch on
the disk or nothing of it, by chance: LMDB writes the pages, then switches one root, and where that page is torn the
root before it holds. A batch whose sync was not asked for is lost.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field

from zmqueue.core.room import PLENTY, Room
from zmqueue.core.tables import Table, rows
from zmqueue.store import StoreFailed
from zmqueue.testing.clock import VirtualTime
from zmqueue.testing.media import FaultyStore, InMemory, Medium

LAST_KEY = b"\xff" * 511
"""Not below any key of a table."""


@dataclass(frozen=True, slots=True)
class DiskSpeed:
    """Seconds that a sync takes; with the probability `hitch` it takes up to `hitch_max`."""

    sync_min: float = 0.0005
    sync_max: float = 0.003
    hitch: float = 0.0
    hitch_max: float = 0.3


@dataclass(slots=True)
class Label:
    """What a data directory says of its node: the row that `zmqueue.node` counts up at each start (C11)."""

    id: str
    incarnation: int = 0


@dataclass(frozen=True, slots=True)
class Image:
    """A copy of a disk, as a backup holds it."""

    label: Label
    tables: dict[Table, list[tuple[bytes, bytes]]] = field(repr=False)


class Disk:
    """One node's disk. `store` is what the node writes to; after a crash it is another one."""

    __slots__ = ("_full", "_medium", "_random", "_syncing", "_time", "after_sync", "label", "room", "speed",
                 "syncing_since")

    def __init__(self, time: VirtualTime, dice: random.Random, speed: DiskSpeed | None = None,
                 medium: Medium | None = None, label: Label | None = None) -> None:
        self.label = Label("") if label is None else label
        self.speed = DiskSpeed() if speed is None else speed
        self.room: Room = PLENTY           # what the node finds when it measures the disk
        self.syncing_since: float | None = None
        self.after_sync: Callable[[], None] | None = None  # what happens to the disk when the next batch is on it
        self._medium: Medium = InMemory() if medium is None else medium
        self._full = False
        self._time = time
        self._random = dice
        self._syncing = 0                  # number of the sync that goes on, to know one that a crash has ended

    @property
    def store(self) -> FaultyStore:
        """What is open on it."""
        return self._medium.store

    @property
    def full(self) -> bool:
        """True while nothing more can be written on it, whoever tries and however often."""
        return self._full

    @full.setter
    def full(self, full: bool) -> None:
        self._full = self.store.full = full

    @property
    def age(self) -> float:
        """Seconds since the unfinished sync began; 0 where there is none."""
        return 0.0 if self.syncing_since is None else self._time.now - self.syncing_since

    def begin(self) -> Label:
        """A process starts on it: count up its incarnation, durably. Raises StoreFailed where it is full."""
        if self.full:
            raise StoreFailed("no space left on the disk: its incarnation could not be written")
        self.label.incarnation += 1
        return self.label

    def sync(self, done: Callable[[], None], failed: Callable[[StoreFailed], None] | None = None) -> None:
        """Begin to make the batch durable; `done` is called when it is, unless a crash comes first. A failure goes to
        `failed`; without it, it is raised out of the virtual time."""
        assert self.syncing_since is None, "one batch at a time"
        self.syncing_since = self._time.now
        self._syncing += 1
        this, speed, dice = self._syncing, self.speed, self._random
        took = speed.sync_min + (speed.sync_max - speed.sync_min) * dice.random()
        if speed.hitch and dice.random() < speed.hitch:
            took += speed.hitch_max * dice.random()
        self._time.after(took, lambda: self._end(this, done, failed))

    def _end(self, this: int, done: Callable[[], None], failed: Callable[[StoreFailed], None] | None) -> None:
        if this != self._syncing:
            return                         # a crash was faster
        try:
            self.store.commit()
        except StoreFailed as error:
            if failed is None:
                raise
            failed(error)
            return
        self.syncing_since = None
        after, self.after_sync = self.after_sync, None
        if after is not None:
            after()
        done()

    def crash(self) -> bool:
        """The process dies; say whether a batch that was being synced, or whose sync failed, is on the disk all the
        same."""
        kept = self.syncing_since is not None and self._random.random() < 0.5
        self._medium.reopen(keep_unsynced=kept)
        self.store.full = self._full
        self.syncing_since = None
        self._syncing += 1
        return kept

    # --- whole disks ---

    def image(self) -> Image:
        """A copy of what is durable now."""
        view = self.store.snapshot()
        tables = {table: list(rows(view, table, b"\x00", LAST_KEY)) for table in Table}
        view.close()
        return Image(Label(self.label.id, self.label.incarnation), tables)

    def erase(self, label: Label) -> None:
        """An empty disk with a new name takes its place. Only while no process runs on it."""
        self._medium.erase()
        self.full, self.label = False, label

    def restore(self, image: Image) -> None:
        """An old copy takes its place. Only while no process runs on it."""
        self.erase(Label(image.label.id, image.label.incarnation))
        for table, of_table in image.tables.items():
            self.store.put_many(table, of_table)
        self.store.commit()
