"""How the primary of a bucket has the messages of schedules queued: each tick once (Q3).

The row that says which tick of an entry was the last is written in the same operation as its message, and while that is
not committed the entry is locked (R9). So a tick is decided once, whoever is primary, whatever the clocks do: one that
jumped ahead fires early, and what it fired is not fired again when it jumps back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zmqueue.core.choosing import completed
from zmqueue.core.ledger import Ledger
from zmqueue.core.operations import (
    Chosen,
    Fired,
    Options,
    Submission,
    messages_of,
    schedule_lock,
    unique_digest,
    unique_lock,
)
from zmqueue.core.schedules import (
    CATCH_UP_MAX,
    LATE_MS,
    NAME_HEADER,
    TICK_HEADER,
    CatchUp,
    Entry,
    last_tick,
    name_digest,
    next_tick,
    tick_id,
)

OVERLAP = "zmqueue-schedule "
"""Begins the `unique` key of messages of which there is to be one at a time."""


class Planned(NamedTuple):
    """When an entry is due next."""

    since: int                             # of the declaration that this was worked out for
    tick: int | None                       # wall ms; None: never


class Timekeeper:
    """The schedules of one bucket."""

    __slots__ = ("_ledger", "_office", "_planned")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._office = ledger.office
        self._planned: dict[str, Planned] = {}

    def clear(self) -> None:
        """The term ended: everything is worked out anew."""
        self._planned.clear()

    def fired(self, operation: Fired) -> None:
        """A decision is applied: what is due next follows from its row."""
        self._planned.pop(operation.name, None)

    def tick(self, now: float) -> None:
        """Queue what is due."""
        entries = self._office.schedules.get(self._ledger.bucket)
        if not entries:
            return
        for name, since, entry in entries:
            if not entry.paused:
                self._look(name, since, entry, now)

    def _look(self, name: str, since: int, entry: Entry, now: float) -> None:
        planned = self._planned.get(name)
        if planned is None or planned.since != since:
            if schedule_lock(name) in self._ledger.locks:
                return                     # what is under way decides what is next
            planned = self._planned[name] = Planned(since, self._after(name, entry, self._last(name, entry)))
        if planned.tick is not None and planned.tick <= self._office.wall:
            self._fire(name, entry, planned.tick, now)

    def _last(self, name: str, entry: Entry) -> int:
        return max(entry.start, self._ledger.machine.fired(name_digest(name)))

    def _after(self, name: str, entry: Entry, wall: int) -> int | None:
        """The next tick; never, where this node cannot make sense of the entry: its operator is told."""
        try:
            return next_tick(entry, self._office.almanac, wall)
        except ValueError as error:
            self._office.effects.warn("a schedule cannot be read here, so its ticks do not fire while this node is "
                                      "primary of its bucket: install the time zones of the other nodes, or correct "
                                      "it", schedule=name, cron=entry.cron, zone=entry.zone, error=str(error))
            return None

    def _fire(self, name: str, entry: Entry, first: int, now: float) -> None:
        """`first`: the first tick that is due."""
        ledger, office = self._ledger, self._office
        if not ledger.locks.keys().isdisjoint((schedule_lock(name), unique_lock(entry.queue, _unique(name)))):
            return
        if not ledger.replica.enough or ledger.replica.short_peer or self._too_many_queues(entry.queue):
            return                         # R11: as with any submit; it is due until it can be taken
        ticks, last = self._due(name, entry, first)
        messages = self._messages(name, entry, ticks)
        ids = [message.id for message in messages]
        if not ledger.locks.keys().isdisjoint(ids):
            return
        if ids and (known := ledger.machine.known(ids)):      # somebody submitted it himself
            messages = [message for message in messages if message.id not in known]
        size = len(messages) * (len(entry.payload) + 256)
        if messages and office.disk_full(size, len(messages)):
            return
        office.will_write(size, len(messages))
        operation = Fired(ledger.replica.at(now), name, last, entry.queue, tuple(messages),
                          self._options(name, entry, messages))
        ledger.append(operation, messages_of(operation), now)
        del self._planned[name]

    def _too_many_queues(self, queue: str) -> bool:
        counts = self._ledger.machine.counts
        return queue not in counts and len(counts) >= self._office.limits.queues_max

    def _due(self, name: str, entry: Entry, first: int) -> tuple[Sequence[int], int]:
        """(the ticks that fire now, the last tick that is dealt with by that)."""
        wall, almanac = self._office.wall, self._office.almanac
        ticks = [first]
        if entry.catch_up is CatchUp.ALL:
            tick = next_tick(entry, almanac, first)
            while tick is not None and tick <= wall and len(ticks) < CATCH_UP_MAX:
                ticks.append(tick)
                tick = next_tick(entry, almanac, tick)
        else:
            ticks = [max(first, last_tick(entry, almanac, wall) or first)]
        last = ticks[-1]
        if entry.catch_up is CatchUp.SKIP and wall - last > LATE_MS:
            return (), last
        if not entry.overlap:
            holder = self._ledger.machine.holder(unique_digest(entry.queue, _unique(name)), 0)
            return ((), last) if holder is not None else (ticks[-1:], last)
        return ticks, last

    def _messages(self, name: str, entry: Entry, ticks: Sequence[int]) -> list[Submission]:
        return [Submission(tick_id(name, entry, tick), entry.payload, entry.kind, entry.priority,
                           headers=(*entry.headers, (NAME_HEADER, name), (TICK_HEADER, str(tick))),
                           attempts=entry.attempts) for tick in ticks]

    def _options(self, name: str, entry: Entry, messages: Sequence[Submission]) -> Chosen:
        policy, wall = self._office.policy(entry.queue), self._office.wall
        own = None if entry.overlap else _unique(name)
        chosen = []
        for index, message in enumerate(messages):
            said = own
            if entry.expires:
                said = Options(expires=max(wall, int(message.headers[-1][1])) + entry.expires,
                               unique="" if own is None else own.unique)
            if (complete := completed(message, said, policy, wall)) is not None:
                chosen.append((index, complete))
        return tuple(chosen)


def _unique(name: str) -> Options:
    """What keeps a tick's message out while that of an earlier one has not ended."""
    return Options(unique=OVERLAP + name)
