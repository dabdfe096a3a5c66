"""How much went through each queue in the last minute, as the primaries of one node counted it.

Counted when an entry is applied, in memory only: a node that becomes primary begins at nothing, and what the one before
it counted stays there. So the sum over the nodes is right as long as none of them was restarted in that minute.
"""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

from zmqueue.core.operations import State

WINDOW_S = 60
"""Seconds over which is counted."""


class Flow(NamedTuple):
    """Numbers of messages in the window."""

    submitted: int
    delivered: int
    settled: int                           # done
    dead: int


NO_FLOW = Flow(0, 0, 0, 0)


class Tally:
    """What one copy's machine tells its primary: the messages that came into each state since it was last taken."""

    __slots__ = ("arrived", "entered")

    def __init__(self) -> None:
        self.arrived: dict[str, int] = {}              # by queue: new messages
        self.entered: dict[tuple[str, State], int] = {}

    def clear(self) -> None:
        """Begin again."""
        self.arrived.clear()
        self.entered.clear()

    def take(self) -> dict[str, Flow]:
        """By queue; begins again."""
        if not self.arrived and not self.entered:
            return {}
        queues = {*self.arrived, *(queue for queue, _ in self.entered)}
        entered = self.entered
        taken = {queue: Flow(self.arrived.get(queue, 0), entered.get((queue, State.LEASED), 0),
                             entered.get((queue, State.DONE), 0), entered.get((queue, State.DEAD), 0))
                 for queue in queues}
        self.clear()
        return taken


class Rates:
    """The last minute of every queue, second by second: at most sixty-one numbers a queue, and none of idle ones."""

    __slots__ = ("_seconds",)

    def __init__(self) -> None:
        self._seconds: dict[str, deque[tuple[int, Flow]]] = {}

    def note(self, flows: dict[str, Flow], now: float) -> None:
        """So much was applied now."""
        second = int(now)
        for queue, flow in flows.items():
            seconds = self._seconds.setdefault(queue, deque())
            if seconds and seconds[-1][0] == second:
                flow = _sum(seconds.pop()[1], flow)
            seconds.append((second, flow))
            self._drop(seconds, second)

    def last(self, queue: str, now: float) -> Flow:
        """What went through the queue in the last minute."""
        seconds = self._seconds.get(queue)
        if seconds is None:
            return NO_FLOW
        self._drop(seconds, int(now))
        if not seconds:
            del self._seconds[queue]
            return NO_FLOW
        return _sum(*(flow for _, flow in seconds))

    def forget(self, now: float) -> None:
        """Drop the queues of which nothing was heard for a minute."""
        for queue in list(self._seconds):
            self.last(queue, now)

    def __len__(self) -> int:
        return len(self._seconds)

    def _drop(self, seconds: deque[tuple[int, Flow]], second: int) -> None:
        while seconds and seconds[0][0] <= second - WINDOW_S:
            seconds.popleft()


def _sum(*flows: Flow) -> Flow:
    return Flow(*map(sum, zip(*flows, strict=True)))
