"""Faults by swarm: each seed draws which kinds it uses and how hard, so that rare mixtures are met (Groce, 2012).

A run in which everything goes wrong all the time gets nowhere, and one in which each fault is rare meets no two of
them at once; a draw of kinds per seed gives both, and all in between.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection
from dataclasses import replace

from tests.simulation.workload import Workload
from zmqueue.core.changes import MemberForgotten, ReplicaDropped
from zmqueue.core.state import Status
from zmqueue.core.suspicion import FaultDetector
from zmqueue.testing import DiskSpeed, Traffic, VirtualCluster, VirtualNode, Weather

NODES_MAX = 5


class Liar:
    """A fault detector that says of one member that a majority suspects it, and is honest otherwise."""

    def __init__(self, honest: FaultDetector, victim: int) -> None:
        self._honest = honest
        self._victim = victim

    def majority_suspects(self, number: int, now: float, voters: Collection[int]) -> bool:
        return number == self._victim or self._honest.majority_suspects(number, now, voters)

    def __getattr__(self, name: str) -> object:
        return getattr(self._honest, name)


class Faults:
    """What goes wrong in one run."""

    def __init__(self, cluster: VirtualCluster, workload: Workload, dice: random.Random) -> None:
        self.struck: Counter[str] = Counter()
        self._cluster, self._workload, self._dice = cluster, workload, dice
        self._on = True
        self.doubled = False               # messages were doubled: then a refusal of one says nothing of the other
        self.latest = 0.0                  # seconds after which a message that is under way has surely arrived
        self._leaving: set[str] = set()    # they asked to be down, and do not come back by themselves
        kinds: dict[str, Callable[[], None]] = {
            "weather": self._weather, "halves": self._halves, "isolated": self._isolated, "one way": self._one_way,
            "heartbeats cut": self._heartbeats, "data cut": self._data, "bridge": self._bridge,
            "client cut": self._client_cut, "heal": cluster.network.heal, "crash": self._crash,
            "crash of all": self._crash_all, "short pause": self._short_pause, "long pause": self._long_pause,
            "slow disk": self._slow_disk, "join": self._join, "leave": self._leave, "replace": self._replace,
            "forget": self._forget, "client crash": self._client, "clock": self._clock,
            "false suspicion": self._lie, "unfair drop": self._drop}
        share = dice.choice((0.15, 0.3, 0.6))
        self._kinds = {name: strike for name, strike in kinds.items() if dice.random() < share or name == "heal"}
        self._weights = [dice.choice((1, 1, 3, 8)) for _ in self._kinds]
        self._pause = dice.choice((0.2, 0.7, 2.0))
        self._again()

    def stop(self) -> None:
        """Strike no more, and mend what is broken."""
        self._on = False
        cluster = self._cluster
        cluster.network.weather = Weather()
        cluster.network.heal()
        for node in cluster.nodes.values():
            node.disk.speed = DiskSpeed()
            node.clock.set_rate(1.0)
            node.clock.skew_ms = 0
            node.resume()
            if node.name in self._leaving:
                node.crash()
            if not node.running:
                node.start()

    def _again(self) -> None:
        self._cluster.time.after(self._pause * 2 * self._dice.random(), self._strike)

    def _strike(self) -> None:
        if not self._on:
            return
        name = self._dice.choices(list(self._kinds), self._weights)[0]
        self.struck[name] += 1
        self._cluster.trace.add("--", f"fault: {name}")
        self._kinds[name]()
        self._again()

    # --- the network ---

    def _weather(self) -> None:
        dice, network = self._dice, self._cluster.network
        network.weather = Weather() if dice.random() < 0.3 else Weather(
            delay_max=dice.choice((0.001, 0.01, 0.1, 0.4)), loss=dice.choice((0.0, 0.01, 0.1, 0.3)),
            duplication=dice.choice((0.0, 0.05, 0.5)), overtaking=dice.choice((0.0, 0.05, 0.4)),
            late_max=dice.choice((0.05, 0.5, 3.0)), held=dice.choice((0.0, 0.5, 1.0)))
        self.doubled = self.doubled or network.weather.duplication > 0
        self.latest = max(self.latest, network.weather.delay_max + network.weather.late_max)

    def _shuffled(self) -> list[str]:
        names = list(self._cluster.nodes)
        self._dice.shuffle(names)
        return names

    def _halves(self) -> None:
        names = self._shuffled()
        cut = self._dice.randint(1, max(1, len(names) // 2))
        some, others = names[:cut], names[cut:]
        for client in self._cluster.clients:
            (some if self._dice.random() < 0.5 else others).append(client)
        self._cluster.network.part(some, others)

    def _victim(self) -> str:
        """Some node; often the one that is primary of most buckets."""
        state = self._cluster.state
        if state is None or self._dice.random() < 0.5:
            return self._dice.choice(list(self._cluster.nodes))
        primaries = Counter(state.primary(bucket) for bucket in range(state.buckets))
        number = primaries.most_common(1)[0][0]
        node = None if number is None else self._cluster.node_of(number)
        return self._dice.choice(list(self._cluster.nodes)) if node is None else node.name

    def _isolated(self) -> None:
        name = self._victim()
        others = [other for other in self._cluster.nodes if other != name]
        if self._dice.random() < 0.5:
            others += list(self._cluster.clients)
        self._cluster.network.part([name], others)

    def _one_way(self) -> None:
        """One node is not heard by some, or does not hear them."""
        name, deaf = self._victim(), self._dice.random() < 0.5
        for other in self._shuffled()[:self._dice.randint(1, 5)]:
            if other != name:
                self._cluster.network.cut(*((other, name) if deaf else (name, other)))

    def _heartbeats(self) -> None:
        name = self._victim()
        for other in self._shuffled()[:self._dice.randint(1, 5)]:
            if other != name:
                self._cluster.network.cut(name, other, Traffic.HEARTBEATS)

    def _data(self) -> None:
        name = self._victim()
        others = [other for other in self._shuffled()[:self._dice.randint(1, 5)] if other != name]
        self._cluster.network.part([name], others, Traffic.DATA)

    def _bridge(self) -> None:
        """Two halves that only one node reaches both of."""
        names = self._shuffled()
        middle = len(names) // 2
        self._cluster.network.part(names[:middle], names[middle + 1:])

    def _client_cut(self) -> None:
        self._cluster.network.part([self._dice.choice(list(self._cluster.clients))], [self._victim()])

    # --- processes ---

    def _later(self, seconds: float, act: Callable[[], None]) -> None:
        """Do it then, if faults still strike."""
        self._cluster.time.after(seconds, lambda: act() if self._on else None)

    def _restart_later(self, node: VirtualNode, away: float) -> None:
        def restart() -> None:
            if not node.running:
                node.start()
                self._leaving.discard(node.name)
        self._later(away, restart)

    def _crash(self) -> None:
        node = self._cluster.nodes[self._victim()]
        self._cluster.refusals = self._dice.random() < 0.7
        node.crash()
        self._restart_later(node, self._dice.choice((0.02, 0.5, 2.0, 6.0)) * 2 * self._dice.random())

    def _crash_all(self) -> None:
        """A power cut: all at once, or all but one."""
        spared = self._victim() if self._dice.random() < 0.5 else ""
        for node in self._cluster.nodes.values():
            if node.name != spared:
                node.crash()
                self._restart_later(node, 3.0 * self._dice.random())

    def _pause_for(self, seconds: float) -> None:
        node = self._cluster.nodes[self._victim()]
        if node.running and not node.paused:
            node.pause()
            self._later(seconds, node.resume)

    def _short_pause(self) -> None:
        self._pause_for(0.05 + 0.3 * self._dice.random())

    def _long_pause(self) -> None:
        self._pause_for(1.0 + 6.0 * self._dice.random())

    def _slow_disk(self) -> None:
        node = self._cluster.nodes[self._victim()]
        usual = DiskSpeed()
        node.disk.speed = usual if node.disk.speed != usual else replace(
            usual, sync_max=self._dice.choice((0.01, 0.1)), hitch=self._dice.choice((0.0, 0.1)),
            hitch_max=self._dice.choice((0.3, 2.5)))

    def _join(self) -> None:
        if len(self._cluster.nodes) < NODES_MAX:
            self._cluster.add_node().start()

    def _leave(self) -> None:
        """A planned stop; the process is ended soon after, whether it was agreed or not."""
        node = self._cluster.nodes[self._victim()]
        if not node.running or node.name in self._leaving:
            return
        node.leave()
        self._leaving.add(node.name)

        def end() -> None:
            node.crash()
            self._leaving.discard(node.name)
        self._later(0.2 + 2.0 * self._dice.random(), end)
        self._restart_later(node, 2.2 + 4.0 * self._dice.random())

    def _replace(self) -> None:
        """One node leaves for good, and soon another one joins; at the end of the run the old one comes back."""
        node = self._cluster.nodes[self._victim()]
        if not node.running or node.name in self._leaving or len(self._cluster.nodes) >= NODES_MAX:
            return
        node.leave(for_good=True)
        self._leaving.add(node.name)
        self._later(4.0 * self._dice.random(), node.crash)
        self._later(4.0 * self._dice.random(), self._join)

    def _forget(self) -> None:
        """The operator has a member forgotten that has long been out, running or not: it learns of that, goes on
        answering for a while, since it may be the only one that knows of the decision, and stops (C7)."""
        state = self._cluster.state
        for member in () if state is None else state.members:
            node = self._cluster.nodes[self._victim()]
            if member.status is Status.OUT and node.engine is not None and not node.paused:
                node.engine.agreement.want(node.clock.monotonic(), MemberForgotten(member.number, member.since))

    # --- wrong beliefs ---

    def _lie(self) -> None:
        """For a while, one node takes it for granted that a majority suspects some member (it costs no data)."""
        liar, state = self._cluster.nodes[self._victim()].engine, self._cluster.state
        if liar is None or state is None or isinstance(liar.detector, Liar):
            return
        honest, member = liar.detector, self._dice.choice(state.members)
        liar.detector = Liar(honest, member.number)  # type: ignore[assignment]

        def end() -> None:
            liar.detector = honest
        self._cluster.time.after(0.5 * self._dice.random(), end)

    def _drop(self) -> None:
        """Somebody asks for a replica to be dropped that has done nothing wrong."""
        state, node = self._cluster.state, self._cluster.nodes[self._victim()]
        if state is None or node.engine is None or node.paused:
            return
        bucket = self._dice.randrange(state.buckets)
        number = self._dice.choice(state.in_sync[bucket])
        node.engine.agreement.want(node.clock.monotonic(), ReplicaDropped(bucket, number, state.terms[bucket]))

    # --- programs and clocks ---

    def _client(self) -> None:
        self._workload.crash_one()

    def _clock(self) -> None:
        clock = self._cluster.nodes[self._victim()].clock
        if self._dice.random() < 0.5:
            clock.skew_ms = self._dice.choice((0, 200, -5_000, 60_000, -600_000))
        else:
            clock.set_rate(self._dice.choice((1.0, 1.01, 0.99, 1.1)))
