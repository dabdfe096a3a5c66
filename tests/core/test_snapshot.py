"""Snapshots (R12) and the copies that they are written into, on replicas wired back to back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from tests.core.replication_rig import BUCKET, Node, World
from tests.core.test_state_changes import down, up
from zmqueue.core.changes import ReplicaDropped, ReplicaSynced
from zmqueue.core.copies import COPIED, NO_COPY, NOWHERE, SENDINGS_MAX, Copies, Position
from zmqueue.core.packets import Ack, Append, Differs, Nak, Snap, SnapMore
from zmqueue.core.replication import Role
from zmqueue.core.scrub import Scrub
from zmqueue.core.tables import Table, rows, span
from zmqueue.store.memory import MemoryStore

MESSAGES = 20


@pytest.fixture(autouse=True)
def small_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks of a few rows and compaction in small steps, so that little data makes many of them."""
    monkeypatch.setattr("zmqueue.core.snapshot.CHUNK_ROWS", 7)
    monkeypatch.setattr("zmqueue.core.log.COMPACT_ENTRIES", 4)


def copies_of(store: MemoryStore) -> set[int]:
    """The copies that have any row at all."""
    found = set()
    for table in (*COPIED, Table.LOG):
        found |= {int.from_bytes(key[:4], "big") for key, _ in rows(store, table, b"\x00", b"\xff" * 8)}
    return found


def state_of(node: Node) -> list[tuple[str, bytes, bytes]]:
    """The applied state, without the copy's number."""
    start, stop = span(node.replica.copy.number.to_bytes(4, "big"))
    return [(table.value, key[4:], value) for table in COPIED for key, value in rows(node.store, table, start, stop)]


def compacted() -> tuple[World, Node, Node, Node]:
    """A primary and a backup whose logs begin after most entries, and a learner that has nothing but a few of them."""
    world = World(3)
    world.run()
    primary, backup, learner = (world[number] for number in world.order())
    for number in range(3):
        primary.append(number)
    world.run(4)
    world.agree(down(world.state, learner.number))
    world.tell(primary.number, backup.number)
    for number in range(3, MESSAGES):
        primary.append(number)
        world.run(2, among=(primary.number, backup.number))
    compact(primary)
    world.agree(up(world.state, learner.number, learner.incarnation))
    world.tell()
    return world, primary, backup, learner


def compact(node: Node) -> None:
    for _ in range(20):
        node.replica.copy.compact(node.replica.commit, entries_max=2)
    assert node.replica.copy.log.base_seq > node.replica.commit - 7
    node.sync()


def exchange(world: World, primary: Node, learner: Node, chunks: int) -> None:
    """Let the learner refuse, and take so many chunks; the next one is on its way."""
    world.deliver(Append, to=learner.number)
    world.deliver(Nak, sender=learner.number)
    primary.tick()
    for _ in range(chunks):
        assert world.deliver(Snap, to=learner.number) == 1
        assert world.deliver(SnapMore, sender=learner.number) == 1
    assert learner.replica.commit == 3


# --- sending and receiving ---


def test_a_learner_that_the_log_cannot_serve_gets_a_snapshot_and_then_the_log() -> None:
    world, primary, backup, learner = compacted()
    world.run(10)
    primary.append(100)
    world.run(80)
    assert learner.replica.commit == primary.replica.commit == MESSAGES + 1
    assert state_of(learner) == state_of(primary) == state_of(backup)
    assert learner.desk.applied_numbers == [0, 1, 2, 100]
    assert primary.asks(ReplicaSynced) == [ReplicaSynced(BUCKET, learner.number, primary.replica.term)]
    assert world.nodes[primary.number].alarms == []


def test_a_new_member_without_a_copy_gets_one() -> None:
    world, primary, _, learner = compacted()
    learner.crash()
    learner.store = MemoryStore()
    learner.boot()
    learner.learn(world.state)
    world.run(20)
    assert state_of(learner) == state_of(primary)


def test_chunks_follow_one_another_when_the_one_before_is_on_disk() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 0)
    assert [packet.index for _, _, packet in world.bag if isinstance(packet, Snap)] == [0]
    world.deliver(Snap, sync=False)
    assert not any(isinstance(packet, SnapMore) for _, _, packet in world.bag)
    learner.sync()
    world.deliver(SnapMore)
    assert [packet.index for _, _, packet in world.bag if isinstance(packet, Snap)] == [1]


