"""Programs that declare schedules, pause, resume and withdraw them, with chance in the place of their reasons."""

from __future__ import annotations

import random
from collections.abc import Sequence

from msgspec.structs import replace

from zmqueue.client.scheduling import ScheduleCall, kept
from zmqueue.core.operations import Kind
from zmqueue.core.schedules import SALT_BYTES, CatchUp, Entry
from zmqueue.testing import VirtualCluster

QUEUE = "clock"
"""Where ticks go. Nobody works it off: what becomes of messages is looked at elsewhere."""

PATIENCE_S = 5.0


class Scheduler:
    """One program with some schedules."""

    def __init__(self, cluster: VirtualCluster, names: Sequence[str], pause: float, dice: random.Random) -> None:
        self.client = cluster.client()
        self._cluster, self._pause, self._dice = cluster, pause, dice
        self._names = names
        self._left: list[str] | None = None          # in the end: schedules that there may be
        self._plan()

    @property
    def pending(self) -> int:
        """Schedules that there may be, in the end."""
        return 0 if self._left is None else len(self._left)

    def calm(self) -> None:
        """Withdraw all of them, and say nothing more."""
        self._left = list(self._names)

    def _plan(self) -> None:
        self._cluster.time.after(self._pause * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        if self._left is not None:
            if self._left:
                self._say(self._left[0], None)
            return
        wanted = self._wanted()
        word = self._dice.random()
        self._say(self._dice.choice(self._names), wanted if word < 0.9 else None)

    def _wanted(self) -> Entry:
        dice, wall = self._dice, self.client.clock.wall()
        return Entry(QUEUE, dice.randbytes(4), Kind.BYTES, dice.randbytes(SALT_BYTES), wall,
                     every=dice.choice((1_000, 1_300, 2_500)), catch_up=dice.choice(tuple(CatchUp)),
                     paused=dice.random() < 0.1)

    def _say(self, name: str, wanted: Entry | None) -> None:
        def decide(found: Entry | None) -> Entry | None:
            if wanted is None:
                return None
            return wanted if found is None else replace(kept(found, wanted), paused=wanted.paused)

        def ended(call: ScheduleCall) -> None:
            if call.error is None and self._left is not None and wanted is None and name in self._left:
                self._left.remove(name)
            self._plan()

        self.client.schedule(name, decide, PATIENCE_S, notify=ended)
