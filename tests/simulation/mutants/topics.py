"""Faults of publishing: copies that come again, or are left out."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.published import COPIED
from tests.simulation.mutants.planting import CRASHED, mutant, rewrite
from zmqueue.core.publishing import Publishing


def repeats_are_published_again(patch: pytest.MonkeyPatch) -> None:
    """What is published under an id that was published before is copied again."""
    rewrite(patch, Publishing, "publish", (
        "if copies := ledger.machine.beginning_with(message.id[:COPY_PREFIX]):", "if copies := list[bytes]():"))


def the_tail_is_not_looked_at(patch: pytest.MonkeyPatch) -> None:
    """What is in the log and not applied yet is published again when it is repeated (R9)."""
    rewrite(patch, Publishing, "publish", (
        "ledger.locked_until((published_lock(message.id),))", "ledger.locked_until(())"))


def only_one_queue_gets_a_copy(patch: pytest.MonkeyPatch) -> None:
    """Of the queues that are bound, the first gets what is published."""
    rewrite(patch, Publishing, "publish", ("bound(office.policies, packet.topic)",
                                           "bound(office.policies, packet.topic)[:1]"))


TOPICS = [
    mutant(repeats_are_published_again, "Q2", COPIED, Logs.DECISIONS, CRASHED),
    mutant(the_tail_is_not_looked_at, "R9", COPIED, Logs.DECISIONS, CRASHED),
    mutant(only_one_queue_gets_a_copy, "Q2", COPIED),
]
