"""Faults of reads: negative answers that a deposed or a new primary must not give (R9, R10)."""

from __future__ import annotations

import pytest

from tests.core import test_directed_replication as directed
from tests.simulation.checkers.answers import Answers
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core import primary
from zmqueue.core.parking import Parking
from zmqueue.core.primary import PrimarySide


def reads_pass_no_barrier(patch: pytest.MonkeyPatch) -> None:
    """A primary answers from what it has applied, whether it is primary still or not."""
    rewrite(patch, PrimarySide, "readable", ("if peer.counts)", "if False)"))


def reads_do_not_wait_for_the_tail(patch: pytest.MonkeyPatch) -> None:
    """A new primary answers before what it inherited is committed and applied."""
    rewrite(patch, PrimarySide, "readable", ("self._copy.commit >= self.tail and ", ""))


def barriers_are_answered_by_any(patch: pytest.MonkeyPatch) -> None:
    """One replica's answer is enough for a read."""
    rewrite(patch, PrimarySide, "readable", ("self.tail and all(", "self.tail and _any("))
    patch.setattr(primary, "_any", lambda answers: (lambda told: not told or any(told))(list(answers)),
                  raising=False)


def unapplied_submits_are_unknown(patch: pytest.MonkeyPatch) -> None:
    """A question after a message whose submit is in the log, and not applied, is answered with "unknown"."""
    rewrite(patch, Parking, "_look", ("if seq := self._ledger.locks.get(parked.ask.id):", "if seq := 0:"))


READS = [
    mutant(reads_pass_no_barrier, "R10", Answers.LINEAR, deep=True),
    mutant(reads_do_not_wait_for_the_tail, "R9", schedule="read_before_the_tail"),
    mutant(barriers_are_answered_by_any, "R10", schedule="read_with_one_answer"),
    mutant(unapplied_submits_are_unknown, "R10", schedule="question_before_the_commit"),
    mutant(directed.reads_do_not_wait_for_counted_learners, "R10", schedule="read_no_counted"),
]
