"""A client without sockets and threads: the real core, driven in virtual time, on a machine of its own."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from msgspec.structs import replace

from zmqueue.client.calls import AskCall, Call, Draft, LeaseSayCall, SubmitCall
from zmqueue.client.chains import JOIN, carried_on
from zmqueue.client.core import ClientCore
from zmqueue.client.declaring import Decide, PolicyCall
from zmqueue.client.errands import Errand
from zmqueue.client.leasing import Holding, LeaseCall, Slots, Subscription
from zmqueue.client.publishing import PublishCall
from zmqueue.client.scheduling import ScheduleCall
from zmqueue.client.session import Session
from zmqueue.client.streaming import FollowCall
from zmqueue.client.sweeping import Course, Sweeps, Swept
from zmqueue.client.telling import TellCall
from zmqueue.client.wishing import Wish
from zmqueue.core.answers import Reply
from zmqueue.core.checks import ATTEMPTS_MAX
from zmqueue.core.ids import RANDOM_BYTES, make_id, token_of
from zmqueue.core.operations import Awaits, How, Kind, Options, Parcel, Settle, Submission
from zmqueue.core.packets import Heartbeat, Packet, decode, decode_envelope, encode
from zmqueue.core.requests import Request
from zmqueue.core.schedules import Entry
from zmqueue.errors import ZmqueueError
from zmqueue.testing.clock import LocalClock

if TYPE_CHECKING:
    from zmqueue.testing.cluster import VirtualCluster

Frames = tuple[bytes, ...]


class _Sweeping(Sweeps):
    """What a virtual client has in common with the others for finding and sweeping."""

    def __init__(self, client: VirtualClient) -> None:
        self._core = client.core
        self._client = client

    def _deadline(self, timeout: float | None) -> float:
        return self._client.now + (10.0 if timeout is None else timeout)


class VirtualClient:
    """One client. Its calls end in virtual time: look at `call.finished`, `value`, `error`, or pass `notify`."""

    def __init__(self, cluster: VirtualCluster, name: str, dice: random.Random, seeds: Sequence[str]) -> None:
        self.name = name
        self.identity = name.encode()
        self.clock = LocalClock(cluster.time, start=dice.random() * 1_000)
        self.core = ClientCore(seeds, dice.randbytes)
        self.running = True
        self._cluster, self._dice = cluster, dice
        self._planned_at: float | None = None
        self._turn()

    @property
    def now(self) -> float:
        """This client's monotonic time."""
        return self.clock.monotonic()

    # --- what a program asks ---

    def submit(self, queue: str, bodies: Sequence[bytes], timeout: float = 10.0, *, message_id: bytes | None = None,
               notify: Callable[[Any], None] | None = None, attempts: int = 0, delay_ms: int = 0) -> SubmitCall:
        """Submit messages; with `message_id` the one body is a retry of an earlier submit."""
        drafts = [Draft(body, Kind.BYTES, message_id=message_id, attempts=attempts, delay_ms=delay_ms)
                  for body in bodies]
        call = SubmitCall(queue, drafts, self.now + timeout, notify, many=len(drafts) > 1)
        self.core.submit(call, self.now)
        self._plan_turn()
        return call

    def ask(self, message_id: bytes, timeout: float = 10.0, *, settled: bool = False,
            notify: Callable[[Any], None] | None = None) -> AskCall:
        """Ask how a message is; with `settled`, wait until it has ended."""
        call = AskCall(message_id, self.now + timeout, notify, settled=settled)
        self.core.ask(call, self.now)
        self._plan_turn()
        return call

    def lease(self, queue: str, most: int = 1, wait: float = 1.0, lease_ms: int = 0,
              notify: Callable[[Any], None] | None = None) -> LeaseCall:
        """Lease messages once."""
        call = LeaseCall(queue, most, lease_ms, self.now + wait, self.now + wait + 5.0, notify)
        self.core.lease(call, self.now)
        self._plan_turn()
        return call

    def work(self, queues: Sequence[str], slots: int, deliver: Callable[[Holding], None],
             failed: Callable[[ZmqueueError], None] = lambda error: None, lease_ms: int = 0) -> tuple[Session, Slots]:
        """Subscribe a worker with that many slots: `deliver` is called for each message that it is to work on."""
        session, shared = self.core.open_session(), Slots(slots)
        for queue in queues:
            self.core.subscribe(session, Subscription(shared, deliver, failed), queue, lease_ms, self.now)
        self._plan_turn()
        return session, shared

    def settle(self, holding: Holding, how: How, data: bytes = b"", error: str = "", delay_ms: int = 0,
               timeout: float = 10.0, notify: Callable[[Any], None] | None = None,
               then: Sequence[Parcel] = ()) -> LeaseSayCall:
        """End a lease. `then`: what an ack queues (see `parcel`), beside what the message's headers say."""
        if how is How.ACK:
            wall = self.core.routing.cluster_wall(self.now)
            then = (*then, *carried_on(holding.submission, Kind.BYTES, data, wall))
        settle = Settle(holding.id, holding.fencing, how, Kind.BYTES if how is How.ACK else Kind.NONE, data, error,
                        delay_ms, tuple(then))
        return self._say(holding, LeaseSayCall("settle", (holding.id, holding.fencing), self.now + timeout, notify,
                                               settle=settle))

    def join(self, queue: str, body: bytes, parts: Sequence[tuple[str, bytes]]) -> Parcel:
        """A join for an ack to queue, with its parts: (queue, body). They are tried until they are done."""
        join, found = self.parcel(queue, body), [self.parcel(*part) for part in parts]
        header = ((JOIN, token_of(join.message.id)),)
        return replace(join, options=Options(awaits=Awaits(tuple(
            replace(part, message=replace(part.message, headers=header, attempts=ATTEMPTS_MAX),
                    options=Options(losses=ATTEMPTS_MAX)) for part in found))))

    def parcel(self, queue: str, body: bytes) -> Parcel:
        """A message for an ack to queue, with an id of its own."""
        random = self._dice.randbytes(RANDOM_BYTES + 2)
        place = int.from_bytes(random[RANDOM_BYTES:], "big")
        return Parcel(queue, Submission(make_id(self.core.routing.cluster_wall(self.now), place,
                                                random[:RANDOM_BYTES]), body))

    def tell(self, holding: Holding, data: bytes, timeout: float = 10.0,
             notify: Callable[[Any], None] | None = None) -> TellCall:
        """Tell of progress under a lease."""
        call = TellCall(Kind.BYTES, data, self.now + timeout, notify)
        self.core.tell(holding, call, self.now)
        self._plan_turn()
        return call

    def follow(self, message_id: bytes, after: int = 0, timeout: float = 10.0,
               notify: Callable[[Any], None] | None = None) -> FollowCall:
        """Ask for the events of a message after that one, or its end."""
        call = FollowCall(message_id, after, self.now + timeout, notify)
        self.core.follow(call, self.now)
        self._plan_turn()
        return call

    def extend(self, holding: Holding, lease_ms: int, timeout: float = 10.0,
               notify: Callable[[Any], None] | None = None) -> LeaseSayCall:
        """Let a lease last longer."""
        call = LeaseSayCall("extend", (holding.id, holding.fencing), self.now + timeout, notify)
        return self._say(holding, call, lease_ms)

    def give_back(self, holding: Holding, timeout: float = 10.0,
                  notify: Callable[[Any], None] | None = None) -> LeaseSayCall:
        """Return a message that was not begun."""
        return self._say(holding, LeaseSayCall("give back", (holding.id, holding.fencing), self.now + timeout, notify))

    def _say(self, holding: Holding, call: LeaseSayCall, lease_ms: int = 0) -> LeaseSayCall:
        self.core.say(holding, call, self.now, lease_ms)
        self._plan_turn()
        return call

    def agree(self, queue: str, decide: Decide, timeout: float = 10.0,
              notify: Callable[[Any], None] | None = None) -> PolicyCall:
        """Have a queue's policy agreed, and known to every primary."""
        call = PolicyCall(queue, decide, self.now + timeout, notify)
        self.core.amend(call, self.now)
        self._plan_turn()
        return call

    def run(self, course: Course[Any], ended: Callable[[Any], None]) -> None:
        """Do one errand after another; `ended` is told what the course returns, or the error that broke it off."""
        def go_on(value: Any) -> None:
            try:
                errand = course.send(value)
            except StopIteration as over:
                ended(over.value)
                return
            errand.call.notify = lambda _: done(errand)
            errand.begin(now=self.now)
            self._plan_turn()

        def done(errand: Errand[Any]) -> None:
            try:
                value = errand.end()
            except ZmqueueError as error:
                ended(error)
            else:
                go_on(value)

        go_on(None)

    def sweep(self, what: str, wish: Wish, queue: str, ended: Callable[[Swept | ZmqueueError], None],
              states: Sequence[str] = ("dead",), timeout: float = 10.0) -> None:
        """Requeue, purge or cancel all that is in one of these states."""
        self.run(_Sweeping(self)._course_sweep(what, wish, queue, states, None, {"timeout": timeout}), ended)

    def schedule(self, name: str, decide: Callable[[Entry | None], Entry | None], timeout: float = 10.0,
                 notify: Callable[[Any], None] | None = None) -> ScheduleCall:
        """Have a schedule agreed: what it is to be, of what it is (None: there is none)."""
        call = ScheduleCall(name, decide, self.now + timeout, notify)
        self.core.amend(call, self.now)
        self._plan_turn()
        return call

    def publish(self, topic: str, body: bytes, timeout: float = 10.0, *, message_id: bytes | None = None,
                notify: Callable[[Any], None] | None = None) -> PublishCall:
        """Publish under a topic; `message_id`: that of an earlier try."""
        call = PublishCall(topic, replace(self.parcel("", body).message, **({"id": message_id} if message_id else {})),
                           None, self.now + timeout, notify)
        self.core.publish(call, self.now)
        self._plan_turn()
        return call

    def withdraw(self, call: Call[Any]) -> None:
        """Wait for a call no longer, as a task that is cancelled."""
        if self.running:
            self.core.withdraw(call, self.now)
            self._plan_turn()

    def freed(self, slots: Slots, many: int = 1) -> None:
        """Slots of a worker are free again."""
        slots.free += many
        self._plan_turn()

    def post(self, endpoint: str, packets: Sequence[Request]) -> None:
        """Send packets of the caller's own making; nobody here waits for the answers (an `Observer` sees them)."""
        self._send(endpoint, packets)

    # --- life ---

    def crash(self) -> None:
        """The process dies, without a word."""
        self.running = False
        self._cluster.trace.add(self.name, "crashes")

    def close(self) -> None:
        """The program ends in order: sessions are ended, whoever waits is told."""
        for endpoint, packets in self.core.close(self.now):
            self._send(endpoint, packets)
        self.running = False
        self._cluster.trace.add(self.name, "closes")

    # --- what comes ---

    def receive(self, endpoint: str, frames: Frames) -> None:
        """A multipart message arrived."""
        if not self.running:
            return
        packets: list[Reply] = [decode(frame) for frame in frames[1:]]  # type: ignore[misc]
        for observer in self._cluster.observers:
            observer.told(self, endpoint, packets)
        self.core.on_packets(endpoint, decode_envelope(frames[0]), packets, self.now)
        self._plan_turn()

    def hear(self, frame: bytes) -> None:
        """A heartbeat arrived."""
        heartbeat = decode(frame)
        assert isinstance(heartbeat, Heartbeat)
        if self.running and heartbeat.epoch != self.core.routing.epoch:
            self.core.on_heartbeat(heartbeat, self.now)
            self._plan_turn()
        elif self.running:
            self.core.on_heartbeat(heartbeat, self.now)

    def connection(self, endpoint: str, stands: bool) -> None:
        """A connection broke, or stands again."""
        if not self.running:
            return
        if stands:
            self.core.on_connected(endpoint, self.now)
        else:
            self.core.on_lost(endpoint, self.now)
        self._plan_turn()

    # --- turns ---

    def _plan_turn(self, when: float | None = None) -> None:
        time = self._cluster.time
        when = time.now if when is None else max(when, time.now)
        if not self.running or (self._planned_at is not None and self._planned_at <= when):
            return
        self._planned_at = when
        time.at(when, lambda: self._planned_turn(when))

    def _planned_turn(self, when: float) -> None:
        if self.running and self._planned_at == when:
            self._planned_at = None
            self._turn()

    def _turn(self) -> None:
        self.core.tick(self.now, self.clock.wall())
        for endpoint, packets in self.core.take(self.now):
            self._send(endpoint, packets)
        due = self.core.next_tick()
        if due is not None:
            self._plan_turn(self.clock.when(due))

    def _send(self, endpoint: str, packets: Sequence[Request]) -> None:
        if self._cluster.unreachable(self, endpoint):
            self.core.on_unsent(endpoint, list(packets), self.now)
            self._plan_turn()
            return
        for observer in self._cluster.observers:
            observer.asked(self, endpoint, packets)
        sent: Sequence[Packet] = packets
        self._cluster.request(self, endpoint, (encode(self.core.envelope()), *map(encode, sent)), sent)
