"""When cron texts are due, in a time zone: what nodes and clients ask, since the core computes no calendars.

Around a change of the clocks it is as with Debian's cron: a text that names a time of the day is due once, at the first
of two equal times, and after a gap where its time does not exist; one that repeats by stars is due as often as it says
in real time. The arithmetic is cronsim's, the zones are the system's (or those of the package `tzdata`).
"""

from __future__ import annotations

from datetime import UTC, datetime, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from cronsim import CronSim, CronSimError

REPEATED_MS = 3 * 3_600_000
"""No change of the clocks repeats a longer time."""


class Timetable:
    """The almanac of real nodes."""

    def after(self, cron: str, zone: str, wall: int) -> int | None:
        """The first tick after that moment, wall ms; None: there is none in the next 50 years."""
        for tick in _ticks(cron, _local(wall, zone)):
            if (moment := _ms(tick)) > wall:           # in the second of two equal hours, the first one's come first
                return moment
        return None

    def upto(self, cron: str, zone: str, wall: int) -> int | None:
        """The last tick up to that moment; None: there was none in the last 50 years."""
        begin = _local(wall + 1_000, zone)             # in whole seconds: a tick may be this very one
        if begin.fold:                                 # the first of two equal hours may hold later times of the day
            begin = _local(wall + REPEATED_MS, zone)
        for tick in _ticks(cron, begin, reverse=True):
            if (moment := _ms(tick)) <= wall:
                return moment
        return None


def _local(wall: int, zone: str) -> datetime:
    return datetime.fromtimestamp(wall // 1_000, UTC).astimezone(_zone(zone))


def _ms(tick: datetime) -> int:
    return round(tick.timestamp()) * 1_000


def _ticks(cron: str, begin: datetime, *, reverse: bool = False) -> CronSim:
    try:
        return CronSim(cron, begin, reverse)
    except CronSimError as error:
        raise ValueError(f"{cron!r} is no cron text (minute, hour, day of month, month, day of week; or with seconds "
                         f"in front): {error}") from None


@lru_cache(maxsize=64)
def _zone(name: str) -> tzinfo:
    if name == "UTC":                                  # also where the system has no zones
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"there is no time zone {name!r} on this machine: name one like Europe/Berlin, and where the "
                         "system has no zones, install the package tzdata") from None
