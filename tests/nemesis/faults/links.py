"""Faults of the network between hosts: directions that are cut, rates that are limited, connections that are reset."""

from __future__ import annotations

import contextlib
import itertools
import random
import time
from collections.abc import Callable, Iterator, Sequence

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.hosts import Host
from tests.nemesis.nodes import DATA_PORT, DATA_PORTS, HEARTBEAT_PORT, RigNode
from tests.nemesis.rig import Rig, available

Cut = tuple[Host, Host, Sequence[int]]
"""What comes from the first to the second is dropped: all, or that of these ports."""


class Partition(Fault):
    """Directions between nodes are cut, in one of several shapes."""

    kind = "partition"
    limit_s = 25.0
    hold_s = (1.0, 9.0)

    def prepare(self, rig: Rig) -> str:
        return "" if rig.isolated else "needs network namespaces"

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        shape = dice.choice(SHAPES)
        with rig.harm(rig.minority) as few, contextlib.ExitStack() as cuts:
            many = [node for node in rig.nodes if node not in few]
            strike.begin(f"partition, {shape.__name__.strip('_')}: {[node.name for node in few]}")
            for source, target, ports in shape(rig, few, many, dice):
                cuts.enter_context(target.deaf(source, ports))
            yield


def both(some: Sequence[RigNode], others: Sequence[RigNode], ports: Sequence[int] = ()) -> Iterator[Cut]:
    """Both directions between each of some and each of others."""
    for one, other in itertools.product(some, others):
        yield one.host, other.host, ports
        yield other.host, one.host, ports


def _halves(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """Cut in two; programs reach both sides."""
    yield from both(few, many)


def _isolated(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """One node reaches nobody, and no program."""
    yield from both(few[:1], [node for node in rig.nodes if node is not few[0]])
    yield few[0].host, rig.clients, ()
    yield rig.clients, few[0].host, ()


def _bridge(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """Two sides, and one node that reaches both."""
    yield from both(few, many[1:])


def _ring(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """Each reaches its two neighbours, and so does each a majority where there are three or five; three have one link
    cut."""
    around = dice.sample(rig.nodes, len(rig.nodes))
    if len(around) < 4:
        yield from both(around[:1], around[1:2])
    for at, node in enumerate(around):
        for other in around[at + 2:len(around) - (at == 0)]:
            yield from both([node], [other])


def _one_way_out(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """They hear the others, and are not heard."""
    for one, other in itertools.product(few, many):
        yield one.host, other.host, ()


def _one_way_in(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """They are heard, and hear nobody."""
    for one, other in itertools.product(few, many):
        yield other.host, one.host, ()


def _heartbeats(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """Only heartbeats are cut."""
    yield from both(few, many, [HEARTBEAT_PORT])


def _data(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """Heartbeats pass, and nothing else."""
    yield from both(few, many, DATA_PORTS)


def _clients(rig: Rig, few: list[RigNode], many: list[RigNode], dice: random.Random) -> Iterator[Cut]:
    """Programs do not reach some nodes, or are not heard by them."""
    for node in few:
        yield rig.clients, node.host, ()
        if dice.random() < 0.5:
            yield node.host, rig.clients, ()


Shape = Callable[[Rig, list[RigNode], list[RigNode], random.Random], Iterator[Cut]]
SHAPES: tuple[Shape, ...] = (
    _halves, _isolated, _bridge, _ring, _one_way_out, _one_way_in, _heartbeats, _data, _clients)


class Rate(Fault):
    """What a node sends is limited in rate; the queue is short, and what is too much for it is dropped."""

    kind = "rate"
    limit_s = 25.0
    hold_s = (3.0, 8.0)

    def prepare(self, rig: Rig) -> str:
        if not rig.isolated:
            return "needs network namespaces"
        if missing := available("tc", "iproute2"):
            return missing
        try:
            with rig.clients.slow("100mbit"):
                return ""
        except RuntimeError as error:
            return f"the kernel has no token bucket filter: {error}"

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        rate = dice.choice(("256kbit", "1mbit", "4mbit"))
        with rig.harm(1) as (node,), node.host.slow(rate):
            strike.begin(f"{node.name} sends {rate}")
            yield


class Reset(Fault):
    """Connections of a node are ended under load, again and again."""

    kind = "cut"
    limit_s = 10.0
    hold_s = (0.0, 0.0)

    def prepare(self, rig: Rig) -> str:
        if not rig.isolated:
            return "needs network namespaces"
        return available("ss", "iproute2")

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1) as (node,):
            hosts = [other.host for other in rig.nodes if other is not node]
            port = dice.choice((None, DATA_PORT, HEARTBEAT_PORT))
            ended = 0
            for _ in range(dice.randint(1, 8)):
                for host in [*hosts, rig.clients]:
                    ended += node.host.cut(host, port)
                strike.begin(f"{ended} connections of {node.name} reset, port {port or 'any'}")
                time.sleep(dice.uniform(0.1, 1.0))
            if not ended:
                rig.note(f"{node.name} had no connection that could be reset")
            yield
