"""The bytes of operations and of rows: what the log and the disk hold is read back. Golden ones: tests/formats."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.shapes import example, members, strategy
from zmqueue.core import keys, operations, records
from zmqueue.core.operations import (
    Forgotten,
    Kind,
    Operation,
    Ripened,
    Settle,
    Settled,
    State,
    Submission,
    messages_of,
)
from zmqueue.core.records import BodyWriter, Head, Record

LOCKS = (b"unique", b"taken", b"sent", b"fired", b"published")
"""What the names begin with of what is locked and is no message."""


@given(strategy(Operation))
def test_operations_are_read_back_as_they_were_written(operation: Operation) -> None:
    assert operations.decode(operations.encode(operation)) == operation


@given(strategy(Operation), st.data())
def test_a_truncated_operation_is_no_operation(operation: Operation, draw: st.DataObject) -> None:
    data = operations.encode(operation)
    with pytest.raises(msgspec.DecodeError):
        operations.decode(data[:draw.draw(st.integers(0, len(data) - 1))])


@given(st.binary(max_size=60))
def test_garbage_is_no_operation_but_by_chance(data: bytes) -> None:
    try:
        assert isinstance(operations.decode(data), Operation)
    except msgspec.DecodeError:
        pass


def test_an_operation_of_a_later_version_with_more_fields_is_read() -> None:
    data = msgspec.msgpack.encode([7, 1_000, [b"x"], "added later", 5])
    assert operations.decode(data) == Forgotten(1_000, (b"x",))


def test_an_operation_of_an_earlier_version_with_fewer_fields_is_read() -> None:
    data = msgspec.msgpack.encode([4, 1_000, [[b"x", 1]], [0]])
    assert operations.decode(data) == Settled(1_000, (Settle(b"x", 1),), (0,))


@pytest.mark.parametrize("kind", members(Operation))
def test_every_operation_says_which_messages_it_names(kind: type[Operation]) -> None:
    operation = example(kind)
    named = messages_of(operation)
    data = operations.encode(operation)
    assert named and all(name in data or name.startswith(LOCKS) for name in named)


def test_messages_of_keeps_the_order_of_the_operation() -> None:
    assert messages_of(Ripened(1, (b"b", b"a"))) == [b"b", b"a"]


# --- rows -------------------------------------------------------------------------------------------------------------


@given(strategy(Record))
def test_records_are_read_back_as_they_were_written(record: Record) -> None:
    assert records.decode_record(records.encode_record(record)) == record


@given(st.integers(0, 2**64 - 1), st.integers(0, 2**63 - 1), st.integers(0, 65_535), st.integers(0, 255),
       st.text("abcXYZ019._:/-", min_size=1, max_size=128), st.binary(max_size=100))
def test_a_body_gives_back_its_head_and_its_submission(order: int, due: int, attempts: int, priority: int, queue: str,
                                                       payload: bytes) -> None:
    submission = Submission(b"i" * 24, payload, Kind.TEXT, priority, due, (("a", "b"),), attempts)
    row = BodyWriter(queue).row(order, submission)
    assert records.head_of(row) == Head(order, due, attempts, priority, queue)
    assert records.submission_of(row) == (submission, None)


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 2**64 - 1)), min_size=2))
def test_ready_keys_ascend_from_the_highest_priority_and_the_lowest_order(places: list[tuple[int, int]]) -> None:
    prefix = keys.copy_prefix(3)
    by_key = sorted(places, key=lambda place: keys.ready_key(prefix, "jobs", *place))
    assert by_key == sorted(places, key=lambda place: (-place[0], place[1]))


@given(st.lists(st.tuples(st.integers(1, 2**63 - 1), st.integers(0, 2**64 - 1)), min_size=2),
       st.integers(0, 255), st.integers(0, 2**63 - 1))
def test_ready_keys_of_those_that_age_ascend_by_place_behind_all_others(places: list[tuple[int, int]], priority: int,
                                                                        order: int) -> None:
    prefix = keys.copy_prefix(3)
    by_key = sorted(places, key=lambda place: keys.ready_key(prefix, "jobs", 255, place[1], place[0]))
    assert by_key == sorted(places)
    first = keys.ready_key(prefix, "jobs", 255, by_key[0][1], by_key[0][0])
    assert keys.ready_key(prefix, "jobs", priority, order) < first < keys.ready_key(prefix, "jobs.x", priority, order)


@given(st.integers(0, 2**63 - 1), st.integers(0, 2**63 - 1), st.integers(0, 2**64 - 1))
def test_delayed_keys_up_to_a_moment_are_those_that_are_due(due: int, moment: int, order: int) -> None:
    prefix = keys.copy_prefix(3)
    key = keys.delayed_key(prefix, due, order)
    assert (prefix <= key < keys.until_moment(prefix, moment)) == (due <= moment)
    assert keys.moment_of(key) == due


def test_the_longest_keys_fit_into_a_store() -> None:
    prefix = keys.copy_prefix(2**32 - 1)
    longest = keys.ready_key(prefix, "q" * 128, 255, 2**64 - 1)
    aged = keys.ready_key(prefix, "q" * 128, 255, 2**64 - 1, 2**63 - 1)
    assert len(longest) < len(aged) <= 511 and len(keys.dead_key(prefix, "q" * 128, 1)) <= 511


def test_counts_of_an_earlier_version_with_fewer_states_are_read() -> None:
    assert records.decode_counts(records.encode_counts([1, 2])) == [1, 2] + [0] * (len(State) - 2)
