"""A checker earns trust only by catching a planted fault: each one is shown to."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.states import States
from tests.simulation.mutants import MUTANTS, Mutant

SOON = 40
"""Seeds in which the faults that are tried here are caught; deeper ones are for long runs."""

SHALLOW = [mutant for mutant in MUTANTS if not mutant.deep]


@pytest.mark.parametrize("mutant", SHALLOW, ids=lambda mutant: mutant.name)
def test_a_planted_fault_is_caught_by_its_checker(mutant: Mutant) -> None:
    caught = mutant.hunt(SOON)
    assert caught is not None, f"{mutant.name} was not caught in {SOON} seeds"
    _, outcome = caught
    assert outcome.checker in mutant.checkers, f"{outcome.checker}: {outcome.what}"


def test_every_checker_has_a_fault_that_it_may_catch() -> None:
    names = {States.NAME, Logs.PREFIXES, Logs.PRIMARY, Logs.IN_SYNC, Logs.IDENTITY, Logs.DECISIONS, Logs.SNAPSHOT,
             Logs.ALARM, Answers.DURABLE, Answers.LINEAR, Answers.RESULT, Answers.LEASE, Answers.SETTLED,
             Ending.WHOLE, Ending.EQUAL, Ending.LOST, Ending.DEFINITE}
    assert names <= {checker for mutant in MUTANTS for checker in mutant.checkers}
