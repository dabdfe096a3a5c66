"""Faults of snapshots, and of copies that are received, adopted and deleted (R12, R14)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.mutants.planting import mutant, rewrite
from tests.simulation.tuning import Sizes
from zmqueue.core.backup import BackupSide
from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.copies import Copies
from zmqueue.core.packets import Snap
from zmqueue.core.replication import Replica
from zmqueue.core.snapshot import Staging
from zmqueue.core.steps import Steps


def a_chunk_loses_a_row(patch: pytest.MonkeyPatch) -> None:
    """The last row of a snapshot's first chunk is not written."""
    honest = Staging.write

    def write(self: Staging, chunk: Snap) -> None:
        honest(self, chunk if chunk.index else replace(chunk, rows=chunk.rows[:-1]))
    patch.setattr(Staging, "write", write)


def snapshots_are_mixed(patch: pytest.MonkeyPatch) -> None:
    """A chunk goes on with the snapshot that is being gathered, of whichever one it is."""
    rewrite(patch, BackupSide, "snapshot", (
        "if staging is None or staging.id != chunk.snapshot:",
        "if staging is not None:\n        staging.id = chunk.snapshot\n    else:"))


def snapshots_are_acked_early(patch: pytest.MonkeyPatch) -> None:
    """A learner says that it holds what a snapshot holds when the first chunk has come."""
    rewrite(patch, BackupSide, "snapshot", (
        "staging.write(chunk)",
        "staging.write(chunk); self.verified = max(self.verified, chunk.seq); self._ack(chunk.rid)"))


def snapshots_go_back(patch: pytest.MonkeyPatch) -> None:
    """A learner takes a snapshot of less than what it has committed."""
    rewrite(patch, BackupSide, "snapshot", ("if chunk.seq <= self.verified:", "if False:"),
            ("if chunk.seq <= copy.commit:", "if False:"))
    rewrite(patch, BucketCopy, "adopt", ("position.base_seq == position.commit > self.commit", "True"))


def the_old_copy_is_dropped_first(patch: pytest.MonkeyPatch) -> None:
    """A learner deletes what it has when a snapshot begins, before the new copy is whole."""
    rewrite(patch, BackupSide, "_stage", (
        "self._staging = Staging(", "self._copy.give_up(self._copy.generation); self._staging = Staging("))


def half_received_copies_are_swept(patch: pytest.MonkeyPatch) -> None:
    """The sweep takes the rows of a copy that is being received."""
    rewrite(patch, Copies, "sweep", ("if copy not in self._receiving", ""), ("self._doomed.remove(copy)", "pass"))


def orphans_are_deleted(patch: pytest.MonkeyPatch) -> None:
    """A node deletes its copy when it is not desired any more, although it may be the only one with the bucket."""
    rewrite(patch, Replica, "_role_in", ("me.number in state.in_sync[self.bucket] or ", ""))
    rewrite(patch, Replica, "_note_need", (
        "and me.number not in in_sync and me.number not in desired\n", "and me.number not in desired\n"),
        ("and all(number in in_sync for number in desired)", ""))


def copies_are_deleted_early(patch: pytest.MonkeyPatch) -> None:
    """A copy that is not needed any more is deleted before all that are desired hold the bucket."""
    rewrite(patch, Replica, "_note_need", ("and all(number in in_sync for number in desired)", ""))


def a_replica_drops_a_row(patch: pytest.MonkeyPatch) -> None:
    """Every fifth row that ends goes missing, and each replica counts for itself."""
    patch.setattr(Sizes, "draw", staticmethod(lambda dice: Sizes()))       # no snapshot, which would show it sooner
    calls = [0]
    honest = Steps.end

    def end(self: Steps, *of_message: object) -> None:
        honest(self, *of_message)  # type: ignore[arg-type]
        calls[0] += 1
        if calls[0] % 5 == 0:
            self._ended.pop()
    patch.setattr(Steps, "end", end)


SNAPSHOTS = [
    mutant(a_chunk_loses_a_row, "R12", Logs.SNAPSHOT, Logs.ALARM, deep=True),
    mutant(snapshots_are_mixed, "R12", schedule="two_snapshots"),
    mutant(snapshots_are_acked_early, "R12", Logs.IN_SYNC, deep=True),
    mutant(snapshots_go_back, "R12", schedule="late_snapshot"),
    mutant(the_old_copy_is_dropped_first, "R12", Logs.DELETED, deep=True),
    mutant(half_received_copies_are_swept, "R12", Logs.SNAPSHOT, Ending.EQUAL, deep=True),
    mutant(orphans_are_deleted, "R14", Logs.IN_SYNC, Logs.DELETED, deep=True),
    mutant(copies_are_deleted_early, "R14", schedule="second_copy"),
    mutant(a_replica_drops_a_row, "R12", Ending.EQUAL, Logs.SNAPSHOT),
]
