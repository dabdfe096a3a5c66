"""Nodes that only agree: real `Agreement` over a fake disk, with a bag of packets between them that a test
empties as it likes, and a book-keeper that knows which states were chosen.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable

import msgspec

from tests.core.test_state_changes import ID, cluster
from zmqueue.core.acceptor import Record
from zmqueue.core.agreement import Agreement
from zmqueue.core.ballots import NO_BALLOT, Ballot
from zmqueue.core.changes import Value, apply
from zmqueue.core.effects import Effects
from zmqueue.core.packets import Packet, decode, encode
from zmqueue.core.state import ClusterState, Status, digest
from zmqueue.core.tables import Table


class Violation(AssertionError):
    """What must never happen, happened."""


class FakeTables:
    """A disk (`rows`) and the batch in front of it. Only what agreement uses; META only."""

    def __init__(self) -> None:
        self.rows: dict[tuple[Table, bytes], bytes] = {}
        self.batch: list[tuple[Table, bytes, bytes]] = []

    def get(self, table: Table, key: bytes) -> bytes | None:
        newest = [value for where, name, value in self.batch if (where, name) == (table, key)]
        return newest[-1] if newest else self.rows.get((table, key))

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.batch.append((table, key, value))

    def commit(self) -> list[tuple[Table, bytes, bytes]]:
        written, self.batch = self.batch, []
        for table, key, value in written:
            self.rows[table, key] = value
        return written


class Opinion:
    """An oracle in the place of the fault detector: suspects whom the test says, hears everybody else."""

    def __init__(self) -> None:
        self.suspected: set[int] = set()
        self.held_back: set[int] = set()

    def majority_suspects(self, number: int, now: float, voters: Collection[int]) -> bool:
        return number in self.suspected

    def majority_hears(self, number: int, now: float, voters: Collection[int]) -> bool:
        return number not in self.suspected

    def may_return(self, number: int, now: float) -> bool:
        return number not in self.held_back


class Node:
    """One node: what it has on disk, and, while it runs, its agreement."""

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.id = ID(number)
        self.tables = FakeTables()
        self.incarnation = 0
        self.nonce = 0
        self.running = False
        self.agreement: Agreement

    def boot(self, nonce: int | None = None) -> None:
        self.incarnation += 1
        self.nonce = self.world.dice.getrandbits(32) if nonce is None else nonce
        self.effects = Effects()
        self.agreement = Agreement(
            self.id, self.incarnation, self.nonce, self.tables, self.effects,  # type: ignore[arg-type]
            self.world.dice.random, endpoint=f"tcp://{self.number}", heartbeats=f"tcp://h{self.number}")
        self.agreement.on_install.append(self._installed)
        self.world.prepare(self.agreement)
        self.running = True

    def _installed(self, old: ClusterState | None, new: ClusterState) -> None:
        self.world.on_install(self, new)

    @property
    def state(self) -> ClusterState:
        assert self.agreement.state is not None
        return self.agreement.state

    def take(self, sender: str, packet: Packet) -> None:
        self.agreement.handle(sender, packet, self.world.now)  # type: ignore[arg-type]
        self.flush()

    def tick(self) -> None:
        self.agreement.tick(self.world.now, self.world.opinion)
        self.flush()

    def flush(self) -> None:
        """What needs no disk leaves, unless a new state waits for the disk (C4)."""
        if not self.effects.hold:
            self._send(self.effects.now)

    def sync(self) -> None:
        """The batch is on disk; everything that waited for it leaves."""
        self.world.on_disk(self, self.tables.commit())
        self.effects.hold = self.effects.must_commit = False
        self._send(self.effects.now)
        self._send(self.effects.durable)
        self.agreement.durable(self.world.now)
        self.flush()

    def _send(self, packets: list[tuple[str | bytes, Packet]]) -> None:
        for to, packet in packets:
            assert isinstance(to, str)
            self.world.send(self.id, to, packet)
        packets.clear()

    def crash(self, *, disk_kept_batch: bool = False) -> None:
        """Stop. The batch may have reached the disk; nothing that waited for it was sent."""
        self.running = False
        if disk_kept_batch:
            self.world.on_disk(self, self.tables.commit())
        self.tables.batch.clear()


class World:
    """Nodes 1 to n, members of one cluster, and as many joiners as wanted; the packets between them; the time."""

    def __init__(self, members: int, *, joiners: int = 0, seed: int = 0,
                 prepare: Callable[[Agreement], None] = lambda agreement: None) -> None:
        self.dice = random.Random(seed)
        self.now = 0.0
        self.prepare = prepare
        self.opinion = Opinion()
        self.bag: list[tuple[str, str, bytes]] = []
        first = cluster(members, buckets=2)
        self.chosen: dict[int, ClusterState] = {first.epoch: first}
        self.votes: dict[tuple[int, Ballot], dict[Value, set[int]]] = defaultdict(lambda: defaultdict(set))
        self.nodes = {number: Node(self, number) for number in range(1, members + joiners + 1)}
        for number, node in self.nodes.items():
            if number <= members:
                node.tables.rows[Table.META, b"state"] = first.to_bytes()
            node.boot(nonce=number * 100)

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    # --- packets ---

    def send(self, source: str, target: str, packet: Packet) -> None:
        self.bag.append((source, target, encode(packet)))

    def deliver(self, index: int) -> None:
        source, target, frame = self.bag.pop(index)
        node = next((node for node in self.nodes.values() if node.id == target), None)
        if node is not None and node.running:
            node.take(source, decode(frame))

    def packets(self, kind: type, source: int | None = None, target: int | None = None) -> list[Packet]:
        return [decode(self.bag[index][2]) for index in self._indices(kind, source, target)]

    def _indices(self, kind: type, source: int | None, target: int | None) -> list[int]:
        return [index for index, (src, dst, frame) in enumerate(self.bag)
                if isinstance(decode(frame), kind)
                and (source is None or src == ID(source)) and (target is None or dst == ID(target))]

    def pass_on(self, kind: type, source: int | None = None, target: int | None = None) -> int:
        """Deliver the packets of a kind that are under way now; say how many."""
        chosen = [self.bag[index] for index in self._indices(kind, source, target)]
        for item in chosen:
            self.deliver(self.bag.index(item))
        return len(chosen)

    def taken(self, kind: type, source: int, target: int) -> list[tuple[str, str, bytes]]:
        """Take packets out of the bag, to put them back later: they are slow."""
        slow = [self.bag[index] for index in self._indices(kind, source, target)]
        self.bag = [item for item in self.bag if item not in slow]
        return slow

    def lose(self, kind: type = object, source: int | None = None, target: int | None = None) -> None:
        for index in reversed(self._indices(kind, source, target)):
            del self.bag[index]

    def sync(self, *numbers: int) -> None:
        for node in [self.nodes[number] for number in numbers] or list(self.nodes.values()):
            if node.running:
                node.sync()

    def settle(self, seconds: float, numbers: Iterable[int] | None = None) -> None:
        """Let time pass in steps of 10 ms; among these nodes every packet arrives and every batch is written."""
        group = [self.nodes[number] for number in (self.nodes if numbers is None else numbers)]
        ids = {node.id for node in group}
        for _ in range(round(seconds / 0.01)):
            self.now += 0.01
            for node in group:
                if node.running:
                    node.tick()
                    node.sync()
            passing, self.bag = self.bag, []
            for source, target, frame in passing:
                if source in ids and target in ids:
                    self.bag.insert(0, (source, target, frame))
                    self.deliver(0)
        self.bag.clear()

    # --- the book-keeper ---

    def on_disk(self, node: Node, written: list[tuple[Table, bytes, bytes]]) -> None:
        for _, key, value in written:
            if key == b"acceptor":
                self._on_vote(node, msgspec.msgpack.decode(value, type=Record))

    def _on_vote(self, node: Node, record: Record) -> None:
        before = self.chosen.get(record.epoch - 1)
        if record.accepted_value is None or record.accepted_ballot == NO_BALLOT or before is None:
            return
        values = self.votes[record.epoch, record.accepted_ballot]
        member = before.by_id(node.id)
        if member is None or not member.voter:
            raise Violation(f"{node.id} has no vote in state {before.epoch} and accepts all the same")
        values[record.accepted_value].add(member.number)
        if len(values) > 1:
            raise Violation(f"ballot {record.accepted_ballot} of instance {record.epoch} carries two values")
        if len(values[record.accepted_value]) < before.quorum:
            return
        after = apply(before, record.accepted_value.changes)
        if digest(after) != record.accepted_value.digest:
            raise Violation("the digest is not that of the outcome")
        if self.chosen.setdefault(record.epoch, after) != after:
            raise Violation(f"two states of epoch {record.epoch} are chosen")

    def on_install(self, node: Node, state: ClusterState) -> None:
        if self.chosen.get(state.epoch) != state:
            raise Violation(f"node {node.number} installs a state of epoch {state.epoch} that was not chosen")

    @property
    def newest(self) -> ClusterState:
        return self.chosen[max(self.chosen)]

    def status(self, number: int) -> Status | None:
        member = self.newest.by_id(ID(number))
        return None if member is None else member.status
