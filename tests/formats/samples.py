"""Samples of everything that is written: packets, operations, rows; no field of a packet is left at its default."""

from __future__ import annotations

import typing
from collections.abc import Iterator

import msgspec

from tests.core.shapes import example, members
from tests.core.test_state_changes import cluster
from tests.formats.files import Sample, plain
from zmqueue.core import operations, packets
from zmqueue.core.acceptor import Acceptor, Record
from zmqueue.core.ballots import NO_BALLOT, Promise, StateIs, Want
from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.changes import Change, MemberDown, Value
from zmqueue.core.copies import Copies, Position
from zmqueue.core.generations import GENERATION
from zmqueue.core.ids import ID_BYTES, make_id
from zmqueue.core.operations import (
    Batch,
    Cancelled,
    Delivered,
    Erased,
    Expired,
    Forwarded,
    How,
    Kind,
    Leased,
    Operation,
    Options,
    Parcel,
    Progressed,
    Purged,
    Requeued,
    Returned,
    Rule,
    Scope,
    Settle,
    Settled,
    Submission,
    Submitted,
    Why,
)
from zmqueue.core.packets import Envelope, Packet
from zmqueue.core.policies import Backoff, Shape
from zmqueue.core.records import decode_counts, decode_record, event_of, head_of, submission_of, waiting_of
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Table, rows
from zmqueue.node.identity import Run, bound
from zmqueue.store.memory import MemoryStore
from zmqueue.store.records import seal

BUCKET = 3
WITH_OPTIONS = 4
"""The bucket in which messages have options: the rows of generation 3."""

COUNTED_ALWAYS = 7
"""States whose counts every generation writes."""


def packet_samples() -> list[Sample]:
    """Every packet, and those that differ by what they carry."""
    return [Sample(name, packets.encode(packet), plain(packet)) for name, packet in _packets()]


def _packets() -> Iterator[tuple[str, Packet | Envelope]]:
    yield "Envelope", example(Envelope)
    for kind in members(Packet):
        yield kind.__name__, _unlike_defaults(example(kind))
    yield "Want, of every change", Want(tuple(example(kind) for kind in members(Change)))
    yield "Promise, of who accepted nothing", Promise(5, (1, 2), NO_BALLOT, None)
    yield "StateIs, of a state in which every field is in use", StateIs(full_state().to_bytes())


def _unlike_defaults(packet: Packet) -> Packet:
    """With every flag that has a default turned the other way."""
    names = packet.__struct_fields__[len(packet.__struct_fields__) - len(packet.__struct_defaults__):]
    return msgspec.structs.replace(packet, **{
        name: not default for name, default in zip(names, packet.__struct_defaults__, strict=True)
        if isinstance(default, bool)})


def full_state() -> ClusterState:
    """Three members, and no field at its default."""
    state = cluster(3)
    hints = typing.get_type_hints(ClusterState)
    optional = state.__struct_fields__[-len(state.__struct_defaults__):]
    settings = msgspec.structs.replace(state.settings, generation=GENERATION)
    return msgspec.structs.replace(state, settings=settings, **{name: example(hints[name]) for name in optional})


def operation_samples() -> list[Sample]:
    """Every operation of the log."""
    kinds = members(Operation)
    return [Sample(kind.__name__, operations.encode(example(kind)), plain(example(kind))) for kind in kinds]


def row_samples() -> list[Sample]:
    """A small disk: every table, messages in every state, an entry not committed, a copy that is to be swept."""
    store = _written()
    found = []
    for table in Table:
        for key, value in rows(store, table, b"\x00", b"\xff" * 8):
            says = plain(meaning(table, key, value))
            found.append(Sample(f"{table.value} {key.hex()}", seal(table, key, value), says))
    return found


def meaning(table: Table, key: bytes, value: bytes) -> object:
    """What a row says, read by the code that reads it in service."""
    match table:
        case Table.META:
            return _meaning_of_meta(key, value)
        case Table.BUCKETS:
            return msgspec.msgpack.decode(value, type=Position)
        case Table.LOG:
            return int.from_bytes(value[:8], "big"), operations.decode(value[8:])
        case Table.BODIES:
            head, (submission, options) = head_of(value), submission_of(value)
            return (head[:5], submission, options) if head.special else (head[:5], submission)
        case Table.MESSAGES:
            return decode_record(value)
        case Table.READY | Table.BEHIND:
            return waiting_of(value)
        case Table.COUNTS:
            return _meaning_of_counts(decode_counts(value))
        case Table.GROUPS:
            return value[:ID_BYTES], value[ID_BYTES:]
        case Table.EVENTS:
            return event_of(value)
        case Table.OUTBOX:
            return msgspec.msgpack.decode(value, type=Parcel)
        case Table.LINKS:
            return (int.from_bytes(value, "big"),)      # a number alone would read like hex
        case Table.DELAYED | Table.DEAD | Table.LEASES | Table.ENDED | Table.EXPIRING | Table.UNIQUES:
            return value
        case _:
            raise AssertionError(f"{table}: say here what a row of it means")


def _meaning_of_counts(counts: list[int]) -> list[int]:
    """Without what a later generation appends and an earlier one cannot say: states at the end that count zero."""
    while len(counts) > COUNTED_ALWAYS and not counts[-1]:
        counts.pop()
    return counts


