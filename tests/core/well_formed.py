"""What the rows of a copy must be like at any moment, worked out from the records alone: the machine is not asked.

A message's record (or, of one that nobody touched, its body and where it stands) says which rows it has, so all rows
of a copy can be made up from the records and held against those that are there.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

from zmqueue.core import keys
from zmqueue.core.copies import COPIED
from zmqueue.core.ids import ID_BYTES
from zmqueue.core.operations import State, group_digest
from zmqueue.core.records import Record, Special, decode_counts, decode_record, head_of, no_counts, waiting
from zmqueue.core.tables import Table, View, rows, span

WITH_BODY = (State.DELAYED, State.READY, State.LEASED, State.DEAD, State.BEHIND, State.MENDING)
WAITS = (State.DELAYED, State.READY, State.BEHIND)
REMEMBERED = (State.DONE, State.DEAD, State.CANCELLED, State.EXPIRED, State.PURGED)
IN_HAND = (State.LEASED, State.MENDING)

MADE_UP = (Table.READY, Table.DELAYED, Table.LEASES, Table.DEAD, Table.ENDED, Table.EXPIRING, Table.BEHIND,
           Table.UNIQUES, Table.COUNTS)
"""The tables of which every row follows from the records, key and value."""

ALL = COPIED
"""All tables of the applied state."""

Found = dict[bytes, bytes]


class Group(NamedTuple):
    """One group: who is at its head, whether that halts it, and who waits behind, in order."""

    head: bytes
    halted: bool
    behind: tuple[bytes, ...]


def rows_of(view: View, copy: int, table: Table) -> Found:
    """The rows of one table, without the copy's number."""
    return {key[keys.COPY_BYTES:]: value for key, value in rows(view, table, *span(keys.copy_prefix(copy)))}


def records_of(view: View, copy: int) -> dict[bytes, Record]:
    """Every message that the copy knows; one without a record is told by its body and the line it stands in."""
    bodies, written = rows_of(view, copy, Table.BODIES), rows_of(view, copy, Table.MESSAGES)
    delayed = set(rows_of(view, copy, Table.DELAYED).values())
    found = {message_id: decode_record(data) for message_id, data in written.items()}
    for message_id, body in bodies.items():
        head = head_of(body)
        assert head.special <= (message_id in found), "who has options has a record"
        if message_id not in found:
            state = State.DELAYED if message_id in delayed else State.READY
            found[message_id] = Record(state, head.queue, head.priority, head.order, head.attempts,
                                       due=head.due if state is State.DELAYED else 0)
    return found


def groups_of(view: View, copy: int) -> dict[bytes, Group]:
    """By digest, the groups that have anything to do, as the rows say."""
    behind: dict[bytes, list[bytes]] = defaultdict(list)
    for key, value in rows_of(view, copy, Table.BEHIND).items():
        behind[key[:16]].append(value[:ID_BYTES])
    heads = rows_of(view, copy, Table.GROUPS)
    assert behind.keys() <= heads.keys(), "nobody waits behind nobody"
    return {place: Group(row[:ID_BYTES], row[ID_BYTES:] == b"h", tuple(behind[place])) for place, row in heads.items()}


def check(view: View, copy: int) -> None:
    """Raise AssertionError where the rows of the copy cannot be."""
    records = records_of(view, copy)
    bodies = rows_of(view, copy, Table.BODIES)
    assert bodies.keys() == {message_id for message_id, record in records.items() if record.state in WITH_BODY}
    made_up: dict[Table, Found] = {table: {} for table in MADE_UP}
    for message_id, record in records.items():
        for table, key, value in _rows_of_message(message_id, record):
            assert key not in made_up[table], f"two messages have one row of {table.value}"
            made_up[table][key] = value
    for table in MADE_UP:
        found = rows_of(view, copy, table)
        if table is Table.COUNTS:
            assert {key: decode_counts(value) for key, value in found.items()} == _counts(records)
        else:
            assert found == made_up[table], f"the rows of {table.value} are those that the records tell of"
    events = {message_id + index.to_bytes(4, "big") for message_id, record in records.items()
              if isinstance(record, Special) for index in range(1, record.events + 1)}
    assert rows_of(view, copy, Table.EVENTS).keys() == events
    _check_groups(records, groups_of(view, copy))


