"""Faults of schedules: ticks that fire twice, or never, or where they should not."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.ticks import Ticks
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core import fired, ticking
from zmqueue.core.operations import Fired
from zmqueue.core.steps import Steps
from zmqueue.core.ticking import Timekeeper


def ticks_are_not_written_down(patch: pytest.MonkeyPatch) -> None:
    """Only the primary's memory knows which tick was the last."""
    patch.setattr(fired, "apply", _nothing)


def _nothing(steps: Steps, operation: Fired) -> None:
    """The row is forgotten."""


def clocks_that_jump_back_fire_again(patch: pytest.MonkeyPatch) -> None:
    """The last tick counts only where it lies in the past."""
    rewrite(patch, Timekeeper, "_last", ("return max(entry.start,", "return min(self._office.wall,"))


def ticks_under_way_are_decided_again(patch: pytest.MonkeyPatch) -> None:
    """Nobody looks whether a decision about the entry waits for its commit."""
    rewrite(patch, Timekeeper, "_look", ("if schedule_lock(name) in self._ledger.locks:", "if False:"))
    rewrite(patch, Timekeeper, "_fire", (
        "if not ledger.locks.keys().isdisjoint((schedule_lock(name), unique_lock(entry.queue, _unique(name)))):",
        "if False:"), ("if not ledger.locks.keys().isdisjoint(ids):", "if False:"))


def what_was_missed_is_one_tick(patch: pytest.MonkeyPatch) -> None:
    """Of the ticks that passed, the last one fires, whatever the entry wants."""
    rewrite(patch, Timekeeper, "_due", ("entry.catch_up is CatchUp.ALL", "False"))


def intervals_count_from_the_last_tick_to_now(patch: pytest.MonkeyPatch) -> None:
    """A tick that fires late pushes the later ones back."""
    rewrite(patch, ticking, "last_tick", ("entry.start + (wall - entry.start) // entry.every * entry.every", "wall"))


TICKING = [
    mutant(ticks_are_not_written_down, "schedules", Ticks.ONCE),
    mutant(clocks_that_jump_back_fire_again, "schedules", Ticks.ONCE, deep=True),
    mutant(ticks_under_way_are_decided_again, "schedules", Ticks.ONCE),
    mutant(what_was_missed_is_one_tick, "schedules", Ticks.ALL),
    mutant(intervals_count_from_the_last_tick_to_now, "schedules", Ticks.REAL),
]
