"""Replicas of one bucket wired back to back: real `Replica`s over in-memory stores, a bag of packets that a test
empties as it likes, states that a test makes, and a book-keeper that knows what was committed.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable

from tests.core.test_state_changes import cluster
from zmqueue.core import operations
from zmqueue.core.ballots import Hello, StateIs
from zmqueue.core.changes import Change, apply
from zmqueue.core.copies import Copies
from zmqueue.core.effects import Effects, Note
from zmqueue.core.host import ALARM, Host
from zmqueue.core.ids import make_id
from zmqueue.core.operations import Operation, Submission, Submitted
from zmqueue.core.packets import Append, Entry, Packet, decode, encode
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import ClusterState
from zmqueue.store.memory import MemoryStore

BUCKET = 0


class Violation(AssertionError):
    """What must never happen, happened."""


def submitted(number: int, size: int = 8, at: int = 0) -> Submitted:
    """An operation that can be told from others by its number."""
    message = Submission(make_id(1_000, 0, number.to_bytes(15, "big")), number.to_bytes(size, "big"))
    return Submitted(at, "jobs", (message,))


def number_of(operation: Operation) -> int:
    assert isinstance(operation, Submitted)
    return int.from_bytes(operation.messages[0].payload, "big")


class Desk:
    """A listener that writes down what it is told."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.told: list[str] = []
        self.applied_numbers: list[int] = []

    def entered(self, now: float) -> None:
        self.told.append(f"entered {self.node.replica.role.value}")

    def applied(self, seq: int, operation: Operation, now: float) -> None:
        self.applied_numbers.append(number_of(operation))
        self.node.world.on_applied(self.node, seq)

    def progressed(self, now: float) -> None:
        self.told.append("progressed")


class Node:
    """One node with one bucket."""

    replica_class: type[Replica] = Replica

    def __init__(self, world: World, number: int) -> None:
        self.world = world
        self.number = number
        self.store = MemoryStore()
        self.mark = self.store              # an old disk, for a test to go back to
        self.incarnation = 0
        self.running = False
        self.state: ClusterState = world.states[0]
        self._state_on_disk = self.state
        self.notes: list[Note] = []
        self.asked: list[Change] = []
        self.replica: Replica

    @property
    def id(self) -> str:
        return f"{self.number:016x}"

    def boot(self) -> None:
        self.incarnation += 1
        self.effects = Effects()
        self.copies = Copies(self.store)
        self.host = Host(self.number, self.incarnation, self.store, self.effects, self.copies, self._want)
        self.replica = self.world.make_replica(self)
        self.desk = Desk(self)
        self.replica.listener = self.desk
        self.running = True
        self.state = self._state_on_disk
        self.do(lambda: self.replica.enter(self.state, self.world.now))

    def _want(self, now: float, *changes: Change) -> None:
        self.asked.extend(changes)

    def asks(self, kind: type[Change]) -> list[Change]:
        """What it has asked for since the last look, of one kind, without repetitions."""
        found = [change for change in dict.fromkeys(self.asked) if isinstance(change, kind)]
        self.asked.clear()
        return found

    # --- turns ---

    def do(self, event: Callable[[], object]) -> None:
        """One turn: an event, its flush, and the sends that wait for nothing."""
        event()
        for _ in range(len(self.host.touched)):
            self.host.touched.clear()
            self.replica.flush(self.world.now)
        self.notes += self.effects.notes
        self.effects.notes.clear()
        if not self.effects.hold:
            self._send(self.effects.now)

    def sync(self) -> None:
        """The batch is on disk; what waited for that leaves."""
        if not self.running:
            return
        self.do(lambda: None)
        self.store.commit()
        self._state_on_disk = self.state
        self.effects.hold = self.effects.must_commit = False
        self._send(self.effects.now)
        self._send(self.effects.durable)
        self.do(lambda: self.replica.durable(self.world.now))

    def _send(self, packets: list[tuple[str | bytes, Packet]]) -> None:
        for to, packet in packets:
            assert isinstance(to, str)
            self.world.send(self.number, int(to, 16), packet)
        packets.clear()

    def crash(self, *, keep_unsynced: bool = False) -> None:
        self.running = False
        self.store = self.store.crash(keep_unsynced=keep_unsynced)

    def restart(self) -> None:
        self.crash()
        self.boot()

    # --- events ---

    def learn(self, state: ClusterState, *, sync: bool = True) -> None:
        self.state = state
        self.effects.hold = self.effects.must_commit = True
        self.do(lambda: self.replica.enter(state, self.world.now))
        if sync:
            self.sync()

    def append(self, number: int, size: int = 8) -> int:
        seqs: list[int] = []
        replica, now = self.replica, self.world.now
        self.do(lambda: seqs.append(replica.append(submitted(number, size, replica.at(now)), now)))
        return seqs[0]

    def tick(self) -> None:
        self.do(lambda: self.replica.tick(self.world.now))

    def take(self, sender: int, packet: Packet) -> None:
        if isinstance(packet, (Hello, StateIs)):
            return                          # agreement's; tests install states themselves
        self.do(lambda: self.replica.handle(sender, packet, self.world.now))  # type: ignore[arg-type]

    # --- questions ---

    def plays(self, role: Role) -> bool:
        return self.replica.role is role

    @property
    def alarms(self) -> list[str]:
        return [note.kind for note in self.notes if note.kind.startswith(ALARM)]

    def log(self) -> list[int]:
        """The numbers of all operations in the log, in memory."""
        log = self.replica.copy.log
        return [number_of(log.operation(seq)) for seq in range(log.base_seq + 1, log.end + 1)]

    def rows(self) -> int:
        """How many messages the applied state has."""
        return sum(map(sum, self.replica.machine.counts.values()))

    def holds_on_disk(self, seq: int) -> Entry | None:
        """What a restart would find at `seq`; None where it is below the base, or nothing."""
        disk = self.store.copy()
        replica = Replica(BUCKET, Host(self.number, 0, disk, Effects(), Copies(disk), self._want))
        log = replica.copy.log
        return log.entry(seq) if log.base_seq < seq <= log.end else None

    def end_on_disk(self) -> int:
        disk = self.store.copy()
        return Replica(BUCKET, Host(self.number, 0, disk, Effects(), Copies(disk), self._want)).end


