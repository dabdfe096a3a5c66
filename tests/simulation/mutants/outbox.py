"""Faults of the outbox: what a settle queues comes twice, too early, in pieces, or not at all (Q4)."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.parcels import Parcels
from tests.simulation.mutants.planting import CRASHED, mutant, rewrite
from zmqueue.core import joins, outbox, reception
from zmqueue.core.endings import Endings
from zmqueue.core.forwarding import Post, Sending
from zmqueue.core.ids import bucket_of
from zmqueue.core.ledger import Ledger
from zmqueue.core.operations import Settle, Submitted
from zmqueue.core.packets import Forward
from zmqueue.core.reception import Reception

TWO_ENTRIES = """\
for batch in picking.batches:
        more = _Submitted(operation.at, batch.queue, batch.messages, batch.options)
        seq = ledger.append(more, messages_of(more), now)
    self._answer(node, packet, next_number - 1, now, refusal, seq, size)"""


def numbers_are_not_checked(patch: pytest.MonkeyPatch) -> None:
    """A bucket takes whatever another one sends, whether it has taken it already or not."""
    rewrite(patch, Reception, "take", (
        "last = outbox.last_taken(machine.tables, machine.copy, *link)", "last = packet.first - 1"))
    rewrite(patch, outbox, "taken", ("number + operation.skipped + 1 == operation.first <= operation.last", "True"))


def deleted_before_the_target_has_it(patch: pytest.MonkeyPatch) -> None:
    """The target answers when what it took is in its log, before any backup has it."""
    rewrite(patch, Reception, "_take", ("now, refusal, seq, size)", "now, refusal, 0, size)"))


def what_is_not_committed_is_forwarded(patch: pytest.MonkeyPatch) -> None:
    """What a settle carries leaves when the settle is in the log."""
    posts: dict[Ledger, Post] = {}
    honest_init, honest_settle = Sending.__init__, Endings._settle

    def init(self: Sending, ledger: Ledger, post: Post) -> None:
        honest_init(self, ledger, post)
        posts[ledger] = post

    def settle(self: Endings, settles: tuple[Settle, ...], now: float) -> int:
        seq, ledger = honest_settle(self, settles, now), self._ledger
        machine, post, generation = ledger.machine, posts[ledger], ledger.replica.generation
        for parcel in [parcel for each in settles for parcel in each.then]:
            target = bucket_of(parcel.message.id, self._office.settings.buckets)
            number = outbox.last_sent(machine.tables, machine.copy, (target, generation)) + 1
            post.send(post.primary(target), Forward(ledger.bucket, generation, target, 0, 1, number, (parcel,)))
        return seq
    patch.setattr(Sending, "__init__", init)
    patch.setattr(Endings, "_settle", settle)


def number_and_messages_are_two_entries(patch: pytest.MonkeyPatch) -> None:
    """A bucket that takes messages writes down that it has taken them, and then what they are."""
    rewrite(patch, Reception, "_take",
            ("tuple(picking.batches), arrived, skipped)", "(), arrived, skipped)"),
            ("self._answer(node, packet, next_number - 1, now, refusal, seq, size)", TWO_ENTRIES))
    patch.setattr(reception, "_Submitted", Submitted, raising=False)


def what_is_being_taken_is_taken_again(patch: pytest.MonkeyPatch) -> None:
    """A bucket looks at what it has applied, and not at what stands in its log above that (R9)."""
    rewrite(patch, Reception, "take", (
        "ledger.locked_until([taken_lock(*link), *self._names(parcels)])", "ledger.locked_until([])"))


def what_is_refused_is_thrown_away(patch: pytest.MonkeyPatch) -> None:
    """Whatever a bucket does not take now is not sent to it again."""
    rewrite(patch, Sending, "told", (
        "line.upto = min(packet.last, line.last)", "line.upto = line.last if packet.code else packet.last"))


def repeats_go_on_where_they_were(patch: pytest.MonkeyPatch) -> None:
    """What had no answer is taken for delivered when its time is over."""
    rewrite(patch, Sending, "tick", (
        "self._landed(line)", "line.upto = line.sent\n            self._landed(line)"))


def word_is_counted_twice(patch: pytest.MonkeyPatch) -> None:
    """A join counts words, and not the parts that they are about."""
    rewrite(patch, joins, "arrived", ("place = keys.awaited_key(prefix, join, part)", """\
found = steps.tables.scan(Table.LINKS, *span(keys.awaited_prefix(prefix, join)), 1)
    place = found[0][0] if found else keys.awaited_key(prefix, join, part)"""))


def word_is_lost(patch: pytest.MonkeyPatch) -> None:
    """Now and then a join does not hear of a part that is done."""
    rewrite(patch, joins, "arrived", (
        "if steps.tables.get(Table.LINKS, place) is None:",
        "if steps.tables.get(Table.LINKS, place) is None or part[-1] % 4 == 0:"))


OUTBOX = [
    mutant(numbers_are_not_checked, "Q4", Parcels.ONCE, Logs.DECISIONS),
    mutant(deleted_before_the_target_has_it, "Q4", Parcels.KEPT, Parcels.ONCE),
    mutant(what_is_not_committed_is_forwarded, "Q4", Parcels.ONCE),
    mutant(number_and_messages_are_two_entries, "Q4", Parcels.ONCE),
    mutant(what_is_being_taken_is_taken_again, "Q4", Parcels.ONCE, Logs.DECISIONS, CRASHED),
    mutant(what_is_refused_is_thrown_away, "Q4", Parcels.KEPT, deep=True),
    mutant(word_is_counted_twice, "Q4", Logs.DECISIONS, Ending.LOST),
    mutant(word_is_lost, "Q4", Logs.DECISIONS, Ending.LOST, Ending.WHOLE),
    mutant(repeats_go_on_where_they_were, "Q4", Parcels.KEPT),
]
