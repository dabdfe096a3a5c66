"""Groups: messages with one `group` run one at a time and in order, across retries and failover.

A group that has anything to do has a row in GROUPS, which names the message at its *head*: the only one of it that is
ready, delayed after a failure, or leased. All others that could run stand in BEHIND, in the order of their submit. When
the head ends, the next one takes its place, in the same operation. So a busy group blocks nobody: what stands in READY
can run.

A dead letter breaks the order. Where its queue says so, it *halts* the group: its id stays at the head, marked, until
it is requeued (then it is the head again) or is purged or forgotten (then the group goes on without it).
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from zmqueue.core import keys
from zmqueue.core.ids import ID_BYTES
from zmqueue.core.operations import State, group_digest
from zmqueue.core.records import Record, Special, waiting
from zmqueue.core.tables import RowMissing, Table

if TYPE_CHECKING:
    from zmqueue.core.steps import Steps

_RUNS, _HALTED = b"r", b"h"


def take_head(steps: Steps, key: bytes, record: Special) -> bool:
    """The message could run: True where it is at the head of its group, which it takes if nobody has it."""
    message_id, place = key[keys.COPY_BYTES:], _place(steps, record)
    row = steps.tables.get(Table.GROUPS, place)
    if row is None:
        steps.put_row(Table.GROUPS, place, message_id + _RUNS)
        return True
    if row[:ID_BYTES] != message_id:
        return False
    if row[ID_BYTES:] == _HALTED:
        steps.take_row(Table.GROUPS, place)
        steps.put_row(Table.GROUPS, place, message_id + _RUNS)
    return True


def put_behind(steps: Steps, key: bytes, record: Special) -> None:
    """It has to wait for the others."""
    steps.tables.put(Table.BEHIND, _behind(steps, record), waiting(key[keys.COPY_BYTES:], record.fencing))


def leave_behind(steps: Steps, record: Record) -> None:
    """It waits for them no longer."""
    assert isinstance(record, Special)
    steps.delete(Table.BEHIND, _behind(steps, record))


def ended(steps: Steps, key: bytes, record: Special, *, halt: bool) -> None:
    """The message ended: where it was at the head, the next one takes its place. `halt`: nobody does."""
    message_id, place = key[keys.COPY_BYTES:], _place(steps, record)
    row = steps.tables.get(Table.GROUPS, place)
    if row is None or row[:ID_BYTES] != message_id:
        return                                      # it was waiting, or delayed from the beginning
    steps.take_row(Table.GROUPS, place)
    if halt:
        steps.put_row(Table.GROUPS, place, message_id + _HALTED)
    else:
        _go_on(steps, place)


def thrown_away(steps: Steps, key: bytes, record: Special) -> None:
    """The dead letter is gone for good: a group that it halted goes on."""
    place = _place(steps, record)
    row = steps.tables.get(Table.GROUPS, place)
    if row == key[keys.COPY_BYTES:] + _HALTED:
        steps.take_row(Table.GROUPS, place)
        _go_on(steps, place)


def _go_on(steps: Steps, place: bytes) -> None:
    """The first of those behind is the head. Its rows are written at once: this operation may name it too."""
    found = steps.tables.scan(Table.BEHIND, place, place + b"\xff" * 9, 1)
    if not found:
        return
    row, value = found[0]
    message_id = value[:ID_BYTES]
    key, crc = place[:keys.COPY_BYTES] + message_id, crc32(message_id)
    record = steps.take(key, crc)
    if record.state is not State.BEHIND:
        raise RowMissing(Table.MESSAGES, key)
    steps.delete(Table.BEHIND, row)
    steps.put_row(Table.GROUPS, place, message_id + _RUNS)
    steps.move(record, State.READY, crc)
    steps.put_ready(key, record)
    steps.put_record(key, record, crc)


def _place(steps: Steps, record: Special) -> bytes:
    return keys.copy_prefix(steps.copy) + group_digest(record.queue, record.group)


def _behind(steps: Steps, record: Special) -> bytes:
    return keys.behind_key(keys.copy_prefix(steps.copy), group_digest(record.queue, record.group), record.order)
