"""The packets that peers send each other, and the frames that carry them.

A multipart message on the wire is an *envelope* (who speaks, for which cluster) and then any number of packets, one
frame each. Every frame begins with the version of the format. Packets are msgpack arrays whose first item is the
packet's number; fields may be appended with a default in later versions, never moved. Consensus packets are numbered
1 to 9 (`ballots.py`), replication 10 to 19, clients' requests 20 to 39 and 70 to 89, answers to clients 40 to 59,
what nodes say to each other about queues 60 to 69.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from zmqueue.core.ballots import Accept, Accepted, Hello, Join, Nack, Prepare, Promise, StateIs, Want
from zmqueue.core.changes import Change
from zmqueue.core.operations import Chosen, Held, Options, Parcel, Settle, Submission

WIRE_VERSION = 1
_VERSION_BYTE = bytes((WIRE_VERSION,))


class BadFrame(ValueError):
    """A frame that is no packet of ours; it is counted, answered where there is someone to answer, and dropped.

    `request` is the number of the request that it seems to be, of a kind that this version does not know; else 0.
    """

    def __init__(self, text: str, request: int = 0) -> None:
        super().__init__(text)
        self.request = request


class Envelope(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Who speaks. A client leaves `node` empty; a peer that knows no cluster yet leaves `cluster` empty."""

    cluster: str = ""
    lineage: int = 0
    node: str = ""
    incarnation: int = 0
    epoch: int = 0


class Heartbeat(msgspec.Struct, array_like=True, frozen=True, tag=0, gc=False):
    """Published by every node; heard by peers and clients."""

    cluster: str
    lineage: int
    node: str
    number: int
    incarnation: int
    epoch: int
    disk_age: int                          # ms since the oldest unfinished disk transaction began; 0: none
    suspects: tuple[int, ...]
    wall: int                              # ms: the cluster time that clients draw ids by
    disk_short: bool = False               # it has no room for submits: primaries refuse those of its buckets
    generation: int = 1                    # of the formats that it understands (`generations`)


# --- replication of one bucket (appendix B) -------------------------------------------------------------------------

Entry = tuple[int, bytes]
"""One entry of a log on its way: (term in which it was created, operation)."""

SnapshotId = tuple[int, int, int]
"""(the sender's member number, its incarnation, a counter): chunks of different snapshots are never mixed (R12)."""


class Outdated(msgspec.Struct, array_like=True, frozen=True, tag=19, gc=False):
    """What you show of yourself is less than you have shown before: you run on an old disk, and are refused (C11)."""

    incarnation: int                       # as the receiver showed them in what is refused
    epoch: int
    had_incarnation: int                   # the most that was seen of it
    had_epoch: int


class Append(msgspec.Struct, array_like=True, frozen=True, tag=10, gc=False):
    """The entries after `prev_seq`; none: only the commit index and the barrier."""

    bucket: int
    term: int
    epoch: int
    prev_seq: int
    prev_term: int
    entries: tuple[Entry, ...]
    commit: int
    rid: int
    count: int = -1                        # the sum of the primary's rows at `commit` (`sums`); -1: it is not known
    digest: int = 0


class Ack(msgspec.Struct, array_like=True, frozen=True, tag=11, gc=False):
    """The log is compared with the primary's, and on disk, up to `verified`."""

    bucket: int
    term: int
    verified: int
    rid: int
    commit: int


class Nak(msgspec.Struct, array_like=True, frozen=True, tag=12, gc=False):
    """The entry before yours is not mine: this is what I have (R13)."""

    bucket: int
    term: int
    commit: int
    commit_term: int
    end: int
    end_term: int
    prev_seq: int


class Lost(msgspec.Struct, array_like=True, frozen=True, tag=13, gc=False):
    """Alarm (R15a): an in-sync replica does not hold what the primary calls committed."""

    bucket: int
    term: int


class Ahead(msgspec.Struct, array_like=True, frozen=True, tag=14, gc=False):
    """Alarm (R15b): the primary would change what is committed here."""

    bucket: int
    term: int


class Snap(msgspec.Struct, array_like=True, frozen=True, tag=15, gc=False):
    """One chunk of a snapshot of the applied state at `seq`. Keys come without their copy's number."""

    bucket: int
    term: int
    epoch: int
    snapshot: SnapshotId
    index: int
    last: bool
    seq: int
    seq_term: int
    at: int                                # bucket time of the snapshot
    rows: tuple[tuple[int, bytes, bytes], ...]   # (table's number, key, value)
    rid: int
    count: int = -1                        # in the last chunk: the sum of all rows (`sums`); -1: it is not known
    digest: int = 0


