"""Faults of what a bucket's primary takes in, hands out and ends, and of the machine behind it (Q2, Q3, R9, R11)."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.mutants.planting import CRASHED, mutant, rewrite
from zmqueue.core import intake
from zmqueue.core.answers import Code, Confirmed, Refused
from zmqueue.core.endings import Endings
from zmqueue.core.grants import Grants
from zmqueue.core.holdings import Holdings
from zmqueue.core.intake import Intake
from zmqueue.core.ledger import Ledger
from zmqueue.core.machine import Machine
from zmqueue.core.operations import Options, Settle, Settled, Submission
from zmqueue.core.state import ClusterState
from zmqueue.core.steps import Steps
from zmqueue.core.waiting import Answering, Waiting

# --- submits ----------------------------------------------------------------------------------------------------------


def answers_do_not_wait_for_the_commit(patch: pytest.MonkeyPatch) -> None:
    """What was asked for is answered when it is in the log, before any backup has it."""
    rewrite(patch, Waiting, "add", ("if seq > self.applied_seq:", "if False:"))


def ids_are_not_remembered(patch: pytest.MonkeyPatch) -> None:
    """Each submit is taken for a new one."""
    patch.setattr(Intake, "_all_new", lambda self, ids: True)


def the_row_of_what_is_done_is_lost(patch: pytest.MonkeyPatch) -> None:
    """The dedup row of a message goes when it is done: a repeated submit is stored again."""
    honest = Machine._settled

    def settled(self: Machine, operation: Settled) -> None:
        honest(self, operation)
        self._messages[:] = [row for row in self._messages if row[0][-1] % 4]
    patch.setattr(Machine, "_settled", settled)


def duplicates_are_answered_uncommitted(patch: pytest.MonkeyPatch) -> None:
    """A repeated submit is confirmed while the first one waits for its commit."""
    rewrite(patch, Intake, "_sort_out", ("return tuple(fresh.values()), last", "return tuple(fresh.values()), 0"))


def duplicates_do_not_need_enough_replicas(patch: pytest.MonkeyPatch) -> None:
    """What is stored already is confirmed whatever number of replicas holds it."""
    rewrite(patch, Intake, "submit", ("enough=len(faults) < len(packet.messages)", "enough=bool(messages)"))


def learners_are_enough(patch: pytest.MonkeyPatch) -> None:
    """Replicas that only catch up are counted where a submit needs enough in-sync ones."""
    rewrite(patch, ClusterState, "enough", ("len(self.in_sync[bucket])", "len(self.desired(bucket))"))


def confirmed_below_enough_replicas(patch: pytest.MonkeyPatch) -> None:
    """A submit is confirmed although the in-sync set has shrunk below what it needs meanwhile."""
    rewrite(patch, Waiting, "_passed", ("enough and not self._replica.enough", "False"))


def what_is_refused_is_stored(patch: pytest.MonkeyPatch) -> None:
    """Now and then a stored submit is refused, definitely."""
    honest, calls = Answering.done, [0]

    def done(self: Answering, now: float) -> None:
        calls[0] += 1
        if calls[0] % 9 == 0 and isinstance(self._packet, Confirmed):
            self._packet = Refused(self._packet.request, Code.QUEUE_FULL, "")
        honest(self, now)
    patch.setattr(Answering, "done", done)


def old_ids_are_taken(patch: pytest.MonkeyPatch) -> None:
    """An id whose row is forgotten is taken for a new one, however old it is."""
    patch.setattr(intake, "age_fault", lambda message_id, wall, settings: None)


# --- handing out ------------------------------------------------------------------------------------------------------


def another_body_is_handed_out(patch: pytest.MonkeyPatch) -> None:
    """The last byte of each payload is lost on the way to the worker."""
    honest = Machine.body

    def body(self: Machine, message_id: bytes) -> tuple[Submission, Options | None]:
        found, options = honest(self, message_id)
        return Submission(found.id, found.payload[:-1], found.kind, found.priority), options
    patch.setattr(Machine, "body", body)


def fencing_numbers_do_not_grow(patch: pytest.MonkeyPatch) -> None:
    """A message is handed out again under the number of its last lease."""
    rewrite(patch, Grants, "_grant", ("Grant(submission, fencing + 1,", "Grant(submission, fencing,"))
    rewrite(patch, Machine, "_leased", ("if fencing == 1 else", "if self.touched(message_id) is None else"),
            ("record.fencing == fencing - 1", "True"))


def deliveries_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """A message that kills every worker is handed out for ever."""
    rewrite(patch, Machine, "_begin", ("record.deliveries += 1", "record.deliveries += 0"))


def no_locks_from_the_tail(patch: pytest.MonkeyPatch) -> None:
    """A new primary does not look at what its inherited tail says of messages."""
    rewrite(patch, Ledger, "open", ("self.locks.update(", "dict().update("))


# --- settling ---------------------------------------------------------------------------------------------------------


def results_are_lost(patch: pytest.MonkeyPatch) -> None:
    """A message ends without its result."""
    rewrite(patch, Machine, "_settled", ("record.result, record.error = settle.kind, settle.data,",
                                         "record.result, record.error = settle.kind, b'',"))


def settles_are_confirmed_and_not_written(patch: pytest.MonkeyPatch) -> None:
    """A worker is told that its result is stored, and it is not."""
    patch.setattr(Endings, "_settle", lambda self, settles, now: 0)


def older_leases_are_honoured(patch: pytest.MonkeyPatch) -> None:
    """A worker whose lease was taken back settles the message that somebody else has leased by now."""
    rewrite(patch, Endings, "settle", ("holding is None or holding.fencing != settle.fencing", "holding is None"))
    rewrite(patch, Steps, "lease", ("and record.fencing == fencing", ""))


def results_are_overwritten(patch: pytest.MonkeyPatch) -> None:
    """Whoever settles a message that has ended already replaces its result."""
    def overwritten(self: Machine, key: bytes, crc: int, settle: Settle) -> bool:
        record = self.touched(settle.id)
        if record is None or not record.state.terminal:
            return False
        record.result = settle.data
        self.take(key, crc)
        self.give(key, record, crc)
        return True
    patch.setattr(Machine, "_overwritten", overwritten, raising=False)
    rewrite(patch, Machine, "_settled", (
        "record = self.release(",
        "if self._overwritten(key, crc, settle):\n            continue\n        record = self.release("))
    rewrite(patch, Endings, "settle", (
        "if late:\n", "if late := {index: late[index] for index in late if late[index]}:\n"))
    honest = Holdings.end
    patch.setattr(Holdings, "end", lambda self, message_id: self.get(message_id) and honest(self, message_id))


QUEUEING = [
    mutant(answers_do_not_wait_for_the_commit, "R11", Answers.DURABLE, Answers.LEASE, Answers.SETTLED),
    mutant(ids_are_not_remembered, "Q2", Logs.DECISIONS, CRASHED),
    mutant(the_row_of_what_is_done_is_lost, "Q3", Logs.DECISIONS, Ending.LOST, Answers.LINEAR),
    mutant(duplicates_are_answered_uncommitted, "R11", Answers.DURABLE),
    mutant(duplicates_do_not_need_enough_replicas, "R11", Answers.DURABLE),
    mutant(learners_are_enough, "R11", Answers.DURABLE),
    mutant(confirmed_below_enough_replicas, "R11", Answers.DURABLE),
    mutant(what_is_refused_is_stored, "Q2", Ending.DEFINITE),
    mutant(another_body_is_handed_out, "I6", Answers.LEASE),
    mutant(fencing_numbers_do_not_grow, "I6", Logs.DECISIONS),
    mutant(deliveries_are_not_counted, "I6", schedule="killing_message"),
    mutant(old_ids_are_taken, "Q3", schedule="old_id"),
    mutant(results_are_overwritten, "I6", schedule="second_settle"),
    mutant(no_locks_from_the_tail, "R9", Logs.DECISIONS, CRASHED),
    mutant(results_are_lost, "I6", Answers.RESULT, Ending.LOST),
    mutant(settles_are_confirmed_and_not_written, "I9", Answers.SETTLED),
    mutant(older_leases_are_honoured, "I6", Logs.DECISIONS, deep=True),
]
