"""Schedules of agreement: nodes that only agree, with their packets and disks in the hand of the schedule."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.consensus_rig import World
from tests.core.test_directed_agreement import propose, value
from zmqueue.core.ballots import Accept, Accepted, Prepare, Promise


def round_zero_and_a_crash() -> None:
    """C1: the natural proposer sends round 0 to B and crashes before its own disk has it; then to C, another value."""
    world, a = World(3), 1
    for target, about in ((2, 3), (3, 2)):
        node = world[a]
        node.agreement._proposer.propose(node.state, a, value(node.state, about), world.now)
        node.flush()
        world.pass_on(Accept, a, target)
        world.sync(target)
        node.crash()
        world.lose()
        node.boot()


def vote_ahead() -> None:
    """C3: {1, 3} choose a state that only 1 learns of; 3 is asked for its vote in the instance after that one, and then
    for what it had accepted in the one before."""
    world = World(3)
    propose(world, 1, about=3)
    world.pass_on(Accept, 1, 3)
    world.sync(3)
    world.pass_on(Accepted, 3, 1)              # chosen; nobody else is told
    world.sync(1)
    world.lose()
    propose(world, 1, about=2)
    world.pass_on(Accept, 1, 3)                # of the next instance
    world.sync(3)
    world.lose()
    propose(world, 2, about=1)                 # 2 begins where 1 began
    for kind in (Prepare, Promise, Accept):
        world.pass_on(kind, 2, 3)
        world.sync(3)
        world.pass_on(kind, 3, 2)
        world.sync(2)


def late_accept() -> None:
    """A value of round 0 is slow on its way to 3, which has promised and accepted a later ballot of 2 meanwhile."""
    world = World(3)
    propose(world, 1, about=3)
    slow = world.taken(Accept, 1, 3)
    world.lose()
    propose(world, 2, about=1)
    for kind in (Prepare, Promise, Accept):
        world.pass_on(kind, 2, 3)
        world.sync(3)
        world.pass_on(kind, 3, 2)
        world.sync(2)                          # {2, 3} choose the value of 2
    world.bag = slow
    world.pass_on(Accept, 1, 3)
    world.sync(3)


SCHEDULES: dict[str, Callable[[], None]] = {
    "round_zero_and_a_crash": round_zero_and_a_crash,
    "vote_ahead": vote_ahead,
    "late_accept": late_accept,
}
