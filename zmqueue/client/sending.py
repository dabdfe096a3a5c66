"""Sending: what lanes hold goes to the primary of their bucket, again and again until it is done or too late.

Silence, `NotPrimary` and a new term put a transmission's items back into their lane, and they go to whoever is primary
then, with the same ids. Late answers count for what they are certain of.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence

from zmqueue.client import limits
from zmqueue.client.calls import Item, SubmitItem
from zmqueue.client.exchanges import Exchange, Exchanges
from zmqueue.client.finding import FindLane
from zmqueue.client.lanes import AskLane, ExtendLane, GiveBackLane, Lane, SettleLane, SubmitLane
from zmqueue.client.publishing import PublishLane
from zmqueue.client.routing import Routing
from zmqueue.client.streaming import FollowLane
from zmqueue.client.timers import Timers
from zmqueue.client.wishing import Wish, WishLane
from zmqueue.core.answers import Answer, Code, Confirmed, Events, Found, NotPrimary, Refused, Reply
from zmqueue.errors import QueueFull, refusal

WORTH_ANOTHER_TRY = frozenset({Code.NOT_ENOUGH_REPLICAS, Code.BUSY, Code.NOT_SERVING, Code.QUEUE_WAITS})
"""Refusals that a moment may cure, or that are to be waited out: tried again quietly until the deadline."""


class Transmission(Exchange):
    """Items of one lane, sent once."""

    __slots__ = ("items", "lane", "sender")

    def __init__(self, sender: Sender, lane: Lane, items: list[Item]) -> None:
        self.sender, self.lane, self.items = sender, lane, items

    def answered(self, reply: Reply, now: float) -> None:
        self.sender.answered(self, reply, now)

    def silent(self, now: float) -> None:
        self.sender.silent(self, now)

    def unsent(self, now: float) -> None:
        self.sender.unsent(self, now)


class Sender:
    """All lanes of one client."""

    def __init__(self, routing: Routing, exchanges: Exchanges, timers: Timers) -> None:
        self._routing = routing
        self._exchanges = exchanges
        self._timers = timers
        self._lanes: dict[Hashable, Lane] = {}
        self._busy: dict[Lane, None] = {}            # lanes in which something waits, in order of coming
        self.homeless: list[SubmitItem] = []         # sent nowhere, or refused everywhere: free

    # --- lanes ---

    def submits(self, bucket: int, queue: str, *, options: bool = False) -> Lane:
        return self._lane(("submit", bucket, queue, options), lambda: SubmitLane(bucket, queue))

    def asks(self, bucket: int) -> Lane:
        return self._lane(("ask", bucket), lambda: AskLane(bucket))

    def follows(self, bucket: int) -> Lane:
        return self._lane(("follow", bucket), lambda: FollowLane(bucket))

    def finds(self, bucket: int) -> Lane:
        return self._lane(("find", bucket), lambda: FindLane(bucket))

    def wishes(self, bucket: int, wish: Wish) -> Lane:
        return self._lane((wish, bucket), lambda: WishLane(bucket, wish))

    def publishes(self, bucket: int) -> Lane:
        return self._lane(("publish", bucket), lambda: PublishLane(bucket))

    def settles(self, bucket: int) -> Lane:
        return self._lane(("settle", bucket), lambda: SettleLane(bucket))

    def extends(self, bucket: int, lease_ms: int) -> Lane:
        return self._lane(("extend", bucket, lease_ms), lambda: ExtendLane(bucket, lease_ms))

    def give_backs(self, bucket: int) -> Lane:
        return self._lane(("give back", bucket), lambda: GiveBackLane(bucket))

    def _lane(self, key: Hashable, make: Callable[[], Lane]) -> Lane:
        lane = self._lanes.get(key)
        if lane is None:
            if len(self._lanes) >= limits.LANES_MAX:
                self._lanes = {key: lane for key, lane in self._lanes.items() if lane.waiting or lane.on_its_way}
            lane = self._lanes[key] = make()
        return lane

    # --- sending ---

    def put(self, lane: Lane, item: Item) -> None:
        """Let the item be done by whoever is primary of the lane's bucket."""
        lane.waiting.append(item)
        self._busy[lane] = None

    def pump(self, now: float) -> None:
        """Send what may be sent now."""
        for lane in list(self._busy):
            while lane.waiting and lane.waiting[0].done:
                lane.waiting.popleft()
            if not lane.waiting:
                self._busy.pop(lane, None)
            elif lane.on_its_way < lane.on_its_way_max and lane.resume_at <= now:
                self._pump_lane(lane, now)

    def _pump_lane(self, lane: Lane, now: float) -> None:
        primary = self._routing.primary(lane.bucket)
        if primary is None:
            self._routing.want()
            return
        if not self._routing.writable(primary, now):
            return
        while lane.on_its_way < lane.on_its_way_max:
            items = lane.batch()
            if not items:
                self._busy.pop(lane, None)
                return
            self.transmit(lane, items, primary, now)

    def transmit(self, lane: Lane, items: list[Item], endpoint: str, now: float) -> None:
        """Send these items of the lane to that endpoint."""
        transmission = Transmission(self, lane, items)
        request = self._exchanges.begin(transmission, endpoint)
        lane.on_its_way += 1
        if isinstance(lane, SubmitLane):
            self._routing.peer(endpoint).submits += 1
        for item in items:
            item.open += 1
        packet = lane.packet(request, items, now)
        self._exchanges.send(transmission, packet, lane.patience(items, now), now)

    def moved(self, buckets: set[int], now: float) -> None:
        """The terms of these buckets changed: what is on its way to them may never be answered, send it again."""
        for exchange in self._exchanges.open():
            if isinstance(exchange, Transmission) and exchange.lane.bucket in buckets:
                self._exchanges.give_up(exchange, now)
        for lane in (*self._lanes.values(), *self._busy):
            if lane.bucket in buckets:
                lane.rested()

    # --- what becomes of a transmission ---

    def answered(self, transmission: Transmission, reply: Reply, now: float) -> None:
        """An answer, perhaps late: then the items may be waiting or on their way again, and what is certain counts."""
        lane, late = transmission.lane, transmission.given_up
        if not late:
            self._landed(transmission)
        match reply:
            case Confirmed(refused=refused):
                self._confirmed(transmission, lane.refusals(refused, transmission.items), reply, now)
            case Answer() | Events() | Found():
                self._confirmed(transmission, {}, reply, now)
            case Refused(code=code, text=text):
                everything = dict.fromkeys(range(len(transmission.items)), (code, text))
                self._confirmed(transmission, everything, reply, now)
            case NotPrimary(epoch=epoch, unknown=unknown):
                self._routing.want(epoch, transmission.endpoint)
                if not unknown:
                    self._never_happened(transmission.items)
                if not late:
                    self._again(lane, transmission.items, now)
            case _:                                      # no answer to such a request: as good as silence
                if not late:
                    self._again(lane, transmission.items, now)

    def _confirmed(self, transmission: Transmission, refused: dict[int, tuple[int, str]], reply: Reply,
                   now: float) -> None:
        lane = transmission.lane
        again: list[Item] = []
        lane.note(reply, transmission.items)
        for index, item in enumerate(transmission.items):
            if index not in refused:
                if not item.done:
                    item.accept(reply)
                continue
            item.open -= 1
            if item.done:
                continue
            code, text = refused[index]
            error = refusal(code, text)
            if isinstance(error, QueueFull) and isinstance(reply, Confirmed) and reply.retry:
                error.retry_after = reply.retry / 1000
            if code in WORTH_ANOTHER_TRY or not item.refuse(error, now):
                item.refusal = error
                again.append(item)
        if len(refused) < len(transmission.items):
            lane.rested()
        if again and not transmission.given_up:
            self._again(lane, again, now)

    def silent(self, transmission: Transmission, now: float) -> None:
        """No answer: ask the state, and send again, since the same ids are stored once."""
        lane = transmission.lane
        self._landed(transmission)
        if transmission.lane.bucket not in self._routing.changed:
            lane.silences = min(lane.silences + 1, 4)
            self._routing.quiet(transmission.endpoint, now)
        self._again(lane, transmission.items, now)

    def unsent(self, transmission: Transmission, now: float) -> None:
        """It never left."""
        self._landed(transmission)
        self._never_happened(transmission.items)
        self._back(transmission.lane, transmission.items)

    def _landed(self, transmission: Transmission) -> None:
        transmission.lane.on_its_way -= 1
        if isinstance(transmission.lane, SubmitLane):
            self._routing.peer(transmission.endpoint).submits -= 1

    def _never_happened(self, items: Sequence[Item]) -> None:
        for item in items:
            item.open -= 1

    def _again(self, lane: Lane, items: Sequence[Item], now: float) -> None:
        self._timers.at(lane.rest(now))
        self._back(lane, items)

    def _back(self, lane: Lane, items: Sequence[Item]) -> None:
        for item in reversed(items):
            if item.done:
                continue
            if isinstance(item, SubmitItem) and item.free:
                self.homeless.append(item)
            else:
                lane.waiting.appendleft(item)
        if lane.waiting:
            self._busy[lane] = None
