"""Engines on a bench: their packets and their disks move only when a schedule says so."""

from __future__ import annotations

from tests.simulation.checkers import Violation
from tests.simulation.checkers.states import States
from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.ballots import StateIs
from zmqueue.core.changes import MemberDown, MemberJoined, MemberUp, ReplicaDropped, ReplicaSynced, apply
from zmqueue.core.effects import Address, Effects
from zmqueue.core.engine import Engine, EngineConfig
from zmqueue.core.packets import Append, Envelope, Packet
from zmqueue.core.replication import Role
from zmqueue.core.state import Agreed, ClusterState, Member, Status, found
from zmqueue.core.tables import Table
from zmqueue.store.memory import MemoryStore

BUCKET = 0


class BenchNode:
    """An engine whose turns are ended, and whose batch is made durable, by hand."""

    def __init__(self, bench: Bench, member: Member) -> None:
        self.member = member
        self.store = MemoryStore()
        self.store.put(Table.META, STATE_KEY, bench.state.to_bytes())
        self.store.commit()
        self.left: list[tuple[Address, Packet]] = []
        self._bench = bench
        self._waiting: list[Effects] = []
        config = EngineConfig(member.id, member.incarnation, member.nonce, member.endpoint, member.heartbeats,
                              jitter=lambda: 0.5)
        self.engine = Engine(self.store, config, bench.now)
        self.turn()

    @property
    def epoch_on_disk(self) -> int:
        view = self.store.snapshot()
        data = view.get(Table.META, STATE_KEY)
        view.close()
        assert data is not None
        return ClusterState.from_bytes(data).epoch

    def turn(self, *packets: tuple[Member, Packet], ticks: int = 0) -> None:
        """One turn of the shell, but for the commit: packets, ticks, and what follows from them."""
        assert not any(effects.hold for effects in self._waiting), "the shell commits a new state in its own turn"
        bench, engine = self._bench, self.engine
        for sender, packet in packets:
            envelope = Envelope(bench.state.cluster_id, 1, sender.id, sender.incarnation, 0)
            engine.on_peer(envelope, [packet], bench.now, 0)
        for _ in range(ticks):
            bench.now += 0.05
            engine.tick(bench.now, 0)
        engine.finish(bench.now)
        effects = engine.take()
        if not effects.hold:
            self._send(effects.now)
        self._waiting.append(effects)

    def sync(self) -> None:
        """The batch is durable, and what waited for it leaves."""
        while self._waiting or self.store.dirty:
            waiting, self._waiting = self._waiting, []
            self.store.commit()
            for effects in waiting:
                if effects.hold:
                    self._send(effects.now)
                self._send(effects.durable)
            self.engine.durable(self._bench.now)
            effects = self.engine.take()
            if effects.hold or effects.must_commit or effects.durable:
                self._waiting.append(effects)
            if not effects.hold:
                self._send(effects.now)

    def _send(self, packets: list[tuple[Address, Packet]]) -> None:
        shown = self.engine.envelope().epoch
        state = self.engine.state
        assert state is not None
        for _, packet in packets:
            epoch = packet.epoch if isinstance(packet, Append) else shown
            if epoch > self.epoch_on_disk:
                raise Violation(States.NAME, f"{packet} leaves {self.member.number}, under epoch {epoch}, before the "
                                             "state is on its disk")
        self.left.extend(packets)


class Bench:
    """Members 1 to n of one cluster with one bucket, all `up` and in-sync."""

    def __init__(self, members: int, replicas: int) -> None:
        self.now = 100.0
        founder = Member(1, f"{1:016x}", 1, 1, "tcp://1", "tcp://h1", Status.UP, True)
        state = found("bench", Agreed(buckets=1, replicas=replicas, min_in_sync=1, vnodes=16), founder)
        for number in range(2, members + 1):
            joined = MemberJoined(f"{number:016x}", 1, number, f"tcp://{number}", f"tcp://h{number}")
            state = apply(state, [joined])
            state = apply(state, [MemberUp(number, 1, state.epoch, number, f"tcp://{number}", f"tcp://h{number}")])
        state = apply(state, [ReplicaSynced(BUCKET, number, state.terms[BUCKET])
                              for number in state.desired(BUCKET) if number not in state.in_sync[BUCKET]])
        self.state = state
        self.nodes = {member.number: BenchNode(self, member) for member in state.members}

    def member(self, number: int) -> Member:
        member = self.state.member(number)
        assert member is not None
        return member


def use_before_disk_by_engines() -> None:
    """The engine of N learns that it is primary; until that is on its disk, nothing that follows from it leaves.

    Its ticks come in the same turn: Appends under the new term, and wants, are what would bring L up for a primary that
    forgets, in a crash, that it ever was one.
    """
    bench = Bench(5, 3)
    p, n, learner = [number for number in bench.state.walk(BUCKET) if number in bench.state.in_sync[BUCKET]][:3]
    dropped = apply(bench.state, [ReplicaDropped(BUCKET, learner, bench.state.terms[BUCKET])])
    down = apply(dropped, [MemberDown(p, 1, bench.member(p).since)])
    other = next(number for number in bench.nodes if number not in (p, n, learner))
    node = bench.nodes[n]
    node.left.clear()
    node.turn((bench.member(other), StateIs(down.to_bytes())), ticks=4)
    assert node.engine.replicas[BUCKET].role is Role.PRIMARY
    assert node.epoch_on_disk < down.epoch
    node.sync()
    assert node.epoch_on_disk == down.epoch
    assert any(isinstance(packet, Append) and packet.epoch == down.epoch for _, packet in node.left)
