"""Streaming: follows a message's progress from any index on, one long poll after the other, until it has ended."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from zmqueue.client import limits, payloads
from zmqueue.client.calls import Call, Item
from zmqueue.client.lanes import Lane
from zmqueue.core.answers import Events, Reply
from zmqueue.core.ids import token_of
from zmqueue.core.operations import State
from zmqueue.core.requests import Follow, Request
from zmqueue.errors import ClusterUnreachable, Refused, RequestFailed, ResultTimeout


@dataclass(frozen=True, slots=True)
class Event:
    """Something that became of a request. The last one is its end: `kind` "result", or "error" where it has none."""

    index: int                             # counts from 1 without a gap; the same for everybody, for ever
    kind: str                              # "progress", "result" or "error"
    data: Any                              # what the handler told, or returned; of an error, its text
    delivery: int = 0                      # fencing number of the delivery that told it; 0: the end
    error: RequestFailed | None = None     # at the end, where there is no result

    @property
    def last(self) -> bool:
        """True for the end."""
        return self.kind != "progress"


class FollowItem(Item):
    """One question on its way or waiting, asked until its call is answered."""

    __slots__ = ("call",)

    def __init__(self, call: FollowCall) -> None:
        super().__init__()
        self.call = call
        call.item = self

    def accept(self, reply: Reply) -> None:
        self.done = True
        if isinstance(reply, Events):
            self.call.answered(reply)

    def refuse(self, error: Refused, now: float) -> bool:
        self.done = True
        self.call.fail(error)
        return True


class FollowCall(Call[Events]):
    """The events after an index, as soon as there are any; or the end."""

    __slots__ = ("after", "again", "asked_at", "id", "item", "last", "sent")

    def __init__(self, message_id: bytes, after: int, deadline: float,
                 notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(deadline, notify)
        self.id = message_id
        self.after = after
        self.sent = False
        self.asked_at = 0.0
        self.last: Events | None = None              # what a node last said
        self.again: Callable[[FollowCall], None] | None = None       # set by the core: ask anew
        self.item: FollowItem | None = None

    def answered(self, events: Events) -> None:
        """A node said what there is."""
        self.last = events
        if events.events or events.more or State(events.state).terminal:
            self.finish(events)
        elif self.again is not None and not self.finished:
            self.again(self)

    def expire(self, now: float) -> None:
        token = token_of(self.id)
        if self.last is not None:
            self.fail(ResultTimeout(f"request {token} told nothing after event {self.after} in time, and had not ended;"
                                    f" it was {State(self.last.state).name.lower()} when last heard of", token))
        elif not self.sent:
            self.fail(ClusterUnreachable("nothing was asked: no node could be reached, or no bucket has a primary"))
        elif self.item is not None and self.item.refusal is not None:
            self.fail(self.item.refusal)
        else:
            self.fail(ResultTimeout(f"request {token}: no node told in time of an event after {self.after}", token))

    def wait(self, now: float) -> float:
        """How long the node may hold the question back."""
        return min(max(self.deadline - now, 0.0), limits.ASK_WAIT_S_MAX)

    def _end(self) -> None:
        if self.item is not None:
            self.item.done = True                    # nobody waits for it: it is not asked again
        super()._end()


class FollowLane(Lane):
    """Questions after progress: each its own packet, any number on their way."""

    on_its_way_max = 1 << 30
    batch_max = 1

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        call = _call(items)
        call.sent, call.asked_at = True, now
        return Follow(request, self.bucket, call.id, call.after, int(call.wait(now) * 1000))

    def patience(self, items: Sequence[Item], now: float) -> float:
        return _call(items).wait(now) + super().patience(items, now)


def _call(items: Sequence[Item]) -> FollowCall:
    item, = items
    assert isinstance(item, FollowItem)
    return item.call


class Streaming:
    """How far somebody has followed a request. `timeout`: seconds for which it may tell nothing."""

    def __init__(self, message_id: bytes, after: int, timeout: float, type: Any) -> None:
        self.id = message_id
        self.after = after
        self.timeout = timeout
        self.ended = False
        self._type = type

    def events(self, found: Events) -> list[Event]:
        """What an answer tells. The next question is after the last of them."""
        events = [Event(index, "progress", payloads.decode(kind, data), fencing)
                  for index, kind, data, fencing in found.events]
        if events:
            self.after = events[-1].index
        if not found.more and State(found.state).terminal:
            self.ended = True
            events.append(self._end(found))
        return events

    def _end(self, found: Events) -> Event:
        index, state = found.count + 1, State(found.state)
        if state is State.DONE:
            return Event(index, "result", payloads.decode(found.kind, found.result, self._type))
        failed = RequestFailed(token_of(self.id), state, found.error, found.deliveries)
        return Event(index, "error", found.error or failed.state, error=failed)