def whole_snapshot(world: World, primary: Node, learner: Node) -> list[int]:
    """Let the learner take all chunks but the last one, which is on its way. -> how many rows each has."""
    exchange(world, primary, learner, 0)
    sizes = []
    while not (chunk := next(packet for _, _, packet in world.bag if isinstance(packet, Snap))).last:
        sizes.append(len(chunk.rows))
        assert world.deliver(Snap, to=learner.number) == 1
        assert world.deliver(SnapMore, sender=learner.number) == 1
    return [*sizes, len(chunk.rows)]


def tamper(world: World, changed: Callable[[Snap], Snap]) -> None:
    """Something happens to the chunk that is on its way."""
    world.bag = [(sender, to, changed(packet) if isinstance(packet, Snap) else packet)
                 for sender, to, packet in world.bag]


@pytest.mark.parametrize("changed", [
    lambda chunk: replace(chunk, rows=chunk.rows[1:]),
    lambda chunk: replace(chunk, rows=(*chunk.rows[1:], (*chunk.rows[0][:2], b"other counts"))),
], ids=["a row less", "another value"])
def test_a_snapshot_that_is_not_what_its_primary_counted_is_refused_d3(changed: Callable[[Snap], Snap]) -> None:
    world, primary, _, learner = compacted()
    assert len(whole_snapshot(world, primary, learner)) > 3
    number = learner.replica.copy.number
    tamper(world, changed)
    world.deliver(Snap, to=learner.number)
    assert (learner.replica.copy.number, learner.replica.commit) == (number, 3), "nothing of it is used"
    assert not any(isinstance(packet, Ack) and sender == learner.number for sender, _, packet in world.bag)
    assert len(learner.alarms) == 1 and "refused" in learner.alarms[0]
    assert world.deliver(Differs, to=primary.number) == 1
    assert primary.host.suspects == {BUCKET}
    world.run(20)
    assert learner.replica.commit == 3, "no other one is sent before the primary's rows are counted"


def test_a_primary_whose_rows_are_whole_sends_the_snapshot_again_d3() -> None:
    world, primary, _, learner = compacted()
    whole_snapshot(world, primary, learner)
    tamper(world, lambda chunk: replace(chunk, rows=chunk.rows[1:]))
    world.deliver(Snap, to=learner.number)
    world.deliver(Differs)
    scrub = Scrub(primary.host, world.now)
    while primary.host.suspects:
        primary.do(lambda: scrub.tick({BUCKET: primary.replica}, world.now))
    assert primary.plays(Role.PRIMARY)
    world.run(20)
    assert state_of(learner) == state_of(primary)


def test_a_primary_that_sends_a_snapshot_without_rows_that_vanished_is_found_out_d3() -> None:
    world, primary, _, learner = compacted()
    primary.store.vanish(Table.READY, next(iter(rows(primary.store, Table.READY, b"\x00", b"\xff" * 8)))[0])
    whole_snapshot(world, primary, learner)
    world.deliver(Snap, to=learner.number)
    world.deliver(Differs)
    scrub = Scrub(primary.host, world.now)
    while primary.host.suspects:
        primary.do(lambda: scrub.tick({BUCKET: primary.replica}, world.now))
    assert primary.plays(Role.DAMAGED)
    assert "1 of" in repr(primary.notes) and "vanished" in repr(primary.notes)
    assert learner.replica.commit == 3


def test_nothing_of_a_snapshot_is_used_before_it_is_whole_r12() -> None:
    world, primary, _, learner = compacted()
    number = learner.replica.copy.number
    exchange(world, primary, learner, 2)
    assert (learner.replica.copy.number, learner.replica.commit, learner.replica.end) == (number, 3, 3)
    assert learner.rows() == 3
    assert not any(isinstance(packet, Ack) and sender == learner.number for sender, _, packet in world.bag)


def test_an_ack_for_a_snapshot_waits_until_the_swap_is_on_disk_r12() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 0)
    while learner.replica.commit == 3:
        world.deliver(Snap, to=learner.number, sync=False)
        if learner.replica.commit == 3:
            learner.sync()
            world.deliver(SnapMore)
    assert learner.replica.commit == MESSAGES
    assert learner.replica.copy.own == 0
    assert not any(isinstance(packet, Ack) and sender == learner.number for sender, _, packet in world.bag)
    learner.sync()
    assert [packet.verified for sender, _, packet in world.bag
            if isinstance(packet, Ack) and sender == learner.number] == [MESSAGES]
    assert learner.replica.copy.own == MESSAGES


