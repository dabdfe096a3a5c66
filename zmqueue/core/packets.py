"""The packets that peers send each other, and the frames that carry them.

A multipart message on the wire is an *envelope* (who speaks, for which cluster) and then any number of packets, one
frame each. Every frame begins with the version of the format. Packets are msgpack arrays whose first item is the
packet's number; fields may be appended with a default in later versions, never moved. Consensus packets are numbered
1 to 9 (`ballots`), replication 10 to 19, clients' requests 20 to 39 and 70 to 89 (`requests`), answers to clients 40
to 59 (`answers`), what nodes say to each other about queues 60 to 69.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from zmqueue.core.answers import Reply
from zmqueue.core.ballots import Accept, Accepted, Hello, Join, Nack, Prepare, Promise, StateIs, Want
from zmqueue.core.operations import Parcel
from zmqueue.core.requests import Request

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


Consensus = Hello | StateIs | Want | Prepare | Promise | Accept | Accepted | Nack | Join
Notice = Outdated
Mail = Forward | Taken
Replication = Append | Ack | Nak | Lost | Ahead | Snap | SnapMore | Differs
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
