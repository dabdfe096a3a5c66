"""Faults of what a message may be told beside a plain submit: groups, keys, expiry, cancels."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.mutants.planting import CRASHED, mutant, rewrite
from zmqueue.core import groups
from zmqueue.core.machine import Machine


def groups_do_not_wait(patch: pytest.MonkeyPatch) -> None:
    """Whoever can run does, whatever others of his group do."""
    honest = groups.take_head
    patch.setattr(groups, "take_head", lambda *of_message: honest(*of_message) or True)


def the_next_of_a_group_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """The head of a group ends, and nobody takes its place."""
    patch.setattr(groups, "_go_on", lambda steps, place: None)


def keys_keep_nobody_out(patch: pytest.MonkeyPatch) -> None:
    """A message is taken although another one has its key."""
    patch.setattr(Machine, "holder", lambda self, unique, at: None)


def cancels_of_leased_ones_are_forgotten(patch: pytest.MonkeyPatch) -> None:
    """A cancelled message whose handler fails is tried again."""
    rewrite(patch, Machine, "_again", ("if _unwanted(record):", "if False:"))


def nothing_expires(patch: pytest.MonkeyPatch) -> None:
    """What came too late waits for ever: nobody gets it, and it does not end."""
    patch.setattr(Machine, "expiring", lambda self, wall, limit: [])


def dead_letters_keep_their_counts(patch: pytest.MonkeyPatch) -> None:
    """What is requeued dies of what was held against it before."""
    rewrite(patch, Machine, "_requeued", (
        "record.ended = record.forget = record.failures = record.losses = record.deliveries = 0",
        "record.ended = record.forget = 0"))


WISHES = [
    mutant(groups_do_not_wait, "group", Logs.DECISIONS, Ending.LOST, CRASHED),
    mutant(the_next_of_a_group_is_forgotten, "group", Ending.WHOLE, Ending.LOST, Logs.DECISIONS),
    mutant(keys_keep_nobody_out, "unique", Logs.DECISIONS),
    mutant(cancels_of_leased_ones_are_forgotten, "cancel", Logs.DECISIONS, Ending.LOST, Ending.WHOLE),
    mutant(nothing_expires, "expiry", Ending.WHOLE, deep=True),
    mutant(dead_letters_keep_their_counts, "requeue", Logs.DECISIONS, Ending.LOST, deep=True),
]
