"""Lanes: what waits for one bucket, and how it is merged into few packets.

A lane holds items of one kind for one bucket. What waits is sent together as soon as the lane has nothing (or, for
questions, as much as it likes) on its way: so items merge exactly while the primary is busy, and none is delayed for
the sake of merging (as in Kafka's producer). `sending.py` sends them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence

from zmqueue.client import limits
from zmqueue.client.calls import AskItem, Item, LeaseItem, SubmitItem
from zmqueue.core.answers import Confirmed, Reply
from zmqueue.core.requests import Ask, Extend, GiveBack, Request, Settling, Submit


class Lane(ABC):
    """The items of one kind that wait for one bucket."""

    on_its_way_max = 1
    batch_max = limits.CHUNK_MESSAGES_MAX

    def __init__(self, bucket: int) -> None:
        self.bucket = bucket
        self.waiting: deque[Item] = deque()
        self.on_its_way = 0
        self.resume_at = 0.0
        self.failures = 0
        self.silences = 0

    @abstractmethod
    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        """The request that carries these items."""

    def size(self, item: Item) -> int:
        """Bytes that the item adds to a packet, about."""
        return 0

    def refusals(self, refused: Sequence[tuple[int, int, str]], items: Sequence[Item]) -> dict[int, tuple[int, str]]:
        """What an answer says of each item that is refused: (code, text) by its index."""
        return {index: (code, text) for index, code, text in refused}

    def note(self, reply: Reply, items: Sequence[Item]) -> None:
        """Told of an answer before its items are."""
        return                             # to most it says nothing but yes or no

    def patience(self, items: Sequence[Item], now: float) -> float:
        """How long to wait for the answer."""
        return min(limits.SILENCE_S * 2.0 ** self.silences, limits.SILENCE_S_MAX)

    def batch(self) -> list[Item]:
        """Take what goes into the next packet."""
        items: list[Item] = []
        size = 0
        while self.waiting and len(items) < self.batch_max:
            item = self.waiting[0]
            if item.done:
                self.waiting.popleft()
                continue
            size += self.size(item)
            if items and size > limits.CHUNK_BYTES_MAX:
                break
            items.append(self.waiting.popleft())
        return items

    def rest(self, now: float) -> float:
        """Wait a little longer than the last time; returns until when."""
        pause = min(limits.BACKOFF_S * 2.0 ** self.failures, limits.BACKOFF_S_MAX)
        self.failures = min(self.failures + 1, 10)
        self.resume_at = now + pause
        return self.resume_at

    def rested(self) -> None:
        """Something got through, or somebody else is primary: begin afresh."""
        self.failures = self.silences = 0
        self.resume_at = 0.0


class SubmitLane(Lane):
    """Messages of one queue whose ids are drawn; those with options apart from those without.

    A node that knows of no options, or does not allow them, refuses a packet as a whole.
    """

    def __init__(self, bucket: int, queue: str) -> None:
        super().__init__(bucket)
        self.queue = queue

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        submits = [item for item in items if isinstance(item, SubmitItem)]
        return Submit(request, self.bucket, self.queue,
                      tuple(item.submission for item in submits if item.submission is not None),
                      tuple((index, item.options) for index, item in enumerate(submits) if item.options is not None))

    def note(self, reply: Reply, items: Sequence[Item]) -> None:
        # Also of a late answer: it is certain that the key was taken then, so the caller has what he asked for.
        for index, holder in reply.known if isinstance(reply, Confirmed) else ():
            item = items[index]
            assert isinstance(item, SubmitItem)
            item.known = holder

    def size(self, item: Item) -> int:
        assert isinstance(item, SubmitItem)
        return len(item.draft.payload)


class AskLane(Lane):
    """Questions about messages: each its own packet, any number on their way."""

    on_its_way_max = 1 << 30
    batch_max = 1

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        call = _ask(items).call
        call.sent, call.asked_at = True, now
        wait = min(max(call.deadline - now, 0.0), limits.ASK_WAIT_S_MAX) if call.settled else 0.0
        return Ask(request, self.bucket, call.id, int(wait * 1000), True)

    def patience(self, items: Sequence[Item], now: float) -> float:
        call = _ask(items).call
        wait = min(max(call.deadline - now, 0.0), limits.ASK_WAIT_S_MAX) if call.settled else 0.0
        return wait + super().patience(items, now)


class SettleLane(Lane):
    """Leases to be settled."""

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        return Settling(request, self.bucket, tuple(item.settle for item in _leases(items) if item.settle is not None))

    def size(self, item: Item) -> int:
        assert isinstance(item, LeaseItem) and item.settle is not None
        return len(item.settle.data) + sum(len(parcel.message.payload) for parcel in item.settle.then)


class ExtendLane(Lane):
    """Leases to be extended by the same time."""

    def __init__(self, bucket: int, lease_ms: int) -> None:
        super().__init__(bucket)
        self.lease_ms = lease_ms

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        return Extend(request, self.bucket, tuple(item.held for item in _leases(items)), self.lease_ms)


class GiveBackLane(Lane):
    """Leases to be given back unbegun."""

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        return GiveBack(request, self.bucket, tuple(item.held for item in _leases(items)))


def _ask(items: Sequence[Item]) -> AskItem:
    item, = items
    assert isinstance(item, AskItem)
    return item


def _leases(items: Sequence[Item]) -> list[LeaseItem]:
    return [item for item in items if isinstance(item, LeaseItem)]
