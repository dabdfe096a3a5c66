"""Schedules from a shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqueue as library
from tests.cli.running import zmqueue


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """One node."""
    folder: Path = tmp_path_factory.mktemp("schedules")
    with library.Node(folder / "node", listen="tcp://127.0.0.1:0", found=True) as node:
        yield [node.endpoint]


def test_a_schedule_is_declared_shown_paused_and_withdrawn(seeds: list[str]) -> None:
    declared = zmqueue("schedule", "nightly", "reports", "all", "--cron", "30 2 * * *", "--zone", "Europe/Berlin",
                       "--no-overlap", "--json", seeds=seeds).document
    assert declared == {
        "name": "nightly", "queue": "reports", "payload": "all", "cron": "30 2 * * *", "every_s": None,
        "zone": "Europe/Berlin", "catch_up": "last", "overlap": False, "paused": False, "next": declared["next"]}
    assert zmqueue("schedules", "--json", seeds=seeds).document == {"schedules": [declared]}
    table = zmqueue("schedules", seeds=seeds).text
    assert "30 2 * * * (Europe/Berlin)" in table and "last, one at a time" in table
    assert zmqueue("schedule", "nightly", "--pause", seeds=seeds).text == "paused"
    assert "paused" in zmqueue("schedules", seeds=seeds).text
    assert zmqueue("schedule", "nightly", "--resume", seeds=seeds).text.startswith("next: ")
    assert zmqueue("unschedule", "nightly", seeds=seeds).status == 0
    assert zmqueue("schedules", "--json", seeds=seeds).document == {"schedules": []}


def test_what_cannot_be_is_told_with_the_status_that_stands_for_it(seeds: list[str]) -> None:
    assert zmqueue("schedule", "tick", "reports", "--cron", "61 * * * *", seeds=seeds).status == 2
    assert zmqueue("schedule", "tick", seeds=seeds).status == 2
    assert zmqueue("schedule", "tick", "reports", "--pause", seeds=seeds).status == 2
    unknown = zmqueue("unschedule", "tick", "--json", seeds=seeds)
    assert unknown.status == 1 and "no schedule 'tick'" in unknown.document["error"]
