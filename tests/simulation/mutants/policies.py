"""Faults of what is agreed for queues (C8), and of those who go by it."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.pauses import Pauses
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core.changes import _Draft
from zmqueue.core.desk import Desk
from zmqueue.core.front import Front
from zmqueue.core.grants import Grants


def paused_queues_hand_out(patch: pytest.MonkeyPatch) -> None:
    """A pause is agreed, and whoever hands out does not look."""
    rewrite(patch, Grants, "available", (".paused:", ".halt:"))


def policies_of_the_first_state(patch: pytest.MonkeyPatch) -> None:
    """A node goes by the policies of the state with which it started."""
    rewrite(patch, Front, "agreed", ("self.office.policies = state.policies",
                                     "self.office.policies = before or state.policies"))


def pauses_end_with_the_term(patch: pytest.MonkeyPatch) -> None:
    """Who becomes primary begins with the policies that a new cluster has."""
    honest = Desk.entered

    def entered(self: Desk, now: float) -> None:
        self._office.policies = {}
        honest(self, now)
    patch.setattr(Desk, "entered", entered)


def resumed_queues_wake_nobody(patch: pytest.MonkeyPatch) -> None:
    """Who watches a queue that is resumed waits until it is looked at again."""
    rewrite(patch, Front, "agreed", ("if policy.paused and not", "if not policy.paused and not"))


def withdrawals_leave_no_trace(patch: pytest.MonkeyPatch) -> None:
    """A queue without a declaration is named alike before and after one was withdrawn."""
    rewrite(patch, _Draft, "fold", ("self.removed = self.epoch", "self.removed = 0"))


def declarations_do_not_look_at_the_one_before(patch: pytest.MonkeyPatch) -> None:
    """A word about a queue holds, whatever was agreed since it was looked at."""
    rewrite(patch, _Draft, "_declared", ("self._since(name) != change.since", "False"))


POLICIES = [
    mutant(paused_queues_hand_out, "C8", Pauses.GRANTED),
    mutant(policies_of_the_first_state, "C8", Pauses.GRANTED, Ending.WHOLE),
    mutant(pauses_end_with_the_term, "C8", schedule="paused_failover"),
    mutant(resumed_queues_wake_nobody, "C8", schedule="resumed_watchers"),
    mutant(withdrawals_leave_no_trace, "C8", schedule="late_declaration"),
    mutant(declarations_do_not_look_at_the_one_before, "C8", schedule="second_operator"),
]
