"""The scrub: what it finds, in a running node, and what it leaves alone."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.core.replication_rig import BUCKET, Node, World
from tests.core.test_replication import three
from zmqueue.core import scrub
from zmqueue.core.copies import COPIED, UNCOUNTED, Position
from zmqueue.core.ids import make_id
from zmqueue.core.keys import copy_prefix
from zmqueue.core.operations import (
    How,
    Kind,
    Leased,
    Options,
    Parcel,
    Progressed,
    Rule,
    Settle,
    Settled,
    Submission,
    Submitted,
)
from zmqueue.core.packets import Append, Differs
from zmqueue.core.replication import Role
from zmqueue.core.scrub import FIRST_AFTER, REST, Scrub
from zmqueue.core.sums import sum_of
from zmqueue.core.tables import Table, rows, span

ALL_TABLES = (Table.LOG, *COPIED)
RULES = (("", Rule(keep=9_000)),)


def busy(world: World, primary: Node) -> None:
    """Rows in all tables."""
    for number in range(12):
        primary.append(number)
    world.run(4)
    ids = [found[1] for found in primary.replica.machine.ready("jobs", None, 8)]
    now, replica = world.now, primary.replica
    others = tuple(Submission(make_id(1_000, 0, bytes([number]) * 15), b"other") for number in range(1, 7))
    options = Options(99_000, "group", "key")
    parcels = tuple(Parcel("next", Submission(make_id(1_000, 0, bytes([number]) * 15), b"then")) for number in (7, 8))
    # The rig's desk reads only submits; the others go around it.
    for operation in (Leased(1, b"s" * 16, 1, tuple((each, 1) for each in ids), 9_000),
                      Settled(2, tuple(Settle(each, 1, How.ACK) for each in ids[:4]), (0,) * 4, 5, 9_000),
                      Submitted(3, "jobs", others, tuple((index, replace(options, unique=f"key {index}"))
                                                         for index in range(6))),
                      Progressed(4, ids[5], 1, ((Kind.TEXT, b"a third"), (Kind.TEXT, b"a half"))),
                      Settled(5, (Settle(ids[4], 1, How.ACK, then=parcels), Settle(ids[6], 1, How.REJECT),
                                  Settle(ids[7], 1, How.NACK)), (0, 0, 99_000), 0, 0, RULES, 1, 2)):
        primary.do(lambda operation=operation: replica.append(operation, now))  # type: ignore[misc]
        world.run(4)
    assert replica.commit == 17
    assert all(keys_of(primary, table) for table in ALL_TABLES)


@pytest.fixture
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.core.replication_rig.Desk.applied", lambda *_: None)


def a_round(node: Node, *, ticks: int = 10_000) -> Scrub:
    """One whole round on a node."""
    found = Scrub(node.host, node.world.now - FIRST_AFTER)
    for _ in range(ticks):
        node.do(lambda: found.tick({BUCKET: node.replica}, node.world.now))
        if found.rounds or node.plays(Role.DAMAGED):
            return found
    raise AssertionError("a round ends")


def keys_of(node: Node, table: Table) -> list[bytes]:
    prefix = copy_prefix(node.replica.copy.number)
    return [key for key, _ in rows(node.store, table, *span(prefix))]


def test_a_sound_copy_passes_and_every_row_was_looked_at(quiet: None) -> None:
    world, primary, backup, _ = three()
    busy(world, primary)
    for node in (primary, backup):
        found = a_round(node)
        assert found.rounds == 1
        assert found.rows == sum(len(keys_of(node, table)) for table in (Table.LOG, *COPIED))
        assert not node.host.marks.buckets and not node.alarms


@pytest.mark.parametrize("table", ALL_TABLES)
def test_a_flipped_bit_is_found_in_any_table_and_condemns_the_copy(quiet: None, table: Table) -> None:
    world, primary, backup, _ = three()
    busy(world, primary)
    backup.store.flip(table, keys_of(backup, table)[-1], 3)
    a_round(backup)
    assert backup.plays(Role.DAMAGED)
    assert backup.host.marks.buckets == [BUCKET]
    assert table.value in repr(backup.host.marks.of(BUCKET))


@pytest.mark.parametrize("place", [0, 1, -1])
@pytest.mark.parametrize("table", ALL_TABLES)
def test_a_row_that_has_vanished_is_found_in_any_table_and_condemns_the_copy(quiet: None, table: Table,
                                                                             place: int) -> None:
    world, primary, backup, _ = three()
    busy(world, primary)
    keys = keys_of(backup, table)
    backup.store.vanish(table, keys[min(place, len(keys) - 1)])
    a_round(backup)
    assert backup.plays(Role.DAMAGED)
    assert "vanished" in repr(backup.host.marks.of(BUCKET))


def test_a_row_of_an_older_moment_is_found_by_the_digest(quiet: None) -> None:
    world, primary, backup, _ = three()
    primary.append(1)
    world.run(4)
    key = keys_of(backup, Table.COUNTS)[0]
    old = backup.store.copy()
    primary.append(2)
    world.run(4)
    backup.store._tables[Table.COUNTS].values[key] = old._tables[Table.COUNTS].values[key]     # sealed: its CRC fits
    a_round(backup)
    assert backup.plays(Role.DAMAGED)
    assert "older" in repr(backup.host.marks.of(BUCKET))


def test_a_walk_sees_one_moment_while_the_bucket_goes_on(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "ROWS_A_TICK", 2)
    world, primary, _, _ = three()
    busy(world, primary)
    found = Scrub(primary.host, world.now - FIRST_AFTER)
    number = 100
    while not found.rounds:
        primary.do(lambda: found.tick({BUCKET: primary.replica}, world.now))
        number += 1
        primary.append(number)
        world.run(1)
    assert primary.plays(Role.PRIMARY) and not primary.alarms
    assert number > 110


def test_a_tick_looks_at_few_rows_and_a_round_is_followed_by_a_rest(quiet: None,
                                                                    monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "ROWS_A_TICK", 3)
    world, primary, _, _ = three()
    busy(world, primary)
    found, now = Scrub(primary.host, world.now), world.now
    replicas = {BUCKET: primary.replica}
    found.tick(replicas, now + FIRST_AFTER - 0.1)
    assert found.rows == 0
    now += FIRST_AFTER
    while not found.rounds:
        before = found.rows
        found.tick(replicas, now)
        assert found.rows - before <= 3
    seen = found.rows
    found.tick(replicas, now + REST - 0.1)
    assert found.rows == seen
    found.tick(replicas, now + REST)
    assert found.rows > seen


def test_a_copy_that_an_earlier_version_wrote_is_counted_once_and_checked_from_then_on(quiet: None) -> None:
    world, primary, backup, _ = three()
    busy(world, primary)
    copy = backup.replica.copy
    backup.copies.write(BUCKET, Position(copy.number, copy.log.base_seq, copy.log.base_term, copy.commit, copy.at))
    backup.store.commit()
    backup.restart()
    assert not backup.replica.machine.counted
    a_round(backup)
    backup.sync()
    assert backup.replica.machine.sum == sum_of(backup.store, copy.number) == primary.replica.machine.sum
    assert backup.copies.position(BUCKET).count != UNCOUNTED
    backup.store.vanish(Table.LEASES, keys_of(backup, Table.LEASES)[0])
    a_round(backup)
    assert backup.plays(Role.DAMAGED)


def test_rows_are_counted_while_entries_are_applied(quiet: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scrub, "ROWS_A_TICK", 2)
    world, primary, backup, _ = three()
    busy(world, primary)
    copy = backup.replica.copy
    backup.copies.write(BUCKET, Position(copy.number, copy.log.base_seq, copy.log.base_term, copy.commit, copy.at))
    backup.store.commit()
    backup.restart()
    found, number = Scrub(backup.host, world.now - FIRST_AFTER), 100
    while not found.rounds:
        number += 1
        primary.append(number)
        world.run(1)
        backup.do(lambda: found.tick({BUCKET: backup.replica}, world.now))
    assert number > 105
    backup.sync()
    assert backup.replica.machine.sum == sum_of(backup.store, copy.number)


def test_replicas_that_differ_at_an_entry_say_so_once_and_are_counted_first_d3(quiet: None) -> None:
    world, primary, backup, _ = three()
    busy(world, primary)
    backup.replica.machine._digest ^= 1                # as if an operation had done something else here
    primary.append(50)
    world.run(6)
    assert backup.host.diverged == 1 and backup.host.suspects == {BUCKET}
    assert primary.host.diverged == 1 and primary.host.suspects == {BUCKET}
    primary.append(51)
    world.run(6)
    assert backup.host.diverged == 1
    assert len(backup.alarms) == len(primary.alarms) == 1
    for node in (primary, backup):
        found = Scrub(node.host, world.now)            # it is not time for a round
        while node.host.suspects:
            node.do(lambda node=node, found=found: found.tick({BUCKET: node.replica}, world.now))  # type: ignore[misc]
    assert primary.plays(Role.PRIMARY)
    assert backup.plays(Role.DAMAGED), "its sum is not its rows'"


def test_replicas_that_agree_or_do_not_count_compare_nothing(quiet: None) -> None:
    world, primary, backup, _ = three()
    busy(world, primary)
    for count in (UNCOUNTED, primary.replica.machine.sum.rows):
        append = Append(BUCKET, primary.replica.term, 1, primary.replica.end, primary.replica.term, (),
                        primary.replica.commit, 0, count, primary.replica.machine.sum.digest)
        backup.take(primary.number, append)
    assert backup.host.diverged == 0
    assert not any(isinstance(packet, Differs) for _, _, packet in world.bag)
