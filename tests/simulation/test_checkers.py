"""A checker earns trust only by catching a planted fault: each one is shown to."""

from __future__ import annotations

import types
from functools import cached_property
from typing import cast

import pytest

from tests.simulation.bounds import RAN_AWAY
from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.rings import RingBook
from tests.simulation.checkers.sequential import LINEAR
from tests.simulation.checkers.states import States
from tests.simulation.checkers.steps import Steps
from tests.simulation.checkers.total_queue import TotalQueue
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.planting import CannotPlant, Mutant, of_the_planting, of_the_product, rewrite
from tests.simulation.planted import hunt
from zmqueue.core.acceptor import Acceptor

SOON = 12
"""Seeds in which the faults that are tried here are caught; the others are for long runs."""

SHALLOW = [mutant for mutant in MUTANTS if not mutant.deep and not mutant.schedule]


def named(mutant: Mutant) -> str:
    return mutant.name


@pytest.mark.parametrize("mutant", SHALLOW, ids=named)
def test_a_planted_fault_is_caught_by_its_checker(mutant: Mutant) -> None:
    assert hunt(mutant, SOON) is not None, f"{mutant.name} was not caught in {SOON} seeds"


class Recorder:
    """In the place of a MonkeyPatch: remembers what was put in the place of what."""

    def __init__(self) -> None:
        self.replaced: list[tuple[object, object]] = []
        self._patch = pytest.MonkeyPatch()

    def setattr(self, target: object, name: str, value: object, raising: bool = True) -> None:
        self.replaced.append((vars(target).get(name), value))
        self._patch.setattr(target, name, value, raising=raising)

    def undo(self) -> None:
        self._patch.undo()


def planted(mutant: Mutant) -> list[tuple[object, object]]:
    """What the fault replaces, and by what: planted, and taken out again."""
    recorder = Recorder()
    try:
        mutant.plant(cast("pytest.MonkeyPatch", recorder))
    finally:
        recorder.undo()
    return recorder.replaced


@pytest.mark.parametrize("mutant", MUTANTS, ids=named)
def test_a_planted_fault_changes_what_it_is_about_and_leaves_no_trace(mutant: Mutant) -> None:
    first, again = planted(mutant), planted(mutant)
    assert first
    assert all(code_of(before) != code_of(after) for before, after in first)
    assert [before for before, _ in first] == [before for before, _ in again]


def test_every_checker_has_a_fault_that_it_may_catch() -> None:
    names = {value for book in (States, Steps, RingBook, Logs, Answers, Ending, TotalQueue)
             for name, value in vars(book).items() if name.isupper()} | {LINEAR, RAN_AWAY}
    assert names <= {checker for mutant in MUTANTS for checker in mutant.checkers}


def test_faults_have_names_of_their_own_and_more_than_forty_are_planted() -> None:
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS) >= 46


def test_words_that_are_not_there_cannot_be_planted(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CannotPlant, match=r"Acceptor\.accept has 0 times"):
        rewrite(monkeypatch, Acceptor, "accept", ("no such words", ""))


def test_only_an_assertion_of_the_product_counts_as_its_own_finding() -> None:
    product = 'AssertionError(\'x\')\nTraceback ...\n  File "/a/zmqueue/core/machine.py", line 1, in apply\n'
    planted = 'AssertionError(\'x\')\nTraceback ...\n  File "<Machine._leased with a fault>", line 1, in _leased\n'
    assert of_the_product(product)
    assert not of_the_product(planted)
    assert not of_the_product(product.replace("AssertionError", "TypeError"))
    assert of_the_planting(planted) and of_the_planting(product.replace("AssertionError", "TypeError"))
    assert not of_the_planting(product)


def code_of(found: object) -> object:
    """What tells one function from another: what it does, and not what it is called."""
    match found:
        case property(fget=function) | cached_property(func=function):
            return code_of(function)
        case staticmethod() | classmethod():
            return code_of(found.__func__)
        case types.FunctionType(__code__=code):
            return code.co_code, code.co_consts, code.co_names, code.co_freevars
        case _:
            return found
