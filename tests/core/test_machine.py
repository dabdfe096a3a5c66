"""The state machine of one bucket, on applied operations alone."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fakes import WALL, FakeTables
from zmqueue.core import operations
from zmqueue.core.ids import make_id
from zmqueue.core.machine import Machine
from zmqueue.core.operations import (
    Extended,
    Forgotten,
    How,
    Kind,
    Leased,
    Operation,
    Returned,
    Ripened,
    Settle,
    Settled,
    State,
    Submission,
    Submitted,
    Why,
)
from zmqueue.core.records import no_counts
from zmqueue.core.sums import UNKNOWN, Sum, sum_of
from zmqueue.core.tables import RowMissing, Table, rows

SESSION = b"s" * 16
OTHER = b"t" * 16


def an_id(number: int) -> bytes:
    return make_id(WALL, 0, number.to_bytes(15, "big"))


class Log:
    """A machine and the log that it applies; every operation goes through its bytes, as on the wire."""

    def __init__(self, copy: int = 7) -> None:
        self.tables = FakeTables()
        self.machine = Machine(self.tables, copy)
        self.operations: list[Operation] = []

    def apply(self, operation: Operation) -> None:
        self.operations.append(operation)
        self.machine.apply(len(self.operations), operations.decode(operations.encode(operation)))
        assert self.machine.sum == sum_of(self.tables, self.machine.copy), f"the sum is kept up by {operation}"

    def submit(self, *numbers: int, queue: str = "jobs", priority: int = 0, due: int = 0, attempts: int = 0) -> None:
        self.apply(Submitted(1_000, queue, tuple(
            Submission(an_id(number), b"body %d" % number, priority=priority, due=due, attempts=attempts)
            for number in numbers)))

    def lease(self, *held: tuple[int, int], session: bytes = SESSION, until: int = 5_000) -> None:
        self.apply(Leased(1_000, session, 1, tuple((an_id(number), fencing) for number, fencing in held), until))

    def settle(self, number: int, fencing: int, how: How, *, data: bytes = b"", error: str = "", due: int = 0,
               attempts: int = 10) -> None:
        self.apply(Settled(2_000, (Settle(an_id(number), fencing, how, Kind.BYTES, data, error),), (due,),
                           attempts, 500))

    def give(self, number: int, fencing: int, why: Why, attempts: int = 10) -> None:
        self.apply(Returned(2_000, ((an_id(number), fencing),), why, attempts, 500))

    def ready(self, queue: str = "jobs") -> list[int]:
        return [int.from_bytes(found[1][9:], "big") for found in self.machine.ready(queue, None, 100)]

    def state(self, number: int) -> State | None:
        record = self.machine.find(an_id(number))
        return None if record is None else record.state


def test_messages_of_equal_priority_are_ready_in_the_order_of_their_submits() -> None:
    log = Log()
    log.submit(3, 1, 2)
    log.submit(0)
    assert log.ready() == [3, 1, 2, 0]


def test_the_highest_priority_is_ready_first() -> None:
    log = Log()
    log.submit(1)
    log.submit(2, priority=255)
    log.submit(3, priority=7)
    assert log.ready() == [2, 3, 1]


def test_queues_whose_names_begin_alike_are_kept_apart() -> None:
    log = Log()
    log.submit(1, queue="a")
    log.submit(2, queue="a.b")
    log.submit(3, queue="ab")
    assert [log.ready(name) for name in ("a", "a.b", "ab")] == [[1], [2], [3]]


def test_copies_do_not_see_each_other() -> None:
    log = Log(copy=1)
    log.submit(1)
    other = Machine(log.tables, 2)
    assert other.find(an_id(1)) is None and other.ready("jobs", None, 10) == [] and other.counts == {}


def test_a_message_that_nobody_touched_has_no_record() -> None:
    log = Log()
    log.submit(1)
    assert not log.tables.rows[Table.MESSAGES]
    assert log.state(1) is State.READY


def test_a_lease_takes_the_message_out_of_the_ready_ones() -> None:
    log = Log()
    log.submit(1, 2)
    log.lease((1, 1))
    assert log.ready() == [2]
    record = log.machine.find(an_id(1))
    assert record is not None
    assert (record.state, record.deliveries, record.fencing, record.session, record.request, record.until) == (
        State.LEASED, 1, 1, SESSION, 1, 5_000)


def test_an_extended_lease_lasts_longer() -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    log.apply(Extended(1_500, ((an_id(1), 1),), 9_000))
    record = log.machine.find(an_id(1))
    assert record is not None and record.until == 9_000


def test_an_ack_keeps_the_result_and_drops_the_body() -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    log.settle(1, 1, How.ACK, data=b"done")
    record = log.machine.find(an_id(1))
    assert record is not None
    assert (record.state, record.result, record.kind, record.error) == (State.DONE, b"done", Kind.BYTES, "")
    assert (record.session, record.until, record.ended, record.forget) == (b"", 0, 2_000, 2_500)
    assert log.machine.submission(an_id(1)) is None
    assert not log.tables.rows[Table.LEASES]


def test_a_nack_without_delay_returns_the_message_to_its_old_place() -> None:
    log = Log()
    log.submit(1, 2)
    log.lease((1, 1))
    log.settle(1, 1, How.NACK, error="no disk")
    assert log.ready() == [1, 2]
    record = log.machine.find(an_id(1))
    assert record is not None and (record.failures, record.error, record.how) == (1, "no disk", How.NACK)


def test_a_nack_with_delay_rests_until_it_ripens() -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    log.settle(1, 1, How.NACK, due=WALL + 50)
    assert log.ready() == [] and log.state(1) is State.DELAYED
    assert log.machine.ripe(WALL + 49, 10) == [] and log.machine.ripe(WALL + 50, 10) == [an_id(1)]
    log.apply(Ripened(2_100, (an_id(1),)))
    assert log.ready() == [1] and log.machine.next_due() is None
    log.lease((1, 2))
    assert log.state(1) is State.LEASED


def test_a_delayed_submit_is_ready_once_it_ripens() -> None:
    log = Log()
    log.submit(1, due=WALL + 10)
    log.submit(2)
    assert log.ready() == [2] and log.state(1) is State.DELAYED and log.machine.next_due() == WALL + 10
    log.apply(Ripened(2_100, (an_id(1),)))
    assert log.ready() == [1, 2] and log.state(1) is State.READY
    log.lease((1, 1))
    record = log.machine.find(an_id(1))
    assert record is not None and record.due == 0


def test_a_reject_makes_a_dead_letter_that_keeps_its_body() -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    log.settle(1, 1, How.REJECT, error="not a picture")
    record = log.machine.find(an_id(1))
    assert record is not None and (record.state, record.error, record.failures) == (State.DEAD, "not a picture", 1)
    assert log.machine.submission(an_id(1)) is not None
    assert len(log.tables.rows[Table.DEAD]) == 1


def test_the_last_allowed_delivery_ends_in_the_dead_letters_with_its_history() -> None:
    log = Log()
    log.submit(1, attempts=3)
    log.lease((1, 1))
    log.give(1, 1, Why.SESSION_LOST)
    log.lease((1, 2))
    log.settle(1, 2, How.NACK, error="boom")
    assert log.ready() == [1]
    log.lease((1, 3))
    log.give(1, 3, Why.EXPIRED)
    record = log.machine.find(an_id(1))
    assert record is not None and record.state is State.DEAD
    assert record.error == ("given up after 3 deliveries, 3 are allowed: 1 failed, 2 lost; "
                            "the last: the lease expired before it was settled")


def test_a_message_without_a_limit_of_its_own_has_the_one_that_was_decided() -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    log.settle(1, 1, How.NACK, error="boom", attempts=1)
    assert log.state(1) is State.DEAD


@pytest.mark.parametrize("why", [Why.GIVEN_BACK, Why.UNCLAIMED])
def test_what_nobody_began_on_was_no_delivery_but_fencing_grows(why: Why) -> None:
    log = Log()
    log.submit(1, attempts=1)
    log.lease((1, 1))
    log.give(1, 1, why)
    record = log.machine.find(an_id(1))
    assert record is not None
    assert (record.state, record.deliveries, record.fencing, record.losses) == (State.READY, 0, 1, 0)
    assert log.machine.ready("jobs", None, 1)[0][2] == 1


def test_forgotten_messages_leave_nothing_behind() -> None:
    log = Log()
    log.submit(1, 2)
    log.lease((1, 1), (2, 1))
    log.settle(1, 1, How.ACK, data=b"done")
    log.settle(2, 1, How.REJECT)
    assert log.machine.forgettable(2_499, 10) == []
    assert log.machine.forgettable(2_500, 10) == [an_id(1), an_id(2)]
    log.apply(Forgotten(2_500, (an_id(1), an_id(2))))
    assert not any(log.tables.rows.values())
    assert log.machine.counts == {}


def test_known_finds_ids_in_every_state() -> None:
    log = Log()
    log.submit(1, 2, 3, 9)
    log.lease((1, 1), (2, 1))
    log.settle(1, 1, How.ACK)
    asked = [an_id(number) for number in (0, 1, 2, 3, 4)]
    assert log.machine.known(asked) == {an_id(number) for number in (1, 2, 3)}
    assert log.machine.known([an_id(number) for number in (4, 5, 6)]) == set()


def test_a_row_put_before_the_front_moves_the_front_back() -> None:
    log = Log()
    log.submit(1, 2, 3)
    keys = [found[0] for found in log.machine.ready("jobs", None, 10)]
    log.lease((1, 1))
    log.machine.fronts["jobs"] = keys[2]
    log.settle(1, 1, How.NACK)
    assert log.machine.fronts["jobs"] == keys[0]
    log.machine.fronts["jobs"] = keys[2]
    log.submit(4)
    assert log.machine.fronts["jobs"] == keys[2]
    log.submit(5, priority=1)
    assert log.machine.fronts["jobs"] < keys[0]


def test_risen_names_the_queues_that_got_something_to_hand_out() -> None:
    log = Log()
    log.submit(1, queue="later", due=WALL)
    assert log.machine.risen == set()
    log.submit(2)
    assert log.machine.risen == {"jobs"}


def test_an_operation_that_does_not_fit_is_never_applied_silently() -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    with pytest.raises(AssertionError):
        log.settle(1, 2, How.ACK)
    with pytest.raises(AssertionError):
        log.lease((1, 2))
    with pytest.raises(RowMissing):
        log.apply(Ripened(1, (an_id(1),)))


@pytest.mark.parametrize("table", [Table.BODIES, Table.MESSAGES, Table.LEASES, Table.COUNTS])
def test_a_row_that_has_vanished_is_damage_when_its_message_ends(table: Table) -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    for key in list(log.tables.rows[table]):
        log.tables.delete(table, key)
    log.machine = Machine(log.tables, 7, log.machine.sum)
    with pytest.raises(RowMissing) as found:
        log.settle(1, 1, How.ACK)
    assert found.value.table == table.value


@pytest.mark.parametrize("table", [Table.READY, Table.BODIES])
def test_a_row_that_has_vanished_is_damage_when_its_message_is_leased(table: Table) -> None:
    log = Log()
    log.submit(1)
    for key in list(log.tables.rows[table]):
        log.tables.delete(table, key)
    with pytest.raises(RowMissing) as found:
        log.lease((1, 1))
    assert found.value.table == table.value


@pytest.mark.parametrize("table", [Table.ENDED, Table.MESSAGES, Table.DEAD, Table.BODIES])
def test_a_row_that_has_vanished_is_damage_when_its_message_is_forgotten(table: Table) -> None:
    log = Log()
    log.submit(1)
    log.lease((1, 1))
    log.settle(1, 1, How.REJECT)
    for key in list(log.tables.rows[table]):
        log.tables.delete(table, key)
    with pytest.raises(RowMissing) as found:
        log.apply(Forgotten(9_000, (an_id(1),)))
    assert found.value.table == table.value


def test_rows_of_a_version_that_did_not_count_are_counted_while_the_machine_goes_on() -> None:
    log = Log()
    log.submit(1, 2, 3)
    log.lease((1, 1))
    uncounted = Machine(log.tables, 7, UNKNOWN)
    was, added = sum_of(log.tables, 7), uncounted.added
    assert (uncounted.sum, added) == (UNKNOWN, Sum(0, 0))
    uncounted.apply(3, Settled(2_000, (Settle(an_id(1), 1, How.ACK),), (0,), 10, 500))
    uncounted.counted_as(was, added)
    assert uncounted.sum == sum_of(log.tables, 7)


def test_the_sum_tells_which_row_is_there_and_what_it_says() -> None:
    one, two, three = Log(), Log(), Log()
    one.submit(1)
    two.submit(2)
    three.submit(1, queue="other")
    assert len({log.machine.sum for log in (one, two, three)}) == 3
    assert one.machine.sum.rows == two.machine.sum.rows


# --- properties: random lives -----------------------------------------------------------------------------------------


def _step(log: Log, draw: st.DataObject, submitted: int) -> int:
    """One operation that fits, as a primary would decide it."""
    machine = log.machine
    leased = [(message_id, record.fencing) for message_id, record in machine.leased()]
    ready = [found for queue in ("a", "b") for found in machine.ready(queue, None, 5)]
    ripe = machine.ripe(WALL + 1_000, 3)
    old = machine.forgettable(10_000, 3)
    choices = ["submit"] + ["lease"] * bool(ready) + ["settle", "return", "extend"] * bool(leased)
    choices += ["ripen"] * bool(ripe) + ["forget"] * bool(old)
    match draw.draw(st.sampled_from(choices)):
        case "submit":
            number = draw.draw(st.integers(1, 4))
            log.apply(Submitted(1, draw.draw(st.sampled_from("ab")), tuple(
                Submission(an_id(submitted + index), b"x", priority=draw.draw(st.integers(0, 2)),
                           due=draw.draw(st.sampled_from((0, 0, WALL))), attempts=draw.draw(st.integers(0, 2)))
                for index in range(number))))
            return submitted + number
        case "lease":
            log.apply(Leased(1, SESSION, 1, tuple((found[1], found[2] + 1) for found in ready), 9))
        case "settle":
            log.apply(Settled(5, tuple(
                Settle(message_id, fencing, draw.draw(st.sampled_from(How))) for message_id, fencing in leased[:2]),
                tuple(draw.draw(st.sampled_from((0, WALL))) for _ in leased[:2]), 3, 5))
        case "return":
            log.apply(Returned(5, tuple(leased[:2]), draw.draw(st.sampled_from(Why)), 3, 5))
        case "extend":
            log.apply(Extended(5, tuple(leased), 20))
        case "ripen":
            log.apply(Ripened(5, tuple(ripe)))
        case "forget":
            log.apply(Forgotten(9, tuple(old)))
    return submitted


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_in_every_random_life_counts_are_the_rows_and_no_message_is_lost(draw: st.DataObject) -> None:
    log, submitted, forgotten = Log(), 0, 0
    for _ in range(draw.draw(st.integers(1, 40))):
        submitted = _step(log, draw, submitted)
        last = log.operations[-1]
        forgotten += len(last.ids) if isinstance(last, Forgotten) else 0
    states = [log.machine.find(an_id(number)) for number in range(submitted)]
    alive = [record for record in states if record is not None]
    assert len(alive) == submitted - forgotten
    expected: dict[str, list[int]] = {}
    for record in alive:
        expected.setdefault(record.queue, no_counts())[record.state] += 1
    assert log.machine.counts == expected == Machine(log.tables, 7).counts
    number = Counter(record.state for record in alive)
    found = {table: len(content) for table, content in log.tables.rows.items()}
    ended = sum(1 for record in alive if record.state.terminal)
    assert found[Table.READY] == number[State.READY]
    assert found[Table.DELAYED] == number[State.DELAYED]
    assert found[Table.LEASES] == number[State.LEASED]
    assert found[Table.DEAD] == number[State.DEAD]
    assert found[Table.ENDED] == ended
    assert found[Table.BODIES] == len(alive) - number[State.DONE]
    assert all(record.deliveries <= record.fencing for record in alive)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_the_same_operations_make_the_same_rows_and_a_machine_may_be_made_anew_at_any_point(
        draw: st.DataObject) -> None:
    log, submitted = Log(), 0
    for _ in range(draw.draw(st.integers(1, 30))):
        submitted = _step(log, draw, submitted)
    tables = FakeTables()
    machine = Machine(tables, 7)
    for seq, operation in enumerate(log.operations, 1):
        if draw.draw(st.booleans()):
            machine = Machine(tables, 7, machine.sum)
        machine.apply(seq, operation)
    assert machine.sum == log.machine.sum
    assert tables.rows == log.tables.rows
    assert len(list(rows(tables, Table.READY, b"\x00", b"\xff"))) == len(tables.rows[Table.READY])