def test_chunks_of_another_snapshot_are_not_mixed_in_r12() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 2)
    old = next(packet for _, _, packet in world.bag if isinstance(packet, Snap))
    world.drop()
    newer = replace(old, snapshot=(old.snapshot[0], old.snapshot[1], 99), index=0, rows=())
    learner.take(primary.number, newer)
    learner.take(primary.number, old)
    learner.sync()
    more = [packet for _, _, packet in world.bag if isinstance(packet, SnapMore)]
    assert [(packet.snapshot[2], packet.index) for packet in more] == [(99, 1)]
    assert learner.copies.doomed == 2


def test_a_repeated_chunk_is_acknowledged_and_written_once() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 1)
    world.bag = [item for item in world.bag for _ in range(3)]
    world.deliver(Snap)
    assert [packet.index for _, _, packet in world.bag if isinstance(packet, SnapMore)] == [2, 2, 2]
    world.deliver(SnapMore)
    assert [packet.index for _, _, packet in world.bag if isinstance(packet, Snap)] == [2]


def test_a_lost_chunk_is_sent_again() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 1)
    world.drop()
    world.run(30)
    assert state_of(learner) == state_of(primary)


def test_a_lost_ack_of_a_snapshot_is_said_again() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 0)
    while learner.replica.commit == 3:
        world.deliver(Snap, to=learner.number)
        world.deliver(SnapMore)
    world.drop()
    world.now += 0.6
    primary.tick()
    assert world.deliver(Snap, to=learner.number) == 1
    world.deliver(Ack, sender=learner.number)
    side = primary.replica.primary
    assert side is not None
    assert side.peers[learner.number].match == MESSAGES
    assert side.peers[learner.number].sending is None


def test_an_in_sync_replica_takes_no_snapshot_r12() -> None:
    world, primary, backup, learner = compacted()
    exchange(world, primary, learner, 0)
    chunk = next(packet for _, _, packet in world.bag if isinstance(packet, Snap))
    world.drop()
    backup.take(primary.number, chunk)
    backup.sync()
    assert world.bag == []
    assert backup.copies.doomed == 0


def test_a_snapshot_never_goes_back_r12() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 1)
    late = next(item for item in world.bag if isinstance(item[2], Snap))
    world.run(20)
    assert learner.replica.commit == MESSAGES
    learner.copies.sweep(10_000)
    world.bag.append(late)
    world.deliver(Snap)
    assert learner.replica.commit == MESSAGES
    assert learner.copies.doomed == 0


def test_an_entry_that_comes_while_a_snapshot_is_on_its_way_follows_it() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 1)
    primary.append(200)
    world.run(80)
    assert learner.desk.applied_numbers[-1] == 200
    assert state_of(learner) == state_of(primary)


# --- crashes and terms ---


def test_a_crash_discards_what_was_gathered_r12() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 2)
    received = copies_of(learner.store) - {learner.replica.copy.number}
    assert len(received) == 1
    learner.restart()
    assert learner.replica.commit == 3
    assert learner.copies.sweep() > 0
    learner.sync()
    assert copies_of(learner.store) == {learner.replica.copy.number}


def test_a_learner_that_restarted_in_the_middle_gets_a_new_snapshot() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 2)
    learner.restart()                          # its term goes on: the new incarnation is not agreed yet
    world.run(30)
    assert state_of(learner) == state_of(primary)


def test_a_term_that_ends_aborts_the_transfer_and_the_next_primary_begins_anew_r12() -> None:
    world, primary, backup, learner = compacted()
    exchange(world, primary, learner, 2)
    compact(backup)
    world.agree(down(world.state, primary.number))
    world.tell(backup.number, learner.number)
    assert learner.copies.sweep(10_000) > 0
    assert learner.copies.doomed == 0
    world.tell(primary.number)
    assert primary.copies.sendings == 0
    assert primary.store._snapshots == []
    world.drop()
    world.run(20, among=(backup.number, learner.number))
    assert backup.plays(Role.PRIMARY)
    assert state_of(learner) == state_of(backup)


