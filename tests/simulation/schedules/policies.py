"""Schedules of what is agreed for queues: a pause and a failover, who is told of its end, words that come late."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.fakes import Node
from tests.core.test_front import A, B, fill, hinted, lease, watch
from tests.core.test_pausing import declare
from tests.core.test_state_changes import cluster
from tests.simulation.checkers import Violation
from zmqueue.core import policies
from zmqueue.core.changes import QueueDeclared, QueueRemoved, apply
from zmqueue.core.policies import Policy
from zmqueue.core.replication import Role

RULES = "what is agreed for a queue holds"


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(RULES, what)


def paused_failover() -> None:
    """A queue is paused while messages wait; another node takes over, and workers ask it."""
    node = Node()
    fill(node, 1, 2)
    declare(node, Policy(paused=True))
    require(not lease(node, A).grants, "a paused queue hands out")
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.enter(Role.PRIMARY, node.now)
    node.pass_time(1.0)
    require(not lease(node, B).grants, "a new primary hands out of a paused queue")


def resumed_watchers() -> None:
    """Workers wait for a paused queue; what they are told of its end, they are told at once."""
    node = Node()
    fill(node, 1, 2)
    declare(node, Policy(paused=True))
    for session in (A, B):
        watch(node, session, "jobs")
    node.pass_time(1.0)
    require(hinted(node, A, B) == [False, False], "somebody is told of a paused queue")
    declare(node, Policy())
    require(hinted(node, A, B) == [True, True], "those who wait are not told that the queue is resumed")


def late_declaration() -> None:
    """A queue is declared, and withdrawn; then the word that declared it comes again: two nodes wanted it."""
    state = cluster(3)
    word = QueueDeclared("jobs", state.declared_since("jobs"), policies.encode(Policy(paused=True)))
    state = apply(state, [word])
    state = apply(state, [QueueRemoved("jobs", state.declared_since("jobs"))])
    require(not apply(state, [word]).policy("jobs").paused, "what was withdrawn comes again")


def second_operator() -> None:
    """Two operators look at the same state; what the first one had agreed is not what the second one knows."""
    state = cluster(3)
    since = state.declared_since("jobs")
    state = apply(state, [QueueDeclared("jobs", since, policies.encode(Policy(paused=True)))])
    state = apply(state, [QueueDeclared("jobs", since, policies.encode(Policy(attempts=3)))])
    require(state.policy("jobs").paused, "a word about a state that is over undoes another operator's")


SCHEDULES: dict[str, Callable[[], None]] = {schedule.__name__: schedule for schedule in (
    paused_failover, resumed_watchers, late_declaration, second_operator)}
