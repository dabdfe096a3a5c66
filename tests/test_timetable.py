"""When cron texts are due: across changes of the clocks, looking ahead and back alike."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import pytest

from zmqueue import timetable
from zmqueue.timetable import Timetable

TIMETABLE = Timetable()
DAY = 86_400_000


def ms(text: str, zone: str = "UTC", fold: int = 0) -> int:
    return int(datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(zone), fold=fold).timestamp()) * 1_000


def shown(wall: int | None, zone: str) -> str:
    assert wall is not None
    return datetime.fromtimestamp(wall / 1_000, UTC).astimezone(ZoneInfo(zone)).isoformat()


def chain(cron: str, zone: str, first: int, end: int) -> list[int]:
    ticks, tick = [], TIMETABLE.after(cron, zone, first)
    while tick is not None and tick <= end:
        ticks.append(tick)
        tick = TIMETABLE.after(cron, zone, tick)
    return ticks


def test_a_text_is_due_in_its_zone() -> None:
    assert shown(TIMETABLE.after("30 7 * * MON-FRI", "Europe/Berlin", ms("2026-07-03T12:00:00")), "Europe/Berlin") == (
        "2026-07-06T07:30:00+02:00")
    assert TIMETABLE.after("*/5 * * * *", "UTC", ms("2026-01-01T00:05:00")) == ms("2026-01-01T00:10:00")
    assert TIMETABLE.upto("*/5 * * * *", "UTC", ms("2026-01-01T00:05:00")) == ms("2026-01-01T00:05:00")
    assert TIMETABLE.upto("*/5 * * * *", "UTC", ms("2026-01-01T00:05:00") - 1) == ms("2026-01-01T00:00:00")


def test_a_time_that_comes_twice_is_due_once_and_one_that_does_not_come_is_due_after_the_gap() -> None:
    twice = chain("30 2 * * *", "Europe/Berlin", ms("2026-10-24T12:00:00"), ms("2026-10-26T12:00:00"))
    assert [shown(tick, "Europe/Berlin") for tick in twice] == [
        "2026-10-25T02:30:00+02:00", "2026-10-26T02:30:00+01:00"]
    never = chain("30 2 * * *", "Europe/Berlin", ms("2026-03-28T12:00:00"), ms("2026-03-30T12:00:00"))
    assert [shown(tick, "Europe/Berlin") for tick in never] == [
        "2026-03-29T03:00:00+02:00", "2026-03-30T02:30:00+02:00"]


def test_stars_repeat_in_real_time_through_the_repeated_hour() -> None:
    ticks = chain("*/20 * * * *", "Europe/Berlin", ms("2026-10-24T22:00:00"), ms("2026-10-25T06:00:00"))
    assert {later - earlier for earlier, later in itertools.pairwise(ticks)} == {20 * 60_000}


@pytest.mark.parametrize("zone", ["Europe/Berlin", "Australia/Lord_Howe", "America/New_York", "UTC"])
@pytest.mark.parametrize("cron", ["45 2 * * *", "15 2 * * *", "30 1 * * *", "0 */2 * * *", "5 1-3 * * *",
                                  "30 3 * * 0"])
def test_looking_back_finds_what_looking_ahead_finds(cron: str, zone: str) -> None:
    dice = random.Random(1)
    for begin in (ms("2026-03-06T00:00:00"), ms("2026-03-27T00:00:00"), ms("2026-10-02T00:00:00"),
                  ms("2026-10-23T00:00:00"), ms("2026-10-30T00:00:00")):
        ticks = chain(cron, zone, begin, begin + 5 * DAY)
        assert ticks == sorted(set(ticks))
        for _ in range(20):
            wall = dice.randrange(begin, begin + 5 * DAY)
            if before := [tick for tick in ticks if tick <= wall]:
                assert TIMETABLE.upto(cron, zone, wall) == before[-1]
            if after := [tick for tick in ticks if tick > wall]:
                assert TIMETABLE.after(cron, zone, wall) == after[0]


def test_what_is_no_text_or_no_zone_is_told() -> None:
    for cron in ("61 * * * *", "every day", "* * *", ""):
        with pytest.raises(ValueError, match="no cron text"):
            TIMETABLE.after(cron, "UTC", 0)
    for zone in ("Mars/Olympus", "../etc/passwd", ""):
        with pytest.raises(ValueError, match="no time zone"):
            TIMETABLE.upto("* * * * *", zone, 0)


def test_without_any_zones_there_is_utc(monkeypatch: pytest.MonkeyPatch) -> None:
    def none(name: str) -> ZoneInfo:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(timetable, "ZoneInfo", none)
    timetable._zone.cache_clear()
    try:
        assert TIMETABLE.after("0 0 * * *", "UTC", 1) == DAY
        assert TIMETABLE.upto("0 0 * * *", "UTC", DAY + 1) == DAY
        with pytest.raises(ValueError, match="tzdata"):
            TIMETABLE.after("0 0 * * *", "Europe/Berlin", 1)
    finally:
        timetable._zone.cache_clear()


def test_a_day_that_never_comes_is_never_due() -> None:
    with pytest.raises(ValueError, match="no cron text"):
        TIMETABLE.after("0 0 30 2 *", "UTC", 0)
    assert TIMETABLE.after("0 0 29 2 *", "UTC", ms("2026-01-01T00:00:00")) == ms("2028-02-29T00:00:00")
