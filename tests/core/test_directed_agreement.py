"""Schedules too deep for a random explorer, each shown to break agreement without the rule and to pass with it.

They are the directed schedules of the protocol's model (ballot_reuse, self_bypass, r0_twice: rule C1) on the
real classes. The planted faults are subclasses that leave out the proposer's way through its own acceptor.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.consensus_rig import Violation, World
from tests.core.test_state_changes import down
from zmqueue.core.agreement import Agreement
from zmqueue.core.ballots import Accept, Accepted, Nack, Prepare, Promise
from zmqueue.core.changes import Value, apply
from zmqueue.core.proposer import Proposer, _Proposal
from zmqueue.core.state import ClusterState, digest


def value(state: ClusterState, number: int) -> Value:
    changes = (down(state, number),)
    return Value(changes, digest(apply(state, changes)))


def plant(proposer: type[Proposer]) -> Callable[[Agreement], None]:
    def prepare(agreement: Agreement) -> None:
        agreement._proposer.__class__ = proposer
    return prepare


class AsksItselfLast(Proposer):
    """Asks all voters alike, itself too: others answer for a ballot that its own disk does not know."""

    def _begin_preparing(self, state: ClusterState, proposal: _Proposal) -> None:
        self._to_others(state, Prepare(proposal.e1, proposal.ballot))
        self._effects.send_durable(self._me, Prepare(proposal.e1, proposal.ballot))

    def _begin_accepting(self, state: ClusterState, proposal: _Proposal, value: Value, now: float) -> None:
        proposal.value, proposal.accepting = value, True
        self._to_others(state, Accept(proposal.e1, proposal.ballot, value))
        self._effects.send_durable(self._me, Accept(proposal.e1, proposal.ballot, value))


class BypassesItself(Proposer):
    """Writes its own acceptance over whatever its acceptor has promised meanwhile."""

    def _begin_accepting(self, state: ClusterState, proposal: _Proposal, value: Value, now: float) -> None:
        accepted = self._acceptor.accept(proposal.e1, proposal.ballot, value)
        if isinstance(accepted, Nack):
            record = self._acceptor.record(proposal.e1)
            self._acceptor._write(type(record)(proposal.e1, proposal.ballot, proposal.ballot, value))
            accepted = Accepted(proposal.e1, proposal.ballot)
        proposal.value, proposal.accepting = value, True
        self._to_others(state, Accept(proposal.e1, proposal.ballot, value))
        self._answer_myself(accepted)


class SendsRoundZeroFirst(Proposer):
    """Sends its Accept before its own acceptance is on disk."""

    def _begin_accepting(self, state: ClusterState, proposal: _Proposal, value: Value, now: float) -> None:
        proposal.value, proposal.accepting = value, True
        for member in state.members:
            if member.voter and member.id != self._me:
                self._effects.send(member.id, Accept(proposal.e1, proposal.ballot, value))


def propose(world: World, number: int, about: int) -> None:
    """Make a node propose to take another one down."""
    node = world[number]
    node.agreement._proposer.reset()
    node.agreement._proposer.propose(node.state, number, value(node.state, about), world.now)
    node.sync()


def ballot_reuse(world: World) -> None:
    """A proposes v1 and crashes after B has accepted; restarted, it proposes v2 to C. The Accept of v1 to C is slow."""
    a, b, c = 2, 1, 3
    propose(world, a, about=3)
    world.pass_on(Prepare, a, b)
    world.pass_on(Prepare, a, c)
    world.sync(b, c)
    world.pass_on(Promise, b, a)
    world.pass_on(Promise, c, a)
    world.sync(a)
    slow = world.taken(Accept, a, c)
    world.pass_on(Accept, a, b)
    world.sync(b)
    world[a].crash()
    world.lose()
    world[a].boot()
    propose(world, a, about=1)
    for kind in (Prepare, Accept):
        world.pass_on(kind, a, c)
        world.pass_on(kind, a, a)
        world.sync(c, a)
        world.pass_on(Promise, None, a)
        world.sync(a)
    world.bag = slow
    world.pass_on(Accept, a, c)
    world.sync(c)


def self_bypass(world: World) -> None:
    """A, in phase one of a low ballot, promises B a higher one; then the promises for its own ballot arrive."""
    a, b, c = 2, 3, 1
    propose(world, a, about=3)
    world.pass_on(Prepare, a, c)
    world.sync(c)
    promise_of_c = world.taken(Promise, c, a)
    world.lose()
    propose(world, b, about=1)
    world.pass_on(Prepare, b, a)
    world.sync(a)                                        # A has promised B's ballot, (1, 3) > (1, 2)
    world.pass_on(Promise, a, b)
    world.sync(b)                                        # B has its majority, and accepts its own value
    world.bag += promise_of_c
    world.pass_on(Promise, c, a)                         # A has its majority too
    world.sync(a)
    world.pass_on(Accept, b, a)
    world.sync(a)                                        # A accepts B's value: {A, B} chose it
    world.pass_on(Accept, a, c)
    world.sync(c)                                        # C accepts A's: {A, C} chose that


def r0_twice(world: World) -> None:
    """The natural proposer A sends round 0 to B, restarts, forgets, and uses round 0 again with C."""
    a = 1
    for target, about in ((2, 3), (3, 2)):
        propose(world, a, about)
        for kind in (Prepare, Accept):
            world.pass_on(kind, a, target)
            world.sync(target)
            world.pass_on(Promise, target, a)
            world.sync(a)
        world[a].crash()
        world.lose()
        world[a].boot()


SCHEDULES = {
    "ballot_reuse": (ballot_reuse, plant(AsksItselfLast)),
    "self_bypass": (self_bypass, plant(BypassesItself)),
    "r0_twice": (r0_twice, plant(SendsRoundZeroFirst)),
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_passes_with_the_rule(name: str) -> None:
    schedule, _ = SCHEDULES[name]
    schedule(World(3))


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_breaks_agreement_without_the_rule(name: str) -> None:
    schedule, fault = SCHEDULES[name]
    with pytest.raises(Violation):
        schedule(World(3, prepare=fault))
