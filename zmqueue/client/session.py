"""A session: what one consumer process holds, and the keepalives by which its leases live.

Leases are granted to a session and returned when it falls silent. Every fifth of `session_ms` each node is told which
leases the session holds and up to which of its lease requests that is the whole truth; what was granted under those and
is not listed goes back to its queue (Q5). All leases are listed to all nodes: which of them is primary of a bucket may
have changed without the client's knowing, and a new primary must not take a lease for forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from zmqueue.client import limits
from zmqueue.client.calls import LeaseSayCall
from zmqueue.client.exchanges import Exchange, Exchanges
from zmqueue.client.leasing import Holding, LeaseCall, LeaseRequest, Line, Subscription, Taker
from zmqueue.client.routing import Routing
from zmqueue.client.sending import Sender
from zmqueue.client.telling import TellCall, TellLane
from zmqueue.client.timers import Timers
from zmqueue.core.answers import Alive, Grant, Reply
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import Held
from zmqueue.core.requests import EndSession, Keepalive, Watch

SESSION_BYTES = 16
SESSION_MS = 5_000                                   # until the cluster's own setting is known


class Beat(Exchange):
    """One keepalive to one node."""

    __slots__ = ("sent_at", "session")

    def __init__(self, session: Session, now: float) -> None:
        self.session = session
        self.sent_at = now

    def answered(self, reply: Reply, now: float) -> None:
        if isinstance(reply, Alive):
            self.session.alive(self, reply)

    def silent(self, now: float) -> None:
        self.session.quiet(self.endpoint, now)

    def unsent(self, now: float) -> None:
        pass                                         # the next one is due soon


class Farewell(Exchange):
    """The session's end, told to one node; a lost one costs `session_ms` until the leases return."""

    __slots__ = ()

    def answered(self, reply: Reply, now: float) -> None:
        pass

    def silent(self, now: float) -> None:
        pass

    def unsent(self, now: float) -> None:
        pass