class SnapMore(msgspec.Struct, array_like=True, frozen=True, tag=16, gc=False):
    """The chunks below `index` are on disk here; send that one."""

    bucket: int
    term: int
    snapshot: SnapshotId
    index: int


class Differs(msgspec.Struct, array_like=True, frozen=True, tag=17, gc=False):
    """Alarm (D3): this is the sum of the rows at `seq`, of mine or of your snapshot's; you said another one."""

    bucket: int
    term: int
    seq: int
    count: int
    digest: int


# --- clients' requests ----------------------------------------------------------------------------------------------
# `request` is the client's number for the request; the answer carries it back.


class GetState(msgspec.Struct, array_like=True, frozen=True, tag=20, gc=False):
    """Answered with StateReply."""

    request: int
    epoch: int                             # the newest that the client knows; 0: none


class Submit(msgspec.Struct, array_like=True, frozen=True, tag=21, gc=False):
    """Accept these messages, all of one bucket. Answered with Confirmed."""

    request: int
    bucket: int
    queue: str
    messages: tuple[Submission, ...]
    options: Chosen = ()


class Ask(msgspec.Struct, array_like=True, frozen=True, tag=22, gc=False):
    """How is this message? Answered at once if settled, else when it settles or after `wait` ms. -> Answer."""

    request: int
    bucket: int
    id: bytes
    wait: int
    result: bool                           # send the result along


class Lease(msgspec.Struct, array_like=True, frozen=True, tag=23, gc=False):
    """Hand out at most `max` messages of this queue, now. Answered with Granted (perhaps empty). Repeatable (Q5)."""

    request: int
    queue: str
    max: int
    session: bytes
    number: int                            # the session's count of lease requests, growing
    lease: int                             # ms; 0: the cluster's default
    name: str = ""                         # what the session calls itself


class Settling(msgspec.Struct, array_like=True, frozen=True, tag=24, gc=False):
    """End these leases, all of one bucket. Answered with Confirmed. Repeatable."""

    request: int
    bucket: int
    settles: tuple[Settle, ...]


class Extend(msgspec.Struct, array_like=True, frozen=True, tag=25, gc=False):
    """Let these leases last `lease` ms from now. Answered with Confirmed."""

    request: int
    bucket: int
    leases: tuple[Held, ...]
    lease: int


class GiveBack(msgspec.Struct, array_like=True, frozen=True, tag=26, gc=False):
    """These messages were not begun: let others have them. Answered with Confirmed."""

    request: int
    bucket: int
    leases: tuple[Held, ...]


class Keepalive(msgspec.Struct, array_like=True, frozen=True, tag=27, gc=False):
    """The session lives and holds these leases of yours. A lease granted under a number up to `upto` and not
    listed is given back (Q5). `renew` ms: let the leases flagged be renewed when half of that is over.
    Answered with Alive."""

    request: int
    session: bytes
    upto: int
    holds: tuple[tuple[bytes, int, int], ...]    # (id, fencing, ms to renew by; 0: do not renew)
    name: str = ""                         # what the session calls itself


class Watch(msgspec.Struct, array_like=True, frozen=True, tag=28, gc=False):
    """Tell me once (Hint) when one of these queues has something to hand out. Replaces what was watched before."""

    session: bytes
    queues: tuple[str, ...]


class EndSession(msgspec.Struct, array_like=True, frozen=True, tag=29, gc=False):
    """The session is over: its leases return at once. Answered with Confirmed."""

    request: int
    session: bytes


class GetQueues(msgspec.Struct, array_like=True, frozen=True, tag=30, gc=False):
    """What stands in the buckets that you are primary of? Answered with QueuesReply."""

    request: int


class GetMembers(msgspec.Struct, array_like=True, frozen=True, tag=31, gc=False):
    """How are you? Answered with MembersReply."""

    request: int


class GetCopy(msgspec.Struct, array_like=True, frozen=True, tag=32, gc=False):
    """What is your copy of this bucket? Answered with CopyReply, in any role."""

    request: int
    bucket: int


class Amend(msgspec.Struct, array_like=True, frozen=True, tag=33):
    """Have this change agreed: an operator's word. Answered with Confirmed when it is agreed. Repeatable."""

    request: int
    change: Change


