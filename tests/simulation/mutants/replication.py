"""Faults of one bucket's replication: what a primary counts, and what a backup takes and says (R1 to R8, R11, R16)."""

from __future__ import annotations

import pytest

from tests.core import test_directed_replication as directed
from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.mutants.planting import CRASHED, mutant, rewrite
from zmqueue.core import primary
from zmqueue.core.backup import BackupSide
from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.counting import Counting
from zmqueue.core.primary import PrimarySide
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import ClusterState

# --- what is counted --------------------------------------------------------------------------------------------------


def acks_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    """A backup acks what is not on its disk yet."""
    rewrite(patch, BackupSide, "_ack", ("self.verified <= self._copy.own", "True"))


def own_disk_is_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """The primary counts itself for what is only in its memory: it answers before its fsync."""
    rewrite(patch, PrimarySide, "evaluate", ("commit = self._copy.own", "commit = self._copy.end"))
    rewrite(patch, PrimarySide, "flush", (
        "self._counting.appended(now)", "self._counting.appended(now); self.evaluate(now)"))


def backups_are_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """The primary commits what is on its own disk."""
    rewrite(patch, PrimarySide, "evaluate", ("if peer.counts:", "if False:"))


def a_majority_commits(patch: pytest.MonkeyPatch) -> None:
    """An entry is committed when most of those who count have it."""
    def committed(side: PrimarySide) -> int:
        held = sorted([side._copy.own, *(peer.match or 0 for peer in side.peers.values() if peer.counts)])
        return held[(len(held) - 1) // 2]
    patch.setattr(primary, "committed", committed, raising=False)
    rewrite(patch, PrimarySide, "evaluate", ("commit = self._copy.own", "commit = committed(self)"),
            ("if peer.counts:", "if False:"))


def counted_learners_are_not_waited_for(patch: pytest.MonkeyPatch) -> None:
    """A learner is counted too late: commits go on without it until it is in-sync."""
    rewrite(patch, PrimarySide, "evaluate", ("if peer.counts:", "if peer.in_sync:"))


def asked_learners_are_uncounted(patch: pytest.MonkeyPatch) -> None:
    """A learner for which ReplicaSynced was asked is counted no more when it is late."""
    rewrite(patch, Counting, "tick", ("if not peer.in_sync and not peer.asked:", "if not peer.in_sync:"))
    rewrite(patch, Counting, "_learner", (
        "peer.need = peer.match = peer.close_since = None",
        "peer.need = peer.match = peer.close_since = None; peer.asked = False"))


def synced_before_it_holds_the_tail(patch: pytest.MonkeyPatch) -> None:
    """ReplicaSynced is asked for as soon as the learner answers, whatever it holds."""
    rewrite(patch, Counting, "_learner", ("peer.need = self._copy.end ", "peer.need = 0 "))


def nothing_is_evaluated_at_the_start(patch: pytest.MonkeyPatch) -> None:
    """The commit rule is looked at only when an ack comes or a batch is on disk: what a sole primary inherits waits."""
    rewrite(patch, Replica, "_begin", ("self._side.evaluate(now)", "pass"))
    rewrite(patch, PrimarySide, "tick", ("self.evaluate(now)", "pass"))


# --- terms ------------------------------------------------------------------------------------------------------------


def terms_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    """Packets of other terms are taken as if they were of this one, whoever is primary in them."""
    rewrite(patch, Replica, "handle", ("if packet.term != self.term:", "if False:"),
            ("if side is None or sender != self.state.primary(self.bucket):", "if side is None:"))


def acks_of_other_terms_count(patch: pytest.MonkeyPatch) -> None:
    """A primary takes an Ack of an earlier term for one of its own."""
    rewrite(patch, Replica, "handle", ("if packet.term != self.term:",
                                       "if packet.term != self.term and not isinstance(packet, Ack):"))


def a_restart_resumes_its_term(patch: pytest.MonkeyPatch) -> None:
    """A restarted node acts as the primary that its last life was."""
    rewrite(patch, Replica, "_role_in", ("and me.incarnation == self._host.incarnation", ""))


def everybody_in_sync_is_primary(patch: pytest.MonkeyPatch) -> None:
    """Now and then a member of the in-sync set takes itself for the primary, and waits for nobody."""
    honest = Replica._role_in

    def role_in(self: Replica, state: ClusterState) -> Role:
        role = honest(self, state)
        in_sync = self._host.number in state.in_sync[self.bucket]
        return Role.PRIMARY if role is Role.BACKUP and in_sync and state.epoch % 3 == 0 else role
    patch.setattr(Replica, "_role_in", role_in)
    backups_are_not_waited_for(patch)


# --- the log ----------------------------------------------------------------------------------------------------------


def the_entry_before_is_not_checked(patch: pytest.MonkeyPatch) -> None:
    """A backup adds entries at the end of its log, whatever they should follow."""
    rewrite(patch, BackupSide, "append", (
        "packet.prev_seq > copy.commit and log.term_at(packet.prev_seq) != packet.prev_term",
        "packet.prev_seq > copy.end"))


def acks_name_the_end_of_the_log(patch: pytest.MonkeyPatch) -> None:
    """An Ack says where the log ends, and not how far it was compared with the primary's in this term."""
    rewrite(patch, BackupSide, "append", (
        "self.verified = max(self.verified, packet.prev_seq + len(packet.entries))",
        "self.verified = max(self.verified, copy.end)"))


def backups_commit_what_they_have(patch: pytest.MonkeyPatch) -> None:
    """A backup applies entries that the primary has not committed."""
    rewrite(patch, BackupSide, "append", ("commit = min(packet.commit, self.verified)", "commit = self.verified"))


def backups_commit_an_old_tail(patch: pytest.MonkeyPatch) -> None:
    """A backup commits what the primary has committed without having compared its own log so far."""
    rewrite(patch, BackupSide, "append", ("commit = min(packet.commit, self.verified)",
                                          "commit = min(packet.commit, copy.end)"))


def conflicts_are_kept(patch: pytest.MonkeyPatch) -> None:
    """An entry of another term is taken for the primary's."""
    rewrite(patch, BackupSide, "_take", ("elif log.term_at(seq) != entry[0]:", "elif False:"))


def a_new_primary_cuts_its_tail(patch: pytest.MonkeyPatch) -> None:
    """A new primary drops what it has not committed."""
    rewrite(patch, PrimarySide, "__init__", (
        "self.tail = copy.end ", "copy.cut(copy.commit); self.tail = copy.end "))


def a_log_opens_one_entry_short(patch: pytest.MonkeyPatch) -> None:
    """A restarted node does not find the last entry that it had on its disk."""
    rewrite(patch, BucketCopy, "__init__", (
        "self.own = self._flushed = self.log.end ",
        "self.own = self._flushed = self.log.end; self.end > self.commit and self.cut(self.end - 1) "))


def replicas_resume_at_their_commit(patch: pytest.MonkeyPatch) -> None:
    """After a refusal a replica gets the log from its own commit index on, which may be compacted away."""
    rewrite(patch, PrimarySide, "_resume", ("peer.resume(max(start, peer.match or 0))", "peer.resume(packet.commit)"))


def entries_and_position_part_ways(patch: pytest.MonkeyPatch) -> None:
    """What is applied and the position that says so are written in two transactions."""
    rewrite(patch, BucketCopy, "flush", ("self.save()", "pass"))
    rewrite(patch, BucketCopy, "durable", ("self.own = self._flushed", "self.save(); self.own = self._flushed"))


REPLICATION = [
    mutant(acks_before_the_disk, "R5", Logs.IN_SYNC),
    mutant(own_disk_is_not_waited_for, "R8", Logs.IN_SYNC, Answers.DURABLE),
    mutant(backups_are_not_waited_for, "R11", Logs.IN_SYNC),
    mutant(a_majority_commits, "R11", Logs.IN_SYNC),
    mutant(counted_learners_are_not_waited_for, "R3", Logs.IN_SYNC, deep=True),
    mutant(asked_learners_are_uncounted, "R3", schedule="uncount"),
    mutant(synced_before_it_holds_the_tail, "R4", Logs.IN_SYNC, deep=True),
    mutant(nothing_is_evaluated_at_the_start, "R16", schedule="tail_of_one"),
    mutant(terms_are_not_checked, "R7", Logs.ALARM, Logs.IN_SYNC, Logs.PREFIXES, Logs.PRIMARY, Logs.IDENTITY,
           deep=True),
    mutant(acks_of_other_terms_count, "R7", schedule="late_ack"),
    mutant(a_restart_resumes_its_term, "R2", schedule="resumed_term"),
    mutant(everybody_in_sync_is_primary, "R2", Logs.PRIMARY, Logs.IN_SYNC, Logs.PREFIXES),
    mutant(the_entry_before_is_not_checked, "R5", Logs.IN_SYNC, Logs.PREFIXES, deep=True),
    mutant(acks_name_the_end_of_the_log, "R5", Logs.IN_SYNC, Logs.PREFIXES, deep=True),
    mutant(backups_commit_what_they_have, "R5", Logs.PRIMARY),
    mutant(backups_commit_an_old_tail, "R5", schedule="old_tail"),
    mutant(conflicts_are_kept, "R6", Logs.PREFIXES, Logs.IN_SYNC, deep=True),
    mutant(a_new_primary_cuts_its_tail, "R9", Logs.IN_SYNC, Logs.PREFIXES, Logs.ALARM, deep=True),
    mutant(a_log_opens_one_entry_short, "R18", Logs.ALARM, Logs.IN_SYNC, Logs.IDENTITY, deep=True),
    mutant(replicas_resume_at_their_commit, "R13", schedule="nak_below_the_floor"),
    mutant(entries_and_position_part_ways, "R18", Ending.EQUAL, Logs.IN_SYNC, CRASHED),
    mutant(directed.synced_at_the_commit_index, "R4", schedule="sync_at_commit"),
    mutant(directed.matches_are_carried_over, "R7", schedule="carry_match"),
    mutant(directed.copies_are_deleted_at_once_in_a_term_that_only_in_sync_sets_end, "R1", schedule="stale_copy"),
]
