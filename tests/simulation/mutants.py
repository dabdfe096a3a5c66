"""Planted faults: mistakes that the rules forbid, put into the product for the length of a run, and only from here.

Each names the rule that it breaks, and the checkers that may be the first to see it. They are methods put in the place
of others, in memory; nothing in the shipped code knows of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import pytest
from msgspec.structs import replace

from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.states import States
from tests.simulation.run import Outcome, run_seed
from tests.simulation.tuning import Sizes
from zmqueue.core.acceptor import Acceptor, Record
from zmqueue.core.backup import BackupSide
from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.desk import Desk
from zmqueue.core.endings import Endings
from zmqueue.core.intake import Intake
from zmqueue.core.ledger import Ledger
from zmqueue.core.machine import Machine
from zmqueue.core.operations import Returned, Settled, State, Submission
from zmqueue.core.packets import Ack, Append, Code, Confirmed, Entry, Refused, Snap
from zmqueue.core.primary import PrimarySide
from zmqueue.core.replication import Replica, Role
from zmqueue.core.snapshot import Staging
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Tables
from zmqueue.core.waiting import Answering, Waiter, Waiting

Plant = Callable[[pytest.MonkeyPatch], None]

CRASHED = "no exception"


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault."""

    name: str
    rule: str
    plant: Plant
    checkers: frozenset[str]               # of which one catches it
    deep: bool = False                     # it takes more seeds than a short run has

    def hunt(self, seeds: int, start: int = 0) -> tuple[int, Outcome] | None:
        """Run seeds with the fault until one is caught: (how many that took, what was found)."""
        for tried, seed in enumerate(range(start, start + seeds), 1):
            with pytest.MonkeyPatch.context() as patch:
                self.plant(patch)
                outcome = run_seed(seed)
            if not outcome.passed:
                return tried, outcome
        return None


# --- replication ------------------------------------------------------------------------------------------------------


def ack_before_disk(patch: pytest.MonkeyPatch) -> None:
    def ack(self: BackupSide, rid: int) -> None:
        copy = self._copy
        self._host.effects.send(self._primary, Ack(copy.bucket, self._term, self.verified, rid, copy.commit))
    patch.setattr(BackupSide, "_ack", ack)


def commit_alone(patch: pytest.MonkeyPatch) -> None:
    def evaluate(self: PrimarySide, now: float) -> None:
        if self._copy.own > self._copy.commit:
            self._copy.advance(self._copy.own, self._listener, now)
        self._listener.progressed(now)
    patch.setattr(PrimarySide, "evaluate", evaluate)


def cut_own_tail(patch: pytest.MonkeyPatch) -> None:
    honest = PrimarySide.__init__

    def begin(self: PrimarySide, host: object, copy: BucketCopy, *more: object) -> None:
        copy.create()
        if copy.end > copy.commit:
            copy.cut(copy.commit)
        honest(self, host, copy, *more)  # type: ignore[arg-type]
    patch.setattr(PrimarySide, "__init__", begin)


def everybody_is_primary(patch: pytest.MonkeyPatch) -> None:
    """A member of the in-sync set takes itself for the primary; nobody objects to another's acks."""
    honest = Replica._role_in

    def role_in(self: Replica, state: ClusterState) -> Role:
        role = honest(self, state)
        in_sync = self._host.number in state.in_sync[self.bucket]
        return Role.PRIMARY if role is Role.BACKUP and in_sync and state.epoch % 3 == 0 else role
    patch.setattr(Replica, "_role_in", role_in)
    commit_alone(patch)


def chunk_loses_a_row(patch: pytest.MonkeyPatch) -> None:
    honest = Staging.write

    def write(self: Staging, chunk: Snap) -> None:
        rows = [row for row in chunk.rows if row[2][-1:] != b"\x07"] if chunk.index else chunk.rows[:-1]
        honest(self, Snap(chunk.bucket, chunk.term, chunk.epoch, chunk.snapshot, chunk.index, chunk.last, chunk.seq,
                          chunk.seq_term, chunk.at, tuple(rows), chunk.rid))
    patch.setattr(Staging, "write", write)


