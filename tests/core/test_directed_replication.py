"""Schedules too deep for a random explorer, each shown to lose data without the rule and to pass with it.

They are the directed schedules of the protocol's model on the real classes: sync_at_commit (R4), carry_match (R7),
use_before_disk (C4), read_no_counted (R10), stale_copy (R1, R14). The planted mistakes are methods put in the place
of the right ones.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.replication_rig import BUCKET, Node, Violation, World
from tests.core.test_state_changes import down, joined, out, up
from zmqueue.core.changes import MemberJoined, MemberUp, ReplicaDropped, ReplicaSynced, apply
from zmqueue.core.counting import Counting
from zmqueue.core.packets import Ack, Append, Nak
from zmqueue.core.peers import Peer
from zmqueue.core.primary import PrimarySide
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import ClusterState, Config

Plant = Callable[[pytest.MonkeyPatch], None]


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """R17 is about time, these schedules are about order: a dropped replica may be counted again at once. And every
    entry travels alone, so that a learner can be in the middle of what it needs."""
    monkeypatch.setattr("zmqueue.core.counting.Flaps.wait", lambda self, number, now: 0.0)
    monkeypatch.setattr("zmqueue.core.primary.APPEND_ENTRIES", 1)


def term(world: World) -> int:
    return world.state.terms[BUCKET]


def in_order(world: World) -> list[Node]:
    return [world[number] for number in world.order()]


def pass_on(world: World, sender: Node, to: Node, *, answer: bool = True) -> None:
    """What `sender` has on the way to `to` arrives, and, if wanted, the answer does."""
    world.deliver(Append, sender.number, to.number)
    if answer:
        world.deliver(Ack, to.number, sender.number)
        world.deliver(Nak, to.number, sender.number)


# --- sync_at_commit (R4) ------------------------------------------------------------------------------------


def synced_at_the_commit_index(patch: pytest.MonkeyPatch) -> None:
    """What the learner needs is only what is committed when it is asked for."""
    def learner(self: Counting, peer: Peer, late: bool, now: float) -> bool:
        if peer.match is not None:
            peer.need = self._copy.commit
            peer.asked = peer.match >= peer.need
        return False
    patch.setattr(Counting, "_learner", learner)


def sync_at_commit() -> None:
    """P's acks for 1 and 2 are on the wire; N, whose commit index is 0, brings L up; then the acks reach P."""
    world = World(4, replicas=4)
    p, n, c, learner = in_order(world)
    world.agree(ReplicaDropped(BUCKET, learner.number, term(world)))
    world.tell()
    world.run(1, among=(p.number, n.number, c.number))
    p.append(1)
    p.append(2)
    p.sync()
    for backup in (n, c):
        pass_on(world, p, backup, answer=False)
    acks = [item for item in world.bag if isinstance(item[2], Ack)]
    world.drop()
    world.agree(down(world.state, p.number))
    world.tell(n.number, c.number, learner.number)
    n.asked.clear()
    pass_on(world, n, learner)
    n.tick()
    world.drop()
    synced = n.asks(ReplicaSynced)
    if synced:
        world.agree(*synced)
    world.bag = acks
    world.deliver(Ack)                          # the deposed primary commits 1 and 2, rightly
    assert p.replica.commit == 2


# --- carry_match (R7) ---------------------------------------------------------------------------------------


def matches_are_carried_over(patch: pytest.MonkeyPatch) -> None:
    """Where the primary stays, it keeps what it knows of the others."""
    begin = Replica._begin

    def carrying(self: Replica, state: ClusterState, term: int, role: Role, now: float) -> None:
        old = self.primary.peers if self.primary is not None else {}
        kept = {number: peer.match for number, peer in old.items()}
        begin(self, state, term, role, now)
        if self.primary is not None:
            for number, peer in self.primary.peers.items():
                peer.match = kept.get(number)
            self.primary.evaluate(now)
    patch.setattr(Replica, "_begin", carrying)


