"""Leasing without hoarding: a consumer with k free slots asks one node at a time for k messages, never for more.

A *line* is the consumers of one queue in one session. It believes of each node whether it may have something: all may
at first; an empty answer says no, a `Hint` (asked for with `Watch`) says yes again, and so does some time for which
nobody watched, because slots were taken. While slots are free and a node may
have something, that one is asked. What comes back is dealt to the consumers in the order in which they came.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from zmqueue.client import limits
from zmqueue.client.calls import Call
from zmqueue.client.exchanges import Exchange
from zmqueue.core.answers import Code, Grant, Granted, NotPrimary, Refused, Reply
from zmqueue.core.ids import token_of
from zmqueue.core.requests import Lease
from zmqueue.errors import Closed, ClusterUnreachable, ZmqueueError, refusal

if TYPE_CHECKING:
    from zmqueue.client.session import Session
    from zmqueue.client.telling import TellLane

FATAL = frozenset({Code.BAD_REQUEST, Code.NOT_ALLOWED})
"""Refusals of a lease request that no other node and no later moment will take back."""


class Holding:
    """One message that was handed out to this session. `deadline` counts from before it was asked for (Q1)."""

    __slots__ = ("cancelled", "deadline", "deliveries", "error", "fencing", "lease_ms", "lost", "on_cancelled",
                 "on_lost", "options", "queue", "renew", "saying", "session", "submission", "telling")

    def __init__(self, session: Session, queue: str, grant: Grant, deadline: float, lease_ms: int) -> None:
        self.session = session
        self.queue = queue
        self.submission = grant.submission
        self.options = grant.options
        self.fencing = grant.fencing
        self.deliveries = grant.deliveries
        self.error = grant.error
        self.deadline = deadline
        self.lease_ms = lease_ms
        self.renew = False                           # let the nodes renew it while the session lives
        self.lost = False                            # it is not ours any more
        self.on_lost: Callable[[], object] | None = None     # whom to tell of that
        self.cancelled = False                       # nobody wants it any more
        self.on_cancelled: Callable[[], object] | None = None
        self.saying = 0                              # settles and the like of it on their way
        self.telling: TellLane | None = None         # its progress, once there was any

    @property
    def id(self) -> bytes:
        return self.submission.id

    @property
    def token(self) -> str:
        return token_of(self.submission.id)

    def lose(self) -> None:
        """It is not ours any more."""
        self.lost = True
        if self.on_lost is not None:
            self.on_lost()

    def cancel(self) -> None:
        """Nobody wants it any more. Told once, however often that is heard."""
        if self.cancelled:
            return
        self.cancelled = True
        if self.on_cancelled is not None:
            self.on_cancelled()


class Taker(ABC):
    """Someone who takes messages: `free` says how many it would take now."""

    __slots__ = ()

    @property
    @abstractmethod
    def free(self) -> int:
        """How many it would take now."""

    @property
    def rank(self) -> float:
        """The smaller, the earlier it is asked for where slots are shared with others."""
        return 0.0

    @abstractmethod
    def take(self, holding: Holding, now: float) -> None:
        """Here is one; `free` was at least 1."""

    def asked(self, many: int) -> None:
        """Told what is being asked for on its account."""
        return                             # of no interest to most

    def looked(self, exhausted: bool, answered: bool, now: float) -> None:
        """Told at each turn. `exhausted`: no node is believed to have more, and none is being asked."""
        return

    def fail(self, error: ZmqueueError) -> None:
        """The nodes will not hand out anything."""
        return


class Slots:
    """A worker's free slots, which the subscriptions of all its queues share."""

    __slots__ = ("clock", "free", "subscriptions")

    def __init__(self, free: int) -> None:
        self.free = free
        self.clock = 0.0                             # virtual time, by which weighted queues have their turns
        self.subscriptions: list[Subscription] = []


class Subscription(Taker):
    """A worker's, for one queue: takes for as long as it is open, as many as there are slots for.

    Which of its queues is asked for first: with `weight`, by start-time fair queueing (Goyal et al. 1996): a message
    takes 1/weight of virtual time, and who has had the least of it comes first; a queue that was empty saves nothing
    up. Without, the smallest `place`; among equals, in turn.
    """

    __slots__ = ("_deliver", "_failed", "_place", "_served", "_slots", "_weight", "being_asked", "closed")

    def __init__(self, slots: Slots, deliver: Callable[[Holding], None], failed: Callable[[ZmqueueError], None], *,
                 place: int = 0, weight: float | None = None) -> None:
        self._slots = slots
        self._deliver = deliver
        self._failed = failed
        self._place = place
        self._weight = weight
        self._served = 0.0                           # virtual time at which what it took is served
        self.being_asked = 0
        self.closed = False
        slots.subscriptions.append(self)

    @property
    def free(self) -> int:
        """What is neither taken nor promised to another queue's request."""
        others = sum(other.being_asked for other in self._slots.subscriptions if other is not self)
        return 0 if self.closed else max(0, self._slots.free - others)

    @property
    def rank(self) -> float:
        return self._place if self._weight is None else max(self._served, self._slots.clock)

    def asked(self, many: int) -> None:
        if many > self.being_asked and self._weight is not None:
            self._slots.clock = self.rank            # when it was asked for, not when it comes: that may be many
        self.being_asked = many

    def take(self, holding: Holding, now: float) -> None:
        if self._weight is not None:
            self._served = self.rank + 1.0 / self._weight
        self._slots.free -= 1
        holding.renew = True
        self._deliver(holding)

    def fail(self, error: ZmqueueError) -> None:
        self._failed(error)


