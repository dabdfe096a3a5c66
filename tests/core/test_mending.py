"""Damaged copies (D1, D2), on replicas wired back to back: what they take no part in, when they go, what is after."""

from __future__ import annotations

from tests.core.replication_rig import BUCKET, Node, World
from tests.core.test_replication import three, with_learner
from tests.core.test_state_changes import down, up
from zmqueue.core.changes import ReplicaDropped, ReplicaSynced
from zmqueue.core.copies import COPIED, NO_COPY
from zmqueue.core.damage import Marks, Tally
from zmqueue.core.keys import copy_prefix
from zmqueue.core.packets import Append
from zmqueue.core.replication import Role
from zmqueue.core.tables import Table, rows, span

BIT = "a bit is not what it was"


def condemn(node: Node, *, restart: bool = False) -> int:
    """The copy of a node turns out to be damaged, while it runs or in the middle of a turn. -> the copy."""
    copy = node.replica.copy.number
    if restart:
        node.crash()
        Marks(node.store).condemn(BUCKET, copy, node._state_on_disk.terms[BUCKET], BIT)
        node.store.commit()
        node.boot()
    else:
        node.do(lambda: node.replica.condemn(BIT, node.world.now))
    node.sync()
    return copy


def copy_on_disk(node: Node) -> int:
    """The live copy that the node's position row names."""
    return node.copies.position(BUCKET).copy


def state_of(node: Node) -> list[tuple[str, bytes, bytes]]:
    """The applied state, without the copy's number."""
    prefix = copy_prefix(node.replica.copy.number)
    return [(table.value, key[4:], value) for table in COPIED for key, value in rows(node.store, table, *span(prefix))]


def said_by(world: World, node: Node) -> list[object]:
    return [packet for sender, _, packet in world.bag if sender == node.number]


def drop(world: World, node: Node) -> None:
    """What the node asks for is agreed, and everybody learns it."""
    wanted = ReplicaDropped(BUCKET, node.number, world.state.terms[BUCKET])
    assert node.asks(ReplicaDropped) == [wanted]
    world.agree(wanted)
    world.tell()


def heal(world: World, primary: Node, node: Node) -> None:
    """The node is a learner without anything; it catches up and is in-sync again."""
    primary.asked.clear()
    world.run(120)                         # it was dropped before: it has to keep up for some seconds (R17)
    assert primary.asks(ReplicaSynced) == [ReplicaSynced(BUCKET, node.number, primary.replica.term)]
    world.agree(ReplicaSynced(BUCKET, node.number, primary.replica.term))
    world.tell()
    world.run(20)
    assert node.replica.machine.sum == primary.replica.machine.sum
    assert state_of(node) == state_of(primary)


def test_a_damaged_backup_says_nothing_in_its_bucket_and_asks_to_be_dropped() -> None:
    world, primary, backup, _ = three()
    primary.append(1)
    world.run(4)
    condemn(backup)
    world.bag.clear()
    primary.append(2)
    world.deliver(Append)
    backup.tick()
    assert backup.plays(Role.DAMAGED)
    assert said_by(world, backup) == []
    assert primary.replica.commit == 1
    assert len(backup.alarms) == 1 and BIT in repr(backup.notes)
    drop(world, backup)
    world.run(4)
    assert primary.replica.commit == 2


def test_a_damaged_backup_is_made_anew_and_counted_as_repaired_when_it_is_in_sync() -> None:
    world, primary, backup, _ = three()
    for number in range(5):
        primary.append(number)
    world.run(4)
    old = condemn(backup)
    assert backup.host.marks.tally == Tally(corrupt=1, repaired=0)
    backup.tick()
    drop(world, backup)
    assert copy_on_disk(backup) == NO_COPY
    assert backup.host.marks.buckets == [BUCKET]
    heal(world, primary, backup)
    assert backup.replica.copy.number > old
    assert backup.host.marks.tally == Tally(corrupt=1, repaired=1)
    assert backup.host.marks.buckets == []


def test_a_damaged_primary_serves_no_more_and_a_backup_goes_on_with_everything() -> None:
    world, primary, backup, _ = three()
    primary.append(1)
    world.run(4)
    primary.append(2)
    condemn(primary)
    assert primary.desk.told[-1] == "entered damaged"
    assert primary.replica.primary is None
    primary.tick()
    drop(world, primary)
    assert backup.plays(Role.PRIMARY)
    world.run(30)
    backup.append(3)
    world.run(30)
    assert backup.log()[0] == 1 and backup.log()[-1] == 3
    heal(world, backup, primary)


