"""A bucket goes on from an older copy (C12): what becomes of that copy, the dead holder's, and all others."""

from __future__ import annotations

import pytest

from tests.core.replication_rig import BUCKET, Node, World
from tests.core.test_state_changes import down, up
from zmqueue.core.changes import BucketAdopted, ReplicaDropped, ReplicaSynced
from zmqueue.core.copies import NO_COPY, position_in
from zmqueue.core.host import BRANCH
from zmqueue.core.packets import Snap
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import ClusterState


def adopt(world: World, node: Node) -> None:
    """Have the node's copy adopted. From here on only what it had applied, or applies again, is committed."""
    state = world.state
    world.committed = {seq: known for seq, known in world.committed.items() if seq <= node.replica.commit}
    world.agree(BucketAdopted(BUCKET, node.number, state.generations[BUCKET] + 1, state.terms[BUCKET], 0))


def bereft() -> tuple[World, Node, Node, Node]:
    """P alone was in-sync and is dead; `near` lacks its last two entries, `far` its last three."""
    world = World(3, replicas=3)
    p, near, far = (world[number] for number in world.order())
    world.run(2)
    p.append(1)
    world.run(2)
    world.agree(ReplicaDropped(BUCKET, far.number, world.state.terms[BUCKET]))
    world.tell(p.number, near.number)
    p.append(2)
    world.run(2, among=(p.number, near.number))
    world.agree(ReplicaDropped(BUCKET, near.number, world.state.terms[BUCKET]))
    world.tell(p.number)
    p.append(3)
    p.append(4)
    p.sync()
    p.sync()                               # its commit index too
    world.drop()
    assert [node.replica.commit for node in (p, near, far)] == [4, 2, 1]
    p.crash()
    world.agree(down(world.state, p.number))
    world.tell()
    assert world.state.primary(BUCKET) is None
    return world, p, near, far


def generation_on_disk(node: Node) -> int:
    view = node.store.snapshot()
    position = position_in(view, BUCKET)
    view.close()
    return position.generation if position.copy != NO_COPY else 0


def whole(world: World, members: int = 3) -> None:
    """Run until so many members are in-sync."""
    for _ in range(60):
        world.run(4)
        wanted = [change for node in world.nodes.values() for change in node.asks(ReplicaSynced)]
        if wanted:
            world.agree(*wanted)
            world.tell()
        if len(world.state.in_sync[BUCKET]) == members:
            return
    raise AssertionError(f"in-sync are {world.state.in_sync[BUCKET]}")


def branches(node: Node) -> list[dict[str, object]]:
    return [note.facts for note in node.notes if note.kind.startswith(BRANCH)]


def back(world: World, node: Node) -> None:
    """The dead holder's disk returns."""
    node.boot()
    node.sync()
    world.agree(up(world.state, node.number, node.incarnation))
    world.tell()


def test_the_adopted_copy_serves_and_the_holder_that_returns_gives_its_branch_up() -> None:
    world, p, near, far = bereft()
    adopt(world, near)
    world.tell()
    assert near.plays(Role.PRIMARY) and near.log()[-2:] == [1, 2]
    assert generation_on_disk(near) == 2
    near.append(5)
    world.run(10)
    back(world, p)
    facts, = branches(p)
    assert (facts["commit"], facts["end"], facts["unfinished"], facts["generation"]) == (4, 4, 4, 1)
    whole(world)
    assert [node.rows() for node in (p, near, far)] == [3, 3, 3]
    assert [generation_on_disk(node) for node in (p, near, far)] == [2, 2, 2]
    assert not p.alarms and not near.alarms and not far.alarms


def test_another_old_copy_is_given_up_too_even_where_it_is_longer() -> None:
    world, _, near, far = bereft()
    adopt(world, far)
    world.tell()
    facts, = branches(near)
    assert facts["commit"] == 2 and near.replica.copy.number == NO_COPY
    far.append(9)
    world.run(10)
    assert near.number not in world.state.in_sync[BUCKET] and near.replica.copy.number != NO_COPY
    assert generation_on_disk(near) == 2, "a copy that is begun anew is of the generation in which it is begun"
    whole(world, 2)
    assert (near.rows(), far.rows()) == (2, 2) and not near.alarms and not far.alarms