def carry_match() -> None:
    """P(t) has C's ack for 2; N is primary for a while and overwrites it; P is primary again, and never knew."""
    world = World(5, replicas=3)
    n, p, c, x, y = in_order(world)
    world.agree(down(world.state, n.number))
    world.tell()
    world.agree(up(world.state, n.number, n.incarnation))
    world.tell()
    assert p.plays(Role.PRIMARY)
    p.append(1)
    world.run(20, among=(p.number, n.number, c.number))
    assert p.replica.commit == 1
    asked = ReplicaSynced(BUCKET, n.number, term(world))
    assert asked in p.asked
    p.append(2)
    p.sync()
    pass_on(world, p, c)                        # C holds 2 of P's term, N does not
    world.drop()
    world.agree(asked)
    world.tell(n.number, c.number, x.number, y.number)
    assert n.plays(Role.PRIMARY)
    n.append(3)
    n.sync()
    for _ in range(3):
        pass_on(world, n, c)
    world.drop()
    assert c.log() == [1, 3]
    world.agree(down(world.state, n.number))
    world.tell(c.number, p.number)              # P jumps over the state in which N was primary
    p.tick()
    p.sync()


# --- use_before_disk (C4) -----------------------------------------------------------------------------------


def states_are_used_before_they_are_on_disk(patch: pytest.MonkeyPatch) -> None:
    learn = Node.learn

    def at_once(self: Node, state: ClusterState, *, sync: bool = True) -> None:
        learn(self, state, sync=sync)
        self.effects.hold = False
        self.do(lambda: None)
    patch.setattr(Node, "learn", at_once)


def use_before_disk() -> None:
    """N is primary by a state that is in its memory only, brings L up, crashes, and is P's backup again."""
    world = World(5, replicas=3)
    p, n, learner, _x, _y = in_order(world)
    world.agree(ReplicaDropped(BUCKET, learner.number, term(world)))
    world.tell()
    world.run(2, among=(p.number, n.number))
    world.agree(down(world.state, p.number))
    world.tell(learner.number)
    n.asked.clear()
    n.learn(world.state, sync=False)
    world.deliver(Append, n.number, learner.number)
    for sender, _, packet in list(world.bag):   # N takes the ack, and its disk is still busy
        if sender == learner.number:
            n.take(sender, packet)
    n.tick()
    synced = n.asks(ReplicaSynced)
    if synced and not n.effects.hold:           # asking is sending, too
        world.agree(*synced)
    n.crash()
    n.boot()
    world.drop()
    p.append(2)
    p.sync()
    for _ in range(3):
        pass_on(world, p, n)
        world.now += 0.3
        p.tick()
    assert p.replica.commit == 1


# --- read_no_counted (R10) ----------------------------------------------------------------------------------


def reads_do_not_wait_for_counted_learners(patch: pytest.MonkeyPatch) -> None:
    def readable(self: PrimarySide, rid: int) -> bool:
        return self._copy.commit >= self.tail and all(
            peer.rid >= rid for peer in self.peers.values() if peer.in_sync)
    patch.setattr(PrimarySide, "readable", readable)


def read_no_counted() -> None:
    """P alone is in-sync and counts L; [ReplicaSynced(L), MemberDown(P)] is agreed; L serves; P is asked."""
    world = World(3, replicas=2)
    p, learner = (world[number] for number in world.state.desired(BUCKET))
    world.agree(ReplicaDropped(BUCKET, learner.number, term(world)))
    world.tell()
    world.run(3)
    synced = p.asks(ReplicaSynced)
    assert synced
    world.agree(*synced, down(world.state, p.number))
    world.tell(learner.number)
    learner.append(7)
    learner.sync()
    assert learner.replica.commit == 1          # somebody was answered that 7 exists
    rids: list[int] = []
    p.do(lambda: rids.append(p.replica.barrier()))
    pass_on(world, p, learner)
    if p.replica.readable(rids[0]):
        raise Violation("a deposed primary answers that a message does not exist which was confirmed")