def _meaning_of_meta(key: bytes, value: bytes) -> object:
    match key:
        case b"state":
            return ClusterState.from_bytes(value)
        case b"acceptor":
            return msgspec.msgpack.decode(value, type=Record)
        case b"identity":
            return msgspec.msgpack.decode(value)[:4]     # id, incarnation, port, heartbeat port
        case _:
            return value


class _Nobody:
    """The listener of a copy that serves nobody."""

    def entered(self, now: float) -> None:
        return

    def applied(self, seq: int, operation: Operation, now: float) -> None:
        return

    def progressed(self, now: float) -> None:
        return


def _written() -> MemoryStore:
    store = MemoryStore()
    state = cluster(3)
    store.put(Table.META, b"state", state.to_bytes())
    bound(store, Run("00c0ffee00c0ffee", 3, 99, 0, 0), 7400, 7401)
    Acceptor(store).accept(state.epoch + 1, (1, 2), Value((MemberDown(3, 1, 3),), b"d" * 16))
    copies = Copies(store)
    _write(store, copies, BUCKET, _plain_messages(_ids(BUCKET << 14, 6)))
    copies.receive()
    _write(store, copies, WITH_OPTIONS, _messages_with_options(_ids(WITH_OPTIONS << 11, 12)))
    store.commit()
    return store


def _ids(place: int, many: int) -> list[bytes]:
    return [make_id(1_700_000_000_000, place, number.to_bytes(15, "big")) for number in range(many)]


def _write(store: MemoryStore, copies: Copies, bucket: int, script: list[Operation]) -> None:
    """A copy in which all of the script but the last entry is committed."""
    copy = BucketCopy(bucket, store, copies)
    copy.extend([(2, operations.encode(operation)) for operation in script])
    copy.advance(len(script) - 1, _Nobody(), 0.0)
    copy.flush()


def _plain_messages(ids: list[bytes]) -> list[Operation]:
    """As generation 1 had them; never changed: its rows are the same in all generations."""
    return [
        Submitted(1_000, "jobs", tuple(
            Submission(message_id, b"payload", Kind.TEXT, 7, headers=(("a", "b"),), attempts=3)
            for message_id in ids[:5])),
        Submitted(1_001, "later", (Submission(ids[5], b"{}", Kind.JSON, due=1_700_000_060_000),)),
        Leased(1_002, b"s" * 16, 4, tuple((message_id, 1) for message_id in ids[:4]), 31_002),
        Settled(1_003, (Settle(ids[0], 1, How.ACK, Kind.BYTES, b"result"), Settle(ids[1], 1, How.REJECT, error="bad"),
                        Settle(ids[2], 1, How.NACK, error="again", delay=5)), (0, 0, 1_700_000_000_500), 10, 7_200_000),
        Leased(1_004, b"t" * 16, 1, ((ids[4], 1),), 31_004)]


def _messages_with_options(ids: list[bytes]) -> list[Operation]:
    """One in every state at the end: done (with progress; and one whose result is erased), dead (with its history),
    purged, in somebody's hand who mends it, expired, cancelled, leased and not wanted any more (the head of its group)
    and one behind it, delayed, ready (requeued); and a parcel in the outbox."""
    expires, rules = 1_700_000_900_000, (("", Rule(10, 4, 7_200_000, 8_000_000, 86_400_000, True)),)
    backoff = Backoff(Shape.LIST, (100, 2_000), 1_000, 25)
    full = Options(expires, "group", "key", Scope.WINDOW, 60_000, 2, 5_000, 30_000, backoff)
    chosen = ((0, full), (1, Options(group="group")), (2, Options(expires, "group")), (3, Options(unique="own")),
              (4, Options(losses=1)), (6, Options(expires)), (7, Options(expires)), (9, Options(expires)))
    return [
        Submitted(1_000, "jobs", tuple(
            Submission(message_id, b"payload", due=1_700_000_060_000 if index == 9 else 0)
            for index, message_id in enumerate(ids[:10])), chosen),
        Leased(1_001, b"s" * 16, 1, tuple((ids[index], 1) for index in (0, 3, 4, 5, 8)), 31_001),
        Progressed(1_002, ids[0], 1, ((Kind.TEXT, b"half"), (Kind.JSON, b"{}"))),
        Settled(1_003, (Settle(ids[0], 1, How.ACK, Kind.BYTES, b"result", then=(
                            Parcel("next", Submission(ids[10], b"then"), Options(group="group")),)),
                        Settle(ids[3], 1, How.ACK, Kind.TEXT, b"erased"),
                        Settle(ids[5], 1, How.REJECT, error="bad"),
                        Settle(ids[8], 1, How.REJECT, error="worse")), (0,) * 4, 0, 0, rules, 2, 32),
        Returned(1_004, ((ids[4], 1),), Why.SESSION_LOST, 0, 0, rules),
        Erased(1_005, (ids[3],)),
        Expired(1_006, (ids[6],), rules),
        Cancelled(1_007, (ids[7],), rules),
        Purged(1_008, (ids[8],)),
        Leased(1_009, b"t" * 16, 2, ((ids[1], 1), (ids[5], 2)), 31_009),
        Cancelled(1_010, (ids[1],), rules),
        Forwarded(1_011, 7, 1, 1, 2, (Batch("jobs", (Submission(ids[11], b"taken"),)),)),
        Leased(1_012, b"t" * 16, 3, ((ids[11], 1),), 31_012),
        Settled(1_013, (Settle(ids[11], 1, How.REJECT, error="dead once"),), (0,), 0, 0, rules),
        Requeued(1_014, (ids[11],)),
        Delivered(1_015, 12, 2, 1, 1)]