class Cancel(msgspec.Struct, array_like=True, frozen=True, tag=34, gc=False):
    """These messages, all of one bucket, are not wanted any more. Answered with Confirmed, where those that have ended
    already are refused (ENDED). Repeatable."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]


class Requeue(msgspec.Struct, array_like=True, frozen=True, tag=35, gc=False):
    """Give these dead letters, all of one bucket, another try. Answered with Confirmed. Repeatable: `requeued` says
    how often each was requeued when it was found (none at all, or -1: whatever); one that was again since is done."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]
    requeued: tuple[int, ...] = ()


class Purge(msgspec.Struct, array_like=True, frozen=True, tag=36, gc=False):
    """Throw these dead letters away. Answered with Confirmed. Repeatable. `requeued`: as of Requeue; one that was
    requeued since is refused (ENDED)."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]
    requeued: tuple[int, ...] = ()


class Erase(msgspec.Struct, array_like=True, frozen=True, tag=37, gc=False):
    """Keep the results of these messages no longer. Answered with Confirmed. Repeatable."""

    request: int
    bucket: int
    ids: tuple[bytes, ...]


class Progress(msgspec.Struct, array_like=True, frozen=True, tag=38, gc=False):
    """The handler of a lease tells how far it is: (kind, data) of each event. `index`: of the first of them, counted
    from 1 under this fencing number: a repeat is known by it. Answered with Confirmed."""

    request: int
    bucket: int
    id: bytes
    fencing: int
    index: int
    events: tuple[tuple[int, bytes], ...]


class Follow(msgspec.Struct, array_like=True, frozen=True, tag=39, gc=False):
    """The events of a message after that index. Answered with Events: at once where there are any or it has ended,
    else when there are, or after `wait` ms."""

    request: int
    bucket: int
    id: bytes
    after: int
    wait: int


class Find(msgspec.Struct, array_like=True, frozen=True, tag=70, gc=False):
    """Which messages of a bucket are like this? Answered with Found, a page at a time."""

    request: int
    bucket: int
    queue: str                             # "": all
    states: tuple[int, ...]                # as shown to users; none: all
    since: int                             # wall ms: drawn then or later
    before: int                            # wall ms: drawn earlier; 0: whenever
    headers: tuple[tuple[str, str], ...]   # all of these
    after: bytes                           # where to go on: of the last page's `next`; b"": at the front
    limit: int
    payload: bool                          # send the payloads along
    ids: tuple[bytes, ...] = ()            # of these only; none: of all


# --- what nodes say to each other about queues (Q4) -----------------------------------------------------------------


class Forward(msgspec.Struct, array_like=True, frozen=True, tag=60, gc=False):
    """What lies in a bucket's outbox for another one, from the number `first` on. From primary to primary."""

    source: int
    generation: int                        # of the source, when these were numbered
    target: int
    number: int                            # of this packet: the answer names it
    floor: int                             # the lowest number that lies in the outbox: what was before is taken
    first: int
    parcels: tuple[Parcel, ...]


class Taken(msgspec.Struct, array_like=True, frozen=True, tag=61, gc=False):
    """The target bucket has committed all numbers up to `last`. `code`: why it does not take the next one now; 0: it
    does."""

    source: int
    generation: int
    target: int
    number: int
    last: int
    code: int = 0
    text: str = ""


class Publish(msgspec.Struct, array_like=True, frozen=True, tag=80, gc=False):
    """Put a copy into each queue that is bound to the topic. Answered with Confirmed: `known` has the copies' ids."""

    request: int
    bucket: int
    topic: str
    message: Submission                    # its id is that of no copy: theirs follow from it
    options: Options | None = None


# --- answers to clients ---------------------------------------------------------------------------------------------


class Code(enum.IntEnum):
    """Why something was refused. All are definite: it was not done."""

    BAD_REQUEST = 1
    NOT_ENOUGH_REPLICAS = 2
    QUEUE_FULL = 3
    BODY_TOO_LARGE = 4
    UNKNOWN_TOKEN = 5
    LEASE_LOST = 6
    ID_TOO_OLD = 7
    NOT_ALLOWED = 8
    BUSY = 9
    NOT_SERVING = 10
    DISK_FULL = 11
    ENDED = 12
    RESULT_GONE = 13
    QUEUE_WAITS = 14                       # as QUEUE_FULL; and whoever submits is to wait, says the queue's policy


