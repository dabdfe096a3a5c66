"""Wishes: what is to become of messages that are in nobody's hand: cancel, requeue, purge, erase.

Each message is an item, and those of one bucket travel together: a packet is one entry of its log, so a batch holds as
a whole or not at all. A wish is repeated until it is answered, through failovers, and each repeat says how often the
letter was requeued when it was found, so that none is requeued twice by one wish.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Sequence
from typing import Any

from zmqueue.client.calls import Call, Item
from zmqueue.client.lanes import Lane
from zmqueue.core.answers import Reply
from zmqueue.core.requests import Cancel, Erase, Purge, Request, Requeue
from zmqueue.errors import ClusterUnreachable, NoAnswer, Refused, ZmqueueError

WHATEVER = -1
"""How often a letter was requeued does not matter."""


class Wish(enum.Enum):
    """What is wished."""

    CANCEL = "cancel"
    REQUEUE = "requeue"
    PURGE = "purge"
    ERASE = "erase"


class WishItem(Item):
    """One message. `requeued`: how often it was, when it was found."""

    __slots__ = ("call", "id", "requeued")

    def __init__(self, call: WishCall, message_id: bytes, requeued: int) -> None:
        super().__init__()
        self.call = call
        self.id = message_id
        self.requeued = requeued

    def accept(self, reply: Reply) -> None:
        self._end(None)

    def refuse(self, error: Refused, now: float) -> bool:
        if self.open:              # an earlier transmission got no answer: it may have taken effect before this one
            error.definite = False
        self._end(error)
        return True

    def expire(self, error: ZmqueueError) -> None:
        """Wait for it no longer; `error`: where it was never sent."""
        if self.done:
            return
        if self.open:
            self._end(NoAnswer(f"no node confirmed in time to {self.call.wish.value} it; it may be done or not"))
        else:
            self._end(self.refusal or error)

    def _end(self, error: ZmqueueError | None) -> None:
        self.done = True
        self.call.ended(self, error)


class WishCall(Call[dict[bytes, ZmqueueError]]):
    """The same wish for some messages. Ends with what could not be done, by id; none of it is raised."""

    __slots__ = ("errors", "items", "left", "wish")

    def __init__(self, wish: Wish, messages: Sequence[tuple[bytes, int]], deadline: float,
                 notify: Callable[[Any], None] | None = None) -> None:
        """`messages`: (id, how often it was requeued when it was found, or WHATEVER), each once."""
        super().__init__(deadline, notify)
        self.wish = wish
        self.items = [WishItem(self, *message) for message in messages]
        self.errors: dict[bytes, ZmqueueError] = {}
        self.left = len(self.items)

    def ended(self, item: WishItem, error: ZmqueueError | None) -> None:
        """One is done or refused; with the last one the call ends."""
        if error is not None:
            self.errors[item.id] = error
        self.left -= 1
        if not self.left:
            self.finish(self.errors)

    def expire(self, now: float) -> None:
        for item in self.items:
            item.expire(ClusterUnreachable(f"it could not be asked to {self.wish.value} it: no node could be reached, "
                                           "or its bucket has no primary"))

    def abort(self, error: ZmqueueError) -> None:
        for item in self.items:
            item.expire(error)


class WishLane(Lane):
    """Messages of one bucket of which the same is wished."""

    def __init__(self, bucket: int, wish: Wish) -> None:
        super().__init__(bucket)
        self.wish = wish

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        wishes = [item for item in items if isinstance(item, WishItem)]
        ids, requeued = tuple(item.id for item in wishes), tuple(item.requeued for item in wishes)
        match self.wish:
            case Wish.CANCEL:
                return Cancel(request, self.bucket, ids)
            case Wish.REQUEUE:
                return Requeue(request, self.bucket, ids, requeued)
            case Wish.PURGE:
                return Purge(request, self.bucket, ids, requeued)
            case Wish.ERASE:
                return Erase(request, self.bucket, ids)
