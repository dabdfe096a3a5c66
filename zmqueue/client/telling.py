"""Telling progress: events of a lease on their way, in order, each stored once, many in one packet.

An event gets its index under the lease when it is first sent; a repeat is known by that at the node. So what was sent
once is sent until its fate is known, even where its caller waits no longer: a gap would keep all later ones out. What
was never sent leaves no gap. A settlement waits until all that was told before is stored or refused, since after it
nothing can be told any more.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from zmqueue.client.calls import Call, Item
from zmqueue.client.lanes import Lane
from zmqueue.core.answers import Reply
from zmqueue.core.operations import Held
from zmqueue.core.requests import Progress, Request
from zmqueue.errors import ClusterUnreachable, NoAnswer, Refused, ZmqueueError


class TellItem(Item):
    """One event to be told."""

    __slots__ = ("call", "event", "index", "lane")

    def __init__(self, call: TellCall, event: tuple[int, bytes]) -> None:
        super().__init__()
        self.call = call
        self.event = event                           # (kind, data)
        self.index = 0                               # under its lease, from 1; 0: it was never sent
        self.lane: TellLane | None = None

    def accept(self, reply: Reply) -> None:
        self.call.finish(None)
        self.end()

    def refuse(self, error: Refused, now: float) -> bool:
        assert self.lane is not None, "only what lies in a lane is sent"
        if self.open:              # an earlier transmission got no answer: it may have been stored before this one
            error.definite = False
        self.lane.over = error
        self.call.fail(error)
        self.end()
        return True

    def end(self) -> None:
        """Its fate is known."""
        self.done = True
        if self.lane is not None:
            self.lane.one_ended()


class TellCall(Call[None]):
    """Have one event stored."""

    __slots__ = ("item",)

    def __init__(self, kind: int, data: bytes, deadline: float, notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(deadline, notify)
        self.item = TellItem(self, (kind, data))

    def expire(self, now: float) -> None:
        item = self.item
        if item.index:
            self.fail(NoAnswer("no node confirmed in time that the progress is stored; it may be, or may yet"))
            return
        self.fail(item.refusal or ClusterUnreachable("the progress was not told: its bucket had no primary that "
                                                     "answered"))
        item.end()

    def abort(self, error: ZmqueueError) -> None:
        if self.item.open:
            self.expire(self.deadline)
        else:
            self.fail(error)

    def withdraw(self, now: float) -> None:
        """It goes on: its place among the others is taken."""


class TellLane(Lane):
    """The events of one lease. Lives as long as that is held, for it counts them."""

    def __init__(self, bucket: int, held: Held, soon: Callable[[Callable[[float], None]], None]) -> None:
        """`soon(action)`: do it in this turn or the next."""
        super().__init__(bucket)
        self.over: ZmqueueError | None = None        # why nothing more can be told under this lease
        self._held = held
        self._soon = soon
        self._told = 0                               # events that have an index
        self._left = 0                               # events whose fate is not known
        self._then: list[Callable[[float], None]] = []

    @property
    def empty(self) -> bool:
        """True where the fate of all is known."""
        return not self._left

    def enter(self, call: TellCall) -> bool:
        """The event waits here from now on; False where it cannot be told any more: the call has failed."""
        if self.over is not None:
            call.fail(copy.copy(self.over))          # each caller raises his own
            return False
        call.item.lane = self
        self._left += 1
        return True

    def when_empty(self, action: Callable[[float], None]) -> None:
        """Do it when the fate of all that lies here is known."""
        self._then.append(action)

    def one_ended(self) -> None:
        """The fate of one is known."""
        self._left -= 1
        if not self._left:
            actions, self._then = self._then, []
            for action in actions:
                self._soon(action)

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        told = [item for item in items if isinstance(item, TellItem)]
        for item in told:
            if not item.index:
                self._told += 1
                item.index = self._told
        first = told[0].index
        assert [item.index for item in told] == list(range(first, first + len(told))), "events are told without a gap"
        return Progress(request, self.bucket, *self._held, first, tuple(item.event for item in told))

    def size(self, item: Item) -> int:
        assert isinstance(item, TellItem)
        return len(item.event[1])

    def refusals(self, refused: Sequence[tuple[int, int, str]], items: Sequence[Item]) -> dict[int, tuple[int, str]]:
        """The request is about one message: what is said of that is said of all of them."""
        return {index: (code, text) for _, code, text in refused for index in range(len(items))}
