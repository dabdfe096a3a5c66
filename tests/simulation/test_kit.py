"""The testing kit itself: virtual time, the network, the disk, and a cluster that a user's test might use."""

from __future__ import annotations

import doctest
import random
from functools import partial

import pytest

from zmqueue.core.operations import How
from zmqueue.core.tables import Table
from zmqueue.testing import (
    Disk,
    DiskSpeed,
    LocalClock,
    Network,
    Traffic,
    VirtualCluster,
    VirtualTime,
    Weather,
    cluster,
)


def test_events_happen_in_the_order_of_their_times_and_of_planning() -> None:
    time, happened = VirtualTime(), list[str]()
    for when, name in ((2.0, "c"), (1.0, "a"), (1.0, "b"), (9.0, "late")):
        time.at(when, lambda name=name: happened.append(name))  # type: ignore[misc]
    time.run(5.0)
    assert happened == ["a", "b", "c"] and time.now == 5.0
    assert not time.run_until(lambda: False, 1.0)
    assert time.run_until(lambda: "late" in happened, 10.0) and time.now == 9.0


def test_a_fast_clock_shows_more_and_never_goes_back() -> None:
    time = VirtualTime()
    clock = LocalClock(time, start=50.0, rate=2.0, skew_ms=-500)
    time.run(1.0)
    assert clock.monotonic() == 52.0
    clock.set_rate(1.0)
    time.run(1.0)
    assert clock.monotonic() == 53.0
    assert clock.wall() == LocalClock(time).wall() - 500
    assert time.now <= clock.when(60.0) - 7.0 < time.now + 0.001


@pytest.mark.parametrize("seed", range(5))
def test_a_calm_link_keeps_the_order(seed: int) -> None:
    time, arrived = VirtualTime(), list[int]()
    network = Network(time, random.Random(seed), Weather(delay_max=0.5))
    for number in range(50):
        network.send("a", "b", Traffic.DATA, lambda number=number: arrived.append(number))  # type: ignore[misc]
    time.run(1.0)
    assert arrived == list(range(50))


def test_bad_weather_loses_doubles_and_mixes() -> None:
    time, arrived = VirtualTime(), list[int]()
    network = Network(time, random.Random(1), Weather(loss=0.2, duplication=0.5, overtaking=0.3))
    for number in range(300):
        network.send("a", "b", Traffic.DATA, lambda number=number: arrived.append(number))  # type: ignore[misc]
    time.run(1.0)
    assert 200 < len(set(arrived)) < 280 and len(arrived) > len(set(arrived)) and arrived != sorted(arrived)


def test_a_cut_has_a_direction_and_a_kind_of_traffic() -> None:
    time, arrived = VirtualTime(), list[str]()
    network = Network(time, random.Random(1), Weather(held=0.0))
    network.cut("a", "b", Traffic.DATA)
    for source, target, traffic in (("a", "b", Traffic.DATA), ("b", "a", Traffic.DATA), ("a", "b", Traffic.HEARTBEATS)):
        name = f"{source}{target} {traffic.value}"
        network.send(source, target, traffic, lambda name=name: arrived.append(name))  # type: ignore[misc]
    time.run(1.0)
    assert sorted(arrived) == ["ab heartbeats", "ba data"]


def test_what_a_cut_held_back_arrives_after_it() -> None:
    time, arrived = VirtualTime(), list[str]()
    network = Network(time, random.Random(1), Weather(held=1.0))
    network.part(["a"], ["b"])
    network.send("a", "b", Traffic.DATA, lambda: arrived.append("held"))
    time.run(5.0)
    assert not arrived and network.is_cut("b", "a")
    network.heal()
    time.run(1.0)
    assert arrived == ["held"]


def test_a_crash_in_a_sync_leaves_all_of_the_batch_or_nothing() -> None:
    kept = set[bool]()
    for seed in range(20):
        time = VirtualTime()
        disk = Disk(time, random.Random(seed), DiskSpeed(sync_min=0.1, sync_max=0.1))
        ended = list[str]()
        disk.store.put(Table.META, b"a", b"1")
        disk.store.put(Table.META, b"b", b"2")
        disk.sync(partial(ended.append, "durable"))
        time.run(0.05)
        assert 0.0 < disk.age < 0.1
        assert disk.crash() == (disk.store.get(Table.META, b"a") == b"1") == (disk.store.get(Table.META, b"b") == b"2")
        kept.add(disk.store.get(Table.META, b"a") == b"1")
        time.run(1.0)
        assert not ended
    assert kept == {True, False}


def test_a_crash_loses_what_was_not_synced() -> None:
    disk = Disk(VirtualTime(), random.Random(1))
    disk.store.put(Table.META, b"a", b"1")
    assert not disk.crash()
    assert disk.store.get(Table.META, b"a") is None


def test_the_program_in_the_docstring_runs() -> None:
    assert doctest.testmod(cluster).failed == 0


def test_a_message_survives_the_crash_of_its_primary() -> None:
    whole = VirtualCluster(seed=4, nodes=3)
    client = whole.client()
    call = client.submit("q", [b"work"])
    assert whole.run_until(lambda: call.finished) and call.error is None
    message_id = call.items[0].id
    assert message_id is not None and whole.state is not None
    before = whole.state
    victim = next(node for node in whole.running if node.id == before.members[0].id)
    victim.crash()
    taken = client.lease("q", wait=20.0)
    assert whole.run_until(lambda: taken.finished) and taken.value
    settled = client.settle(taken.value[0], How.ACK, b"result")
    assert whole.run_until(lambda: settled.finished) and settled.error is None
    victim.start()
    assert whole.run_until(whole.is_whole, 60.0, every=0.1)
    asked = client.ask(message_id, settled=True)
    assert whole.run_until(lambda: asked.finished) and asked.value is not None
    assert asked.value.result == b"result"
