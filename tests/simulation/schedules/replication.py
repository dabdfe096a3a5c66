"""Schedules of replication: replicas of one bucket; their packets, disks and states move when a schedule says so."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.replication_rig import BUCKET, Violation, World
from tests.core.test_directed_replication import in_order as walk
from tests.core.test_directed_replication import pass_on, term
from tests.core.test_state_changes import down, up
from tests.simulation.schedules.deep import in_order
from zmqueue.core.changes import ReplicaDropped, ReplicaSynced
from zmqueue.core.packets import Ack, Append
from zmqueue.core.replication import Role


def old_tail() -> None:
    """R5: C's log ends with an entry of P's that was never committed. N and X have committed another one in its place,
    and what N sends first is the entry before it."""
    world = World(4, replicas=4)
    p, n, c, x = walk(world)
    world.run(5)
    p.append(1)
    world.deliver(Append, p.number)
    p.append(2)
    world.deliver(Append, p.number, c.number)
    world.drop()
    world.agree(down(world.state, p.number))
    world.agree(ReplicaDropped(BUCKET, c.number, term(world)))
    world.tell(n.number, c.number, x.number)
    n.append(3)
    n.sync()
    for _ in range(3):
        pass_on(world, n, x)
    world.drop()                                # what was for C
    assert n.log() == [1, 3] and n.replica.commit == 2 and c.log() == [1, 2] and c.replica.commit == 0
    world.run(20, among=(n.number, c.number, x.number))
    assert c.log() == [1, 3]


def read_before_the_tail() -> None:
    """R9: N takes over with three entries that P has committed, and does not know that. It is asked after the last."""
    world = World(3, replicas=3)
    p, n, c = walk(world)
    world.run(5)
    for number in (1, 2, 3):
        p.append(number)
    p.sync()
    pass_on(world, p, n)
    pass_on(world, p, c)
    assert p.replica.commit == 3 and n.replica.commit == 0      # somebody was answered that 3 exists
    world.drop()
    world.agree(down(world.state, p.number))
    world.tell(n.number, c.number)
    rids: list[int] = []
    n.do(lambda: rids.append(n.replica.barrier()))
    for _ in range(4):
        n.sync()
        pass_on(world, n, c)
        if n.replica.readable(rids[0]) and n.replica.commit < 3:
            raise Violation("a new primary answers that a message does not exist which stands in its tail")
    assert n.replica.readable(rids[0]) and n.replica.commit == 3


def read_with_one_answer() -> None:
    """R10: N alone is in-sync by the newest state, and commits. P, which was primary, asks the one replica that does
    not know of that either."""
    world = World(3, replicas=3)
    p, n, c = walk(world)
    world.run(5)
    world.agree(down(world.state, p.number))
    world.agree(ReplicaDropped(BUCKET, c.number, term(world)))
    world.tell(n.number)
    n.append(7)
    n.sync()
    assert n.replica.commit == 1                # somebody was answered that 7 exists
    rids: list[int] = []
    p.do(lambda: rids.append(p.replica.barrier()))
    pass_on(world, p, c)
    if p.replica.readable(rids[0]):
        raise Violation("a deposed primary answers that a message does not exist which was confirmed")


def uncount() -> None:
    """R3: P asks for L to be in-sync; L falls silent; what was asked for is agreed late, in the same term."""
    world = World(3, replicas=2)
    p, learner = (world[number] for number in world.state.desired(BUCKET))
    world.agree(ReplicaDropped(BUCKET, learner.number, term(world)))
    world.tell()
    p.append(1)
    world.run(20, among=(p.number, learner.number))
    synced = p.asks(ReplicaSynced)
    assert synced and p.replica.commit == 1
    p.append(2)
    p.sync()
    for _ in range(60):                         # L does not answer, for longer than the primary waits
        world.now += 0.05
        p.tick()
        p.sync()
    world.drop()
    world.agree(*synced)


def resumed_term() -> None:
    """R2: the primary has sent an entry and loses it in a crash; after the restart it gives its seq to another one."""
    world = World(3, replicas=3)
    p, b, c = walk(world)
    world.run(5)
    p.append(1)
    for backup in (b, c):
        world.deliver(Append, p.number, backup.number)      # they hold it; P's own disk does not
    world.drop()
    p.crash()
    p.boot()
    if not p.plays(Role.PRIMARY):               # not before it is up again, in a new term
        world.agree(up(world.state, p.number, p.incarnation))
        world.tell()
    p.append(2)
    world.run(20)


def late_ack() -> None:
    """R7: C's ack of P's term is slow; N is primary for a while and overwrites what it was for; P is primary again,
    never knew of N, and then the ack arrives."""
    world = World(5, replicas=3)
    n, p, c, x, y = walk(world)
    world.agree(down(world.state, n.number))
    world.tell()
    world.agree(up(world.state, n.number, n.incarnation))
    world.tell()
    p.append(1)
    world.run(20, among=(p.number, n.number, c.number))
    asked = ReplicaSynced(BUCKET, n.number, term(world))
    assert asked in p.asked and p.replica.commit == 1
    p.append(2)
    p.sync()
    world.deliver(Append, p.number, c.number)
    slow = [item for item in world.bag if isinstance(item[2], Ack) and item[0] == c.number]
    assert slow
    world.drop()
    world.agree(asked)
    world.tell(n.number, c.number, x.number, y.number)
    n.append(3)
    n.sync()
    for _ in range(3):
        pass_on(world, n, c)
    world.drop()
    assert c.log() == [1, 3]
    world.agree(down(world.state, n.number))
    world.tell(c.number, p.number)
    assert p.plays(Role.PRIMARY)
    world.drop()
    world.bag = slow
    world.deliver(Ack)
    p.tick()
    p.sync()


def tail_of_one() -> None:
    """R16: who is alone in the set restarts with an uncommitted tail; there is nobody whose ack would commit it."""
    world = World(3, replicas=2)
    p, other = (world[number] for number in world.state.desired(BUCKET))
    world.agree(down(world.state, other.number))
    world.tell()
    p.append(1)
    p.store.commit()                            # it is on the disk; the process never learns that
    p.crash()
    p.boot()
    assert p.log() == [1] and p.replica.commit == 0
    world.agree(up(world.state, p.number, p.incarnation))
    world.tell(p.number)
    world.run(20, among=(p.number,))
    if p.replica.commit != 1:
        raise Violation("what the only in-sync replica holds on its disk is never committed")


def nak_below_the_floor() -> None:
    """R13: an in-sync backup misses one Append of a pipeline. What it says of its commit index is old, and the primary
    has compacted its log beyond that."""
    world = World(3, replicas=2)
    p, backup = (world[number] for number in world.state.desired(BUCKET))
    p.append(1)
    world.run(10)
    for number in range(2, 11):
        p.append(number)
    p.sync()
    pass_on(world, p, backup)
    world.drop()                                # with it, the Append that tells of the commit
    for _ in range(8):
        p.do(lambda: p.replica.copy.compact(p.replica.commit, 1))
    assert backup.replica.commit < p.replica.copy.log.base_seq <= p.replica.commit == 10
    p.append(11)
    world.drop(Append)
    p.append(12)
    p.sync()
    world.run(20)
    if p.alarms or backup.replica.commit != 12:
        raise Violation(f"an in-sync replica that missed a packet is lost: {p.alarms}")


def compacted_at_once(schedule: Callable[[], None]) -> Callable[[], None]:
    """Every entry below the commit index may go by itself."""
    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zmqueue.core.log.COMPACT_ENTRIES", 1)
            schedule()
    return run


SCHEDULES: dict[str, Callable[[], None]] = {
    "uncount": in_order(uncount),
    "read_before_the_tail": in_order(read_before_the_tail),
    "read_with_one_answer": in_order(read_with_one_answer),
    "old_tail": in_order(old_tail),
    "resumed_term": resumed_term,
    "late_ack": in_order(late_ack),
    "tail_of_one": in_order(tail_of_one),
    "nak_below_the_floor": compacted_at_once(nak_below_the_floor),
}
