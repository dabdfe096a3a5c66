"""A cluster in one dictionary: answers the packets of clients as a real one would, and fails on demand.

No replication, no disk, no time of its own. `FakeCluster.handle` is given a request at a node and returns the replies;
tests decide which of them arrive. The same fake stands behind a ROUTER in the transport's tests.
"""

from __future__ import annotations

from collections import Counter

import msgspec

from zmqueue.core.answers import (
    Alive,
    Answer,
    Code,
    Confirmed,
    Events,
    Grant,
    Granted,
    Hint,
    MembersReply,
    NotPrimary,
    QueueDepth,
    QueuesReply,
    Refused,
    Reply,
    StateReply,
)
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import NO_OPTIONS, How, Kind, Settle, State, Submission
from zmqueue.core.packets import Envelope
from zmqueue.core.requests import (
    Ask,
    EndSession,
    Extend,
    Follow,
    GetMembers,
    GetQueues,
    GetState,
    GiveBack,
    Keepalive,
    Lease,
    Progress,
    Request,
    Settling,
    Submit,
    Watch,
)
from zmqueue.core.state import Agreed, ClusterState, Member, Status, found

CLUSTER = "c" * 16
EVENTS_MAX = 5                             # events in one answer


def cluster_state(endpoints: list[str], settings: Agreed | None = None) -> ClusterState:
    """A state of which all members are up and hold everything."""
    settings = settings or Agreed(replicas=min(3, len(endpoints)), min_in_sync=min(2, len(endpoints)))
    first = member(1, endpoints[0])
    state = found(CLUSTER, settings, first)
    members = tuple(member(number, endpoint) for number, endpoint in enumerate(endpoints, 1))
    numbers = tuple(range(1, len(endpoints) + 1))
    return msgspec.structs.replace(state, members=members, next_number=len(endpoints) + 1,
                                   in_sync=(numbers,) * settings.buckets)


def member(number: int, endpoint: str) -> Member:
    """An `up` voter."""
    return Member(number, f"{number:016x}", 1, 0, endpoint, endpoint + "/heartbeats", Status.UP, True, since=1)


def without(state: ClusterState, endpoint: str) -> ClusterState:
    """The next state, in which that member is down."""
    gone = next(found.number for found in state.members if found.endpoint == endpoint)
    members = tuple(msgspec.structs.replace(found, status=Status.DOWN) if found.number == gone else found
                    for found in state.members)
    in_sync = tuple(tuple(number for number in numbers if number != gone) or numbers for numbers in state.in_sync)
    return msgspec.structs.replace(state, epoch=state.epoch + 1, members=members, in_sync=in_sync,
                                   terms=(state.epoch + 1,) * state.buckets)


class Stored:
    """One message as the fake keeps it."""

    def __init__(self, queue: str, submission: Submission) -> None:
        self.queue = queue
        self.submission = submission
        self.state = State.READY
        self.deliveries = 0
        self.fencing = 0
        self.session = b""
        self.number = 0
        self.settle: Settle | None = None
        self.error = ""
        self.events: list[tuple[int, int, bytes, int]] = []


