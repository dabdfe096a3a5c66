"""The count of a total queue, on histories of one message each."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.simulation.checkers.history import NEVER, Act, How, Seen, What
from tests.simulation.checkers.total_queue import SHOWN, TotalQueue

PUT = Act(What.SUBMIT, "p", 0, 1, payload="a")
PERHAPS_PUT = replace(PUT, ended=NEVER)
OUT = Act(What.GRANT, "w", 2, 3, 1, payload="a")
OUT_AGAIN = replace(OUT, begun=4, ended=5, fencing=2)
DONE = Act(What.SETTLE, "w", 6, 7, 1, How.ACK, result="r")
PERHAPS_DONE = replace(DONE, ended=NEVER)
AGAIN = replace(DONE, how=How.NACK)
SEEN_DONE = Act(What.READ, "r", 8, 9, seen=Seen.DONE, result="r")
SEEN_OPEN, SEEN_DEAD = replace(SEEN_DONE, seen=Seen.OPEN), replace(SEEN_DONE, seen=Seen.DEAD)
NOT_SEEN = replace(SEEN_DONE, seen=Seen.UNKNOWN)

GOOD = {
    "done": [PUT, OUT, DONE],
    "seen to be done": [PUT, OUT, PERHAPS_DONE, SEEN_DONE],
    "handed out twice": [PUT, OUT, OUT_AGAIN, replace(DONE, fencing=2)],
    "given again and done": [PUT, OUT, AGAIN, OUT_AGAIN, replace(DONE, fencing=2)],
    "dead without ever being seen": [PUT, SEEN_DEAD],
    "never stored": [PERHAPS_PUT, NOT_SEEN],
    "stored, as it turned out": [PERHAPS_PUT, OUT, DONE],
    "asked after before its end was known": [PUT, OUT, DONE, replace(SEEN_OPEN, begun=5)],
    "told twice that it is done": [PUT, OUT, DONE, DONE],
    "not there for a moment": [PUT, OUT, DONE, NOT_SEEN, replace(SEEN_DONE, begun=10, ended=11)],
}

LOST = {
    "never heard of again": [PUT],
    "handed out and never ended": [PUT, OUT, PERHAPS_DONE],
    "not there": [PUT, NOT_SEEN],
    "not ended": [PUT, OUT, AGAIN, SEEN_OPEN],
    "done, and then not there": [PUT, OUT, DONE, NOT_SEEN],
    "done, and then not": [PUT, OUT, DONE, SEEN_OPEN],
}

UNEXPECTED = {
    "handed out, and never put in": [OUT],
    "ended, and never put in": [SEEN_DONE],
    "changed": [PUT, replace(OUT, payload="b"), DONE],
}

DUPLICATED = {
    "ended under two leases": [PUT, OUT, DONE, OUT_AGAIN, replace(DONE, fencing=2)],
    "handed out twice under one lease": [PUT, OUT, replace(OUT, program="another"), DONE],
}


def counted(history: list[Act]) -> TotalQueue:
    total = TotalQueue()
    total.add("token", history)
    return total


@pytest.mark.parametrize("name", GOOD)
def test_a_message_that_comes_out_as_it_should_is_no_finding(name: str) -> None:
    total = counted(GOOD[name])
    assert total.report.clean and not total.findings


@pytest.mark.parametrize("name", LOST)
def test_what_was_acknowledged_and_does_not_come_out_is_lost(name: str) -> None:
    total = counted(LOST[name])
    assert (total.report.lost, total.report.unexpected, total.report.duplicated) == (1, 0, 0)
    assert [kind for kind, _ in total.findings] == [TotalQueue.LOST]


def test_what_a_settle_carries_is_lost_where_the_settle_held_and_it_does_not_come_out() -> None:
    carried = replace(PERHAPS_PUT, promised=True)
    assert counted([carried, NOT_SEEN]).report.lost == 1
    report = counted([carried, OUT, DONE]).report
    assert report.clean and (report.acknowledged, report.recovered) == (1, 0)


@pytest.mark.parametrize("name", LOST)
def test_what_was_never_acknowledged_is_not_lost(name: str) -> None:
    assert counted([PERHAPS_PUT, *LOST[name][1:]]).report.clean


@pytest.mark.parametrize("name", UNEXPECTED)
def test_what_comes_out_and_was_not_put_in_is_unexpected(name: str) -> None:
    total = counted(UNEXPECTED[name])
    assert (total.report.lost, total.report.unexpected, total.report.duplicated) == (0, 1, 0)


@pytest.mark.parametrize("name", DUPLICATED)
def test_what_comes_out_twice_is_duplicated(name: str) -> None:
    total = counted(DUPLICATED[name])
    assert (total.report.lost, total.report.unexpected, total.report.duplicated) == (0, 0, 1)


def test_what_comes_out_although_nobody_knew_that_it_was_in_is_recovered() -> None:
    assert counted(GOOD["stored, as it turned out"]).report.recovered == 1
    assert counted(GOOD["never stored"]).report.recovered == 0
    assert counted(GOOD["done"]).report.recovered == 0


def test_all_messages_are_counted_and_some_findings_are_shown() -> None:
    total = TotalQueue()
    for history in GOOD.values():
        total.add("good", history)
    report = total.report
    assert (report.submitted, report.acknowledged, report.delivered, report.settled) == (10, 8, 8, 9)
    assert report.redelivered == 2
    for _ in range(SHOWN + 5):
        total.add("lost", [PUT])
    assert report.lost == SHOWN + 5 and len(total.findings) == SHOWN
