"""Faults of queues that age (Q12)."""

from __future__ import annotations

import pytest

from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core import ageing, choosing, intake
from zmqueue.core.desk import Desk
from zmqueue.core.steps import Steps


def nobody_ages(patch: pytest.MonkeyPatch) -> None:
    """The setting is agreed, and nobody looks at it."""
    rewrite(patch, choosing, "gives_options", (" or policy.ageing_ms", ""))
    patch.setattr(intake, "gives_options", choosing.gives_options)


def priorities_weigh_ten_times_as_much(patch: pytest.MonkeyPatch) -> None:
    """Seconds are taken for tenths."""
    rewrite(patch, ageing, "place_of", ("* ageing_ms", "* ageing_ms * 10"))
    patch.setattr(choosing, "place_of", ageing.place_of)


def who_fails_stands_by_priority_again(patch: pytest.MonkeyPatch) -> None:
    """What comes back is put where it would stand in a queue that does not age: in front of all who do."""
    rewrite(patch, Steps, "_ready_key", ("isinstance(record, Special) else 0",
                                         "isinstance(record, Special) and not record.failures else 0"))


def a_new_primary_lets_nobody_age(patch: pytest.MonkeyPatch) -> None:
    """Who takes over knows of no policies until one is declared anew."""
    honest = Desk.entered

    def entered(self: Desk, now: float) -> None:
        self._office.policies = {}
        honest(self, now)
    patch.setattr(Desk, "entered", entered)


def places_are_taken_from_who_submits(patch: pytest.MonkeyPatch) -> None:
    """What a submitter says of his place is believed."""
    rewrite(patch, choosing, "completed", ("place=place_of(", "place=options.place or place_of("))


AGEING = [
    mutant(nobody_ages, "Q12", schedule="low_priority"),
    mutant(priorities_weigh_ten_times_as_much, "Q12", schedule="low_priority"),
    mutant(who_fails_stands_by_priority_again, "Q12", schedule="failed_long_ago"),
    mutant(a_new_primary_lets_nobody_age, "Q12", schedule="aged_failover"),
    mutant(places_are_taken_from_who_submits, "Q12", schedule="pushy_submitter"),
]
