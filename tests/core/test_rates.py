"""Rates: what went through a queue in the last minute, counted from what is applied."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.core.fakes import Node
from tests.core.test_front import fill, held, lease
from zmqueue.core.answers import QueuesReply
from zmqueue.core.operations import How, Settle
from zmqueue.core.rates import NO_FLOW, WINDOW_S, Flow, Rates
from zmqueue.core.replication import Role
from zmqueue.core.requests import GetQueues, Settling


def flow(node: Node, queue: str = "jobs") -> Flow:
    """What the node tells of the queue."""
    reply = node.call(GetQueues(node.request()))
    assert isinstance(reply, QueuesReply)
    depth = next(depth for depth in reply.queues if depth.queue == queue)
    return Flow(depth.submitted, depth.delivered, depth.settled, depth.died)


def test_each_step_of_a_message_is_counted_once() -> None:
    node = Node()
    fill(node, 1, 2, 3, 4)
    fill(node, 11, queue="other")
    granted = lease(node, most=3).grants
    first, second, third = (Settle(message_id, fencing, how) for (message_id, fencing), how in zip(
        held(granted), (How.ACK, How.REJECT, How.NACK), strict=True))
    node.call(Settling(1, 0, (first, second, third)))
    assert flow(node) == Flow(4, 3, 1, 1)
    assert flow(node, "other") == Flow(1, 0, 0, 0)
    lease(node, number=2, most=1)
    assert flow(node).delivered == 4, "the third was handed out again"


def test_what_is_longer_ago_than_a_minute_is_not_counted() -> None:
    node = Node()
    fill(node, 1)
    node.pass_time(WINDOW_S - 2, step=1.0)
    fill(node, 2)
    assert flow(node).submitted == 2
    node.pass_time(3, step=1.0)
    assert flow(node).submitted == 1


def test_a_new_primary_begins_at_nothing_and_does_not_count_what_it_applied_as_a_backup() -> None:
    node = Node()
    node.replica.enter(Role.BACKUP, node.now)
    other = Node()
    fill(other, 1, 2)
    node.replica.log.extend(other.replica.log)
    node.replica.commit_to(node.replica.end, node.now)
    node.replica.enter(Role.PRIMARY, node.now)
    fill(node, 3)
    assert flow(node).submitted == 1


@given(st.lists(st.tuples(st.integers(0, 200), st.integers(1, 9)), max_size=50))
def test_the_rates_are_those_of_a_plain_list(moments: list[tuple[int, int]]) -> None:
    rates, plain, now = Rates(), [], 0
    for pause, number in moments:
        now += pause
        rates.note({"q": Flow(number, 0, 0, number)}, now + 0.5)
        plain.append((now, number))
        expected = sum(number for when, number in plain if when > now - WINDOW_S)
        assert rates.last("q", now + 0.9) == Flow(expected, 0, 0, expected)


def test_an_idle_queue_is_forgotten() -> None:
    rates = Rates()
    rates.note({"a": Flow(1, 0, 0, 0), "b": Flow(1, 0, 0, 0)}, 0.0)
    rates.note({"b": Flow(1, 0, 0, 0)}, 50.0)
    rates.forget(70.0)
    assert len(rates) == 1 and rates.last("a", 70.0) == NO_FLOW and rates.last("b", 70.0).submitted == 1