def test_the_copy_stays_while_the_state_lists_the_replica_as_in_sync_d1() -> None:
    world, primary, backup, second = three()
    primary.append(1)
    world.run(4)
    copy = condemn(backup)
    world.agree(ReplicaDropped(BUCKET, second.number, world.state.terms[BUCKET]))     # another term, and still in-sync
    world.tell()
    assert world.state.terms[BUCKET] > primary.world.states[0].terms[BUCKET]
    assert copy_on_disk(backup) == copy
    assert backup.plays(Role.DAMAGED)


def test_a_counted_learner_whose_sync_is_under_way_keeps_its_copy_until_a_later_term_d1() -> None:
    """Were it deleted at once, the slow ReplicaSynced would bring a node into the in-sync set that has nothing."""
    world, primary, _, learner = with_learner()
    primary.append(1)
    world.run(60)
    synced = ReplicaSynced(BUCKET, learner.number, primary.replica.term)
    assert synced in primary.asks(ReplicaSynced)
    copy = condemn(learner)
    learner.tick()
    learner.do(lambda: learner.replica.enter(world.state, world.now))
    assert copy_on_disk(learner) == copy, "in this term it was counted"
    world.agree(synced)                                # it was under way
    world.tell()
    assert copy_on_disk(learner) == copy, "now it is in-sync"
    primary.append(2)
    world.run(4)
    assert primary.replica.commit == 1, "and commits need its ack, which does not come"
    learner.asked.clear()
    world.now += 1
    learner.tick()
    drop(world, learner)
    assert copy_on_disk(learner) == NO_COPY
    world.run(4)
    assert primary.replica.commit == 2
    heal(world, primary, learner)


def test_a_counted_learner_asks_for_a_later_term_in_which_its_sync_falls_away_d1() -> None:
    world, primary, _, learner = with_learner()
    primary.append(1)
    world.run(60)
    synced = ReplicaSynced(BUCKET, learner.number, primary.replica.term)
    assert synced in primary.asks(ReplicaSynced)
    condemn(learner)
    learner.tick()
    drop(world, learner)
    assert copy_on_disk(learner) == NO_COPY
    world.agree(synced)
    assert learner.number not in world.state.in_sync[BUCKET]
    heal(world, primary, learner)


def test_the_only_in_sync_replica_keeps_its_copy_and_says_once_that_the_bucket_stands_still_d2() -> None:
    world, primary, first, second = three()
    primary.append(1)
    world.run(4)
    for other in (first, second):
        other.crash()
        world.agree(down(world.state, other.number))
    world.tell()
    copy = condemn(primary)
    assert len(primary.alarms) == 1
    world.run(40)
    assert primary.asks(ReplicaDropped) == []
    assert copy_on_disk(primary) == copy
    assert len(primary.alarms) == 2 and "stands still" in primary.alarms[1]
    assert f"bucket {BUCKET} stands still" in primary.replica.halted and BIT in primary.replica.halted
    world.agree(up(world.state, first.number, first.incarnation + 1))
    world.tell()
    assert copy_on_disk(primary) == copy, "the one that is back is not in-sync: this is still all there is"
    assert primary.replica.halted


def test_a_bucket_that_others_hold_is_not_said_to_stand_still() -> None:
    world, primary, backup, _ = three()
    condemn(backup)
    world.run(4)
    assert backup.replica.halted == primary.replica.halted == ""
    assert len(backup.alarms) == 1


def test_a_restart_remembers_the_mark_and_reads_nothing_of_the_copy() -> None:
    world, primary, backup, _ = three()
    primary.append(1)
    world.run(4)
    copy = backup.replica.copy.number
    backup.sync()
    for table in (Table.LOG, Table.COUNTS, Table.BODIES):
        for key, _ in rows(backup.store, table, *span(copy_prefix(copy))):
            backup.store.flip(table, key, 41)          # whoever reads it meets damage
    condemn(backup, restart=True)
    backup.restart()
    assert backup.plays(Role.DAMAGED)
    assert (backup.replica.commit, backup.replica.end, copy_on_disk(backup)) == (0, 0, copy)
    backup.learn(world.agree(up(world.state, backup.number, backup.incarnation)))
    world.tell()
    backup.asked.clear()
    world.now += 1
    backup.tick()
    drop(world, backup)
    heal(world, primary, backup)


def test_a_copy_that_is_condemned_where_none_is_needed_any_more_is_deleted_and_done_with() -> None:
    world = World(4)
    world.run()
    stranger = next(world[number] for number in world.order() if number not in world.state.desired(BUCKET))
    stranger.do(stranger.replica.copy.create)
    stranger.sync()
    condemn(stranger)
    assert stranger.host.marks.tally == Tally(corrupt=1)
    stranger.tick()
    drop(world, stranger)
    assert copy_on_disk(stranger) == NO_COPY
    assert stranger.plays(Role.NONE)
    assert stranger.host.marks.tally == Tally(corrupt=1, repaired=1)
