"""Faults of the operator's tools, and of what nodes make of them (C12)."""

from __future__ import annotations

import pytest

from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core.changes import _Draft
from zmqueue.core.engine import Engine
from zmqueue.core.replication import Replica


def branches_are_kept(patch: pytest.MonkeyPatch) -> None:
    """A node whose bucket was adopted from another copy goes on with its own."""
    rewrite(patch, Replica, "_note_generation", ("copy.give_up(generation)", "copy.renew(generation)"))


def learners_of_a_branch_are_synced(patch: pytest.MonkeyPatch) -> None:
    """A change in the term that an adoption ends is taken, where it stands behind it in the same list."""
    rewrite(patch, _Draft, "_in_term", ("if any(bucket == adopted for adopted, _, _ in self.adopted):", "if False:"))


def newer_lineages_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """A node on a disk from before a recovery drops what the recovered cluster says, and waits for its majority."""
    rewrite(patch, Engine, "_meet", ("if lineage > state.lineage:", "if False:"))


DISASTERS = [
    mutant(branches_are_kept, "C12", schedule="lost_branch"),
    mutant(learners_of_a_branch_are_synced, "C12", schedule="synced_on_the_branch"),
    mutant(newer_lineages_are_ignored, "C12", schedule="old_disk"),
]
