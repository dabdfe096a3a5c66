"""Faults of progress and of those who follow it."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.streams import Streams
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.client.telling import TellLane
from zmqueue.core.following import Followers
from zmqueue.core.machine import Machine
from zmqueue.core.wishes import Wishes


def repeated_progress_is_stored_again(patch: pytest.MonkeyPatch) -> None:
    """Of a packet that was sent again, the events that are known already are taken for new ones."""
    rewrite(patch, Wishes, "progress", ("packet.events[max(0, told + 1 - packet.index):]", "packet.events"))


def progress_is_confirmed_uncommitted(patch: pytest.MonkeyPatch) -> None:
    """A handler is told that its progress is stored when the primary has decided it."""
    rewrite(patch, Wishes, "progress", ("packet.request, (), seq, now)", "packet.request, (), 0, now)"))


def progress_is_counted_over_all_deliveries(patch: pytest.MonkeyPatch) -> None:
    """The first events of a later delivery are taken for repeats of those of an earlier one."""
    rewrite(patch, Machine, "_leased", ("record.told = 0", "record.told += 0"))


def progress_of_a_delivery_replaces_the_last(patch: pytest.MonkeyPatch) -> None:
    """Another delivery begins to count from 1, and writes over what the one before has told."""
    rewrite(patch, Machine, "_progressed", ("operation.id, record.events)", "operation.id, record.told)"))


def events_are_numbered_anew_when_they_are_sent_again(patch: pytest.MonkeyPatch) -> None:
    """A client gives an event another index each time that it sends it."""
    rewrite(patch, TellLane, "packet", ("if not item.index:", "if True:"))


def who_follows_is_told_of_the_newest_only(patch: pytest.MonkeyPatch) -> None:
    """Whoever comes late is told of the last event, as if there were no others."""
    rewrite(patch, Followers, "_answer", ("packet.after, count)", "max(packet.after, count - 1), count)"))


STREAMING = [
    mutant(repeated_progress_is_stored_again, "progress", Streams.TOLD),
    mutant(progress_is_confirmed_uncommitted, "progress", Streams.KEPT, deep=True),
    mutant(progress_is_counted_over_all_deliveries, "progress", Streams.KEPT, Streams.TOLD),
    mutant(progress_of_a_delivery_replaces_the_last, "progress", Streams.SAME, Streams.TOLD, Streams.KEPT, Logs.ALARM),
    mutant(events_are_numbered_anew_when_they_are_sent_again, "progress", Streams.TOLD, deep=True),
    mutant(who_follows_is_told_of_the_newest_only, "progress", Streams.SAME),
]
