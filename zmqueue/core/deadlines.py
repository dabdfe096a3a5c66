"""A heap of things that are due at some time, most of which are over before: what is over is swept out now and then."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from itertools import count
from typing import Generic, TypeVar

Item = TypeVar("Item")

_SLACK = 1_000
"""Items that are over are swept out when they are more than the others by this many: then sweeping costs little."""


class Deadlines(Generic[Item]):
    """Items by the time at which they are due; `alive` says whether one still counts."""

    __slots__ = ("_alive", "_heap", "_sweep_at", "_ties")

    def __init__(self, alive: Callable[[Item], bool]) -> None:
        self._alive = alive
        self._heap: list[tuple[float, int, Item]] = []
        self._ties = count()       # so that items themselves are never compared
        self._sweep_at = _SLACK

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, when: float, item: Item) -> None:
        """`item` is due at `when`."""
        heapq.heappush(self._heap, (when, next(self._ties), item))
        if len(self._heap) > self._sweep_at:
            self._heap = [entry for entry in self._heap if self._alive(entry[2])]
            heapq.heapify(self._heap)
            self._sweep_at = 2 * len(self._heap) + _SLACK

    def due(self, now: float, limit: int) -> list[Item]:
        """Take out at most `limit` items that are due and alive, the earliest first."""
        found: list[Item] = []
        while self._heap and self._heap[0][0] <= now and len(found) < limit:
            item = heapq.heappop(self._heap)[2]
            if self._alive(item):
                found.append(item)
        return found

    def clear(self) -> None:
        """Nothing is due any more."""
        self._heap.clear()
        self._sweep_at = _SLACK