def _rows_of_message(message_id: bytes, record: Record) -> Iterator[tuple[Table, bytes, bytes]]:
    line = record.queue.encode() + b"\0"
    order = record.order.to_bytes(8, "big")
    match record.state:
        case State.READY:
            rank = bytes([255 - record.priority])
            if isinstance(record, Special) and record.place:
                rank = b"\xff" + (1 << 63 | record.place).to_bytes(8, "big")
            yield Table.READY, line + rank + order, waiting(message_id, record.fencing)
        case State.DELAYED:
            yield Table.DELAYED, record.due.to_bytes(8, "big") + order, message_id
        case State.BEHIND:
            assert isinstance(record, Special) and record.group
            yield Table.BEHIND, group_digest(record.queue, record.group) + order, waiting(message_id, record.fencing)
        case State.DEAD:
            yield Table.DEAD, line + order, message_id
        case _:
            pass
    if record.state in IN_HAND:
        yield Table.LEASES, message_id, b""
        assert record.session and record.until, "somebody has it in hand"
    else:
        assert not record.session and not record.until, "nobody has it in hand"
    counted = record.deliveries - (record.state in (State.LEASED, State.DONE))
    assert counted == record.failures + record.losses, "each delivery failed, was lost, or is the one that succeeds"
    if record.state in REMEMBERED:
        yield Table.ENDED, record.forget.to_bytes(8, "big") + message_id, b""
    assert bool(record.ended) == (record.state in REMEMBERED or record.state is State.MENDING)
    assert bool(record.due) == (record.state is State.DELAYED)
    if isinstance(record, Special):
        if record.expires and record.state in WAITS:
            yield Table.EXPIRING, record.expires.to_bytes(8, "big") + message_id, b""
        if record.unique:
            yield Table.UNIQUES, record.unique, message_id
        if record.state in REMEMBERED:
            assert record.forget >= record.window, "it is remembered for as long as its key keeps others out"
            assert record.state is not State.DONE or record.forget >= record.ended + record.keep
        assert not record.cancelling or record.state is State.LEASED, "what has ended is not to be cancelled any more"


def _counts(records: dict[bytes, Record]) -> Found | dict[bytes, list[int]]:
    counts: dict[bytes, list[int]] = {}
    for record in records.values():
        counts.setdefault(record.queue.encode(), no_counts())[record.state] += 1
    return counts


def _check_groups(records: dict[bytes, Record], groups: dict[bytes, Group]) -> None:
    """At most one message of a group is ready, leased, or at rest after a failure: the head."""
    for message_id, record in records.items():
        if not isinstance(record, Special) or not record.group:
            continue
        group = groups.get(group_digest(record.queue, record.group))
        runs = record.state in (State.READY, State.LEASED) or (record.state is State.DELAYED and record.fencing > 0)
        if runs:
            assert group is not None and group.head == message_id and not group.halted, "who runs is at the head"
        if record.state is State.BEHIND:
            assert group is not None and message_id in group.behind and group.head != message_id
    for place, group in groups.items():
        head = records[group.head]
        assert isinstance(head, Special) and group_digest(head.queue, head.group) == place
        if group.halted:
            assert head.state in (State.DEAD, State.MENDING), "a dead letter halts it"
        else:
            assert head.state in (State.READY, State.LEASED) or (
                head.state is State.DELAYED and head.fencing > 0), "the head can run, or rests after a failure"
        orders = [records[message_id].order for message_id in group.behind]
        assert orders == sorted(orders)
