"""The client's core: requests, packets and the time go in; packets and finished calls come out.

It opens nothing, reads no clock and draws no random number of its own, so that the same code serves the sync client,
the asyncio client and the simulator. One thread (or task) owns it. Whoever drives it: hand in what happened, `tick`,
then send what `take` returns, and wake up again when `next_tick` says, or earlier when something comes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, cast

from zmqueue.client import limits
from zmqueue.client.amending import AmendCall, Amends
from zmqueue.client.calls import AskCall, AskItem, Call, LeaseSayCall, SubmitCall
from zmqueue.client.collecting import TakeCall
from zmqueue.client.exchanges import Exchanges
from zmqueue.client.finding import FindCall
from zmqueue.client.leasing import Holding, LeaseCall, Subscription
from zmqueue.client.publishing import PublishCall
from zmqueue.client.routing import Routing
from zmqueue.client.sending import Sender
from zmqueue.client.session import SESSION_BYTES, Session
from zmqueue.client.streaming import FollowCall, FollowItem
from zmqueue.client.submitting import Submitting
from zmqueue.client.surveys import SurveyCall, Surveys
from zmqueue.client.telling import TellCall
from zmqueue.client.timers import Action, Timers
from zmqueue.client.wishing import WishCall
from zmqueue.core.answers import Alive, Hint, Reply, StateReply
from zmqueue.core.ids import bucket_of
from zmqueue.core.packets import Envelope, Heartbeat
from zmqueue.core.requests import Request
from zmqueue.errors import Closed

_REPLIES = Reply.__args__


class ClientCore:
    """Routing, retry, deadlines, merging; sessions and leases."""

    def __init__(self, seeds: Sequence[str], random: Callable[[int], bytes]) -> None:
        """`seeds`: endpoints, at least one. `random(n)`: n unguessable bytes (a seeded source in simulation)."""
        if not seeds:
            raise ValueError("a client needs at least one seed")
        self._random = random
        self._timers = Timers()
        self._exchanges = Exchanges(self._timers)
        self.routing = Routing(seeds, self._exchanges, self._timers)
        self._sender = Sender(self.routing, self._exchanges, self._timers)
        self._submitting = Submitting(self.routing, self._sender, random)
        self._surveys = Surveys(self.routing, self._exchanges, self._timers)
        self._amends = Amends(self.routing, self._exchanges, self._timers, self.survey)
        self._sessions: list[Session] = []
        self._common: Session | None = None              # of those who lease without a worker
        self._closed = False
        self.name = ""                                   # what its sessions call themselves
        self.strangers = 0                               # multipart messages of another cluster or lineage
        self.bad = 0                                     # packets that no node sends to a client

    @property
    def stray(self) -> int:
        """Answers to nothing that was asked, or not any more."""
        return self._exchanges.stray

    # --- requests: each call is finished by its deadline ---

    def submit(self, call: SubmitCall, now: float) -> None:
        """Have messages accepted."""
        if self._closed:
            call.fail(_closed())
            return
        if not call.items:
            call.finish(())
            return
        self._timers.expire(call)
        self._submitting.begin(call, now)

    def ask(self, call: AskCall, now: float) -> None:
        """Ask how a message is."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        call.again = lambda asked: self._timers.at(asked.asked_at + limits.ASK_AGAIN_S, partial(self._ask, asked))
        self._ask(call, now)

    def _ask(self, call: AskCall, now: float) -> None:
        if call.finished:
            return
        state = self.routing.state
        if state is None:                                # which bucket it is depends on their number
            self._timers.at(now + limits.BACKOFF_S, partial(self._ask, call))
            return
        self._sender.put(self._sender.asks(bucket_of(call.id, state.buckets)), AskItem(call))

    def follow(self, call: FollowCall, now: float) -> None:
        """Ask for the events of a message after one of them, or its end."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        call.again = lambda asked: self._timers.at(asked.asked_at + limits.ASK_AGAIN_S, partial(self._follow, asked))
        self._follow(call, now)

    def _follow(self, call: FollowCall, now: float) -> None:
        if call.finished:
            return
        state = self.routing.state
        if state is None:                                # which bucket it is depends on their number
            self._timers.at(now + limits.BACKOFF_S, partial(self._follow, call))
            return
        self._sender.put(self._sender.follows(bucket_of(call.id, state.buckets)), FollowItem(call))

    def find(self, call: FindCall, now: float) -> None:
        """Look for messages: the next page of some buckets."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        self._find(call, now)

    def _find(self, call: FindCall, now: float) -> None:
        if call.finished:
            return
        state = self.routing.state
        if state is None:                                # how many buckets there are is not known
            self._timers.at(now + limits.BACKOFF_S, partial(self._find, call))
            return
        for item in call.begin(state.buckets):
            self._sender.put(self._sender.finds(item.place.bucket), item)

    def wish(self, call: WishCall, now: float) -> None:
        """Have messages cancelled, requeued, purged or erased."""
        if self._closed:
            call.fail(_closed())
            return
        if not call.items:
            call.finish({})
            return
        self._timers.expire(call)
        self._wish(call, now)

    def _wish(self, call: WishCall, now: float) -> None:
        if call.finished:
            return
        state = self.routing.state
        if state is None:                                # which buckets these are depends on their number
            self._timers.at(now + limits.BACKOFF_S, partial(self._wish, call))
            return
        for item in call.items:
            self._sender.put(self._sender.wishes(bucket_of(item.id, state.buckets), call.wish), item)

    def publish(self, call: PublishCall, now: float) -> None:
        """Put a copy into each queue that is bound to a topic."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        self._publish(call, now)

    def _publish(self, call: PublishCall, now: float) -> None:
        if call.finished:
            return
        state = self.routing.state
        if state is None:                                # in which bucket it lies depends on their number
            self._timers.at(now + limits.BACKOFF_S, partial(self._publish, call))
            return
        self._sender.put(self._sender.publishes(bucket_of(call.item.submission.id, state.buckets)), call.item)

    def collect(self, call: TakeCall, now: float) -> None:
        """Ask after many messages, and end the call when some of them have ended."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        call.collecting.take(call, now)

    def soon(self, action: Action) -> None:
        """Do it in this turn or the next, once it is known what time it is."""
        self._timers.at(0.0, action)

    def at(self, when: float, action: Action) -> None:
        """Do it when the time has come."""
        self._timers.at(when, action)

    def survey(self, call: SurveyCall, now: float) -> None:
        """Ask several nodes."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        self._surveys.begin(call)

    def amend(self, call: AmendCall, now: float) -> None:
        """Have a change of the cluster state agreed: an operator's word."""
        if self._closed:
            call.fail(_closed())
            return
        self._timers.expire(call)
        self._amends.ask(call, now)

    def lease(self, call: LeaseCall, now: float) -> None:
        """Lease messages for a caller without a worker."""
        if self._closed:
            call.fail(_closed())
            return
        if self._common is None:
            self._common = self.open_session()
        self._timers.expire(call)
        self._common.lease(call, now)

    def say(self, holding: Holding, call: LeaseSayCall, now: float, lease_ms: int = 0) -> None:
        """Settle, extend (`lease_ms`) or give back what was leased."""
        if self._closed:
            call.fail(_closed())
            return
        holding.session.say(holding, call, now, lease_ms)

    def tell(self, holding: Holding, call: TellCall, now: float) -> None:
        """Have an event of its progress stored."""
        if self._closed:
            call.fail(_closed())
            return
        holding.session.tell(holding, call, now)

    def withdraw(self, call: Call[Any], now: float) -> None:
        """Its caller waits no longer: what has not been sent never is, and what was leased for it goes back."""
        if not self._closed:                             # else it has ended, and all leases went back
            call.withdraw(now)

    # --- sessions ---

    def open_session(self) -> Session:
        """A session of its own, for a worker."""
        session = Session(self._random(SESSION_BYTES), self.routing, self._exchanges, self._sender, self._timers)
        session.name = self.name
        self._sessions.append(session)
        return session

    def subscribe(self, session: Session, subscription: Subscription, queue: str, lease_ms: int, now: float) -> None:
        """Deliver messages of that queue to the session for as long as the subscription has slots."""
        session.subscribe(subscription, queue, lease_ms, now)

    def end_session(self, session: Session, now: float) -> None:
        """Give back at once what the session holds."""
        if session in self._sessions:
            self._sessions.remove(session)
            self._sender.pump(now)                       # first what is said of its leases, then that it is over
            session.end(now)

    # --- what happens ---

    def on_packets(self, endpoint: str, envelope: Envelope, packets: Sequence[object], now: float) -> None:
        """A multipart message came from that endpoint."""
        if self.routing.state is None:
            packets = [packet for packet in packets if isinstance(packet, StateReply)]
        elif envelope.cluster != self.routing.cluster or envelope.lineage < self.routing.lineage:
            self.strangers += 1
            return
        self.routing.heard(endpoint)
        if envelope.lineage > self.routing.lineage:      # the cluster was recovered (C12): its state, before anything
            self.routing.superseded(envelope.lineage, endpoint)
            packets = [packet for packet in packets if isinstance(packet, StateReply)]
        elif envelope.epoch > self.routing.epoch:
            self.routing.want(envelope.epoch, endpoint)
        for packet in packets:
            if isinstance(packet, Hint):
                for session in self._sessions:
                    session.hint(endpoint, packet.queue)
            elif isinstance(packet, Alive) and not packet.request:       # unasked: what it holds is cancelled
                for session in self._sessions:
                    session.unwanted(packet.cancelled)
            elif isinstance(packet, _REPLIES):
                self._exchanges.answered(cast(Reply, packet), now)     # what _REPLIES lists
            else:
                self.bad += 1

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """A node published that it lives."""
        if self.routing.state is None:
            return
        if heartbeat.cluster != self.routing.cluster or heartbeat.lineage < self.routing.lineage:
            self.strangers += 1
            return
        if heartbeat.lineage > self.routing.lineage:
            self.routing.superseded(heartbeat.lineage, self.routing.endpoint_of(heartbeat.node))
            return
        self.routing.on_heartbeat(heartbeat, now)

    def on_connected(self, endpoint: str, now: float) -> None:
        """The connection stands (again)."""
        self.routing.connected(endpoint)

    def on_lost(self, endpoint: str, now: float) -> None:
        """The connection broke."""
        self._exchanges.lost(endpoint, now)

    def on_unsent(self, endpoint: str, packets: list[Request], now: float) -> None:
        """The transport could not hand these over: they certainly did not leave."""
        self.routing.blocked(endpoint, now)
        self._exchanges.unsent(packets, now)

    # --- time ---

    def tick(self, now: float, wall: int) -> None:
        """The time: `now` in seconds of a monotonic clock, `wall` in ms of the own wall clock."""
        self.routing.tick(now, wall)
        self._timers.run(now)

    def next_tick(self) -> float | None:
        """When something is due, if nothing comes before; None: nothing is."""
        return self._timers.next()

    def take(self, now: float) -> list[tuple[str, list[Request]]]:
        """What is to be sent now: (endpoint, packets of one multipart message)."""
        if self.routing.changed:
            self._sender.moved(self.routing.changed, now)
            self.routing.changed.clear()
        self.routing.fetch(now)
        self._submitting.pump(now)
        self._sender.pump(now)
        for session in self._sessions:
            session.pump(now)
        self._surveys.pump(now)
        return self._exchanges.take()

    def envelope(self) -> Envelope:
        """The first frame of what is sent."""
        return Envelope(self.routing.cluster, self.routing.lineage, "", 0, self.routing.epoch)

    def heartbeats(self) -> frozenset[str]:
        """Where heartbeats are published: worth a subscription."""
        state = self.routing.state
        members = state.members if state is not None else ()
        return frozenset(member.heartbeats for member in members if member.up)

    # --- the end ---

    def close(self, now: float) -> list[tuple[str, list[Request]]]:
        """Fail whoever waits, end the sessions; returns the last packets."""
        self._closed = True
        for session in list(self._sessions):
            self.end_session(session, now)
        farewells = self._exchanges.take()
        for call in self._timers.calls():
            call.abort(_closed())
        return farewells


def _closed() -> Closed:
    return Closed("the client is closed")
