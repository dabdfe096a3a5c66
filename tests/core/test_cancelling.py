"""Cancel: what waits never runs; the handler of what is leased is told, and may still be done."""

from __future__ import annotations

import pytest

from tests.core.counter import QUEUE, WORKER, A, Counter
from zmqueue.core.answers import Alive, Code
from zmqueue.core.operations import Cancelled, How, Options, State
from zmqueue.core.replication import Role
from zmqueue.core.requests import Cancel, GiveBack, Lease

MANY = Options(losses=1_000)


@pytest.fixture
def node() -> Counter:
    return Counter()


def leased(node: Counter, **said: object) -> None:
    node.put(1, **said)
    assert node.lease() == [1]


def test_what_waits_ends_at_once_and_never_runs(node: Counter) -> None:
    node.put(1)
    node.put(2, due=node.wall + 60_000)
    node.put(3, options=Options(group="g"))
    node.put(4, options=Options(group="g"))
    assert node.states(1, 2, 3, 4) == [State.READY, State.DELAYED, State.READY, State.BEHIND]
    assert node.cancel(1, 2, 4) == ()
    assert node.states(1, 2, 3, 4) == [State.CANCELLED, State.CANCELLED, State.READY, State.CANCELLED]
    node.pass_time(61.0, step=1.0)
    assert node.lease() == [3]


def test_cancelled_while_it_rests_after_a_failure(node: Counter) -> None:
    leased(node)
    node.nack(1, delay=1_000)
    assert node.cancel(1) == ()
    assert node.state_of(1) is State.CANCELLED


def test_the_handler_of_a_leased_message_is_told_at_once(node: Counter) -> None:
    leased(node)
    assert node.cancel(1) == ()
    assert node.replies(WORKER) == [Alive(0, (), ((node.id_of(1), 1),))]


def test_and_again_with_each_sign_of_life(node: Counter) -> None:
    leased(node)
    assert node.keep(1).cancelled == ()
    node.cancel(1)
    for _ in range(2):
        alive = node.keep(1)
        assert (alive.lost, alive.cancelled) == ((), (node.held(1),))


def test_what_is_done_all_the_same_is_done(node: Counter) -> None:
    leased(node)
    node.cancel(1)
    node.ack(1)
    assert node.state_of(1) is State.DONE
    assert node.keep(1).cancelled == ()


@pytest.mark.parametrize("how", [How.NACK, How.REJECT])
def test_a_failure_of_a_cancelled_message_is_its_end(node: Counter, how: How) -> None:
    leased(node)
    node.cancel(1)
    assert node.settle(1, how, delay=100) == ()
    assert node.state_of(1) is (State.CANCELLED if how is How.NACK else State.DEAD)
    assert node.lease() == []


def test_a_loss_of_a_cancelled_message_is_its_end(node: Counter) -> None:
    leased(node, options=MANY)
    node.cancel(1)
    node.lose()
    assert node.state_of(1) is State.CANCELLED


def test_a_cancelled_message_that_is_given_back_ends_without_a_delivery(node: Counter) -> None:
    leased(node)
    node.cancel(1)
    assert node.codes(GiveBack(node.request(), 0, (node.held(1),))) == ()
    assert node.state_of(1) is State.CANCELLED and node.record(1).deliveries == 0


def test_it_is_repeatable_and_what_has_ended_otherwise_is_refused(node: Counter) -> None:
    node.put(1, 2, 3)
    node.lease(2)
    node.ack(1)
    assert node.cancel(1, 2, 3, 9) == (Code.ENDED, Code.UNKNOWN_TOKEN)
    written = node.written(Cancelled)
    assert node.cancel(2, 3) == ()
    assert node.written(Cancelled) == written == 1


def test_a_cancel_waits_for_what_is_under_way_and_is_judged_then(node: Counter) -> None:
    """The lease is not committed: it is neither waiting nor leased yet."""
    node.put(1)
    number = node.request()
    node.send(Lease(number, QUEUE, 1, A, number, 0))
    node.send(Cancel(99, 0, (node.id_of(1),)), b"other")
    assert node.written(Cancelled) == 0
    node.settle_down()
    assert node.state_of(1) is State.LEASED and node.special(1).cancelling


def test_a_new_primary_tells_the_handler_too(node: Counter) -> None:
    leased(node)
    node.cancel(1)
    node.take_over()
    assert node.keep(1).cancelled == (node.held(1),)
    node.nack(1)
    assert node.state_of(1) is State.CANCELLED


def test_a_cancel_that_the_tail_carries_over_reaches_the_handler(node: Counter) -> None:
    leased(node)
    node.send(Cancel(99, 0, (node.id_of(1),)), b"other")
    node.replica.enter(Role.PRIMARY, node.now)
    node.settle_down()
    assert node.keep(1).cancelled == (node.held(1),)


def test_a_next_delivery_is_not_cancelled(node: Counter) -> None:
    """A dead letter that was cancelled while it was leased, and is requeued, runs."""
    leased(node)
    node.cancel(1)
    node.settle(1, How.REJECT)
    assert node.requeue(1) == ()
    assert node.lease() == [1]
    assert node.keep(1).cancelled == ()
    node.nack(1)
    assert node.state_of(1) is State.READY