def restart_resumes_its_term(patch: pytest.MonkeyPatch) -> None:
    """R2: a restarted node acts as the primary that its last life was."""
    def role_in(self: Replica, state: ClusterState) -> Role:
        me = state.member(self._host.number)
        if me is None:
            return Role.NONE
        if state.primary(self.bucket) == me.number:
            return Role.PRIMARY
        replica = me.number in state.in_sync[self.bucket] or me.number in state.desired(self.bucket)
        return Role.BACKUP if replica else Role.NONE
    patch.setattr(Replica, "_role_in", role_in)


def backup_commits_what_it_has(patch: pytest.MonkeyPatch) -> None:
    """R5: a backup commits all that it has verified, whatever the primary says of it."""
    honest = BackupSide.append

    def append(self: BackupSide, packet: Append, now: float) -> None:
        honest(self, replace(packet, commit=packet.prev_seq + len(packet.entries)), now)
    patch.setattr(BackupSide, "append", append)


def conflicts_are_kept(patch: pytest.MonkeyPatch) -> None:
    """R6: an entry of another term is taken for the primary's."""
    def take(self: BackupSide, prev_seq: int, entries: tuple[Entry, ...]) -> bool:
        fresh = entries[max(0, self._copy.end - prev_seq):]
        if fresh:
            self._copy.extend(fresh)
        return True
    patch.setattr(BackupSide, "_take", take)


def a_restart_forgets_the_last_entry(patch: pytest.MonkeyPatch) -> None:
    """A log opens one entry shorter than it is on the disk."""
    honest = BucketCopy.__init__

    def begin(self: BucketCopy, *more: object) -> None:
        honest(self, *more)  # type: ignore[arg-type]
        if self.log.end > self.commit:
            self.cut(self.log.end - 1)
    patch.setattr(BucketCopy, "__init__", begin)


# --- agreement --------------------------------------------------------------------------------------------------------


def forget_promises(patch: pytest.MonkeyPatch) -> None:
    def begin(self: Acceptor, tables: Tables) -> None:
        self._tables = tables
        self._record = Record(0)
    patch.setattr(Acceptor, "__init__", begin)


# --- queue ------------------------------------------------------------------------------------------------------------


def answer_before_commit(patch: pytest.MonkeyPatch) -> None:
    def add(self: Waiting, waiter: Waiter, now: float, *, seq: int = 0, rid: int | None = None,
            enough: bool = False) -> None:
        self._office.pending += 1
        self._committed(waiter, rid, enough, now)
    patch.setattr(Waiting, "add", add)


