"""Submitting: draws the ids of what waits, as late as possible, so that messages that wait together land together.

A message whose id the caller did not choose may lie in any bucket. So it waits without one, and when a primary has room
for another packet (`SUBMITS_IN_FLIGHT`), a chunk of what waits gets ids in one of that primary's buckets: one packet,
one log entry, one answer. Primaries take turns, and so do the buckets of each. An id whose fate is unknown is never
drawn anew; one that was definitely refused wherever it was sent is (Q2): a bucket's failover delays nobody else.

A message with a `group` or a `unique` key has its place by the hash of that, as one with a chosen id has its own: these
wait for their bucket, in order.
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
from zmqueue.errors import BodyTooLarge, NotAllowed

GENERATION = 3
"""The generation of the formats from which on a message may have options."""


class Submitting:
    """Messages that have no bucket yet."""

    def __init__(self, routing: Routing, sender: Sender, random: Callable[[int], bytes]) -> None:
        self._routing = routing
        self._sender = sender
        self._random = random
        self._waiting: dict[_Kind, deque[SubmitItem]] = {}
        self._chosen: list[SubmitItem] = []          # with a place of their own, before the first state is known
        self._turn = 0
        self._bucket_turn: dict[str, int] = {}

    def begin(self, call: SubmitCall, now: float) -> None:
        """Take a call's messages in."""
        wall = self._routing.cluster_wall(now)
        for item in call.items:
            item.due, item.options = item.draft.due_at(wall), item.draft.options_at(wall)
            if item.draft.id is None and item.place is None:
                self._waiting.setdefault(_kind(item), deque()).append(item)
            else:
                self._chosen.append(item)

    def pump(self, now: float) -> None:
        """Send what may be sent now."""
        if self._routing.state is None:
            self._drop_done()
            return
        if self._chosen:
            self._place_chosen(now)
        while self._sender.homeless:
            item = self._sender.homeless.pop()
            self._waiting.setdefault(_kind(item), deque()).appendleft(item)
        for kind in list(self._waiting):
            self._pump_kind(kind, self._waiting[kind], now)
            if not self._waiting[kind]:
                del self._waiting[kind]

    def _drop_done(self) -> None:
        for waiting in self._waiting.values():
            while waiting and waiting[0].done:
                waiting.popleft()

    def _place_chosen(self, now: float) -> None:
        """A chosen id has its bucket already; so has a group, and a key."""
        state = self._routing.state
        assert state is not None
        items, self._chosen = self._chosen, []
        wall = self._routing.cluster_wall(now)
        for item in items:
            if item.done or self._cannot(item):
                continue
            message_id = item.draft.id
            if message_id is None:
                assert item.place is not None
                message_id = make_id(wall, item.place, self._random(RANDOM_BYTES))
            item.submission = item.draft.submission(message_id, item.due)
            queue, options = _kind(item)
            self._sender.put(self._sender.submits(bucket_of(message_id, state.buckets), queue, options=options), item)

    def _pump_kind(self, kind: _Kind, waiting: deque[SubmitItem], now: float) -> None:
        share = -(-len(waiting) // max(1, len(self._routing.primaries)))
        count_max = min(max(share, limits.CHUNK_MESSAGES_MIN), limits.CHUNK_MESSAGES_MAX)
        while waiting:
            if waiting[0].done or self._cannot(waiting[0]):
                waiting.popleft()
                continue
            target = self._target(kind, now)
            if target is None:
                return
            endpoint, lane = target
            items = self._chunk(waiting, count_max)
            self._draw(items, lane.bucket, now)
            self._sender.transmit(lane, items, endpoint, now)

    def _cannot(self, item: SubmitItem) -> bool:
        """True where it is known here already that it would be refused: it has failed then.

        A node of an earlier version would not refuse options, it would not see them.
        """
        state = self._routing.state
        assert state is not None
        if item.options is not None and state.settings.generation < GENERATION:
            item.fail(NotAllowed("groups, unique keys, expiry and the like need a cluster whose members all run this "
                                 "version: upgrade the others (zmqueue members shows them)"))
            return True
        allowed, found = state.settings.body_bytes_max, len(item.draft.payload)
        if found > allowed:
            item.fail(BodyTooLarge(f"body is {found:,} bytes; the limit is {allowed:,} (settings.body_bytes_max)"))
        return found > allowed

    def _target(self, kind: _Kind, now: float) -> tuple[str, Lane] | None:
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
                lane = self._sender.submits(buckets[(first + more) % len(buckets)], kind[0], options=kind[1])
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
            if item.done or self._cannot(item):
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


_Kind = tuple[str, bool]
"""What may travel in one packet: messages of a queue, with options or without."""


def _kind(item: SubmitItem) -> _Kind:
    return item.call.queue, item.options is not None