class LeaseCall(Call[list[Holding]], Taker):
    """A caller's: wants up to `max` messages, at least one, and waits for it until `wait_until`."""

    __slots__ = ("answered_at_all", "lease_ms", "max", "queue", "taken", "wait_until")

    def __init__(self, queue: str, max_: int, lease_ms: int, wait_until: float, deadline: float,
                 notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(deadline, notify)
        self.queue = queue
        self.max = max_
        self.lease_ms = lease_ms
        self.wait_until = wait_until
        self.taken: list[Holding] = []
        self.answered_at_all = False                 # a node said something: an empty end is an honest one

    @property
    def free(self) -> int:
        return 0 if self.finished else self.max - len(self.taken)

    def take(self, holding: Holding, now: float) -> None:
        self.taken.append(holding)

    def looked(self, exhausted: bool, answered: bool, now: float) -> None:
        self.answered_at_all = self.answered_at_all or answered
        if not self.answered_at_all:
            return
        full = len(self.taken) >= self.max
        over = exhausted and (self.taken or now >= self.wait_until)
        if full or over or now >= self.wait_until + limits.LEASE_GRACE_S:
            self.finish(self.taken)

    def expire(self, now: float) -> None:
        if self.taken or self.answered_at_all:
            self.finish(self.taken)
        else:
            self.fail(ClusterUnreachable("no message was leased: no node could be reached"))

    def withdraw(self, now: float) -> None:
        """Nobody takes what it was or will be given: that goes back, also where the call is finished already."""
        self.fail(Closed("nobody waits for this lease call any more"))
        taken, self.taken = self.taken, []
        for holding in taken:
            holding.session.surplus(holding, now)


class LeaseRequest(Exchange):
    """One lease request: perhaps several transmissions under one number, to one node (Q5)."""

    __slots__ = ("asked_at", "line", "max", "number", "over", "quiet")

    def __init__(self, line: Line, number: int, max_: int, now: float) -> None:
        self.line = line
        self.number = number
        self.max = max_
        self.asked_at = now
        self.quiet = 0                               # how often it was silent
        self.over = False                            # answered, or abandoned: then nobody holds what came under it

    def answered(self, reply: Reply, now: float) -> None:
        if not self.over:
            self.line.answered(self, reply, now)

    def silent(self, now: float) -> None:
        if not self.over:
            self.line.silent(self, now)

    def unsent(self, now: float) -> None:
        if not self.over:
            self.line.unsent(self, now)


class Line:
    """The consumers of one queue in one session, who ask for the same lease time."""

    def __init__(self, session: Session, queue: str, lease_ms: int) -> None:
        self.session = session
        self.queue = queue
        self.lease_ms = lease_ms
        self.takers: list[Taker] = []
        self._empty: dict[str, float] = {}           # nodes that said they have nothing, and when that was last known
        self._backed = False                         # they are watched: they would say so if they had something
        self._asked: dict[str, LeaseRequest] = {}    # by node: the request that waits for its answer
        self._hinted: set[str] = set()               # nodes that hinted while they were being asked
        self._answered = False
        self._turn = 0

    @property
    def being_asked(self) -> int:
        """How many messages are being asked for; a silent request is not counted on."""
        return sum(request.max for request in self._asked.values() if not request.quiet)

    @property
    def free(self) -> int:
        """Slots that are free and for which nobody is being asked."""
        return sum(taker.free for taker in self.takers) - self.being_asked

    def waiting(self, now: float) -> bool:
        """True while there are free slots and no node that speaks is believed to have anything.

        A node that hinted while it is being asked is asked again after its answer: to watch it anew meanwhile would
        bring the same hint at once, and so on without end.
        """
        return self.free > 0 and not self._candidates(now) and self._hinted.isdisjoint(self._asked)

    @property
    def rank(self) -> float:
        """The smaller, the earlier it has its turn at the free slots."""
        return min((taker.rank for taker in self.takers), default=0.0)

    @property
    def renews(self) -> bool:
        """True where somebody takes messages whose leases are to be renewed."""
        return any(isinstance(taker, Subscription) for taker in self.takers)

    @property
    def idle(self) -> bool:
        return not self.takers and not self._asked

    def forget_beliefs(self) -> None:
        """Buckets moved: every node may have something."""
        self._empty.clear()
        nodes = self.session.nodes
        for endpoint, request in list(self._asked.items()):
            if endpoint not in nodes:
                self._abandon(request)

    def hint(self, endpoint: str) -> None:
        """That node has something."""
        self._empty.pop(endpoint, None)
        if endpoint in self._asked:
            self._hinted.add(endpoint)

    def _candidates(self, now: float) -> list[str]:
        return [node for node in self.session.nodes
                if not self._believed_empty(node, now) and node not in self._asked
                and not self.session.is_quiet(node, now)]

    def _believed_empty(self, node: str, now: float) -> bool:
        """A busy consumer watches nothing, else it would keep hints from the idle ones. So it looks now and then."""
        return node in self._empty and (self._backed or now - self._empty[node] < limits.LOOK_AGAIN_S)

    def backed(self, watched: bool, now: float) -> None:
        """Told at the end of each turn whether its nodes are watched from now on."""
        if self._backed and not watched:
            self._empty = dict.fromkeys(self._empty, now)
        self._backed = watched

    def pump(self, now: float) -> bool:
        """Ask while there is somebody to ask and something to ask for; returns whether anybody was."""
        self.takers = [taker for taker in self.takers if not (isinstance(taker, LeaseCall) and taker.finished)]
        candidates = [node for node in self._candidates(now) if self.session.writable(node, now)]
        free = self.free
        share = free if free <= limits.LEASE_SPLIT or not candidates else -(-free // len(candidates))
        asked = False
        while free > 0 and candidates:
            endpoint = candidates.pop(self._turn % len(candidates))
            self._turn += 1
            many = min(share, free, limits.LEASE_MESSAGES_MAX)
            self._ask(endpoint, many, now)
            free -= many
            asked = True
        exhausted = not self._asked and not self._candidates(now) and bool(self.session.nodes)
        for taker in self.takers:
            taker.asked(self.being_asked)
            taker.looked(exhausted, self._answered, now)
        return asked

    def _ask(self, endpoint: str, many: int, now: float) -> None:
        request = LeaseRequest(self, self.session.next_number(), many, now)
        self.session.outstanding[request.number] = request
        self._asked[endpoint] = request
        self._hinted.discard(endpoint)
        self._transmit(request, endpoint, now)

    def _transmit(self, request: LeaseRequest, endpoint: str, now: float) -> None:
        number = self.session.exchanges.begin(request, endpoint)
        packet = Lease(number, self.queue, request.max, self.session.id, request.number, self.lease_ms,
                       self.session.name)
        self.session.exchanges.send(request, packet, limits.SILENCE_S * (1 + request.quiet), now)

    def _over(self, request: LeaseRequest) -> None:
        request.over = True
        self.session.outstanding.pop(request.number, None)
        if self._asked.get(request.endpoint) is request:
            del self._asked[request.endpoint]

    def _abandon(self, request: LeaseRequest) -> None:
        """What came under its number, if anything, is given back by the next keepalive (Q5)."""
        self._over(request)

    def answered(self, request: LeaseRequest, reply: Reply, now: float) -> None:
        """What the node hands out, or that it has nothing."""
        self._over(request)
        for taker in self.takers:
            taker.asked(self.being_asked)
        self._answered = True
        match reply:
            case Granted():
                if not reply.more and request.endpoint not in self._hinted:
                    self._empty[request.endpoint] = now
                self._deal(request, reply, now)
            case NotPrimary(epoch=epoch):
                self._empty[request.endpoint] = now
                self.session.moved(epoch, request.endpoint)
            case Refused(code=code, text=text):
                self._empty[request.endpoint] = now
                if code in FATAL:
                    for taker in list(self.takers):
                        taker.fail(refusal(code, text))
            case _:
                self._empty[request.endpoint] = now

    def _deal(self, request: LeaseRequest, granted: Granted, now: float) -> None:
        deadline = request.asked_at + granted.lease / 1000
        # A repeated answer tells what is left of the leases, maybe nothing: they are renewed by their full length.
        length = max(granted.lease, self.lease_ms or self.session.lease_ms)
        for grant in granted.grants:
            holding = self.session.hold(self.queue, grant, deadline, length)
            if holding is None:                      # a repeated answer
                continue
            taker = next((taker for taker in self.takers if taker.free > 0), None)
            if taker is None:
                self.session.surplus(holding, now)
            else:
                taker.take(holding, now)
        for taker in self.takers:
            if isinstance(taker, LeaseCall) and taker.taken and not taker.finished:
                self.session.hurry(taker, now + limits.GATHER_S)

    def silent(self, request: LeaseRequest, now: float) -> None:
        """Ask the same again, under the same number; then let it be."""
        self.session.quiet(request.endpoint, now)
        request.quiet += 1
        if request.quiet < 2 and request.endpoint in self.session.nodes:
            self._transmit(request, request.endpoint, now)
            return
        self._abandon(request)
        self._empty[request.endpoint] = now

    def unsent(self, request: LeaseRequest, now: float) -> None:
        """It never left, or its repetition did not."""
        if request.quiet:
            self._empty[request.endpoint] = now
        self._abandon(request)
