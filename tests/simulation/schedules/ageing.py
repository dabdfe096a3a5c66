"""Schedules of queues that age: nobody is passed over for ever, whatever comes back, and whoever is primary."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.counter import QUEUE, Counter
from tests.simulation.checkers import Violation
from zmqueue.core.operations import How, Options, Submission
from zmqueue.core.policies import Policy
from zmqueue.core.replication import Role
from zmqueue.core.requests import Submit

RULES = "each ageing of waiting outweighs one priority (Q12)"
AGEING_MS = 1_000
LATER = 50
"""Seconds in each of which two messages of a higher priority come, and one message is worked off."""


def _queue() -> Counter:
    return Counter(Policy(ageing_ms=AGEING_MS))


def _submit(node: Counter, number: int, priority: int) -> None:
    message = Submission(node.id_of(number), b"%d" % number, priority=priority)
    node.call(Submit(node.request(), 0, QUEUE, (message,)))


def _require_turn(node: Counter) -> None:
    """Message 1, of priority 0, waits since now; those that come have priority 9. It has its turn after those that
    come in the first 9 seconds, and before all others."""
    for number in range(2, 2 + LATER):
        _submit(node, number, 9)
        _submit(node, number + LATER, 9)
        node.pass_time(AGEING_MS / 1_000, step=0.5)
        (served,) = node.lease(1)
        if served == 1:
            break
        node.settle(served)
    if not 17 <= number - 2 <= 19:
        raise Violation(RULES, f"{number - 2} messages went before it; 18 came while 9 priorities outweighed its age")


def low_priority() -> None:
    """More of a high priority come than are worked off."""
    node = _queue()
    _submit(node, 1, 0)
    _require_turn(node)


def failed_long_ago() -> None:
    """The one that waits fails at once, and comes back: it is as old as it was."""
    node = _queue()
    _submit(node, 1, 0)
    node.lease(1)
    node.settle(1, How.NACK)
    _require_turn(node)


def aged_failover() -> None:
    """Another primary takes over while it waits."""
    node = _queue()
    _submit(node, 1, 0)
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.enter(Role.PRIMARY, node.now)
    _require_turn(node)


def pushy_submitter() -> None:
    """A submitter says where his messages stand."""
    node = _queue()
    _submit(node, 1, 0)
    message = Submission(node.id_of(2), b"2")
    node.call(Submit(node.request(), 0, QUEUE, (message,), ((0, Options(place=1)),)))
    if node.lease() != [1, 2]:
        raise Violation(RULES, "who says so himself goes first")


SCHEDULES: dict[str, Callable[[], None]] = {schedule.__name__: schedule for schedule in (
    low_priority, failed_long_ago, aged_failover, pushy_submitter)}
