"""A random explorer of replication: delays, losses, duplicates, crashes, states that come late or not at all, wants
that are stale; the book-keeper of the rig checks every commit and every state. Then all heals, and must make progress.

The state's chain is scripted (agreement has its own explorer). An explorer that finds nothing proves little, so it has
to catch planted mistakes too.
"""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from tests.core.replication_rig import BUCKET, Node, Violation, World
from tests.core.test_state_changes import down, up
from zmqueue.core.backup import BackupSide
from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.changes import Change, ReplicaDropped, ReplicaRetired, ReplicaSynced, effective
from zmqueue.core.counting import Counting
from zmqueue.core.packets import Ack, Append
from zmqueue.core.peers import Peer
from zmqueue.core.primary import PrimarySide
from zmqueue.core.state import Status

Plant = Callable[[pytest.MonkeyPatch], None]
STEPS = 250
SEEDS = 40


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("zmqueue.core.primary.APPEND_ENTRIES", 2)
    monkeypatch.setattr("zmqueue.core.snapshot.CHUNK_ROWS", 5)
    monkeypatch.setattr("zmqueue.core.log.COMPACT_ENTRIES", 1)
    monkeypatch.setattr("zmqueue.core.counting.Flaps.wait", lambda self, number, now: 0.0)


class Explorer:
    """One seed."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        members = self.dice.choice((2, 3, 3, 4))
        self.world = World(members, replicas=self.dice.choice((2, 3, 3)))
        self.wants: list[Change] = []
        self.drawn = 0
        actions = (self.append, self.deliver, self.sync, self.tick, self.learn, self.lose, self.repeat, self.crash,
                   self.boot, self.compact, self.agree_member, self.agree_want, self.agree_drop, self.read)
        usual = (6, 30, 20, 8, 8, 2, 1, 1, 3, 2, 1, 4, 0.3, 2)
        self.actions = actions
        self.weights = [weight * self.dice.choice((0.2, 1, 1, 3)) for weight in usual]

    def explore(self) -> None:
        for _ in range(STEPS):
            self.dice.choices(self.actions, self.weights)[0]()
            self.world.now += self.dice.choice((0.0, 0.0, 0.01, 0.1))
            self.gather_wants()
            self.no_alarms()
        self.heal()

    def no_alarms(self) -> None:
        for node in self.world.nodes.values():
            if node.alarms:
                raise Violation(f"disks are honest, and still: {node.alarms}")

    def gather_wants(self) -> None:
        for node in self.world.nodes.values():
            asked, node.asked = node.asked, []
            if node.running and not node.effects.hold:
                self.wants += [change for change in asked if change not in self.wants]

    def pick(self) -> Node | None:
        node = self.world[self.dice.choice(list(self.world.nodes))]
        return node if node.running else None

    # --- what may happen ---

    def append(self) -> None:
        serving = [node for node in self.world.nodes.values() if node.running and node.replica.primary is not None]
        if serving:
            for _ in range(self.dice.choice((1, 1, 3))):
                self.drawn += 1
                self.dice.choice(serving).append(self.drawn)

    def deliver(self) -> None:
        if self.world.bag:
            newest = min(len(self.world.bag), self.dice.choice((1, 4, 1_000)))
            self.world._take(self.world.bag.pop(self.dice.randrange(newest)))

    def sync(self) -> None:
        node = self.pick()
        if node is not None:
            node.sync()

    def tick(self) -> None:
        node = self.pick()
        if node is not None:
            node.tick()

    def read(self) -> None:
        node = self.pick()
        if node is not None and node.replica.primary is not None:
            node.do(node.replica.barrier)

    def learn(self) -> None:
        node = self.pick()
        if node is not None:
            newer = [state for state in self.world.states if state.epoch > node.state.epoch]
            if newer:
                node.learn(self.dice.choice((newer[0], newer[-1])), sync=self.dice.random() < 0.5)

    def lose(self) -> None:
        if self.world.bag:
            self.world.bag.pop(self.dice.randrange(len(self.world.bag)))

    def repeat(self) -> None:
        if self.world.bag:
            self.world.bag.append(self.dice.choice(self.world.bag))

    def crash(self) -> None:
        node = self.pick()
        if node is not None:
            keep = self.dice.random() < 0.5
            state = node.state
            node.crash(keep_unsynced=keep)
            if keep:
                node._state_on_disk = state

    def boot(self) -> None:
        for node in self.world.nodes.values():
            if not node.running and self.dice.random() < 0.5:
                node.boot()

    def compact(self) -> None:
        node = self.pick()
        if node is not None:
            primary = node.replica.primary
            upto = node.replica.commit if primary is None else primary.compact_upto()
            node.do(lambda: node.replica.copy.compact(upto, entries_max=1))

    def agree(self, *changes: Change) -> None:
        if effective(self.world.state, changes) is not None:
            self.world.agree(*changes)

    def agree_member(self) -> None:
        state = self.world.state
        node = self.world[self.dice.choice(list(self.world.nodes))]
        member = state.member(node.number)
        assert member is not None
        if node.running and (member.status is not Status.UP or member.incarnation < node.incarnation):
            self.agree(up(state, node.number, node.incarnation))
        elif member.status is Status.UP:
            self.agree(down(state, node.number))

    def agree_want(self) -> None:
        if self.wants:
            self.agree(*self.dice.sample(self.wants, min(len(self.wants), self.dice.choice((1, 1, 2)))))

    def agree_drop(self) -> None:
        state = self.world.state
        self.agree(ReplicaDropped(BUCKET, self.dice.choice(state.in_sync[BUCKET]), state.terms[BUCKET]))

    # --- the end ---

    def heal(self) -> None:
        """Everybody comes back; all that was asked for is agreed; everything must be committed everywhere."""
        world = self.world
        for node in world.nodes.values():
            if not node.running:
                node.boot()
        for _ in range(40):
            state = world.state
            self.agree(*(up(state, node.number, node.incarnation)
                         for node in world.nodes.values() if not _runs(world, node)))
            self.wants.clear()
            world.tell()
            self.append()                   # what nobody committed may lie about until something takes its place
            world.run(8)
            self.gather_wants()
            self.no_alarms()
            if self.healed():
                return
            self.agree(*(want for want in self.wants if isinstance(want, (ReplicaSynced, ReplicaRetired))))
        raise Violation(f"no progress after all healed: {[node.replica.facts() for node in world.nodes.values()]}")

    def healed(self) -> bool:
        state, nodes = self.world.state, self.world.nodes
        if set(state.desired(BUCKET)) != set(state.in_sync[BUCKET]):
            return False
        holders = [nodes[number].replica for number in state.desired(BUCKET)]
        if len({(replica.commit, replica.end) for replica in holders}) > 1 or holders[0].commit != holders[0].end:
            return False
        rows = {tuple(sorted(replica.machine.counts.get("jobs", []))) for replica in holders}
        return len(rows) == 1


def _runs(world: World, node: Node) -> bool:
    member = world.state.member(node.number)
    return member is not None and member.up and member.incarnation == node.incarnation


@pytest.mark.parametrize("part", range(8))
def test_nothing_is_lost_and_all_is_committed_after_healing(part: int) -> None:
    for seed in range(part * SEEDS // 8, (part + 1) * SEEDS // 8):
        try:
            Explorer(seed).explore()
        except AssertionError as error:
            raise Violation(f"seed {seed}: {error}") from error


# --- planted mistakes ---------------------------------------------------------------------------------------


def acks_before_the_disk(patch: pytest.MonkeyPatch) -> None:
    def ack(self: BackupSide, rid: int) -> None:
        self._host.effects.send(
            self._primary, Ack(self._copy.bucket, self._term, self.verified, rid, self._copy.commit))
    patch.setattr(BackupSide, "_ack", ack)


def acks_the_end_of_the_log(patch: pytest.MonkeyPatch) -> None:
    def ack(self: BackupSide, rid: int) -> None:
        self._host.effects.send_durable(
            self._primary, Ack(self._copy.bucket, self._term, self._copy.end, rid, self._copy.commit))
    patch.setattr(BackupSide, "_ack", ack)


def looks_at_no_entry_before(patch: pytest.MonkeyPatch) -> None:
    def append(self: BackupSide, packet: Append, now: float) -> None:
        if packet.prev_seq > self._copy.end:
            self._refuse(packet)
            return
        prev_term = self._copy.log.term_at(packet.prev_seq)
        original(self, packet if prev_term is None else msgspec.structs.replace(packet, prev_term=prev_term), now)
    original = BackupSide.append
    patch.setattr(BackupSide, "append", append)


def counts_its_own_memory(patch: pytest.MonkeyPatch) -> None:
    def evaluate(self: PrimarySide, now: float) -> None:
        self._copy.own = self._copy.end
        original(self, now)
    original = PrimarySide.evaluate
    patch.setattr(PrimarySide, "evaluate", evaluate)


def commits_without_learners(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Peer, "counts", property(lambda self: self.in_sync))


def commits_by_majority(patch: pytest.MonkeyPatch) -> None:
    def evaluate(self: PrimarySide, now: float) -> None:
        held = sorted([self._copy.own, *(peer.match or 0 for peer in self.peers.values() if peer.counts)])
        commit = held[(len(held) - 1) // 2]
        if commit > self._copy.commit:
            self._wake()
            self._copy.advance(commit, self._listener, now)
    patch.setattr(PrimarySide, "evaluate", evaluate)


def lets_go_of_learners_it_asked_for(patch: pytest.MonkeyPatch) -> None:
    def learner(self: Counting, peer: Peer, late: bool, now: float) -> bool:
        asked = original(self, peer, late, now)
        if peer.asked:
            self._host.ask(now, ReplicaSynced(self._bucket, peer.number, self._term))
            peer.asked, peer.need = False, None
        return asked
    original = Counting._learner
    patch.setattr(Counting, "_learner", learner)


def keeps_what_contradicts(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(BucketCopy, "cut", lambda self, seq: None)


def a_primary_cuts_its_tail(patch: pytest.MonkeyPatch) -> None:
    def create(self: BucketCopy) -> None:
        original(self)
        if self.commit < self.end:
            self.cut(self.commit)
    original = BucketCopy.create
    patch.setattr(BucketCopy, "create", create)


MISTAKES: list[Plant] = [
    acks_before_the_disk, acks_the_end_of_the_log, looks_at_no_entry_before, counts_its_own_memory,
    commits_without_learners, commits_by_majority, lets_go_of_learners_it_asked_for, keeps_what_contradicts,
    a_primary_cuts_its_tail,
]


@pytest.mark.parametrize("plant", MISTAKES, ids=lambda plant: plant.__name__)
def test_the_explorer_catches(plant: Plant, monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    for seed in range(1_500):
        try:
            Explorer(seed).explore()
        except AssertionError:
            return
    raise AssertionError("the explorer did not notice")
