"""Schedules of snapshots and of copies that are received and deleted, on replicas wired back to back (R12, R14)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core.replication_rig import BUCKET, Violation, World
from tests.core.test_directed_replication import _newcomer_that_takes_the_second_place as newcomer
from tests.core.test_directed_replication import _up as taken_up
from tests.core.test_directed_replication import term
from tests.core.test_snapshot import compact, compacted, exchange, state_of
from zmqueue.core.changes import ReplicaDropped
from zmqueue.core.packets import Append, Nak, Snap
from zmqueue.core.replication import DELETE_AFTER
from zmqueue.core.snapshot import GIVE_UP

ROWS_OF_ALL = 1_000


def in_small_steps(schedule: Callable[[], None], chunk_rows: int = 7) -> Callable[[], None]:
    """Chunks of a few rows and compaction in small steps, so that little data makes many of them."""
    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zmqueue.core.snapshot.CHUNK_ROWS", chunk_rows)
            patch.setattr("zmqueue.core.log.COMPACT_ENTRIES", 4)
            schedule()
    return run


def two_snapshots() -> None:
    """A learner has the first chunk of one snapshot when its primary gives that up, goes on, and begins another one."""
    world, primary, backup, learner = compacted()
    exchange(world, primary, learner, 1)
    world.drop()
    for number in range(20, 40):
        primary.append(number)
        world.run(2, among=(primary.number, backup.number))
    world.now += GIVE_UP
    primary.tick()
    compact(primary)
    world.run(60)
    if learner.replica.commit != primary.replica.commit or state_of(learner) != state_of(primary) or learner.alarms:
        raise Violation(f"a learner made its copy of two snapshots: {learner.alarms}")


def late_snapshot() -> None:
    """A snapshot arrives once more, when its learner has gone on from it by the log."""
    world, primary, _backup, learner = compacted()
    world.deliver(Append, to=learner.number)
    world.deliver(Nak, sender=learner.number)
    primary.tick()
    late = [item for item in world.bag if isinstance(item[2], Snap) and item[2].last]
    assert len(late) == 1
    world.run(10)
    for number in range(20, 30):
        primary.append(number)
    world.run(10)
    held = learner.replica.commit
    assert held == primary.replica.commit
    world.bag = late
    world.deliver(Snap)
    if learner.replica.commit < held:
        raise Violation(f"a replica goes back from {held} committed entries to {learner.replica.commit}")


def second_copy() -> None:
    """R14: the ring has moved from L to a newcomer that holds nothing yet; L's copy is the only one beside P's."""
    world = World(3, replicas=2)
    p, learner = (world[number] for number in world.state.desired(BUCKET))
    joiner = newcomer(world.state)
    p.append(1)
    world.run(10, among=(p.number, learner.number))
    world.agree(ReplicaDropped(BUCKET, learner.number, term(world)))
    world.agree(joiner)
    world.agree(taken_up(world.state, joiner))
    world.tell()
    assert world.state.in_sync[BUCKET] == (p.number,) and learner.number not in world.state.desired(BUCKET)
    if learner.replica.removable(world.now + 2 * DELETE_AFTER):
        raise Violation("the second copy of a bucket is deleted, and only one replica holds it yet")


SCHEDULES: dict[str, Callable[[], None]] = {
    "two_snapshots": in_small_steps(two_snapshots),
    "late_snapshot": in_small_steps(late_snapshot, ROWS_OF_ALL),
    "second_copy": second_copy,
}