class StateReply(msgspec.Struct, array_like=True, frozen=True, tag=40, gc=False):
    """The cluster state, or no bytes where the client's is the newest known here."""

    request: int
    epoch: int
    state: bytes
    wall: int


class Confirmed(msgspec.Struct, array_like=True, frozen=True, tag=41, gc=False):
    """All done but the refused ones: (index in the request, code, what was found and what is allowed)."""

    request: int
    refused: tuple[tuple[int, int, str], ...] = ()
    known: tuple[tuple[int, bytes], ...] = ()    # of a submit: (index, id of the message that has its `unique` key)
    retry: int = 0                         # ms after which what a full queue refused may fare better; 0: not known


class Answer(msgspec.Struct, array_like=True, frozen=True, tag=42, gc=False):
    """How the message is."""

    request: int
    state: int
    queue: str
    deliveries: int
    error: str = ""
    kind: int = 3
    result: bytes = b""


class Grant(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message handed out."""

    submission: Submission
    fencing: int
    deliveries: int                        # this one included
    error: str = ""                        # of the delivery before
    options: Options | None = None


class Granted(msgspec.Struct, array_like=True, frozen=True, tag=43, gc=False):
    """What was handed out; `more`: there is more to have here."""

    request: int
    number: int
    lease: int                             # ms
    grants: tuple[Grant, ...]
    more: bool


class Alive(msgspec.Struct, array_like=True, frozen=True, tag=44, gc=False):
    """The session is known here; of what it listed, these leases are not its own any more."""

    request: int
    lost: tuple[Held, ...]
    cancelled: tuple[Held, ...] = ()       # these are not wanted any more


class Hint(msgspec.Struct, array_like=True, frozen=True, tag=45, gc=False):
    """This queue has something to hand out here."""

    queue: str


class QueueDepth(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What stands in one queue, in the buckets that one node is primary of."""

    queue: str
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest: int                            # ms that the oldest ready message has waited; -1: none is ready
    submitted: int = 0                     # in the last minute, as counted by this node while it was primary
    delivered: int = 0
    settled: int = 0                       # done
    died: int = 0                          # became dead letters


class QueuesReply(msgspec.Struct, array_like=True, frozen=True, tag=46, gc=False):
    request: int
    queues: tuple[QueueDepth, ...]
    epoch: int = 0                         # of the state by whose policies the node decides


class MembersReply(msgspec.Struct, array_like=True, frozen=True, tag=47, gc=False):
    """What only the node itself knows: whom it hears, which learners of its buckets are catching up."""

    request: int
    epoch: int
    majority: bool                         # it hears a majority of the voters
    suspects: tuple[int, ...]
    catching_up: tuple[tuple[int, int], ...]     # (bucket, member number), for its primary buckets
    corrupt: int = 0
    repaired: int = 0
    disk_short: bool = False               # it takes no submits for want of disk
    number: int = 0                        # of this member
    missing: tuple[int, ...] = ()          # the voters that it does not hear
    halted: tuple[int, ...] = ()           # buckets of which it is primary, where nobody commits: a replica is missing
    damaged: tuple[int, ...] = ()          # buckets whose copy here is damaged, or is being made anew


class NotPrimary(msgspec.Struct, array_like=True, frozen=True, tag=48, gc=False):
    """Ask the state again. `unknown`: what was asked may yet happen (it was in the log when the term ended)."""

    request: int
    epoch: int
    unknown: bool


class Refused(msgspec.Struct, array_like=True, frozen=True, tag=49, gc=False):
    """Definitely not done."""

    request: int
    code: int
    text: str


class CopyReply(msgspec.Struct, array_like=True, frozen=True, tag=50, gc=False):
    """A node's copy of one bucket, as it is in its memory; `generation` 0: it has none."""

    request: int
    epoch: int
    bucket: int
    generation: int
    commit: int                            # entries up to here are committed, as this node knows,
    end: int                               # and its log goes up to here
    end_term: int                          # the term of that last entry
    unfinished: int                        # messages in the applied state that have not ended
    damaged: bool = False                  # rows of it are not what was written: it is of no use (D1)


class Events(msgspec.Struct, array_like=True, frozen=True, tag=51, gc=False):
    """Events of a message's progress, and how it is. What it ended with comes with the last of them."""

    request: int
    state: int
    events: tuple[tuple[int, int, bytes, int], ...]   # (index, kind, data, fencing number), ascending without a gap
    more: bool                             # there is more already: ask again
    deliveries: int = 0
    error: str = ""
    kind: int = 3                          # of the result, where it has ended
    result: bytes = b""
    count: int = 0                         # of all events that there are


class FoundMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message that was looked for. Times since and until are ms by bucket time, from the moment of the answer."""

    id: bytes
    queue: str
    state: int
    priority: int
    deliveries: int
    failures: int
    losses: int
    due: int                               # wall ms, while it is delayed
    ended: int                             # ms since it ended; -1: it has not
    error: str
    headers: tuple[tuple[str, str], ...] = ()
    group: str = ""
    session: bytes = b""                   # who has leased it
    until: int = 0                         # ms that the lease lasts from now on
    kind: int = 3
    payload: bytes = b""
    size: int = 0                          # of the payload, bytes; 0, too, where there is none any more
    requeued: int = 0                      # how often it was given another try as a dead letter
    history: tuple[tuple[int, int, str], ...] = ()   # (ms since, Fate, error) of its last failed deliveries
    worker: str = ""                       # what the session that has leased it calls itself
    held: int = -1                         # ms since it was leased; -1: not known here (or it is not)


class Found(msgspec.Struct, array_like=True, frozen=True, tag=52, gc=False):
    """A page of what was looked for; `next` b"": that was all."""

    request: int
    messages: tuple[FoundMessage, ...]
    next: bytes


Consensus = Hello | StateIs | Want | Prepare | Promise | Accept | Accepted | Nack | Join
Notice = Outdated
Mail = Forward | Taken
Replication = Append | Ack | Nak | Lost | Ahead | Snap | SnapMore | Differs
Request = (GetState | Submit | Ask | Lease | Settling | Extend | GiveBack | Keepalive | Watch | EndSession
           | GetQueues | GetMembers | GetCopy | Amend | Cancel | Requeue | Purge | Erase | Progress | Follow | Find
           | Publish)
Reply = (StateReply | Confirmed | Answer | Granted | Alive | Hint | QueuesReply | MembersReply | NotPrimary | Refused
         | CopyReply | Events | Found)
Packet = Consensus | Notice | Replication | Mail | Request | Reply | Heartbeat

_encoder = msgspec.msgpack.Encoder()
_packets = msgspec.msgpack.Decoder(Packet)
_envelopes = msgspec.msgpack.Decoder(Envelope)


def encode(packet: Packet | Envelope) -> bytes:
    """One frame."""
    return _VERSION_BYTE + _encoder.encode(packet)


def _body(frame: bytes | memoryview) -> memoryview:
    view = memoryview(frame)
    if not len(view):
        raise BadFrame("an empty frame; every frame begins with the version of its format")
    if view[0] != WIRE_VERSION:
        raise BadFrame(f"frame of version {view[0]}; this program speaks version {WIRE_VERSION}")
    return view[1:]


def decode(frame: bytes | memoryview) -> Packet:
    """The packet in a frame. Raises BadFrame with what is wrong."""
    body = _body(frame)
    try:
        packet: Packet = _packets.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"no packet: {error}", _request_in(body)) from None
    return packet


def decode_all(frames: Iterable[bytes | memoryview]) -> tuple[list[Packet], list[BadFrame]]:
    """The packets in a message's frames after the envelope, in order, and what was wrong with the others.

    A frame that cannot be read costs itself alone: what a later version sends beside it must arrive all the same.
    """
    packets: list[Packet] = []
    bad: list[BadFrame] = []
    for frame in frames:
        try:
            packets.append(decode(frame))
        except BadFrame as error:
            bad.append(error)
    return packets, bad


class _SomeRequest(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The beginning that all numbered requests share, of later versions too."""

    kind: int
    request: int


_requests = msgspec.msgpack.Decoder(_SomeRequest)
_REQUESTS = frozenset((*range(20, 40), *range(70, 90)))


def _request_in(body: memoryview) -> int:
    try:
        found: _SomeRequest = _requests.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return 0
    return found.request if found.kind in _REQUESTS else 0


def decode_envelope(frame: bytes | memoryview) -> Envelope:
    """The envelope in a message's first frame. Raises BadFrame with what is wrong."""
    try:
        envelope: Envelope = _envelopes.decode(_body(frame))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadFrame(f"no envelope: {error}") from None
    return envelope