class FakeCluster:
    """What all its nodes would agree on."""

    def __init__(self, endpoints: list[str], settings: Agreed | None = None) -> None:
        self.state = cluster_state(endpoints, settings)
        self.stored: dict[bytes, Stored] = {}
        self.keys: dict[tuple[str, str, str], bytes] = {}    # (queue, group, unique key) -> whose it is
        self.watches: dict[tuple[str, bytes], tuple[str, ...]] = {}
        self.refuse: dict[str, tuple[Code, str]] = {}        # node -> what it answers to submits
        self.submits: list[tuple[str, Submit]] = []          # all that any node was sent
        self.log: list[tuple[str, Request]] = []
        self.lease_left: int | None = None                   # what it says that leases last, as where it says it again
        self.session_lost: set[bytes] = set()                # ids whose leases a keepalive calls lost
        self.cancelled: set[bytes] = set()                   # ids of which it says that nobody wants them
        self.wall = 1_000_000

    def envelope(self) -> Envelope:
        return Envelope(self.state.cluster_id, self.state.lineage, "node", 1, self.state.epoch)

    def primary(self, bucket: int) -> str | None:
        number = self.state.primary(bucket)
        found = self.state.member(number) if number is not None else None
        return found.endpoint if found is not None else None

    def handle(self, node: str, request: Request) -> list[Reply]:
        """The node's answers, in order; a long poll that has to wait has none."""
        self.log.append((node, request))
        bucket = getattr(request, "bucket", None)
        if isinstance(request, Submit):
            self.submits.append((node, request))
        if bucket is not None and self.primary(bucket) != node:
            return [NotPrimary(getattr(request, "request", 0), self.state.epoch, False)]
        match request:
            case GetState(request=number, epoch=epoch):
                data = self.state.to_bytes() if epoch < self.state.epoch else b""
                return [StateReply(number, self.state.epoch, data, self.wall)]
            case Submit():
                return self._submit(node, request)
            case Ask():
                return self._ask(request)
            case Progress():
                return [self._progress(request)]
            case Follow():
                return self._follow(request)
            case Lease():
                return [self._lease(node, request)]
            case Settling(request=number, settles=settles):
                refused = tuple((index, int(Code.LEASE_LOST), "the lease is over")
                                for index, settle in enumerate(settles) if not self._settle(settle))
                return [Confirmed(number, refused), *self._hints(node)]
            case Extend(request=number) | EndSession(request=number):
                return [Confirmed(number)]
            case GiveBack(request=number, leases=leases):
                for message_id, _ in leases:
                    self.stored[message_id].state = State.READY
                return [Confirmed(number), *self._hints(node)]
            case Keepalive():
                return [self._keepalive(request)]
            case Watch(session=session, queues=queues):
                self.watches[node, session] = queues
                return self._hints(node)
            case GetQueues(request=number):
                return [QueuesReply(number, self._depths(node))]
            case GetMembers(request=number):
                return [MembersReply(number, self.state.epoch, True, (), ())]
        raise AssertionError(request)

    def _mine(self, node: str) -> list[Stored]:
        return [stored for message_id, stored in self.stored.items()
                if self.primary(bucket_of(message_id, self.state.buckets)) == node]

    def _submit(self, node: str, request: Submit) -> list[Reply]:
        if node in self.refuse:
            return [Refused(request.request, *self.refuse[node])]
        options, known = dict(request.options), []
        for index, submission in enumerate(request.messages):
            assert bucket_of(submission.id, self.state.buckets) == request.bucket
            said = options.get(index, NO_OPTIONS)
            if said.unique:
                holder = self.keys.setdefault((request.queue, said.group, said.unique), submission.id)
                if holder != submission.id:
                    known.append((index, holder))
                    continue
            self.stored.setdefault(submission.id, Stored(request.queue, submission))
        return [Confirmed(request.request, (), tuple(known)), *self._hints(node)]

    def _hints(self, node: str) -> list[Reply]:
        ready = {stored.queue for stored in self._mine(node) if stored.state is State.READY}
        hints: list[Reply] = []
        for (watched, session), queues in list(self.watches.items()):
            if watched == node and ready & set(queues):
                del self.watches[watched, session]
                hints += [Hint(queue) for queue in sorted(ready & set(queues))]
        return hints

    def _ask(self, request: Ask) -> list[Reply]:
        stored = self.stored.get(request.id)
        if stored is None:
            return [Refused(request.request, Code.UNKNOWN_TOKEN, "no such request")]
        if request.wait and not stored.state.terminal:
            return []
        settle = stored.settle
        done = settle is not None and stored.state is State.DONE
        return [Answer(request.request, stored.state, stored.queue, stored.deliveries, stored.error,
                       settle.kind if settle is not None and done else Kind.NONE,
                       settle.data if settle is not None and done else b"")]

    def _progress(self, request: Progress) -> Reply:
        stored = self.stored[request.id]
        if stored.state is not State.LEASED or stored.fencing != request.fencing:
            return Confirmed(request.request, ((0, int(Code.LEASE_LOST), "the lease is over"),))
        told = sum(fencing == request.fencing for *_, fencing in stored.events)
        assert request.index <= told + 1, "an event is missing"
        stored.events += [(len(stored.events) + number, kind, data, request.fencing)
                          for number, (kind, data) in enumerate(request.events[told + 1 - request.index:], 1)]
        return Confirmed(request.request)

    def _follow(self, request: Follow) -> list[Reply]:
        stored = self.stored.get(request.id)
        if stored is None:
            return [Refused(request.request, Code.UNKNOWN_TOKEN, "no such request")]
        events = stored.events[request.after:]
        if request.wait and not events and not stored.state.terminal:
            return []
        settle = stored.settle if stored.state is State.DONE else None
        more = len(events) > EVENTS_MAX
        return [Events(request.request, stored.state, tuple(events[:EVENTS_MAX]), more, stored.deliveries, stored.error,
                       Kind.NONE if settle is None else settle.kind,
                       b"" if settle is None or more else settle.data, len(stored.events))]

    def _lease(self, node: str, request: Lease) -> Granted:
        again = [stored for stored in self._mine(node)
                 if (stored.session, stored.number) == (request.session, request.number)]
        ready = [stored for stored in self._mine(node) if stored.state is State.READY and stored.queue == request.queue]
        chosen = again or ready[:request.max]
        for stored in [] if again else chosen:
            stored.state = State.LEASED
            stored.deliveries += 1
            stored.fencing += 1
            stored.session, stored.number = request.session, request.number
        grants = tuple(Grant(stored.submission, stored.fencing, stored.deliveries, stored.error) for stored in chosen)
        lease = request.lease or self.state.settings.lease_ms
        return Granted(request.request, request.number, lease if self.lease_left is None else self.lease_left, grants,
                       len(ready) > len(chosen))

    def _settle(self, settle: Settle) -> bool:
        stored = self.stored[settle.id]
        if stored.fencing != settle.fencing:
            return False
        if stored.settle is not None and stored.state.terminal:
            return True
        stored.settle, stored.error = settle, settle.error
        stored.state = {How.ACK: State.DONE, How.NACK: State.READY, How.REJECT: State.DEAD}[How(settle.how)]
        return True

    def _keepalive(self, request: Keepalive) -> Alive:
        listed = {message_id for message_id, _, _ in request.holds}
        for message_id, stored in self.stored.items():
            if (stored.state is State.LEASED and stored.session == request.session and stored.number <= request.upto
                    and message_id not in listed):
                stored.state = State.READY
        held = [(message_id, fencing) for message_id, fencing, _ in request.holds]
        return Alive(request.request, tuple(lease for lease in held if lease[0] in self.session_lost),
                     tuple(lease for lease in held if lease[0] in self.cancelled))

    def _depths(self, node: str) -> tuple[QueueDepth, ...]:
        mine = self._mine(node)
        count = Counter((stored.queue, stored.state) for stored in mine)
        return tuple(QueueDepth(queue, count[queue, State.READY], count[queue, State.DELAYED],
                                count[queue, State.LEASED], count[queue, State.DEAD], -1)
                     for queue in sorted({stored.queue for stored in mine}))
