"""The committed log of each bucket, as it became known; every replica is held against it.

Committed prefixes are equal everywhere (I2); one primary commits per bucket and term; each in-sync member of the newest
chosen state has every committed entry on its disk (I3); an entry's term and seq name one entry (I5); operations
fit those before them (I6); a snapshot is the state at its entry.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.checkers import Beyond, Violation
from tests.simulation.checkers.model import BucketModel, Unfit
from tests.simulation.checkers.states import States
from zmqueue.core.copies import COPIED, position_in
from zmqueue.core.damage import marks_in
from zmqueue.core.effects import Note
from zmqueue.core.host import ALARM
from zmqueue.core.keys import copy_prefix
from zmqueue.core.log import _SEQ, _TERM, Log
from zmqueue.core.machine import Machine
from zmqueue.core.operations import Operation, decode
from zmqueue.core.packets import Entry
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Damage, Table, View, rows, span
from zmqueue.store.memory import MemoryStore
from zmqueue.testing import Observer, VirtualNode

Key = tuple[str, int]                      # a node's name, a bucket


class Seen:
    """What was last seen of one replica."""

    __slots__ = ("commit", "copy", "end", "generation", "role", "term")

    def __init__(self, copy: int, commit: int, end: int, role: Role, term: int, generation: int) -> None:
        self.copy, self.commit, self.end, self.role, self.term = copy, commit, end, role, term
        self.generation = generation


class Logs(Observer):
    """The book of committed entries."""

    PREFIXES = "committed prefixes are equal"
    PRIMARY = "one primary per term"
    IN_SYNC = "in-sync replicas hold what is committed"
    IDENTITY = "an entry has one identity"
    DECISIONS = "decided on applied state"
    ALARM = "no alarm while disks are honest"
    SNAPSHOT = "a snapshot is the state at its entry"
    DELETED = "no copy is deleted that may be needed"

    def __init__(self, states: States, buckets: int) -> None:
        self.committed: list[list[Entry]] = [[] for _ in range(buckets)]
        self.models = [BucketModel() for _ in range(buckets)]
        self.on_committed: list[Callable[[int, int, Operation], None]] = []    # told (bucket, seq, operation)
        self.snapshots = 0
        self.dishonest: set[str] = set()              # nodes whose disks do not hold what they confirmed (R15)
        self._states = states
        self.nodes: dict[str, VirtualNode] = {}       # by id
        self._seen: dict[Key, Seen] = {}
        self._committers: dict[tuple[int, int], str] = {}
        self._tails: dict[Key, dict[int, Entry]] = {}
        self._identities: dict[tuple[int, int, int], bytes] = {}
        states.on_chosen.append(self._chosen)

    @property
    def commits(self) -> int:
        return sum(map(len, self.committed))

    # --- what happens ---

    def started(self, node: VirtualNode) -> None:
        self.nodes[node.id] = node
        if node.name not in self.dishonest:
            self._check_sound(node)
        self._look(node)

    def turned(self, node: VirtualNode) -> None:
        self._look(node)

    def _check_sound(self, node: VirtualNode) -> None:
        """A node that took a copy of its own for damaged began anew: what it found is not the disk's doing."""
        for bucket, mark in marks_in(node.disk.store).items():
            raise Violation(self.ALARM, f"{node.name} took its copy of bucket {bucket} for damaged: {mark.what}")

    def noted(self, node: VirtualNode, note: Note) -> None:
        if note.kind.startswith(ALARM) and not self.dishonest:
            raise Violation(self.ALARM, f"{node.name}: {note}")

    def synced(self, node: VirtualNode) -> None:
        self._check_disk(node)

    def stopped(self, node: VirtualNode) -> None:
        for bucket in range(len(self.committed)):
            self._seen.pop((node.name, bucket), None)
            self._tails.pop((node.name, bucket), None)
        self._check_disk(node)

    def _chosen(self, state: ClusterState) -> None:
        for node in self.nodes.values():
            self._check_disk(node)

    # --- replicas ---

    def _look(self, node: VirtualNode) -> None:
        """A look at what the node cannot read itself is put off: that is for the node to find, and not for us."""
        try:
            self._look_at_all(node)
        except Damage:
            if node.name not in self.dishonest:
                raise

    def _look_at_all(self, node: VirtualNode) -> None:
        if node.engine is None:
            return
        for bucket, replica in node.engine.replicas.items():
            seen = self._seen.get((node.name, bucket))
            if seen is None or (seen.commit != replica.commit or seen.end != replica.end or seen.term != replica.term
                                or seen.role is not replica.role or seen.copy != replica.copy.number):
                self._moved(node, bucket, replica, seen)
                self._seen[node.name, bucket] = Seen(
                    replica.copy.number, replica.commit, replica.end, replica.role, replica.term,
                    replica.copy.generation)

    def _moved(self, node: VirtualNode, bucket: int, replica: Replica, seen: Seen | None) -> None:
        log, committed = replica.copy.log, self.committed[bucket]
        known = 0 if seen is None else seen.commit
        if seen is not None and replica.commit < known and (
                seen.copy == replica.copy.number or not self._may_lose(node, bucket, replica, seen)):
            checker = self.PREFIXES if replica.copy.number else self.DELETED
            raise Violation(checker, f"{node.name} takes back commits of bucket {bucket}: {known} to {replica.commit}")
        if seen is not None and seen.copy != replica.copy.number and log.base_seq > known:
            self._snapshot(node, bucket, replica)
        tail = self._tails.setdefault((node.name, bucket), {})
        for seq in range(known + 1, replica.commit + 1):
            # What a turn commits, it may also compact away: then a primary's was noted before, or is still on the disk.
            entry = tail.pop(seq, None)
            if seq > log.base_seq:
                entry = self._entry(node, log, seq, entry)
            elif entry is None and replica.role is Role.PRIMARY:       # a backup's disk may have one that was cut now
                entry = self._row(node, replica.copy.number, seq)
            if entry is None:
                continue
            if seq > len(committed):
                self._commit(node, bucket, replica, seen, seq, entry)
            elif committed[seq - 1] != entry:
                raise Violation(self.PREFIXES, f"{node.name} commits another entry {seq} of bucket {bucket}: "
                                               f"{decode(entry[1])}, not {decode(committed[seq - 1][1])}")
        if replica.commit > len(committed):
            raise Violation(self.PREFIXES, f"{node.name} has bucket {bucket} committed to {replica.commit}, "
                                           f"but only {len(committed)} entries ever were")
        if replica.role is Role.PRIMARY:
            begun = seen is None or seen.role is not Role.PRIMARY or seen.term != replica.term
            self._name(bucket, replica, tail, 0 if begun or seen is None else seen.end)
        else:
            tail.clear()

    def _entry(self, node: VirtualNode, log: Log, seq: int, noted: Entry | None) -> Entry | None:
        """An entry as the node has it; where its disk has damaged that one, as it was when it was noted."""
        try:
            return log.entry(seq)
        except Damage:
            if node.name not in self.dishonest:
                raise
            return noted

    def _may_lose(self, node: VirtualNode, bucket: int, replica: Replica, seen: Seen) -> bool:
        """True where a copy may be deleted: nobody needs it (R14), it is a lost branch (C12), or it is damaged."""
        state = None if node.engine is None else node.engine.state
        member = None if state is None else state.by_id(node.id)
        if state is None or member is None or replica.copy.generation != seen.generation:
            return True
        if bucket in marks_in(node.disk.store):
            return True
        in_sync, desired = state.in_sync[bucket], state.desired(bucket)
        return member.number not in {*in_sync, *desired} and set(desired) <= set(in_sync)

    def _commit(self, node: VirtualNode, bucket: int, replica: Replica, seen: Seen | None, seq: int,
                entry: Entry) -> None:
        committed = self.committed[bucket]
        if seq != len(committed) + 1:
            raise Violation(self.PREFIXES, f"{node.name} commits entry {seq} of bucket {bucket} after {len(committed)}")
        self._check_committer(node, bucket, replica, seen, seq)
        committed.append(entry)
        operation = decode(entry[1])
        try:
            self.models[bucket].apply(seq, operation)
        except Unfit as error:
            raise Violation(self.DECISIONS, f"entry {seq} of bucket {bucket} does not fit: {error}; "
                                            f"{operation}") from None
        for listener in self.on_committed:
            listener(bucket, seq, operation)
        self._check_holders(bucket)

    def _check_committer(self, node: VirtualNode, bucket: int, replica: Replica, seen: Seen | None, seq: int) -> None:
        """The first to commit is the primary, and the only one of its term."""
        role, term = replica.role, replica.term
        if role is not Role.PRIMARY and seen is not None and seen.term != term:
            role, term = seen.role, seen.term          # it was deposed in this turn
            if role is not Role.PRIMARY:
                return                                 # several terms passed in this turn: who knows which it was
        if role is not Role.PRIMARY and not self.dishonest:    # else the primary may have had it, unreadably
            raise Violation(self.PRIMARY, f"{node.name}, not primary, commits entry {seq} of bucket {bucket} first")
        if role is not Role.PRIMARY:
            return
        committer = self._committers.setdefault((bucket, term), node.name)
        if committer != node.name:
            raise Violation(self.PRIMARY, f"{node.name} and {committer} both commit in term {term} of bucket {bucket}")

    def _name(self, bucket: int, replica: Replica, tail: dict[int, Entry], known: int) -> None:
        """A primary's entries of its own term: the pair of term and seq is used once (R1)."""
        log = replica.copy.log
        for seq in range(max(known, log.base_seq, replica.commit) + 1, replica.end + 1):
            term, data = tail[seq] = log.entry(seq)
            if self._identities.setdefault((bucket, term, seq), data) != data:
                raise Violation(self.IDENTITY, f"entry {seq} of term {term} of bucket {bucket} is two operations")

    # --- disks ---

    def _check_holders(self, bucket: int) -> None:
        state = self._states.latest
        if state is None:
            return
        for number in state.in_sync[bucket]:
            member = state.member(number)
            node = None if member is None else self.nodes.get(member.id)
            if node is not None:
                self._check_holder(node, bucket)

    def _check_disk(self, node: VirtualNode) -> None:
        state = self._states.latest
        member = None if state is None else state.by_id(node.id)
        if state is None or member is None:
            return
        for bucket, in_sync in enumerate(state.in_sync):
            if member.number in in_sync:
                self._check_holder(node, bucket)
        if node.name in self.dishonest:
            for bucket, mark in marks_in(node.disk.store).items():
                if not mark.deleted:
                    self._check_others(node, bucket)

    def _check_holder(self, node: VirtualNode, bucket: int) -> None:
        committed = self.committed[bucket]
        if committed and not self.on_disk(node, bucket, len(committed)):
            if node.name in self.dishonest:
                self._check_others(node, bucket)
                return
            raise Violation(self.IN_SYNC, f"in-sync {node.name} lacks committed entry {len(committed)} of bucket "
                                          f"{bucket} on its disk: {decode(committed[-1][1])}")

    def _check_others(self, node: VirtualNode, bucket: int) -> None:
        """A dishonest disk lacks what is committed, or cannot be read: as long as another in-sync replica has it, that
        is no loss."""
        state = self._states.latest
        member = None if state is None else state.by_id(node.id)
        if state is not None and member is not None and set(state.in_sync[bucket]) == {member.number}:
            raise Beyond(f"of bucket {bucket}, only {node.name} is in-sync, on a disk that has not what it had")

    def on_disk(self, node: VirtualNode, bucket: int, seq: int) -> bool:
        """True where the node's disk holds that committed entry, in its log or applied."""
        view = node.disk.store.snapshot()
        position = position_in(view, bucket)
        view.close()
        try:
            return position.commit >= seq or self._row(node, position.copy, seq) == self.committed[bucket][seq - 1]
        except Damage:
            return False

    def _row(self, node: VirtualNode, copy: int, seq: int) -> Entry | None:
        """An entry as the node's disk has it."""
        view = node.disk.store.snapshot()
        row = view.get(Table.LOG, copy_prefix(copy) + _SEQ.pack(seq))
        view.close()
        return None if row is None else (_TERM.unpack_from(row)[0], row[_TERM.size:])

    # --- rows ---

    def _snapshot(self, node: VirtualNode, bucket: int, replica: Replica) -> None:
        """Another copy is live: its rows are those that the committed prefix makes."""
        self.snapshots += 1
        base = replica.copy.log.base_seq
        store = MemoryStore()
        machine = Machine(store, 1)
        for seq, (_, data) in enumerate(self.committed[bucket][:replica.commit], 1):
            machine.apply(seq, decode(data))
            machine.risen.clear()
            machine.posted.clear()
        assert node.engine is not None
        if content(store, 1) != content(node.disk.store, replica.copy.number):
            raise Violation(self.SNAPSHOT, f"{node.name} installed a snapshot of bucket {bucket} at {base} that is not "
                                           "the committed state")


def content(view: View, copy: int) -> list[tuple[int, bytes, bytes]]:
    """The applied rows of a copy, without its number."""
    prefix = copy_prefix(copy)
    return [(number, key[len(prefix):], value) for number, table in enumerate(COPIED)
            for key, value in rows(view, table, *span(prefix))]