def read_without_barrier(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(PrimarySide, "readable", lambda self, rid: True)


def no_locks_from_the_tail(patch: pytest.MonkeyPatch) -> None:
    honest = Ledger.open

    def begin(self: Ledger) -> None:
        honest(self)
        self.locks.clear()
    patch.setattr(Ledger, "open", begin)


def dedup_forgets(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Intake, "_all_new", lambda self, ids: True)


def result_is_lost(patch: pytest.MonkeyPatch) -> None:
    honest = Machine._end

    def end(self: Machine, key: bytes, record: object, state: State, operation: Settled | Returned) -> None:
        record.result = b""  # type: ignore[attr-defined]
        honest(self, key, record, state, operation)  # type: ignore[arg-type]
    patch.setattr(Machine, "_end", end)


def a_replica_drops_a_row(patch: pytest.MonkeyPatch) -> None:
    """Every fifth row that ends goes missing, and each replica counts for itself."""
    patch.setattr(Sizes, "draw", staticmethod(lambda dice: Sizes()))       # no snapshot, which would show it sooner
    calls = [0]
    honest = Machine._end

    def end(self: Machine, key: bytes, record: object, state: State, operation: Settled | Returned) -> None:
        honest(self, key, record, state, operation)  # type: ignore[arg-type]
        calls[0] += 1
        if calls[0] % 5 == 0:
            self._ended.pop()
    patch.setattr(Machine, "_end", end)


def leases_never_expire(patch: pytest.MonkeyPatch) -> None:
    def tick(self: Desk, now: float) -> None:
        if self.serving:
            self.questions.tick(now)
    patch.setattr(Desk, "tick", tick)


def another_body(patch: pytest.MonkeyPatch) -> None:
    honest = Machine.submission

    def submission(self: Machine, message_id: bytes) -> Submission | None:
        found = honest(self, message_id)
        return None if found is None else Submission(found.id, found.payload[:-1], found.kind, found.priority)
    patch.setattr(Machine, "submission", submission)


def a_settle_is_confirmed_and_not_written(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Endings, "_settle", lambda self, settles, now: 0)


def what_is_refused_is_stored(patch: pytest.MonkeyPatch) -> None:
    honest, calls = Answering.done, [0]

    def done(self: Answering, now: float) -> None:
        calls[0] += 1
        if calls[0] % 9 == 0 and isinstance(self._packet, Confirmed):
            self._packet = Refused(self._packet.request, Code.QUEUE_FULL, "")
        honest(self, now)
    patch.setattr(Answering, "done", done)


def an_ended_row_is_lost(patch: pytest.MonkeyPatch) -> None:
    honest = Machine._settled

    def settled(self: Machine, operation: Settled) -> None:
        honest(self, operation)
        self._messages[:] = [row for row in self._messages if row[0][-1] % 4]
    patch.setattr(Machine, "_settled", settled)


def _mutant(plant: Plant, rule: str, *checkers: str, deep: bool = False) -> Mutant:
    return Mutant(plant.__name__, rule, plant, frozenset(checkers), deep)


MUTANTS = [
    _mutant(ack_before_disk, "R5", Logs.IN_SYNC),
    _mutant(commit_alone, "R11", Logs.IN_SYNC),
    _mutant(cut_own_tail, "R9", Logs.IN_SYNC, Logs.PREFIXES, Logs.ALARM),
    _mutant(everybody_is_primary, "R2", Logs.PRIMARY, Logs.IN_SYNC, Logs.PREFIXES),
    _mutant(backup_commits_what_it_has, "R5", Logs.PRIMARY),
    _mutant(conflicts_are_kept, "R6", Logs.PREFIXES, Logs.IN_SYNC, CRASHED),
    _mutant(a_restart_forgets_the_last_entry, "R18", Logs.ALARM, Logs.IN_SYNC, Logs.IDENTITY),
    _mutant(chunk_loses_a_row, "R12", Logs.SNAPSHOT),
    _mutant(restart_resumes_its_term, "R2", Logs.IDENTITY, Logs.IN_SYNC, Logs.PREFIXES, CRASHED, deep=True),
    _mutant(forget_promises, "C1", States.NAME),
    _mutant(answer_before_commit, "R11", Answers.DURABLE, Answers.LEASE, Answers.SETTLED, CRASHED),
    _mutant(read_without_barrier, "R10", Answers.LINEAR, deep=True),
    _mutant(no_locks_from_the_tail, "R9", Logs.DECISIONS, CRASHED),
    _mutant(dedup_forgets, "Q2", Logs.DECISIONS, CRASHED),
    _mutant(result_is_lost, "Q2", Answers.RESULT, Ending.LOST),
    _mutant(a_replica_drops_a_row, "R11", Ending.EQUAL, Logs.SNAPSHOT),
    _mutant(a_settle_is_confirmed_and_not_written, "R11", Answers.SETTLED),
    _mutant(what_is_refused_is_stored, "Q2", Ending.DEFINITE),
    _mutant(an_ended_row_is_lost, "R11", Ending.LOST, Answers.LINEAR, CRASHED),
    _mutant(leases_never_expire, "Q1", Ending.WHOLE),
    _mutant(another_body, "Q2", Answers.LEASE),
]
