"""Expiry: what was not begun in time ends as expired, and never runs; a retry as well."""

from __future__ import annotations

import pytest

from tests.core.counter import Counter
from zmqueue.core.answers import Answer, Code, Confirmed
from zmqueue.core.operations import Expired, Options, State
from zmqueue.core.policies import Policy

SOON = 2_000


@pytest.fixture
def node() -> Counter:
    return Counter()


def expiring(node: Counter, ms: int = SOON) -> Options:
    return Options(expires=node.wall + ms)


def test_what_waits_too_long_ends_as_expired_and_its_submitter_is_told(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.put(2)
    node.pass_time(1.9)
    assert node.state_of(1) is State.READY
    node.pass_time(0.2)
    assert node.states(1, 2) == [State.EXPIRED, State.READY]
    answer = node.ask(1)
    assert isinstance(answer, Answer) and answer.state == State.EXPIRED and answer.deliveries == 0
    assert node.lease() == [2]


def test_a_pick_never_hands_out_what_expired_a_moment_ago(node: Counter) -> None:
    """Though the chore that ends it has not come yet."""
    node.put(1, options=expiring(node))
    node.put(2)
    node.now += 2.001
    assert node.state_of(1) is State.READY
    assert node.lease() == [2]


def test_at_its_last_moment_it_is_still_begun(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.pass_time(1.5)
    while node.wall < node.special(1).expires:
        node.now += 0.0005
    assert node.lease() == [1]


def test_what_was_begun_in_time_may_take_longer(node: Counter) -> None:
    node.put(1, options=expiring(node))
    assert node.lease() == [1]
    for _ in range(3):
        node.pass_time(1.0)
        node.keep(1)
    assert node.state_of(1) is State.LEASED
    node.ack(1)


@pytest.mark.parametrize("delay", [0, 500])
def test_a_retry_expires_too(node: Counter, delay: int) -> None:
    node.put(1, options=expiring(node))
    node.lease()
    node.nack(1, delay=delay)
    node.pass_time(2.1)
    assert node.state_of(1) is State.EXPIRED and node.record(1).failures == 1


def test_a_nack_after_the_expiry_is_the_end(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.lease()
    node.pass_time(2.5)
    node.nack(1)
    assert node.lease() == []
    node.pass_time(0.1)
    assert node.state_of(1) is State.EXPIRED


def test_a_lost_delivery_after_the_expiry_is_the_end(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.lease()
    node.lose()
    assert node.state_of(1) is State.EXPIRED


def test_a_delayed_message_may_not_expire_before_it_is_due(node: Counter) -> None:
    reply = node.submit(1, due=node.wall + 3_000, options=expiring(node))
    assert isinstance(reply, Confirmed) and [code for _, code, _ in reply.refused] == [Code.BAD_REQUEST]


def test_the_queues_expiry_counts_from_the_due_time_on_and_a_message_may_say_its_own(node: Counter) -> None:
    node.declare(Policy(expires_ms=SOON))
    node.put(1)
    node.put(2, due=node.wall + 1_000)
    node.put(3, options=expiring(node, 10_000))
    node.pass_time(2.1)
    assert node.states(1, 2, 3) == [State.EXPIRED, State.READY, State.READY]
    node.pass_time(1.0)
    assert node.states(2, 3) == [State.EXPIRED, State.READY]


def test_a_requeued_dead_letter_does_not_expire_any_more(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.kill(1)
    assert node.requeue(1) == ()
    node.pass_time(5.0)
    assert node.lease() == [1]


def test_a_chore_is_not_written_twice_while_it_is_under_way(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.now += 3.0
    for _ in range(3):
        node.front.tick(node.now, node.wall)
    assert node.written(Expired) == 1
    node.settle_down()
    assert node.state_of(1) is State.EXPIRED


def test_a_new_primary_goes_on_with_it(node: Counter) -> None:
    node.put(1, options=expiring(node))
    node.take_over()
    node.pass_time(2.1)
    assert node.state_of(1) is State.EXPIRED