# --- stale_copy (R1, R14) -----------------------------------------------------------------------------------


def copies_are_deleted_at_once_in_a_term_that_only_in_sync_sets_end(patch: pytest.MonkeyPatch) -> None:
    """The wording of an earlier design: a term is (primary, in-sync set), and who is not needed deletes."""
    def config(self: ClusterState, bucket: int) -> Config:
        in_sync = self.in_sync[bucket]
        return Config(self.primary(bucket), tuple((number, 0, self.members[0].status, True, True)
                                                  for number in in_sync))
    patch.setattr(ClusterState, "_config", config)

    def note_need(self: Replica, state: ClusterState, now: float) -> None:
        me = self._host.number
        needed = me in state.in_sync[BUCKET] or me in state.desired(BUCKET)
        self._unneeded_since = None if needed else now - 1_000.0
    patch.setattr(Replica, "_note_need", note_need)


def stale_copy() -> None:
    """L is complete and ReplicaSynced(L) is slow; the ring moves away from L and back again; then it is agreed."""
    world = World(3, replicas=2)
    p, learner = (world[number] for number in world.state.desired(BUCKET))
    joiner = _newcomer_that_takes_the_second_place(world.state)
    world.agree(ReplicaDropped(BUCKET, learner.number, term(world)))
    world.tell()
    p.append(1)
    world.run(20, among=(p.number, learner.number))
    synced = p.asks(ReplicaSynced)
    assert synced
    assert p.replica.commit == 1
    world.agree(joiner)
    world.agree(_up(world.state, joiner))
    new = max(member.number for member in world.state.members)
    assert learner.number not in world.state.desired(BUCKET)
    world.tell()
    if learner.replica.removable(world.now):    # the copy is deleted, if the rules allow it
        learner.replica.remove()
        learner.sync()
        learner.restart()
    world.agree(down(world.state, new))
    world.agree(out(world.state, new))
    world.tell()
    assert learner.number in world.state.desired(BUCKET)
    world.agree(*synced)


def _up(state: ClusterState, joiner: MemberJoined) -> MemberUp:
    member = state.by_id(joiner.id)
    assert member is not None
    return up(state, member.number)


def _newcomer_that_takes_the_second_place(state: ClusterState) -> MemberJoined:
    """A member that the ring puts in the place of the second replica, and not before the first."""
    first, second = state.desired(BUCKET)
    for identity in range(50, 400):
        joiner = joined(identity)
        after = apply(state, [joiner])
        after = apply(after, [_up(after, joiner)])
        if after.primary(BUCKET) == first in after.desired(BUCKET) and second not in after.desired(BUCKET):
            return joiner
    raise AssertionError("no such newcomer among many")


DEEP: list[tuple[Callable[[], None], Plant]] = [
    (sync_at_commit, synced_at_the_commit_index),
    (carry_match, matches_are_carried_over),
    (use_before_disk, states_are_used_before_they_are_on_disk),
    (read_no_counted, reads_do_not_wait_for_counted_learners),
    (stale_copy, copies_are_deleted_at_once_in_a_term_that_only_in_sync_sets_end),
]


@pytest.mark.parametrize("schedule", [schedule for schedule, _ in DEEP], ids=lambda schedule: schedule.__name__)
def test_the_rules_hold_in_the_deep_schedules(schedule: Callable[[], None]) -> None:
    schedule()


@pytest.mark.parametrize(("schedule", "plant"), DEEP, ids=lambda part: part.__name__)
def test_each_deep_schedule_catches_its_mistake(schedule: Callable[[], None], plant: Plant,
                                                monkeypatch: pytest.MonkeyPatch) -> None:
    plant(monkeypatch)
    with pytest.raises(Violation, match=r"lacks the committed entry|which was confirmed"):
        schedule()
