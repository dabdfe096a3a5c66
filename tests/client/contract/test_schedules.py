"""Schedules, whichever client declares them."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client
        for schedule in client.schedules():
            client.unschedule(schedule.name)


def only(client: Any) -> zmqueue.ScheduleView:
    view, = client.schedules()
    assert isinstance(view, zmqueue.ScheduleView)
    return view


def test_a_schedule_queues_a_message_at_each_tick(client: Any, queue: str) -> None:
    client.schedule("tick", queue, {"what": "report"}, every=1.0, headers={"trace": "1"}, priority=3)
    first, = client.lease(queue, wait=5.0)
    second, = client.lease(queue, wait=5.0)
    assert first.payload == second.payload == {"what": "report"} and first.priority == 3
    ticks = [int(message.headers["zmqueue-tick"]) for message in (first, second)]
    assert ticks[1] - ticks[0] == 1_000 and first.headers["trace"] == "1"
    assert {message.headers["zmqueue-schedule"] for message in (first, second)} == {"tick"}
    first.ack("done")
    assert client.result(first.token) == "done"
    second.ack()


def test_schedules_are_listed_with_what_is_agreed(client: Any, queue: str) -> None:
    client.schedule("nightly", queue, "clean", cron="30 2 * * *", zone="Europe/Berlin", catch_up="skip", overlap=False)
    view = only(client)
    assert (view.name, view.queue, view.payload) == ("nightly", queue, "clean")
    assert (view.cron, view.every) == ("30 2 * * *", None)
    assert (view.zone, view.catch_up, view.overlap, view.paused) == ("Europe/Berlin", "skip", False, False)
    now = datetime.now(UTC)
    assert view.next is not None and now < view.next <= now + timedelta(hours=26)
    assert abs(view.start - now) < timedelta(minutes=1)


def test_the_same_again_changes_nothing_and_other_times_begin_anew(client: Any, queue: str) -> None:
    client.schedule("tick", queue, every=3_600.0)
    first = only(client)
    client.schedule("tick", queue, every=3_600.0)
    assert only(client).start == first.start
    client.schedule("tick", queue, "other", every=3_600.0)
    assert (only(client).start, only(client).payload) == (first.start, "other")
    client.schedule("tick", queue, every=60.0)
    assert only(client).start > first.start and only(client).every == 60.0


def test_a_paused_schedule_stays_paused_whatever_is_declared(client: Any, queue: str) -> None:
    client.schedule("tick", queue, every=3_600.0)
    first = only(client)
    client.pause_schedule("tick")
    client.schedule("tick", queue, "other", every=3_600.0)
    assert only(client).paused and only(client).next is None
    client.resume_schedule("tick")
    assert not only(client).paused and only(client).start > first.start, "a pause is not made up for"


def test_a_withdrawn_schedule_is_gone(client: Any, queue: str) -> None:
    client.schedule("tick", queue, every=3_600.0)
    client.unschedule("tick")
    assert client.schedules() == []
    for word in (client.unschedule, client.pause_schedule, client.resume_schedule):
        with pytest.raises(zmqueue.UnknownSchedule, match="no schedule 'tick'"):
            word("tick")


@pytest.mark.parametrize(("options", "words"), [
    ({}, "cron= or every="), ({"cron": "61 * * * *"}, "no cron text"),
    ({"cron": "* * * * *", "zone": "Mars"}, "time zone"),
    ({"every": 0.5}, "interval is 500"), ({"every": 5.0, "cron": "* * * * *"}, "not both"),
    ({"every": 5.0, "catch_up": "some"}, "'last', 'skip' and 'all'"), ({"every": 5.0, "priority": 256}, "priority")])
def test_what_cannot_be_scheduled_is_told_before_anybody_is_asked(client: Any, queue: str, options: dict[str, Any],
                                                                  words: str) -> None:
    with pytest.raises(ValueError, match=words):
        client.schedule("tick", queue, **options)
    assert client.schedules() == []
