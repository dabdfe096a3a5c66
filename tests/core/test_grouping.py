"""Groups: one at a time and in order, whatever becomes of the messages; and nobody else waits for a busy one."""

from __future__ import annotations

import pytest

from tests.core.counter import Counter
from zmqueue.core.operations import How, Options, State
from zmqueue.core.policies import Policy
from zmqueue.core.requests import GiveBack, Purge

G, H = Options(group="g"), Options(group="h")


@pytest.fixture
def node() -> Counter:
    """Three of a group wait."""
    made = Counter()
    made.put(1, 2, 3, options=G)
    return made


@pytest.fixture
def halting() -> Counter:
    made = Counter(Policy(halt=True))
    made.put(1, 2, 3, options=G)
    return made


def test_one_runs_at_a_time_in_the_order_of_their_submits(node: Counter) -> None:
    for number in (1, 2, 3):
        assert node.lease() == [number]
        assert node.lease() == []
        node.ack(number)
    assert node.lease() == []


def test_a_busy_group_holds_up_nobody_else(node: Counter) -> None:
    node.put(4, options=H)
    node.put(5)
    assert node.lease() == [1, 4, 5]
    node.put(6, options=H)
    node.ack(4)
    assert node.lease() == [6]


def test_a_group_is_one_of_its_queue(node: Counter) -> None:
    node.put(4, queue="other", options=G)
    assert node.lease() == [1] and node.lease(queue="other") == [4]


def test_later_messages_come_behind_those_that_wait(node: Counter) -> None:
    assert node.lease() == [1]
    node.put(4, options=G)
    node.ack(1)
    assert [node.lease()[0], node.settle(2), node.lease()[0], node.settle(3), node.lease()] == [2, (), 3, (), [4]]


def test_a_failure_with_a_rest_lets_nobody_pass(node: Counter) -> None:
    node.lease()
    node.nack(1, delay=2_000)
    assert node.states(1, 2) == [State.DELAYED, State.BEHIND]
    node.pass_time(1.9)
    assert node.lease() == []
    node.pass_time(0.2)
    assert node.lease() == [1]


def test_a_failure_without_a_rest_keeps_the_order(node: Counter) -> None:
    node.lease()
    node.nack(1)
    assert node.lease() == [1]


def test_a_lost_worker_keeps_the_order(node: Counter) -> None:
    node.lease()
    node.lose()
    assert node.lease() == [1]


def test_a_message_that_nobody_began_on_keeps_its_place(node: Counter) -> None:
    node.lease()
    node.codes(GiveBack(node.request(), 0, (node.held(1),)))
    assert node.lease() == [1]


def test_a_message_delayed_at_its_submit_joins_when_it_is_due(node: Counter) -> None:
    """It does not hold up those that could run before; due, it stands where its submit put it."""
    node.put(4, due=node.wall + 1_000, options=G)
    node.put(5, options=G)
    node.lease()
    node.pass_time(1.1)
    assert node.states(4, 5) == [State.BEHIND, State.BEHIND]
    for number in (1, 2, 3, 4):
        node.ack(number)
        assert node.lease() == [number + 1]


@pytest.mark.parametrize("end", ["cancelled", "expired"])
def test_the_next_takes_the_place_of_a_head_that_never_runs(end: str) -> None:
    node = Counter()
    node.put(1, options=Options(group="g", expires=node.wall + 1_000))
    node.put(2, options=G)
    if end == "cancelled":
        node.cancel(1)
    else:
        node.pass_time(1.1)
    assert node.states(1, 2) == [State.CANCELLED if end == "cancelled" else State.EXPIRED, State.READY]
    assert node.lease() == [2]


def test_head_and_next_cancelled_in_one_request_leave_the_third(node: Counter) -> None:
    assert node.cancel(2, 1) == ()
    assert node.lease() == [3]


def test_a_dead_letter_does_not_stop_the_group_unless_its_queue_says_so(node: Counter) -> None:
    node.kill(1)
    assert node.lease() == [2]


def test_where_the_queue_says_so_it_halts_the_group_and_no_other(halting: Counter) -> None:
    halting.put(4, options=H)
    halting.kill(1)
    halting.put(5, options=G)
    halting.ack(4)
    halting.put(6, options=H)
    assert halting.lease() == [6]
    assert halting.states(2, 3, 5) == [State.BEHIND] * 3


def test_a_message_that_is_lost_too_often_halts_it_too() -> None:
    node = Counter(Policy(halt=True, losses=1))
    node.put(1, 2, options=G)
    node.lease()
    node.lose()
    assert node.states(1, 2) == [State.DEAD, State.BEHIND]


def test_a_requeued_letter_is_the_head_of_the_group_that_it_halted(halting: Counter) -> None:
    halting.kill(1)
    assert halting.requeue(1) == ()
    assert halting.lease() == [1]
    halting.ack(1)
    assert halting.lease() == [2]


def test_a_requeued_letter_comes_next_where_the_group_went_on(node: Counter) -> None:
    node.kill(1)
    assert node.lease() == [2]
    assert node.requeue(1) == ()
    assert node.lease() == []
    node.ack(2)
    assert node.lease() == [1]


def test_a_purged_letter_lets_the_group_go_on(halting: Counter) -> None:
    halting.kill(1)
    assert halting.codes(Purge(halting.request(), 0, (halting.id_of(1),))) == ()
    assert halting.lease() == [2]


def test_a_forgotten_letter_lets_the_group_go_on() -> None:
    node = Counter(Policy(halt=True, dead_ttl_ms=4_000), dedup_window_ms=1_000, result_ttl_ms=2_000)
    node.put(1, 2, options=G)
    node.kill(1)
    node.pass_time(3.5, step=0.5)
    assert node.lease() == []
    node.pass_time(2.0, step=0.5)
    assert node.replica.machine.find(node.id_of(1)) is None
    assert node.lease() == [2]


def test_a_halt_that_is_withdrawn_stays_until_the_letter_is_dealt_with(halting: Counter) -> None:
    """It was decided when the letter died."""
    halting.kill(1)
    halting.declare(Policy())
    assert halting.lease() == []
    assert halting.requeue(1) == ()
    halting.lease()
    halting.settle(1, How.REJECT)
    assert halting.lease() == [2]


def test_a_new_primary_knows_the_order(node: Counter) -> None:
    node.lease()
    node.take_over()
    assert node.lease() == []
    node.nack(1)
    assert node.lease() == [1]
    node.ack(1)
    assert node.lease() == [2]


def test_what_waits_behind_counts_as_ready(node: Counter) -> None:
    (depth,) = node.front.depths(node.now)
    assert (depth.ready, depth.leased) == (3, 0)
