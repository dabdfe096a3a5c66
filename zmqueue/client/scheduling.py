"""Schedules as their users declare them, and how a word about one is agreed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypedDict

from msgspec.structs import replace

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.amending import AmendCall
from zmqueue.client.surveys import SurveyCall
from zmqueue.core import schedules
from zmqueue.core.amending import holds
from zmqueue.core.changes import Change, ScheduleDeclared, ScheduleRemoved
from zmqueue.core.schedules import CatchUp, Entry
from zmqueue.core.state import ClusterState
from zmqueue.errors import Refused, UnknownSchedule
from zmqueue.timetable import Timetable

TIMETABLE = Timetable()


class ScheduleOptions(TypedDict, total=False):
    """When a schedule is due, and how its messages are."""

    cron: str | None                   # minute, hour, day of month, month, day of week; or with seconds in front
    every: float | None                # seconds from one tick to the next, at least 1
    zone: str                          # in which the cron text is meant; default UTC
    catch_up: str                      # ticks missed in an outage: "last" (default), "skip" or "all"
    overlap: bool                      # False: no tick while the message of an earlier one has not ended
    priority: int
    attempts: int | None
    expires: float | None              # seconds after its tick that a message may still be begun
    headers: Mapping[str, str] | None


@dataclass(frozen=True, slots=True)
class ScheduleView:
    """One schedule. Times of the day are in `zone`; `next` is None while it is paused."""

    name: str
    queue: str
    payload: Any
    cron: str | None
    every: float | None                # seconds
    zone: str
    catch_up: str
    overlap: bool
    paused: bool
    start: datetime                    # its ticks are later than this
    next: datetime | None


def wanted_entry(queue: str, payload: object, options: ScheduleOptions, start: int, salt: bytes) -> Entry:
    """What is to be agreed for a schedule that is new. Raises ValueError or TypeError for what cannot be."""
    arguments.known("schedule", options, ScheduleOptions)
    kind, data = payloads.encode(payload)
    cron, every, zone = options.get("cron") or "", options.get("every"), options.get("zone", "UTC")
    name, attempts = options.get("catch_up", "last"), options.get("attempts")
    if name.upper() not in CatchUp.__members__:
        raise ValueError(f"catch_up is {name!r}; allowed are 'last', 'skip' and 'all'")
    entry = Entry(
        queue, data, kind, salt, start, cron, zone,
        0 if every is None else round(arguments.seconds("every", every, schedules.EVERY_MS_MAX / 1_000) * 1_000),
        CatchUp[name.upper()], overlap=bool(options.get("overlap", True)),
        priority=arguments.integer("priority", options.get("priority", 0), 0, limits.PRIORITY_MAX),
        attempts=0 if attempts is None else arguments.integer("attempts", attempts, 1, limits.ATTEMPTS_MAX),
        expires=arguments.milliseconds("expires", options.get("expires"), schedules.EVERY_MS_MAX / 1_000),
        headers=arguments.header_pairs(options.get("headers")))
    if not cron and every is None:
        raise ValueError("a schedule needs cron= or every=")
    if wrong := schedules.problem(entry):
        raise ValueError(wrong)
    if schedules.next_tick(entry, TIMETABLE, start) is None:
        raise ValueError(f"{cron!r} is never due")
    return entry


def kept(found: Entry | None, wanted: Entry) -> Entry:
    """What is to be agreed where there is one of that name: it stays paused, its ticks keep their ids, and where it is
    due at the same times it goes on as if nothing had happened."""
    if found is None:
        return wanted
    same = (found.cron, found.zone, found.every) == (wanted.cron, wanted.zone, wanted.every)
    return replace(wanted, salt=found.salt, paused=found.paused, start=found.start if same else wanted.start)


def views(state: ClusterState, wall: int) -> list[ScheduleView]:
    """All schedules of a state, by name."""
    return [_view(name, schedules.decode(data), wall) for name, _, data in state.schedules]


def _view(name: str, entry: Entry, wall: int) -> ScheduleView:
    try:
        tick = None if entry.paused else schedules.next_tick(entry, TIMETABLE, wall)
    except ValueError:                     # this machine does not know the zone; the nodes do
        tick = None
    return ScheduleView(
        name, entry.queue, payloads.decode(entry.kind, entry.payload), entry.cron or None,
        entry.every / 1_000 if entry.every else None, entry.zone, CatchUp(entry.catch_up).name.lower(), entry.overlap,
        entry.paused, _moment(entry.start), None if tick is None else _moment(tick))


def _moment(wall: int) -> datetime:
    return datetime.fromtimestamp(wall / 1_000, UTC)


class ScheduleCall(AmendCall):
    """Have a schedule agreed as `decide` says, of what is agreed for it now; None: there is to be none.

    `must_be`: it is an error where there was none.
    """

    __slots__ = ("_decide", "_known", "_must_be", "_refused", "name")

    def __init__(self, name: str, decide: Callable[[Entry | None], Entry | None], deadline: float,
                 notify: Callable[[Any], None] | None = None, *, must_be: bool = False) -> None:
        self.change: ScheduleDeclared | ScheduleRemoved
        super().__init__(ScheduleRemoved(name, 0), deadline, notify)
        self.name = name
        self._decide = decide
        self._must_be = must_be
        self._known = True                           # as of the state by which it is asked for
        self._refused: Change | None = None          # it was refused once: perhaps what was looked at was old

    def prepare(self, state: ClusterState) -> None:
        found, since = state.scheduled(self.name), state.scheduled_since(self.name)
        self._known = found is not None
        wanted = self._decide(None if found is None else schedules.decode(found[2]))
        self.change = (ScheduleRemoved(self.name, since) if wanted is None else
                       ScheduleDeclared(self.name, since, schedules.encode(wanted)))

    def refused(self, error: Refused) -> bool:
        if self._refused == self.change:
            self.fail(error)
            return False
        self._refused = self.change
        return True

    def agreed(self, state: ClusterState | None) -> SurveyCall | None:
        """Done when it is known here, too: then who asks next finds it."""
        if self._must_be and not self._known:
            self.fail(UnknownSchedule(f"there is no schedule {self.name!r}"))
        elif state is not None and (holds(state, self.change)
                                    or state.scheduled_since(self.name) != self.change.since):
            self.finish(None)
        return None
