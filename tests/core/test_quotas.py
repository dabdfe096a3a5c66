"""Limits of queues: what a node takes for the buckets that it serves, what it refuses, what is true of the whole."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fakes import Node
from tests.core.test_front import fill, held, lease, message
from tests.core.test_pausing import declare
from zmqueue.core.answers import Code, Confirmed
from zmqueue.core.operations import Settle, State
from zmqueue.core.policies import Overflow, Policy
from zmqueue.core.quotas import RETRY_MS
from zmqueue.core.replication import Role
from zmqueue.core.requests import Settling, Submit


def submit(node: Node, *numbers: int, bucket: int = 0) -> Confirmed:
    """One request; what became of it."""
    packet = Submit(node.request(), bucket, "jobs", tuple(message(node, number, bucket) for number in numbers))
    reply = node.call(packet)
    assert isinstance(reply, Confirmed)
    return reply


def refused(reply: Confirmed) -> list[tuple[int, int]]:
    return [(index, code) for index, code, _ in reply.refused]


def test_a_queue_takes_as_many_as_it_may_and_refuses_the_others_one_by_one() -> None:
    node = Node()
    declare(node, Policy(messages_max=3))
    assert refused(submit(node, 1, 2)) == []
    reply = submit(node, 3, 4, 5)
    assert refused(reply) == [(1, Code.QUEUE_FULL), (2, Code.QUEUE_FULL)]
    assert "3 that may" in reply.refused[0][2]
    fill(node, 11, queue="other")


def test_what_is_leased_or_delayed_counts_and_what_has_ended_does_not() -> None:
    node = Node()
    declare(node, Policy(messages_max=2))
    later = Submit(node.request(), 0, "jobs", (message(node, 1, due=node.wall + 60_000),))
    assert node.call(later) == Confirmed(later.request)
    submit(node, 2)
    (grant,) = lease(node, most=1).grants
    assert refused(submit(node, 3)) == [(0, Code.QUEUE_FULL)]
    node.call(Settling(node.request(), 0, (Settle(*held((grant,))[0]),)))
    assert refused(submit(node, 3)) == []


def test_a_repeated_submit_of_what_is_stored_is_confirmed_although_the_queue_is_full() -> None:
    """Q2: it was confirmed, or may have been."""
    node = Node()
    declare(node, Policy(messages_max=1))
    submit(node, 1)
    assert refused(submit(node, 1)) == []
    assert refused(submit(node, 1, 2)) == [(1, Code.QUEUE_FULL)]


def test_what_is_not_committed_yet_counts() -> None:
    node = Node()
    declare(node, Policy(messages_max=2))
    for number in (1, 2, 3):
        node.send(Submit(number, 0, "jobs", (message(node, number),)))
    node.settle_down()
    replies = {reply.request: reply for reply in node.replies() if isinstance(reply, Confirmed)}
    assert [refused(replies[number]) for number in (1, 2, 3)] == [[], [], [(0, Code.QUEUE_FULL)]]
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.enter(Role.PRIMARY, node.now)
    assert node.front.desks[0].ledger.arriving("jobs") == 0, "a new term begins with the rows"


def test_the_hint_follows_how_fast_the_queue_is_worked_off() -> None:
    node = Node()
    declare(node, Policy(messages_max=6))
    fill(node, *range(6))
    assert submit(node, 7).retry == RETRY_MS, "nothing has left it: nobody can tell"
    grants = lease(node, most=6).grants
    node.call(Settling(node.request(), 0, tuple(Settle(*one) for one in held(grants))))
    fill(node, *range(10, 16))
    assert submit(node, 17).retry == 10_000, "six in a minute"


def test_where_the_policy_is_to_wait_the_client_is_told_to() -> None:
    node = Node()
    declare(node, Policy(messages_max=1, overflow=Overflow.BLOCK))
    submit(node, 1)
    assert refused(submit(node, 2)) == [(0, Code.QUEUE_WAITS)]


def test_nothing_is_taken_while_a_message_has_waited_for_too_long() -> None:
    node = Node()
    declare(node, Policy(age_ms_max=5_000))
    submit(node, 1)
    node.now += 5.5
    reply = submit(node, 2)
    assert refused(reply) == [(0, Code.QUEUE_FULL)] and "5,500 ms" in reply.refused[0][2]
    lease(node, most=1)
    assert refused(submit(node, 2)) == [], "what is leased does not wait"


@settings(max_examples=60)
@given(st.integers(1, 40), st.lists(st.integers(0, 2), min_size=8, max_size=8), st.data())
def test_the_nodes_of_a_cluster_hold_the_limit_together(limit: int, serves: list[int], data: st.DataObject) -> None:
    """Eight buckets over three nodes, and any order of submits: at most the limit, and two more."""
    nodes = [Node(buckets=8) for _ in range(3)]
    for number, node in enumerate(nodes):
        declare(node, Policy(messages_max=limit))
        for bucket, server in enumerate(serves):
            if server != number:
                node.replicas[bucket].enter(Role.BACKUP, node.now)
    taken = 0
    for number in range(30):
        bucket, many = data.draw(st.integers(0, 7)), data.draw(st.integers(1, 9))
        reply = submit(nodes[serves[bucket]], *range(number * 10, number * 10 + many), bucket=bucket)
        taken += many - len(reply.refused)
    standing = sum(replica.machine.count("jobs", State.READY) for number, node in enumerate(nodes)
                   for bucket, replica in enumerate(node.replicas) if serves[bucket] == number)
    assert taken == standing <= limit + len(nodes) - 1


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_every_node_takes_at_least_one_message_of_a_small_limit(limit: int) -> None:
    """A node that took none would refuse whoever asks it for ever."""
    node = Node(buckets=8)
    declare(node, Policy(messages_max=limit))
    for replica in node.replicas[1:]:
        replica.enter(Role.BACKUP, node.now)
    assert refused(submit(node, 1)) == [] and refused(submit(node, 2)) == [(0, Code.QUEUE_FULL)]
