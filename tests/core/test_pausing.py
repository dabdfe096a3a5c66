"""A paused queue hands out nothing; it takes submits, and what is leased is settled as ever."""

from __future__ import annotations

import pytest

from tests.core.fakes import Node
from tests.core.test_front import A, B, fill, held, hinted, keep, lease, message, watch
from zmqueue.core import policies
from zmqueue.core.answers import Confirmed, QueuesReply
from zmqueue.core.changes import QueueDeclared, apply
from zmqueue.core.operations import Settle, State
from zmqueue.core.policies import Policy
from zmqueue.core.replication import Role
from zmqueue.core.requests import Ask, Extend, GetQueues, Settling


def declare(node: Node, policy: Policy, queue: str = "jobs") -> None:
    """The node installs a state in which the queue has that policy."""
    change = QueueDeclared(queue, node.state.declared_since(queue), policies.encode(policy))
    node.state = apply(node.state, [change])
    node.front.agreed(node.state)


@pytest.fixture
def node() -> Node:
    """Three messages wait, and the queue is paused."""
    made = Node()
    fill(made, 1, 2, 3)
    declare(made, Policy(paused=True))
    return made


def test_a_paused_queue_hands_out_nothing(node: Node) -> None:
    granted = lease(node)
    assert granted.grants == () and not granted.more
    fill(node, 11, queue="other")
    assert len(lease(node, number=2, queue="other").grants) == 1, "other queues are not paused"


def test_nobody_is_told_of_a_paused_queue(node: Node) -> None:
    watch(node, A, "jobs")
    fill(node, 4)
    node.pass_time(1.0)
    assert hinted(node, A) == [False]


def test_resumed_its_watchers_are_told_at_once(node: Node) -> None:
    watch(node, A, "jobs")
    watch(node, B, "jobs")
    declare(node, Policy())
    assert hinted(node, A, B) == [True, True]
    assert len(lease(node).grants) == 3


def test_another_change_of_its_policy_does_not_resume_it(node: Node) -> None:
    watch(node, A, "jobs")
    declare(node, Policy(paused=True, attempts=3))
    node.pass_time(1.0)
    assert hinted(node, A) == [False] and not lease(node).grants


def test_a_paused_queue_takes_submits(node: Node) -> None:
    fill(node, 4, 5)
    reply = node.call(GetQueues(1))
    assert isinstance(reply, QueuesReply) and reply.queues[0].ready == 5


def test_what_was_leased_before_is_renewed_and_settled(node: Node) -> None:
    declare(node, Policy())
    granted = lease(node, most=2).grants
    declare(node, Policy(paused=True))
    assert keep(node, granted, upto=1).lost == ()
    assert node.call(Extend(1, 0, held(granted), 60_000)) == Confirmed(1)
    settles = tuple(Settle(grant.submission.id, grant.fencing) for grant in granted)
    assert node.call(Settling(2, 0, settles)) == Confirmed(2)
    assert not lease(node, number=2).grants


def test_a_lease_that_ends_in_a_paused_queue_waits_with_the_others(node: Node) -> None:
    declare(node, Policy())
    lease(node, most=1)
    declare(node, Policy(paused=True))
    node.pass_time(node.state.settings.session_ms / 1_000 + 1.0)
    reply = node.call(GetQueues(1))
    assert isinstance(reply, QueuesReply) and (reply.queues[0].ready, reply.queues[0].leased) == (3, 0)
    assert not lease(node, B).grants


def test_a_repeat_of_a_request_is_answered_with_what_it_was_granted_before_the_pause(node: Node) -> None:
    """Its answer was lost (Q5): the worker holds these leases."""
    declare(node, Policy())
    granted = lease(node, most=2)
    declare(node, Policy(paused=True))
    assert lease(node, most=2).grants == granted.grants


def test_a_new_primary_knows_of_the_pause(node: Node) -> None:
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.enter(Role.PRIMARY, node.now)
    node.settle_down()
    assert not lease(node).grants
    answer = node.call(Ask(1, 0, message(node, 1).id, 0, False))
    assert getattr(answer, "state", None) == State.READY
