"""Schedules: each tick fires once, whoever is primary and whatever the clocks do."""

from __future__ import annotations

from dataclasses import dataclass

import pytest

from tests.core.fakes import WALL, Node
from zmqueue.core import schedules
from zmqueue.core.answers import Grant, Granted
from zmqueue.core.changes import QueueDeclared, ScheduleDeclared, ScheduleRemoved, apply
from zmqueue.core.ids import bucket_of, drawn_at
from zmqueue.core.limits import DEFAULT
from zmqueue.core.operations import Fired, How, Kind, Settle, Submission
from zmqueue.core.policies import Policy, encode
from zmqueue.core.replication import Role
from zmqueue.core.requests import Lease, Settling, Submit
from zmqueue.core.schedules import (
    CATCH_UP_MAX,
    LATE_MS,
    NAME_HEADER,
    TICK_HEADER,
    CatchUp,
    Entry,
    last_tick,
    next_tick,
    tick_id,
)
from zmqueue.core.state import ClusterState

SESSION = b"s" * 16
MINUTE = 60_000
SALT = b"salt" * 4


@dataclass
class Minutes:
    """An almanac whose texts are numbers of minutes: due whenever that many have passed since 1970."""

    asked: int = 0

    def after(self, cron: str, zone: str, wall: int) -> int | None:
        self.asked += 1
        period = self._period(cron, zone)
        return (wall // period + 1) * period

    def upto(self, cron: str, zone: str, wall: int) -> int | None:
        period = self._period(cron, zone)
        return wall // period * period

    def _period(self, cron: str, zone: str) -> int:
        if zone == "Mars/Olympus":
            raise ValueError("there is no such zone")
        return int(cron) * MINUTE


def entry(**fields: object) -> Entry:
    given = {"queue": "jobs", "payload": b"body", "kind": Kind.BYTES, "salt": SALT, "start": WALL, "every": 10_000}
    return Entry(**{**given, **fields})  # type: ignore[arg-type]


class Scheduled(Node):
    """One node whose clock can jump, with one schedule."""

    skew = 0

    def __init__(self, first: Entry | None = None, buckets: int = 1, **settings: int) -> None:
        super().__init__(buckets, DEFAULT, generation=3, **settings)
        self.front.office.almanac = Minutes()
        self.grants: list[Grant] = []
        self.declare(entry() if first is None else first)

    @property
    def wall(self) -> int:
        return super().wall + self.skew

    def declare(self, wanted: Entry, name: str = "report") -> None:
        self.change(ScheduleDeclared(name, self.state.scheduled_since(name), schedules.encode(wanted)))

    def change(self, change: ScheduleDeclared | ScheduleRemoved | QueueDeclared) -> None:
        before, self.state = self.state, apply(self.state, [change])
        assert (before.schedules, before.queues) != (self.state.schedules, self.state.queues), "it fell away"
        self.front.agreed(self.state)

    def leased(self) -> list[int]:
        """The ticks, ms after the start, of the messages that are there now; they are not settled."""
        granted = self.call(Lease(self.request(), "jobs", 1_000, SESSION, self._requests, 0))
        assert isinstance(granted, Granted)
        self.grants += granted.grants
        ticks = []
        for grant in granted.grants:
            headers = dict(grant.submission.headers)
            assert headers[NAME_HEADER] == "report" and drawn_at(grant.submission.id) == int(headers[TICK_HEADER])
            ticks.append(int(headers[TICK_HEADER]) - WALL)
        return ticks

    def settle(self, grant: Grant) -> None:
        self.call(Settling(self.request(), 0, (Settle(grant.submission.id, grant.fencing, How.ACK),)))

    def fired(self) -> list[Fired]:
        return [operation for replica in self.replicas for operation in replica.log if isinstance(operation, Fired)]


# --- ticks ------------------------------------------------------------------------------------------------------------


def test_an_interval_fires_each_tick_once() -> None:
    node = Scheduled()
    node.pass_time(35.0)
    assert node.leased() == [10_000, 20_000, 30_000]
    assert len(node.fired()) == 3
    submission = node.grants[0].submission
    assert (submission.payload, submission.id) == (b"body", tick_id("report", entry(), WALL + 10_000))


def test_a_cron_text_fires_when_the_almanac_says() -> None:
    node = Scheduled(entry(cron="2", every=0, zone="Europe/Berlin"))
    node.pass_time(300.0)
    expected = [tick for tick in range(WALL // MINUTE // 2 * 2 * MINUTE, WALL + 300_000, 2 * MINUTE) if tick > WALL]
    assert [WALL + tick for tick in node.leased()] == expected and len(expected) >= 2
    almanac = node.front.office.almanac
    assert isinstance(almanac, Minutes) and almanac.asked < 20, "it is asked once for each tick, and not at each moment"


def test_a_tick_does_not_fire_before_its_time() -> None:
    node = Scheduled()
    node.pass_time(9.9)
    assert node.leased() == [] and node.fired() == []


def test_a_tick_under_way_is_not_decided_again() -> None:
    node = Scheduled()
    node.now += 15.0
    for _ in range(5):
        node.front.tick(node.now, node.wall)
    assert len(node.fired()) == 1
    node.settle_down()
    node.front.tick(node.now, node.wall)
    assert len(node.fired()) == 1


def test_each_entry_fires_in_the_bucket_of_its_name() -> None:
    node = Scheduled(buckets=4)
    for name in ("a", "b", "c", "d", "e"):
        node.declare(entry(), name)
    node.pass_time(10.5)
    assert sorted(operation.name for operation in node.fired()) == ["a", "b", "c", "d", "e", "report"]
    assert sum(bool(replica.log) for replica in node.replicas) > 1
    for replica in node.replicas:
        for operation in replica.log:
            assert isinstance(operation, Fired)
            assert bucket_of(operation.messages[0].id, 4) == replica.bucket


def test_the_token_of_a_tick_cannot_be_guessed_by_its_name() -> None:
    assert tick_id("report", entry(), WALL) != tick_id("report", entry(salt=b"another salt, 16"), WALL)
    assert tick_id("report", entry(), WALL) != tick_id("report", entry(), WALL + 1)
    assert tick_id("report", entry(), WALL) == tick_id("report", entry(payload=b"other"), WALL)


# --- failover and clocks ----------------------------------------------------------------------------------------------


def test_a_new_primary_goes_on_after_the_tick_in_its_tail() -> None:
    node = Scheduled()
    node.now += 12.0
    node.front.tick(node.now, node.wall)
    assert len(node.fired()) == 1 and node.replica.commit == 0
    node.replica.enter(Role.PRIMARY, node.now)
    node.front.tick(node.now, node.wall)
    assert len(node.fired()) == 1, "the tail names the entry: it is locked (R9)"
    node.settle_down()
    node.pass_time(10.0)
    assert node.leased() == [10_000, 20_000]


def test_a_new_primary_goes_on_after_the_last_tick_in_its_rows() -> None:
    node = Scheduled()
    node.pass_time(12.0)
    node.replica.enter(Role.BACKUP, node.now)
    node.pass_time(1.0)
    node.replica.enter(Role.PRIMARY, node.now)
    node.pass_time(1.0)
    assert node.leased() == [10_000]


def test_what_another_primary_has_fired_meanwhile_is_not_fired_again() -> None:
    node = Scheduled(entry(catch_up=CatchUp.ALL))
    node.pass_time(12.0)
    node.replica.enter(Role.BACKUP, node.now)
    message = Submission(tick_id("report", entry(), WALL + 20_000), b"body")
    node.replica.log.append(Fired(node.replica.at(node.now), "report", WALL + 20_000, "jobs", (message,)))
    node.settle_down()
    node.replica.enter(Role.PRIMARY, node.now)
    node.pass_time(20.0)
    assert [operation.tick - WALL for operation in node.fired()] == [10_000, 20_000, 30_000]


def test_no_tick_lies_before_the_start() -> None:
    assert next_tick(entry(), Minutes(), 0) == WALL + 10_000
    assert last_tick(entry(), Minutes(), WALL + 9_999) is None
    assert last_tick(entry(), Minutes(), 0) is None
    assert last_tick(entry(cron="600000", every=0), Minutes(), WALL + 10_000) is None


def test_a_backup_fires_nothing() -> None:
    node = Scheduled()
    node.replica.enter(Role.BACKUP, node.now)
    node.pass_time(25.0)
    assert node.fired() == []


def test_a_clock_that_jumps_ahead_and_back_fires_no_tick_twice() -> None:
    node = Scheduled(lease_ms=600_000, session_ms=600_000)
    node.pass_time(5.0)
    node.skew = 30_000
    node.pass_time(1.0)
    assert node.leased() == [30_000]
    node.skew = 0
    node.pass_time(30.0)
    assert node.leased() == [], "30 s after the start there was a tick, and it has fired"
    node.pass_time(6.0)
    assert node.leased() == [40_000]


# --- what was missed --------------------------------------------------------------------------------------------------


def outage(catch_up: CatchUp, seconds: float, every: int = 10_000) -> list[int]:
    """What fires at once when nobody served the bucket for so long."""
    node = Scheduled(entry(catch_up=catch_up, every=every))
    node.now += seconds
    node.pass_time(0.1)
    return node.leased()


def test_after_an_outage_the_last_tick_is_made_up_for() -> None:
    assert outage(CatchUp.LAST, 3_605.0) == [3_600_000]


def test_after_an_outage_each_tick_is_made_up_for_where_that_is_wanted() -> None:
    assert outage(CatchUp.ALL, 65.0) == [10_000, 20_000, 30_000, 40_000, 50_000, 60_000]


def test_after_an_outage_none_is_made_up_for_where_that_is_wanted() -> None:
    assert outage(CatchUp.SKIP, 3_600.0 + LATE_MS / 1_000 + 0.5, every=3_600_000) == []
    assert outage(CatchUp.SKIP, 3_600.0 + LATE_MS / 1_000 - 1.0, every=3_600_000) == [3_600_000]


def test_a_skipped_tick_is_dealt_with_for_good() -> None:
    node = Scheduled(entry(catch_up=CatchUp.SKIP, every=3_600_000))
    node.now += 3_700.0
    node.pass_time(1.0)
    assert [operation.messages for operation in node.fired()] == [()]


def test_very_many_missed_ticks_come_in_several_entries() -> None:
    node = Scheduled(entry(catch_up=CatchUp.ALL, every=1_000))
    node.now += 2.5 * CATCH_UP_MAX
    node.pass_time(0.3)
    assert [len(operation.messages) for operation in node.fired()] == [CATCH_UP_MAX, CATCH_UP_MAX, CATCH_UP_MAX // 2]
    assert node.leased() == [1_000 * number for number in range(1, int(2.5 * CATCH_UP_MAX) + 1)]


# --- what is agreed ---------------------------------------------------------------------------------------------------


def test_a_paused_entry_fires_nothing_and_what_it_missed_is_not_made_up_for() -> None:
    node = Scheduled(entry(paused=True))
    node.pass_time(25.0)
    assert node.fired() == []
    node.declare(entry(start=WALL + 25_000))
    node.pass_time(10.5)
    assert node.leased() == [35_000]


def test_a_changed_entry_counts_from_the_change() -> None:
    node = Scheduled()
    node.pass_time(12.0)
    node.declare(entry(every=60_000, start=WALL + 12_000, payload=b"other"))
    node.pass_time(61.0)
    assert node.leased() == [10_000, 72_000]
    assert node.grants[1].submission.payload == b"other"


def test_a_withdrawn_entry_fires_no_more() -> None:
    node = Scheduled()
    node.pass_time(12.0)
    node.change(ScheduleRemoved("report", node.state.scheduled_since("report")))
    node.pass_time(30.0)
    assert node.leased() == [10_000]


def test_without_overlap_a_tick_is_left_out_while_the_one_before_has_not_ended() -> None:
    node = Scheduled(entry(overlap=False), lease_ms=600_000, session_ms=600_000)
    node.pass_time(12.0)
    assert node.leased() == [10_000]
    node.pass_time(20.0)
    assert node.leased() == []
    node.settle(node.grants[0])
    node.pass_time(10.0)
    assert node.leased() == [40_000]


def test_a_message_expires_as_the_entry_says() -> None:
    node = Scheduled(entry(expires=5_000))
    node.pass_time(14.0)
    assert node.leased() == [10_000]
    node.pass_time(13.0)
    assert node.leased() == [], "20 s after the start there was a tick, whose message was to be begun within 5 s"


def test_a_message_gets_what_its_queue_says() -> None:
    node = Scheduled()
    node.change(QueueDeclared("jobs", 0, encode(Policy(expires_ms=3_000))))
    node.pass_time(14.0)
    assert node.leased() == [], "it expired, as all messages of its queue"


# --- when it cannot be taken ------------------------------------------------------------------------------------------


def test_without_enough_replicas_a_tick_waits() -> None:
    node = Scheduled()
    node.replica.enough = False
    node.pass_time(15.0)
    assert node.fired() == []
    node.replica.enough = True
    node.pass_time(0.1)
    assert node.leased() == [10_000]


def test_a_tick_whose_id_somebody_has_submitted_stores_no_second_message() -> None:
    node = Scheduled()
    node.pass_time(8.0)
    message = Submission(tick_id("report", entry(), WALL + 10_000), b"stranger")
    node.call(Submit(node.request(), 0, "jobs", (message,)))
    node.pass_time(4.0)
    assert [operation.messages for operation in node.fired()] == [()]


def test_an_entry_that_cannot_be_read_is_told_of_once_and_holds_nobody_up() -> None:
    node = Scheduled(entry(cron="5", every=0, zone="Mars/Olympus"))
    node.declare(entry(), "other")
    node.pass_time(12.0)
    warnings = [note for note in node.effects.notes if note.warning]
    assert [note.facts["schedule"] for note in warnings] == ["report"]
    assert [operation.name for operation in node.fired()] == ["other"]


# --- what may be agreed -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("fields", "words"), [
    ({"every": 999}, "interval is 999"), ({"every": 0}, "a cron text or an interval"), ({"cron": "5"}, "not both"),
    ({"queue": "no spaces"}, "a queue's name"), ({"salt": b"short"}, "salt has 5 bytes"),
    ({"priority": 256}, "priority is 256"), ({"zone": ""}, "zone's name"), ({"cron": "5" * 300, "every": 0}, "300"),
    ({"payload": b"x" * 5_000}, "the limit is 4,096")])
def test_what_cannot_be_a_schedule_is_told(fields: dict[str, object], words: str) -> None:
    assert words in schedules.objection("report", schedules.encode(entry(**fields)))


def test_a_node_refuses_what_its_almanac_cannot_read() -> None:
    text = schedules.encode(entry(cron="5", every=0))
    assert schedules.unreadable(text, Minutes()) == ""
    elsewhere = schedules.encode(entry(cron="5", every=0, zone="Mars/Olympus"))
    assert "no such zone" in schedules.unreadable(elsewhere, Minutes())
    assert "without an almanac" in schedules.unreadable(text, schedules.NO_ALMANAC)
    assert schedules.unreadable(schedules.encode(entry()), schedules.NO_ALMANAC) == "", "an interval needs none"


def test_the_state_holds_schedules_by_name_and_reads_them_back() -> None:
    node = Scheduled()
    node.declare(entry(), "another")
    again = ClusterState.from_bytes(node.state.to_bytes())
    assert again == node.state and [name for name, _, _ in again.schedules] == ["another", "report"]


def test_a_late_change_of_a_schedule_falls_away() -> None:
    node = Scheduled()
    since = node.state.scheduled_since("report")
    node.declare(entry(payload=b"newer"))
    late = ScheduleDeclared("report", since, schedules.encode(entry(payload=b"older")))
    assert apply(node.state, [late]).schedules == node.state.schedules
    assert apply(node.state, [ScheduleRemoved("report", since)]).schedules == node.state.schedules
    node.change(ScheduleRemoved("report", node.state.scheduled_since("report")))
    assert apply(node.state, [ScheduleDeclared("report", 0, late.entry)]).schedules == ()


def test_there_is_a_limit_to_the_number_of_schedules() -> None:
    node = Scheduled()
    data = schedules.encode(entry())
    state = apply(node.state, [ScheduleDeclared(f"s{number}", 0, data) for number in range(schedules.SCHEDULES_MAX)])
    assert len(state.schedules) == schedules.SCHEDULES_MAX and state.scheduled("report") is not None
