"""Schedules in a whole cluster in virtual time: nodes die, clocks jump, and each tick fires once."""

from __future__ import annotations

import random
from collections.abc import Callable

from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.states import States
from tests.simulation.checkers.ticks import Ticks
from zmqueue.core.ids import bucket_at
from zmqueue.core.operations import Fired, Kind, Operation
from zmqueue.core.schedules import CatchUp, Entry, place_of_name
from zmqueue.core.state import Agreed
from zmqueue.errors import NotAllowed
from zmqueue.testing import VirtualClient, VirtualCluster
from zmqueue.testing.node import VirtualNode

NAME, BUCKETS = "report", 4
BUCKET = bucket_at(place_of_name(NAME), BUCKETS)


class Watched:
    """Three nodes, one schedule, and the ticks that are committed."""

    def __init__(self, seed: int, catch_up: CatchUp, every: int = 1_000, cron: str = "") -> None:
        self.states = States()
        self.logs = Logs(self.states, BUCKETS)
        self.fired: list[int] = []
        self.logs.on_committed.append(self._committed)
        self.ticks = None if cron else Ticks(self.states, self.logs)
        self.cluster = VirtualCluster(seed, settings=Agreed(buckets=BUCKETS, vnodes=16), observers=(
            self.states, self.logs))
        assert self.cluster.run_until(self.cluster.is_whole, 30.0, every=0.1)
        self.client: VirtualClient = self.cluster.client()
        self.start = self.primary().clock.wall()
        entry = Entry("clock", b"body", Kind.BYTES, b"s" * 16, self.start, catch_up=catch_up,
                      every=0 if cron else every, cron=cron, zone="Europe/Berlin")
        self.agree(lambda found: entry)

    def _committed(self, bucket: int, seq: int, operation: Operation) -> None:
        if isinstance(operation, Fired):
            self.fired += [int(dict(message.headers)["zmqueue-tick"]) for message in operation.messages]

    def agree(self, decide: Callable[[Entry | None], Entry | None]) -> None:
        call = self.client.schedule(NAME, decide)
        assert self.cluster.run_until(lambda: call.finished, 15.0) and call.error is None, call.error

    def primary(self) -> VirtualNode:
        state = self.cluster.state
        assert state is not None
        node = self.cluster.node_of(state.primary(BUCKET) or 0)
        assert node is not None
        return node


def test_no_tick_is_lost_or_doubled_though_the_primary_dies_again_and_again() -> None:
    watched = Watched(1, CatchUp.ALL)
    cluster = watched.cluster
    for _ in range(4):
        dying = watched.primary()
        dying.crash()
        cluster.run(6.0)
        assert watched.primary() is not dying
        dying.start()
        assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    now = watched.primary().clock.wall()
    expected = list(range(watched.start + 1_000, now - 500, 1_000))
    assert watched.fired[:len(expected)] == expected and len(expected) > 24


def test_no_tick_fires_twice_while_the_clocks_of_all_nodes_jump() -> None:
    watched = Watched(2, CatchUp.LAST)
    cluster, dice = watched.cluster, random.Random(2)
    for round_ in range(12):
        for node in cluster.running:
            node.clock.skew_ms = dice.choice((0, 0, 5_000, -5_000, 60_000))
        cluster.run(2.0)
        if round_ % 4 == 3:
            dying = watched.primary()
            dying.crash()
            cluster.run(4.0)
            dying.start()
    assert len(watched.fired) == len(set(watched.fired)) >= 5
    for node in cluster.running:
        node.clock.skew_ms = 0
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    fired = len(watched.fired)
    cluster.run(70.0)
    assert len(watched.fired) >= fired + 5, "the clock that was ahead is caught up with, and it goes on"
    assert len(watched.fired) == len(set(watched.fired))


def test_after_an_outage_of_all_nodes_the_last_tick_is_made_up_for() -> None:
    watched = Watched(3, CatchUp.LAST, every=2_000)
    cluster = watched.cluster
    cluster.run(5.0)
    nodes = list(cluster.running)
    for node in nodes:
        node.crash()
    before = len(watched.fired)
    cluster.run(30.0)
    for node in nodes:
        node.start()
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    cluster.run(2.5)
    made_up = watched.fired[before:]
    assert len(made_up) <= 5 and made_up[0] - watched.fired[before - 1] >= 28_000


def test_a_cron_text_fires_by_the_real_almanac() -> None:
    watched = Watched(4, CatchUp.LAST, cron="* * * * *")
    watched.cluster.run(125.0)
    assert len(watched.fired) == 2 and all(tick % 60_000 == 0 for tick in watched.fired)


def test_what_a_node_cannot_read_is_refused_when_it_is_declared() -> None:
    watched = Watched(5, CatchUp.LAST)
    entry = Entry("clock", b"", Kind.BYTES, b"s" * 16, watched.start, cron="* * * * *", zone="Mars/Olympus")
    call = watched.client.schedule("other", lambda found: entry)
    assert watched.cluster.run_until(lambda: call.finished, 15.0)
    assert isinstance(call.error, NotAllowed) and "Mars/Olympus" in str(call.error)
    assert watched.cluster.state is not None and watched.cluster.state.scheduled("other") is None
