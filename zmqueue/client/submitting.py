"""Submitting: draws the ids of what waits, as late as possible, so that messages that wait together land together.

A message whose id the caller did not choose may lie in any bucket. So it waits without one, and when a primary has room
for another packet (`SUBMITS_IN_FLIGHT`), a chunk of what waits gets ids in one of that primary's buckets: one packet,
one log entry, one answer. Primaries take turns, and so do the buckets of each. An id whose fate is unknown is never
drawn anew; one that was definitely refused wherever it was sent is (Q2): a bucket's failover delays nobody else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable

from zmqueue.client import limits
from zmqueue.client.calls import Item, SubmitCall, SubmitItem
from zmqueue.client.lanes import Lane
from zmqueue.client.routing import Routing
from zmqueue.client.sending import Sender
from zmqueue.core.ids import RANDOM_BYTES, bucket_of, make_id, places_of
from zmqueue.errors import BodyTooLarge


class Submitting:
    """Messages that have no bucket yet."""

    def __init__(self, routing: Routing, sender: Sender, random: Callable[[int], bytes]) -> None:
        self._routing = routing
        self._sender = sender
        self._random = random
        self._waiting: dict[str, deque[SubmitItem]] = {}
        self._chosen: list[SubmitItem] = []          # with the caller's own id, before the first state is known
        self._turn = 0
        self._bucket_turn: dict[str, int] = {}

    def begin(self, call: SubmitCall, now: float) -> None:
        """Take a call's messages in."""
        wall = self._routing.cluster_wall(now)
        waiting = self._waiting.setdefault(call.queue, deque())
        for item in call.items:
            if item.draft.delay_ms:
                item.due = wall + item.draft.delay_ms
            if item.draft.id is None:
                waiting.append(item)
            else:
                self._chosen.append(item)

    def pump(self, now: float) -> None:
        """Send what may be sent now."""
        if self._routing.state is None:
            self._drop_done()
            return
        if self._chosen:
            self._place_chosen()
        while self._sender.homeless:
            item = self._sender.homeless.pop()
            self._waiting.setdefault(item.call.queue, deque()).appendleft(item)
        for queue in list(self._waiting):
            self._pump_queue(queue, self._waiting[queue], now)
            if not self._waiting[queue]:
                del self._waiting[queue]

    def _drop_done(self) -> None:
        for waiting in self._waiting.values():
            while waiting and waiting[0].done:
                waiting.popleft()

    def _place_chosen(self) -> None:
        """A chosen id has its bucket already."""
        state = self._routing.state
        assert state is not None
        items, self._chosen = self._chosen, []
        for item in items:
            message_id = item.draft.id
            assert message_id is not None
            if item.done or self._too_large(item):
                continue
            item.submission = item.draft.submission(message_id, item.due)
            self._sender.put(self._sender.submits(bucket_of(message_id, state.buckets), item.call.queue), item)

    def _pump_queue(self, queue: str, waiting: deque[SubmitItem], now: float) -> None:
        share = -(-len(waiting) // max(1, len(self._routing.primaries)))
        count_max = min(max(share, limits.CHUNK_MESSAGES_MIN), limits.CHUNK_MESSAGES_MAX)
        while waiting:
            if waiting[0].done or self._too_large(waiting[0]):
                waiting.popleft()
                continue
            target = self._target(queue, now)
            if target is None:
                return
            endpoint, lane = target
            items = self._chunk(waiting, count_max)
            self._draw(items, lane.bucket, now)
            self._sender.transmit(lane, items, endpoint, now)

    def _too_large(self, item: SubmitItem) -> bool:
        state = self._routing.state
        assert state is not None
        allowed, found = state.settings.body_bytes_max, len(item.draft.payload)
        if found > allowed:
            item.fail(BodyTooLarge(f"body is {found:,} bytes; the limit is {allowed:,} (settings.body_bytes_max)"))
        return found > allowed

    def _target(self, queue: str, now: float) -> tuple[str, Lane] | None:
        """The next primary that has room, and one of its buckets that is not resting; None: wait."""
        primaries = self._routing.primaries
        if not primaries:
            self._routing.want()
            return None
        for step in range(len(primaries)):
            endpoint = primaries[(self._turn + step) % len(primaries)]
            if (self._routing.peer(endpoint).submits >= limits.SUBMITS_IN_FLIGHT
                    or not self._routing.lively(endpoint, now)):
                continue
            buckets = self._routing.buckets_of(endpoint)
            first = self._bucket_turn.get(endpoint, 0)
            for more in range(len(buckets)):
                lane = self._sender.submits(buckets[(first + more) % len(buckets)], queue)
                if lane.resume_at <= now and not lane.waiting:
                    self._turn = (self._turn + step + 1) % len(primaries)
                    self._bucket_turn[endpoint] = (first + more + 1) % len(buckets)
                    return endpoint, lane
        return None

    def _chunk(self, waiting: deque[SubmitItem], count_max: int) -> list[Item]:
        items: list[Item] = []
        size = 0
        while waiting and len(items) < count_max:
            item = waiting[0]
            if item.done or self._too_large(item):
                waiting.popleft()
                continue
            size += len(item.draft.payload)
            if items and size > limits.CHUNK_BYTES_MAX:
                break
            items.append(waiting.popleft())
        return items

    def _draw(self, items: list[Item], bucket: int, now: float) -> None:
        state = self._routing.state
        assert state is not None
        first, end = places_of(bucket, state.buckets)
        each = RANDOM_BYTES + 2
        random = self._random(each * len(items))
        wall = self._routing.cluster_wall(now)
        for index, item in enumerate(items):
            assert isinstance(item, SubmitItem)
            mine = random[index * each:(index + 1) * each]
            place = first + int.from_bytes(mine[RANDOM_BYTES:], "big") % (end - first)
            item.submission = item.draft.submission(make_id(wall, place, mine[:RANDOM_BYTES]), item.due)