class World:
    """Nodes 1 to n with one bucket, of which `members` are in the first state; the packets between them; the time."""

    def __init__(self, members: int, *, replicas: int = 3, seed: int = 0, min_in_sync: int = 1,
                 make_replica: Callable[[Node], Replica] | None = None) -> None:
        self.now = 100.0
        self.dice = random.Random(seed)
        self.make_replica = make_replica or (lambda node: Replica(BUCKET, node.host))
        self.states = [cluster(members, buckets=1, replicas=replicas, min_in_sync=min_in_sync)]
        self.bag: list[tuple[int, int, Packet]] = []
        self.committed: dict[int, tuple[Entry, int]] = {}     # seq -> (entry, epoch of the primary's term)
        self.nodes = {number: Node(self, number) for number in range(1, members + 1)}
        for node in self.nodes.values():
            node.incarnation = member_incarnation(self.state, node.number) - 1
            node.boot()
            node.sync()

    def __getitem__(self, number: int) -> Node:
        return self.nodes[number]

    @property
    def state(self) -> ClusterState:
        """The newest chosen state."""
        return self.states[-1]

    def order(self) -> tuple[int, ...]:
        """The members in the order of the bucket's walk: the first in-sync one is primary."""
        return tuple(self.state.walk(BUCKET))

    def agree(self, *changes: Change) -> ClusterState:
        """Have changes chosen; nobody knows it yet. What every in-sync member must hold is checked (I3)."""
        state = apply(self.state, changes)
        self.states.append(state)
        self.check_holders()
        return state

    def tell(self, *numbers: int) -> None:
        """Let nodes learn the newest state, on disk; without numbers all that run."""
        for number in numbers or self.nodes:
            if self[number].running:
                self[number].learn(self.state)

    # --- packets ---

    def send(self, sender: int, to: int, packet: Packet) -> None:
        self.bag.append((sender, to, decode(encode(packet))))

    def deliver(self, kind: type[Packet], sender: int | None = None, to: int | None = None, *,
                sync: bool = True) -> int:
        """Deliver all packets of a kind, oldest first; then those who took one sync. How many there were."""
        chosen = [item for item in self.bag if isinstance(item[2], kind)
                  and sender in (None, item[0]) and to in (None, item[1])]
        for item in chosen:
            self.bag.remove(item)
            self._take(item)
        if sync:
            for number in dict.fromkeys(item[1] for item in chosen):
                self[number].sync()
        return len(chosen)

    def drop(self, kind: type[object] = object, sender: int | None = None, to: int | None = None) -> None:
        self.bag = [item for item in self.bag if not (
            isinstance(item[2], kind) and sender in (None, item[0]) and to in (None, item[1]))]

    def _take(self, item: tuple[int, int, Packet]) -> None:
        sender, to, packet = item
        if to in self.nodes and self[to].running:
            self[to].take(sender, packet)

    def run(self, rounds: int = 30, *, among: Iterable[int] | None = None, step: float = 0.05) -> None:
        """Ticks, deliveries and syncs until all is quiet (or the rounds are over); others hear nothing."""
        group = set(self.nodes if among is None else among)
        for _ in range(rounds):
            self.now += step
            for number in group:
                if self[number].running:
                    self[number].tick()
                    self[number].sync()
            for _ in range(50):
                items, self.bag = self.bag, []
                items = [item for item in items if item[0] in group and item[1] in group]
                if not items:
                    break
                for item in items:
                    self._take(item)
                for number in group:
                    self[number].sync()

    # --- the book-keeper ---

    def on_applied(self, node: Node, seq: int) -> None:
        """I2: what is committed never differs, and no backup is first."""
        entry = node.replica.copy.log.entry(seq)
        known = self.committed.get(seq)
        if known is None:
            if node.replica.role is not Role.PRIMARY:
                raise Violation(f"backup {node.number} is the first to apply {seq}")
            self.committed[seq] = entry, node.replica.term
            self.check_holders()
        elif known[0] != entry:
            raise Violation(f"node {node.number} applies another entry at {seq} than was committed")

    def check_holders(self) -> None:
        """I3: every in-sync member of the latest chosen state has every committed entry on disk, or knows that it is
        damaged."""
        for number in self.state.in_sync[BUCKET]:
            if number not in self.nodes:
                continue
            disk = self[number].store.copy()
            replica = Replica(BUCKET, Host(number, 0, disk, Effects(), Copies(disk), self[number]._want))
            if replica.mending.damaged:
                continue                    # its disk did it: what it holds is for nobody (D1)
            log = replica.copy.log
            for seq, (entry, _) in self.committed.items():
                if seq > log.end or (seq > log.base_seq and log.entry(seq) != entry):
                    raise Violation(f"in-sync node {number} lacks the committed entry {seq}")


def member_incarnation(state: ClusterState, number: int) -> int:
    member = state.member(number)
    assert member is not None
    return member.incarnation


def entries_sent(world: World, to: int) -> list[int]:
    """The numbers of the operations in the Appends that are on the way to a node."""
    return [number_of(operations.decode(data)) for _, receiver, packet in world.bag
            if receiver == to and isinstance(packet, Append) for _, data in packet.entries]