def test_a_state_and_the_generation_of_its_copies_are_on_disk_together() -> None:
    world, _, near, far = bereft()
    adopt(world, near)
    for node in (near, far):
        node.learn(world.state, sync=False)
        node.crash()
    assert (generation_on_disk(near), generation_on_disk(far)) == (1, 1)
    for node in (near, far):
        node.boot()
        node.learn(world.state)
    assert (generation_on_disk(near), generation_on_disk(far)) == (2, 0)
    assert len(branches(far)) == 2, "said by each life that does it"
    far.restart()
    assert len(branches(far)) == 2, "and it is done"


def test_nothing_is_sent_of_the_new_generation_before_it_is_on_disk() -> None:
    world, _, near, _ = bereft()
    adopt(world, near)
    world.drop()
    near.learn(world.state, sync=False)
    near.tick()
    assert world.bag == []
    near.sync()
    near.tick()
    assert world.bag and generation_on_disk(near) == 2


def test_a_holder_on_its_old_state_convinces_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """It seemed dead, and goes on alone in its old term until it hears of the new one: that is lost with the rest."""
    world, p, near, far = bereft()
    p.incarnation -= 1                     # it never restarted: it was only cut off
    p.boot()
    adopt(world, near)
    world.tell(near.number, far.number)
    assert p.plays(Role.PRIMARY) and near.plays(Role.PRIMARY)
    # What it commits on its branch is no more committed.
    monkeypatch.setattr(p.desk, "applied", lambda seq, operation, now: None)
    p.append(7)
    world.run(10)
    assert p.replica.commit == 5
    assert near.log() == far.log() == [1, 2] and not near.alarms and not far.alarms
    p.crash()
    back(world, p)
    assert branches(p)[0]["end"] == 5
    whole(world)


def test_a_snapshot_that_is_on_its_way_ends_with_the_adoption(monkeypatch: pytest.MonkeyPatch) -> None:
    """And one that is received afterwards makes a copy of the new generation."""
    monkeypatch.setattr("zmqueue.core.log.COMPACT_ENTRIES", 1)
    world, p, near, far = bereft()
    adopt(world, near)
    world.tell()
    near.replica.copy.compact(near.replica.commit, 0)
    near.sync()
    assert near.replica.copy.log.base_seq > 0
    late = Snap(BUCKET, world.state.terms[BUCKET] - 1, 1, (p.number, 1, 1), 0, True, 4, 1, 0, (), 0)
    far.take(p.number, late)
    far.sync()
    assert far.replica.copy.number == NO_COPY, "the dead holder's snapshot is of an older term"
    world.run(40)
    assert far.replica.copy.log.base_seq > 0, "it came as a snapshot"
    assert generation_on_disk(far) == 2


def test_a_bucket_is_adopted_again() -> None:
    """The adopted copy dies as well: its holder is then one of those that give a branch up."""
    world, p, near, far = bereft()
    adopt(world, near)
    world.tell()
    near.append(5)
    near.sync()
    near.crash()
    world.agree(down(world.state, near.number))
    adopt(world, far)
    world.tell()
    assert world.state.generations[BUCKET] == 3 and far.plays(Role.PRIMARY) and far.rows() == 0
    back(world, near)
    back(world, p)
    assert [facts["generation"] for facts in branches(near) + branches(p)] == [2, 1]
    whole(world)


# --- without the rules ----------------------------------------------------------------------------------------


def test_without_generations_both_sides_raise_alarms_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    def careless(self: Replica, state: ClusterState) -> None:
        self.copy.generation = state.generations[BUCKET]
    monkeypatch.setattr(Replica, "_note_generation", careless)
    world, p, near, _ = bereft()
    adopt(world, near)
    world.tell()
    back(world, p)
    world.run(10)
    assert near.alarms