class Session:
    """One session of one client."""

    def __init__(self, session_id: bytes, routing: Routing, exchanges: Exchanges, sender: Sender,
                 timers: Timers) -> None:
        self.id = session_id
        self.exchanges = exchanges
        self.outstanding: dict[int, LeaseRequest] = {}       # by number: neither answered nor abandoned
        self.ended = False
        self.name = ""                                       # for operators to see
        self._routing = routing
        self._sender = sender
        self._timers = timers
        self._number = 0
        self._holds: dict[bytes, Holding] = {}
        self._lines: dict[tuple[str, int], Line] = {}
        self._beating = False
        self._watched: tuple[str, ...] = ()
        self._installed = 0

    # --- for its lines ---

    @property
    def nodes(self) -> tuple[str, ...]:
        """Whom to ask for messages."""
        return self._routing.nodes

    def writable(self, endpoint: str, now: float) -> bool:
        return self._routing.writable(endpoint, now)

    def is_quiet(self, endpoint: str, now: float) -> bool:
        return self._routing.is_quiet(endpoint, now)

    def quiet(self, endpoint: str, now: float) -> None:
        self._routing.quiet(endpoint, now)

    def moved(self, epoch: int, endpoint: str) -> None:
        self._routing.want(epoch, endpoint)

    @property
    def lease_ms(self) -> int:
        """How long a lease lasts where nothing else is asked for."""
        state = self._routing.state
        return state.settings.lease_ms if state is not None else 0

    def next_number(self) -> int:
        self._number += 1
        return self._number

    def hold(self, queue: str, grant: Grant, deadline: float, lease_ms: int) -> Holding | None:
        """Take a granted message into the session's hands; None if it is there already."""
        before = self._holds.get(grant.submission.id)
        if before is not None:
            if before.fencing >= grant.fencing:
                return None
            before.lose()                            # it was taken from us, and given anew
        holding = Holding(self, queue, grant, deadline, lease_ms)
        self._holds[holding.id] = holding
        return holding

    def surplus(self, holding: Holding, now: float) -> None:
        """Nobody here wants it any more: let others have it.

        Where no node confirms that in time, the keepalives list it no longer, which gives it back as well (Q5).
        """
        if self.ended:
            return                                   # all went back
        call = LeaseSayCall("give back", (holding.id, holding.fencing), now + limits.SILENCE_S_MAX,
                            lambda _: self._drop(holding))
        self.say(holding, call, now)

    def hurry(self, call: LeaseCall, deadline: float) -> None:
        """It has something: do not let it wait long for the rest."""
        if deadline < call.deadline:
            call.deadline = deadline
            self._timers.expire(call)

    # --- consumers ---

    def lease(self, call: LeaseCall, now: float) -> None:
        """Lease for one caller."""
        self._join(call, call.queue, call.lease_ms, now)
        self._timers.at(call.wait_until)
        self._timers.at(call.wait_until + limits.LEASE_GRACE_S)

    def subscribe(self, subscription: Subscription, queue: str, lease_ms: int, now: float) -> None:
        """Deliver messages of that queue for as long as there are slots."""
        self._join(subscription, queue, lease_ms, now)

    def unsubscribe(self, subscription: Subscription) -> None:
        """Deliver no more. What comes all the same is given back."""
        subscription.closed = True
        for line in self._lines.values():
            if subscription in line.takers:
                line.takers.remove(subscription)

    def _join(self, taker: Taker, queue: str, lease_ms: int, now: float) -> None:
        line = self._lines.get((queue, lease_ms))
        if line is None:
            line = self._lines[queue, lease_ms] = Line(self, queue, lease_ms)
        line.takers.append(taker)
        if not self._beating:
            self._beating = True
            self._timers.at(now + self._beat_s, self._beat)

    def hint(self, endpoint: str, queue: str) -> None:
        """That node has something of that queue."""
        self._watched = ()                           # a hint comes once: watch anew when waiting again
        for line in self._lines.values():
            if line.queue == queue:
                line.hint(endpoint)

    # --- what holders say ---

    def say(self, holding: Holding, call: LeaseSayCall, now: float, lease_ms: int = 0) -> None:
        """Settle (the call carries it), extend (`lease_ms`) or give back one lease."""
        state = self._routing.state
        assert state is not None                     # it came from a node
        bucket = bucket_of(holding.id, state.buckets)
        if call.item.settle is not None:
            lane = self._sender.settles(bucket)
        elif lease_ms:
            lane = self._sender.extends(bucket, lease_ms)
        else:
            lane = self._sender.give_backs(bucket)
        holding.saying += 1
        notify = call.notify

        def said(ended: LeaseSayCall) -> None:
            holding.saying -= 1
            if ended.error is None and lease_ms:
                holding.deadline = max(holding.deadline, now + lease_ms / 1000)
            elif ended.error is None or ended.error.definite:
                self._drop(holding)
            elif not lease_ms:
                holding.renew = False          # nobody works on it any more: it must not stay leased while we live
            if notify is not None:
                notify(ended)

        call.notify = said
        self._timers.expire(call)
        if call.item.settle is not None and holding.telling is not None and not holding.telling.empty:
            holding.telling.when_empty(lambda _: self._sender.put(lane, call.item))
        else:
            self._sender.put(lane, call.item)

    def tell(self, holding: Holding, call: TellCall, now: float) -> None:
        """Have an event of its progress stored, after those before it."""
        state = self._routing.state
        assert state is not None                     # it came from a node
        lane = holding.telling
        if lane is None:
            lane = holding.telling = TellLane(bucket_of(holding.id, state.buckets), (holding.id, holding.fencing),
                                              partial(self._timers.at, 0.0))
        if lane.enter(call):
            self._timers.expire(call)
            self._sender.put(lane, call.item)

    def _drop(self, holding: Holding) -> None:
        if self._holds.get(holding.id) is holding:
            del self._holds[holding.id]

    # --- time ---

    @property
    def _beat_s(self) -> float:
        """A fifth of what a session may be silent, and soon enough to renew the shortest lease while half is left;
        never no time at all, whatever a node says."""
        state = self._routing.state
        session_ms = state.settings.session_ms if state is not None else SESSION_MS
        leases = [holding.lease_ms for holding in self._holds.values() if holding.renew]
        leases += [line.lease_ms for line in self._lines.values() if line.lease_ms and line.renews]
        return max(limits.BEAT_S_MIN, min(session_ms / 5, min(leases, default=session_ms) / 4) / 1000)

    def _beat(self, now: float) -> None:
        """Say that the session lives, and which leases it still holds.

        A lease that is not renewed is over by our count first (Q1). One that is renewed stays listed even when its time
        is over by our count, as when no node could be reached for long: bucket time stood still, it may stand yet.
        """
        self._beating = False
        if self.ended:
            return
        for holding in list(self._holds.values()):
            if holding.deadline <= now and not holding.saying and not holding.renew:
                holding.lose()
                self._drop(holding)
        self._lines = {key: line for key, line in self._lines.items() if not line.idle}
        if not self._holds and not self._lines:
            return
        for endpoint in self._routing.nodes:
            self._keepalive(endpoint, now)
        self._watched = ()
        self._beating = True
        self._timers.at(now + self._beat_s, self._beat)

    def _keepalive(self, endpoint: str, now: float) -> None:
        upto = min(self.outstanding) - 1 if self.outstanding else self._number
        holds = tuple((holding.id, holding.fencing, holding.lease_ms if holding.renew else 0)
                      for holding in self._holds.values())
        beat = Beat(self, now)
        request = self.exchanges.begin(beat, endpoint)
        self.exchanges.send(beat, Keepalive(request, self.id, upto, holds, self.name), limits.SILENCE_S, now)

    def alive(self, beat: Beat, reply: Alive) -> None:
        """The node knows the session. Of its own buckets' leases, these are lost and the others are renewed."""
        self.unwanted(reply.cancelled)
        lost = set(reply.lost)
        state = self._routing.state
        assert state is not None
        for holding in list(self._holds.values()):
            if self._routing.primary(bucket_of(holding.id, state.buckets)) != beat.endpoint:
                continue                             # it speaks of what it does not serve
            if (holding.id, holding.fencing) in lost:
                if not holding.saying:
                    holding.lose()
                    self._drop(holding)
            elif holding.renew:                      # renewed when half of it is over: so at least half is left
                holding.deadline = max(holding.deadline, beat.sent_at + holding.lease_ms / 2000)

    def unwanted(self, leases: Sequence[Held]) -> None:
        """The messages of these leases are cancelled; they may be another session's."""
        for message_id, fencing in leases:
            holding = self._holds.get(message_id)
            if holding is not None and holding.fencing == fencing:
                holding.cancel()

    def pump(self, now: float) -> None:
        """Ask for messages; where none are to be had, ask to be told."""
        if self.ended:
            return
        if self._installed != self._routing.installed:
            self._installed = self._routing.installed
            self._watched = ()
            for line in self._lines.values():
                line.forget_beliefs()
        for key, line in sorted(self._lines.items(), key=lambda item: item[1].rank):
            if line.pump(now):
                self._lines[key] = self._lines.pop(key)      # others of its rank have their turn first
        waiting = [line for line in self._lines.values() if line.waiting(now)]
        for line in self._lines.values():
            line.backed(line in waiting, now)
        queues = tuple(sorted({line.queue for line in waiting}))
        if queues and queues != self._watched:
            self._watched = queues
            for endpoint in self._routing.nodes:
                self.exchanges.post(endpoint, Watch(self.id, queues))

    def end(self, now: float) -> None:
        """The session is over; its leases return at once."""
        self.ended = True
        for endpoint in self._routing.nodes:
            farewell = Farewell()
            request = self.exchanges.begin(farewell, endpoint)
            self.exchanges.send(farewell, EndSession(request, self.id), limits.SILENCE_S, now)
        self._holds.clear()
        self._lines.clear()
