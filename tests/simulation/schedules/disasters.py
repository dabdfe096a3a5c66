"""Schedules of what operators decide when holders or a majority are gone for good (C12)."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.replication_rig import BUCKET, Violation, World
from tests.core.test_adoption import adopt, back, bereft
from tests.simulation.checkers import Violation as Seen
from tests.simulation.test_disaster import Scene, recover
from zmqueue.core.changes import BucketAdopted, ReplicaSynced
from zmqueue.testing import VirtualCluster


def _quiet(world: World) -> None:
    """R15: nobody finds that the other has committed something else."""
    for node in world.nodes.values():
        if node.alarms:
            raise Violation(f"node {node.number}: {node.alarms[0]}")


def lost_branch() -> None:
    """A bucket goes on from an older copy, and the holder that was dead comes back with what it had confirmed."""
    world, p, near, _ = bereft()
    adopt(world, near)
    world.tell()
    near.append(5)
    world.run(10)
    back(world, p)
    world.run(20)
    _quiet(world)


def synced_on_the_branch() -> None:
    """In the list of changes in which a bucket is adopted, a learner of the dead holder is said to be complete: in that
    holder's term, which is the one that the list began with."""
    world, _, near, far = bereft()
    state = world.state
    term = state.terms[BUCKET]
    world.committed = {seq: known for seq, known in world.committed.items() if seq <= far.replica.commit}
    world.agree(BucketAdopted(BUCKET, far.number, state.generations[BUCKET] + 1, term, 0),
                ReplicaSynced(BUCKET, near.number, term))
    world.tell()
    for node in (near, far):
        if node.replica.primary is not None:
            node.append(9)
    world.run(20)
    _quiet(world)
    if near.number in world.state.in_sync[BUCKET]:
        raise Violation("a learner of the branch that was given up is in-sync")


def old_disk() -> None:
    """After a recovery, a node starts on a disk from before it, and meets the cluster."""
    scene = Scene(1, 3)
    scene.confirm(10)
    cluster: VirtualCluster = scene.cluster
    survivor, old, _ = cluster.nodes.values()
    for node in cluster.nodes.values():
        node.crash()
    recover(scene, survivor)
    survivor.start()
    old.start()
    if not cluster.run_until(lambda: not old.running, 20.0, every=0.05):
        raise Seen("one lineage", f"{old.name} goes on under the lineage that is over")


SCHEDULES: dict[str, Callable[[], None]] = {
    "lost_branch": lost_branch, "synced_on_the_branch": synced_on_the_branch, "old_disk": old_disk}