def test_a_sender_whose_view_was_closed_begins_anew() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 2)
    for snapshot in list(primary.store._snapshots):
        snapshot.close()
    world.run(20)
    assert state_of(learner) == state_of(primary)
    assert primary.copies.sendings == 0


def test_a_sender_lets_go_of_a_learner_that_says_nothing() -> None:
    world, primary, backup, learner = compacted()
    exchange(world, primary, learner, 1)
    world.drop()
    for _ in range(30):
        world.now += 0.5
        primary.tick()
        world.drop()
    assert primary.copies.sendings == 0
    world.run(60)
    assert state_of(learner) == state_of(primary)
    assert backup.alarms == []


def test_only_so_many_snapshots_are_sent_at_once() -> None:
    world, primary, _, learner = compacted()
    primary.copies.sendings = SENDINGS_MAX
    exchange(world, primary, learner, 0)
    world.run(5)
    assert learner.replica.commit == 3
    primary.copies.sendings = 0
    world.run(20)
    assert state_of(learner) == state_of(primary)


def test_the_log_is_kept_for_what_follows_a_snapshot() -> None:
    world, primary, _, learner = compacted()
    exchange(world, primary, learner, 1)
    for number in range(300, 330):
        primary.append(number)
    side = primary.replica.primary
    assert side is not None
    assert side.compact_upto() <= MESSAGES


# --- copies ---


def test_a_copy_s_number_is_never_used_again() -> None:
    store = MemoryStore()
    copies = Copies(store)
    first = copies.create(0).copy
    copies.delete(0)
    store.commit()
    assert Copies(store).create(0).copy > first


def test_an_adopted_copy_dooms_the_one_before_in_the_same_batch() -> None:
    store = MemoryStore()
    copies = Copies(store)
    old = copies.create(3).copy
    store.put(Table.BODIES, old.to_bytes(4, "big") + b"id", b"old")
    store.commit()
    new = copies.receive()
    store.put(Table.BODIES, new.to_bytes(4, "big") + b"id", b"new")
    store.commit()
    copies.adopt(3, Position(new, 9, 2, 9, 77))
    crashed = Copies(store.crash())
    assert crashed.position(3).copy == old


def test_a_sweep_is_bounded_and_goes_on_after_a_restart() -> None:
    store = MemoryStore()
    copies = Copies(store)
    copy = copies.create(0).copy
    store.put_many(Table.BODIES, [(copy.to_bytes(4, "big") + b"%d" % number, b"x") for number in range(100)])
    store.put(Table.LOG, copy.to_bytes(4, "big") + bytes(8), b"x")
    copies.delete(0)
    assert copies.sweep(30) == 30
    store.commit()
    copies = Copies(store)
    assert (copies.buckets, copies.doomed, copies.position(0)) == ([], 1, NOWHERE)
    assert [copies.sweep(30) for _ in range(4)] == [30, 30, 11, 0]
    assert copies_of(store) == set()
    assert Copies(store).doomed == 0


def test_a_copy_that_is_being_received_is_not_swept() -> None:
    store = MemoryStore()
    copies = Copies(store)
    copy = copies.receive()
    store.put(Table.BODIES, copy.to_bytes(4, "big") + b"id", b"x")
    assert copies.sweep() == 0
    copies.abandon(copy)
    assert copies.sweep() == 1


def test_a_removed_replica_leaves_nothing_behind() -> None:
    world = World(3)
    world.run()
    node = world[world.order()[-1]]
    world[world.order()[0]].append(1)
    world.run(4)
    node.replica._side = None
    node.replica.role = Role.NONE
    node.replica.remove()
    node.copies.sweep()
    node.store.commit()
    assert copies_of(node.store) == set()
    assert Copies(node.store).buckets == []


def test_a_learner_that_was_never_contacted_has_no_copy() -> None:
    world = World(4, replicas=2)
    world.agree(ReplicaDropped(BUCKET, world.state.desired(BUCKET)[-1], world.state.terms[BUCKET]))
    stranger = world[world.state.desired(BUCKET)[-1]]
    stranger.crash()
    stranger.store = MemoryStore()
    stranger.boot()
    stranger.learn(world.state)
    assert stranger.plays(Role.BACKUP)
    assert stranger.replica.copy.number == NO_COPY
    assert Copies(stranger.store).buckets == []
