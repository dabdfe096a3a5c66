"""What the client does later: timers in a heap, and the callers' deadlines in a wheel.

Nothing here reads a clock; `now` is an argument. Timers are never cancelled: an action looks whether it still has
anything to do. Deadlines can be many (one per call that waits) and nearly all are met, so they lie in slots of 50 ms,
from which a finished call takes itself out.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zmqueue.client.calls import Call

SLOTS_PER_S = 20

Action = Callable[[float], None]


def nothing(now: float) -> None:
    """The action of a timer that only wakes the client up, so that it looks at what waits."""


class Timers:
    """Actions by time."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Action]] = []
        self._order = itertools.count()
        self._slots: dict[int, dict[Call[Any], None]] = {}   # in order of coming

    def at(self, when: float, action: Action = nothing) -> None:
        """Do it when the time has come."""
        heapq.heappush(self._heap, (when, next(self._order), action))

    def next(self) -> float | None:
        """When the next action is due; None: nothing waits."""
        return self._heap[0][0] if self._heap else None

    def run(self, now: float) -> None:
        """Do what is due."""
        while self._heap and self._heap[0][0] <= now:
            heapq.heappop(self._heap)[2](now)

    def expire(self, call: Call[Any]) -> None:
        """Expire the call when its deadline passes (at most 50 ms later), unless it is finished by then."""
        number = math.ceil(call.deadline * SLOTS_PER_S)
        slot = self._slots.get(number)
        if slot is None:
            slot = self._slots[number] = {}
            self.at(number / SLOTS_PER_S, lambda now: self._expire_slot(number, now))
        if call.slot is not None:
            call.slot.pop(call, None)
        slot[call] = None
        call.slot = slot

    def _expire_slot(self, number: int, now: float) -> None:
        for call in self._slots.pop(number):
            call.slot = None
            call.expire(now)

    def calls(self) -> list[Call[Any]]:
        """All calls that are not finished."""
        return [call for slot in self._slots.values() for call in slot]
