"""Faults of agreement: what an acceptor forgets or does not look at, and what a proposer allows itself (C1 to C4)."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.states import States
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core.acceptor import Acceptor, Record
from zmqueue.core.agreement import Agreement
from zmqueue.core.ballots import Accepted, Ballot
from zmqueue.core.changes import Value
from zmqueue.core.effects import Effects
from zmqueue.core.proposer import Proposer
from zmqueue.core.state import ClusterState


def promises_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A restarted voter does not look at what it had promised and accepted."""
    rewrite(patch, Acceptor, "__init__", ("if data is None else", "if True else"))


def round_zero_is_used_twice(patch: pytest.MonkeyPatch) -> None:
    """Its owner uses round 0 with another value, although it has accepted one in it."""
    rewrite(patch, Proposer, "propose", ("record.blank", "record.promised[0] <= 0"))


def round_zero_has_no_owner(patch: pytest.MonkeyPatch) -> None:
    """Two proposers on the fast path: everybody skips phase one, and no acceptor minds."""
    rewrite(patch, Proposer, "propose", ("state.natural == number and record.blank", "record.blank"))
    rewrite(patch, Agreement, "_on_accept", ("packet.ballot[0] == 0 and", "False and"))


def accepted_values_are_not_adopted(patch: pytest.MonkeyPatch) -> None:
    """A proposer goes on with its own value, whatever its majority has accepted before."""
    rewrite(patch, Proposer, "promised",
            ("accepted if ballot > NO_BALLOT else proposal.value", "proposal.value or accepted"))


def half_is_a_quorum(patch: pytest.MonkeyPatch) -> None:
    """Half of the voters decide."""
    rewrite(patch, ClusterState, "quorum", ("len(self.voters) // 2 + 1", "(len(self.voters) + 1) // 2"))


def accepted_below_the_promise(patch: pytest.MonkeyPatch) -> None:
    """An acceptor takes a value in a ballot below the one that it has promised."""
    rewrite(patch, Acceptor, "accept", ("ballot < record.promised", "False"))


def acceptor_record_leaks(patch: pytest.MonkeyPatch) -> None:
    """What was accepted in one instance is taken for accepted in the next."""
    rewrite(patch, Acceptor, "record", ("self._record.epoch == e1", "True"))
    rewrite(patch, Acceptor, "clear", ("self._write(Record(0))", "pass"))


def votes_are_given_ahead(patch: pytest.MonkeyPatch) -> None:
    """A voter takes part in an instance whose first state it does not know, by the voters of an older one."""
    rewrite(patch, Agreement, "_in_instance", ("state is None or e1 > state.epoch + 1", "state is None"))


def everybody_votes(patch: pytest.MonkeyPatch) -> None:
    """The answers of members without a vote are counted, and they give them."""
    rewrite(patch, Agreement, "_voter", ("member is not None and member.voter", "member is not None"))
    rewrite(patch, Agreement, "_in_instance", ("if self.number in state.voters else None", ""))
    rewrite(patch, Proposer, "_to_others", ("member.voter and", ""))


def own_promise_is_bypassed(patch: pytest.MonkeyPatch) -> None:
    """A proposer writes its own acceptance over the higher ballot that it has promised meanwhile."""
    def write_over(self: Acceptor, e1: int, ballot: Ballot, value: Value) -> Accepted:
        self._write(Record(e1, ballot, ballot, value))
        return Accepted(e1, ballot)
    patch.setattr(Acceptor, "write_over", write_over, raising=False)
    rewrite(patch, Proposer, "_begin_accepting", ("self._acceptor.accept(", "self._acceptor.write_over("))


def own_promise_comes_last(patch: pytest.MonkeyPatch) -> None:
    """A proposer asks others for a ballot that its own disk does not know yet: after a restart it draws it again."""
    rewrite(patch, Proposer, "_begin_preparing", (
        "promise = self._acceptor.prepare(proposal.e1, proposal.ballot)",
        "promise = Promise(proposal.e1, proposal.ballot, NO_BALLOT, None)"),
        ("self._answer_myself(promise)",
         "self._effects.send_durable(self._me, Prepare(proposal.e1, proposal.ballot))"))
    rewrite(patch, Proposer, "_begin_accepting", (
        "accepted = self._acceptor.accept(proposal.e1, proposal.ballot, value)",
        "accepted = Accepted(proposal.e1, proposal.ballot)"),
        ("self._answer_myself(accepted)",
         "self._effects.send_durable(self._me, Accept(proposal.e1, proposal.ballot, value))"))


def own_acceptance_is_not_written(patch: pytest.MonkeyPatch) -> None:
    """The owner of round 0 does not pass through its own acceptor at all."""
    rewrite(patch, Proposer, "_begin_accepting", (
        "accepted = self._acceptor.accept(proposal.e1, proposal.ballot, value)",
        "accepted = Accepted(proposal.e1, proposal.ballot)"))


def own_acceptance_comes_last(patch: pytest.MonkeyPatch) -> None:
    """The owner of round 0 sends its value before its own acceptance is on its disk, and forgets it in a crash."""
    rewrite(patch, Proposer, "_to_others", ("send_durable(", "send("))


def states_are_used_before_they_are_on_disk(patch: pytest.MonkeyPatch) -> None:
    """What follows from a new state leaves the node before the state is on its disk."""
    rewrite(patch, Effects, "take", ("taken.hold, self.hold = self.hold, False", "self.hold = False"))


def promises_are_answered_at_once(patch: pytest.MonkeyPatch) -> None:
    """A voter answers before its promise, or what it accepted, is on its disk."""
    rewrite(patch, Agreement, "_reply", ("self.effects.send_durable(", "self.effects.send("))


CONSENSUS = [
    mutant(promises_are_forgotten, "C1", States.NAME, deep=True),
    mutant(round_zero_is_used_twice, "C1", States.NAME, deep=True),
    mutant(round_zero_has_no_owner, "C2", States.NAME, deep=True),
    mutant(accepted_values_are_not_adopted, "C1", States.NAME, deep=True),
    mutant(half_is_a_quorum, "C1", States.NAME),
    mutant(accepted_below_the_promise, "C1", schedule="late_accept"),
    mutant(acceptor_record_leaks, "C3", States.NAME, Ending.WHOLE),
    mutant(votes_are_given_ahead, "C3", schedule="vote_ahead"),
    mutant(everybody_votes, "C3", States.NAME),
    mutant(own_promise_is_bypassed, "C1", schedule="self_bypass"),
    mutant(own_acceptance_is_not_written, "C1", schedule="r0_twice"),
    mutant(own_acceptance_comes_last, "C1", schedule="round_zero_and_a_crash"),
    mutant(promises_are_answered_at_once, "C1", States.NAME),
    mutant(own_promise_comes_last, "C1", schedule="ballot_reuse"),
    mutant(states_are_used_before_they_are_on_disk, "C4", schedule="use_before_disk_by_engines"),
]
