"""Replication of one bucket, rule by rule (R1 to R17, Q1), on replicas wired back to back."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.core.replication_rig import BUCKET, Node, World, entries_sent, submitted
from tests.core.test_state_changes import down, up
from zmqueue.core.changes import ReplicaDropped, ReplicaRetired, ReplicaSynced, SettingChanged, apply
from zmqueue.core.operations import encode
from zmqueue.core.packets import Ack, Ahead, Append, Lost, Nak
from zmqueue.core.peers import APPEND_ENTRIES, WINDOW_BYTES
from zmqueue.core.replication import DELETE_AFTER, Role


def three(min_in_sync: int = 1) -> tuple[World, Node, Node, Node]:
    """A world of three in-sync replicas that know each other: primary, first and second backup."""
    world = World(3, min_in_sync=min_in_sync)
    world.run()
    primary, first, second = (world[number] for number in world.order())
    return world, primary, first, second


def with_learner(*, told: bool = True) -> tuple[World, Node, Node, Node]:
    """The same, but the last one was dropped and knows nothing newer: a learner."""
    world, primary, backup, learner = three()
    world.agree(ReplicaDropped(BUCKET, learner.number, world.state.terms[BUCKET]))
    if told:
        world.tell()
    return world, primary, backup, learner


def both(primary: Node, *others: Node) -> list[int]:
    return [node.replica.commit for node in (primary, *others)]


# --- the ordinary course ---


def test_an_entry_is_committed_when_every_in_sync_replica_has_it_on_disk() -> None:
    world, primary, first, second = three()
    primary.append(1)
    primary.sync()
    world.deliver(Append, to=first.number)
    world.deliver(Ack)
    assert primary.replica.commit == 0
    world.deliver(Append, to=second.number)
    world.deliver(Ack)
    assert primary.replica.commit == 1
    assert primary.desk.applied_numbers == [1]


def test_entries_of_one_turn_travel_in_one_append_that_peers_share() -> None:
    world, primary, _, _ = three()
    replica, now = primary.replica, world.now
    primary.do(lambda: [replica.append(submitted(number), now) for number in range(10)])
    assert [len(packet.entries) for _, _, packet in world.bag if isinstance(packet, Append)] == [10, 10]


def test_a_backup_acks_only_what_is_on_its_disk() -> None:
    world, primary, first, _ = three()
    primary.append(1)
    world.deliver(Append, to=first.number, sync=False)
    assert not any(isinstance(packet, Ack) for _, _, packet in world.bag)
    first.sync()
    assert first.end_on_disk() == 1
    assert [packet.verified for _, _, packet in world.bag if isinstance(packet, Ack)] == [1]


def test_an_append_that_brings_nothing_new_is_answered_without_a_disk_write() -> None:
    world, primary, first, _ = three()
    primary.append(1)
    world.run()
    commits = first.store.commits
    primary.do(primary.replica.barrier)
    world.deliver(Append, sync=False)
    assert not first.effects.must_commit
    assert first.store.commits == commits
    assert sum(isinstance(packet, Ack) for _, _, packet in world.bag) == 2


def test_backups_learn_the_commit_index_soon_and_then_all_is_silent() -> None:
    world, primary, first, second = three()
    primary.append(1)
    world.run(4)
    assert both(primary, first, second) == [1, 1, 1]
    assert [node.rows() for node in world.nodes.values()] == [1, 1, 1]
    world.run(4)
    sent: list[object] = []
    for node in world.nodes.values():
        for _ in range(20):
            world.now += 1.0
            node.tick()
    sent += world.bag
    assert sent == []
    assert primary.replica.primary is not None
    assert primary.replica.primary._resting


def test_entries_are_pipelined_without_waiting_for_acks() -> None:
    world, primary, first, _ = three()
    for number in range(5):
        primary.append(number)
    assert entries_sent(world, first.number) == [0, 1, 2, 3, 4]


def test_what_is_on_the_way_to_one_peer_is_bounded() -> None:
    world, primary, first, _ = three()
    for number in range(12):
        primary.append(number, size=1 << 20)
    sent = len(entries_sent(world, first.number))
    assert sent == WINDOW_BYTES >> 20
    world.run()
    assert first.replica.commit == 12


def test_a_long_log_is_sent_in_batches() -> None:
    world, primary, first, _ = three()
    replica, now = primary.replica, world.now
    primary.do(lambda: [replica.append(submitted(number), now) for number in range(APPEND_ENTRIES + 5)])
    sizes = [len(packet.entries) for _, to, packet in world.bag if to == first.number and isinstance(packet, Append)]
    assert sizes == [APPEND_ENTRIES, 5]


def test_a_lost_append_is_sent_again() -> None:
    world, primary, first, second = three()
    primary.append(1)
    world.drop()
    primary.tick()
    assert world.bag == []
    world.now += 0.25
    primary.tick()
    assert entries_sent(world, first.number) == [1]
    world.run(5)
    assert both(primary, first, second) == [1, 1, 1]


def test_a_lost_entry_in_a_pipeline_is_found_by_a_refusal() -> None:
    world, primary, first, second = three()
    primary.append(1)
    world.drop()
    primary.append(2)
    world.deliver(Append)
    assert world.deliver(Nak) == 2
    assert entries_sent(world, first.number) == [1, 2]
    world.deliver(Append)
    world.deliver(Ack)
    assert primary.replica.commit == 2
    assert first.alarms == second.alarms == []


def test_many_refusals_of_one_gap_cause_one_resending() -> None:
    world, primary, first, _ = three()
    primary.append(1)
    world.drop()
    for number in range(2, 6):
        primary.append(number)
    world.deliver(Append, to=first.number)
    world.deliver(Nak)
    assert entries_sent(world, first.number) == [1, 2, 3, 4, 5]


def test_duplicates_and_reordering_do_no_harm() -> None:
    world, primary, first, second = three()
    for number in range(4):
        primary.append(number)
    twice = [item for item in world.bag for _ in range(2)]
    world.bag = list(reversed(twice))
    for _ in range(6):
        world.deliver(Append)
        world.bag = [item for item in world.bag for _ in range(2)]
        world.deliver(Ack)
        world.deliver(Nak)
    world.run(10)
    assert both(primary, first, second) == [4, 4, 4]
    assert first.log() == second.log() == [0, 1, 2, 3]


def test_a_sole_founder_commits_when_its_own_disk_has_it() -> None:
    world = World(1, replicas=1)
    node = world[1]
    node.append(1)
    assert node.replica.commit == 0
    node.sync()
    assert node.replica.commit == 1
    assert node.rows() == 1


# --- R1, R2: terms and who may be primary ---


def test_a_restarted_primary_waits_for_its_member_up_r2() -> None:
    world, primary, *_ = three()
    primary.restart()
    assert primary.plays(Role.BACKUP)
    world.agree(up(world.state, primary.number, primary.incarnation, 7))
    world.tell()
    assert primary.plays(Role.PRIMARY)


def test_everything_volatile_is_forgotten_with_the_term_r1() -> None:
    world, primary, first, second = three()
    primary.append(1)
    world.run(4)
    world.agree(ReplicaDropped(BUCKET, second.number, world.state.terms[BUCKET]))
    world.tell()
    assert primary.replica.primary is not None
    assert first.replica.backup is not None
    assert [peer.match for peer in primary.replica.primary.peers.values()] == [None, None]
    assert first.replica.backup.verified == 0
    assert primary.desk.told.count("entered primary") == 2


def test_a_state_that_does_not_concern_the_bucket_interrupts_nothing() -> None:
    world, primary, *_ = three()
    primary.append(1)
    side = primary.replica.primary
    world.agree(SettingChanged("lease_ms", 5_000, world.state.settings.since))
    world.tell()
    assert primary.replica.primary is side
    assert primary.desk.told.count("entered primary") == 1
    world.run(4)
    assert primary.replica.commit == 1


def test_a_state_that_is_installed_lets_nothing_out_before_it_is_on_disk_c4() -> None:
    world, primary, _first, second = three()
    state = world.agree(ReplicaDropped(BUCKET, second.number, world.state.terms[BUCKET]))
    world.drop()
    primary.learn(state, sync=False)
    primary.tick()
    assert world.bag == []
    primary.sync()
    assert world.bag


def test_packets_of_another_term_change_nothing_and_are_answered_with_what_is_known() -> None:
    world, primary, first, second = three()
    old = world.state.terms[BUCKET]
    world.agree(ReplicaDropped(BUCKET, second.number, old))
    world.tell(first.number, second.number)
    primary.append(1)
    world.deliver(Append)
    assert first.replica.end == 0
    assert [type(packet).__name__ for sender, _, packet in world.bag if sender == first.number] == ["StateIs"]
    world.drop()
    world.tell(primary.number)
    world.run(4)
    assert first.replica.end == 1


def test_a_backup_that_is_behind_asks_for_the_state() -> None:
    world, primary, first, second = three()
    world.agree(ReplicaDropped(BUCKET, second.number, world.state.terms[BUCKET]))
    world.tell(primary.number)
    world.deliver(Append, to=first.number)
    assert [type(packet).__name__ for sender, _, packet in world.bag if sender == first.number] == ["Hello"]


# --- R3, R4: learners ---


def test_a_learner_that_keeps_up_is_counted_then_asked_for_r3() -> None:
    world, primary, _, learner = with_learner()
    primary.append(1)
    world.run(60, step=0.05)
    term = world.state.terms[BUCKET]
    assert primary.asks(ReplicaSynced) == [ReplicaSynced(BUCKET, learner.number, term)]
    world.agree(ReplicaSynced(BUCKET, learner.number, term))
    world.tell()
    world.run(4)
    assert primary.replica.facts().catching_up == ()
    assert set(world.state.in_sync[BUCKET]) == {1, 2, 3}


def test_a_learner_that_was_asked_for_counts_for_the_rest_of_the_term_r3() -> None:
    world, primary, backup, learner = with_learner()
    world.run(60)
    assert primary.asks(ReplicaSynced)
    primary.append(1)
    world.run(100, among=(primary.number, backup.number))
    assert primary.replica.commit == 0
    assert primary.asks(ReplicaDropped) == [ReplicaDropped(BUCKET, learner.number, world.state.terms[BUCKET])]


def test_a_counted_learner_that_was_not_asked_for_is_let_go_when_it_is_slow_r3() -> None:
    world, primary, backup, learner = with_learner()
    side = primary.replica.primary
    assert side is not None
    world.deliver(Append)
    world.deliver(Ack)
    peer = side.peers[learner.number]
    primary.append(1)
    world.now += 3.0
    primary.tick()
    peer.need = 1                              # counted, and what it needs is on its way
    world.run(30, among=(primary.number, backup.number))
    assert side.peers[learner.number].need is None
    assert primary.replica.commit == 1


def test_what_a_learner_needs_is_the_end_of_the_log_when_counting_began_r4() -> None:
    world, primary, backup, learner = with_learner()
    for number in range(3):
        primary.append(number)
    for _ in range(2):                         # a probe, then the rest
        world.deliver(Append, to=learner.number)
        world.deliver(Ack, sender=learner.number)
    world.now += 3.0                           # R17: it was dropped once
    primary.tick()
    primary.append(3)
    world.now += 3.0
    primary.tick()
    side = primary.replica.primary
    assert side is not None
    peer = side.peers[learner.number]
    assert (peer.need, peer.match, peer.asked) == (4, 3, False)
    assert primary.replica.commit == 0
    world.run(4)
    assert peer.asked
    assert both(primary, backup, learner) == [4, 4, 4]


def test_a_learner_far_behind_is_not_counted_so_that_nobody_waits_for_it() -> None:
    world, primary, backup, learner = with_learner(told=False)
    world.tell(primary.number, backup.number)
    for number in range(20):
        primary.append(number, size=1 << 19)
        world.run(1, among=(primary.number, backup.number))
    assert primary.replica.commit == 20
    world.tell(learner.number)
    side = primary.replica.primary
    assert side is not None
    for _ in range(40):
        world.now += 0.05
        primary.tick()
        world.deliver(Append, to=learner.number)
        if side.peers[learner.number].need is not None:
            break
        world.deliver(Ack, sender=learner.number)
        world.deliver(Nak, sender=learner.number)
    assert (side.peers[learner.number].match or 0) >= 18


# --- R5, R6: verified match, cutting ---


def diverged() -> tuple[World, Node, Node, Node]:
    """The first primary has two entries that nobody else has, and the next one has written another in their place."""
    world, old, new, third = three()
    for number in (1, 2):
        old.append(number)
    old.sync()
    world.drop()
    world.agree(down(world.state, old.number))
    world.tell(new.number, third.number)
    new.append(7)
    world.run(4, among=(new.number, third.number))
    world.agree(up(world.state, old.number, old.incarnation))
    return world, old, new, third


def test_a_tail_that_nobody_has_is_cut_in_the_batch_that_writes_its_replacement_r6() -> None:
    world, old, new, _ = diverged()
    assert old.log() == [1, 2]
    world.tell()
    world.run(6)
    assert old.log() == new.log() == [7]
    assert old.holds_on_disk(1) == new.holds_on_disk(1)
    assert old.alarms == new.alarms == []


def test_an_append_without_entries_cuts_nothing_r6() -> None:
    world, old, _, third = diverged()
    world.tell()
    world.drop()
    side = old.replica.backup
    assert side is not None
    side.append(Append(BUCKET, old.replica.term, world.state.epoch, 0, 0, (), 0, 0), world.now)
    assert old.log() == [1, 2]
    assert side.verified == 0
    assert third.replica.commit == 1


def test_an_ack_carries_what_is_verified_and_not_the_end_of_the_log_r5() -> None:
    world, old, new, _ = diverged()
    world.tell()
    world.drop()
    old.take(new.number, Append(BUCKET, old.replica.term, world.state.epoch, 0, 0, (), 1, 0))
    old.sync()
    acks = [packet for _, _, packet in world.bag if isinstance(packet, Ack)]
    assert [(ack.verified, ack.commit) for ack in acks] == [(0, 0)]


def test_a_new_primary_keeps_its_tail_and_commits_it_in_its_own_term_r9() -> None:
    world, old, new, third = three()
    old.append(1)
    old.sync()
    world.deliver(Append)
    world.drop()
    world.agree(down(world.state, old.number))
    world.tell(new.number, third.number)
    assert new.plays(Role.PRIMARY)
    assert [operation == submitted(1, 8, operation.at) for operation in new.replica.tail_operations()] == [True]
    rid = new.replica.barrier()
    assert not new.replica.readable(rid)
    world.run(4, among=(new.number, third.number))
    assert new.replica.commit == 1
    assert new.replica.readable(rid)


# --- R7, R8: acks, own disk ---


def test_an_ack_of_another_term_is_ignored_r7() -> None:
    world, primary, first, second = three()
    primary.append(1)
    primary.sync()
    world.deliver(Append)
    world.agree(ReplicaDropped(BUCKET, second.number, world.state.terms[BUCKET]))
    world.tell(primary.number)
    assert world.deliver(Ack) >= 2
    assert primary.replica.commit == 0
    world.tell(first.number)
    world.run(2)
    assert primary.replica.commit == 1


def test_the_primary_counts_itself_up_to_what_is_on_its_own_disk_r8() -> None:
    world, primary, *_ = three()
    primary.append(1)
    world.deliver(Append)
    for sender, _, packet in list(world.bag):
        if isinstance(packet, Ack):
            primary.take(sender, packet)
    assert primary.replica.commit == 0
    primary.sync()
    assert primary.replica.commit == 1


def test_what_was_appended_after_the_flush_is_not_taken_for_durable_r8() -> None:
    world = World(1, replicas=1)
    node = world[1]
    node.append(1)
    node.store.commit()
    node.replica.append(submitted(2), world.now)       # after the flush that ended the batch
    node.replica.durable(world.now)
    assert (node.replica.copy.own, node.replica.commit) == (1, 1)


def test_a_cut_lowers_what_counts_as_on_disk_r8() -> None:
    world, old, new, _ = diverged()
    world.tell()
    world.deliver(Append, sender=new.number, to=old.number)
    world.deliver(Nak)
    world.deliver(Append, sender=new.number, to=old.number, sync=False)
    assert old.log() == [7]
    assert old.replica.copy.own == 0
    assert old.end_on_disk() == 2
    old.sync()
    assert old.replica.copy.own == 1


# --- R10, R11: reads, submits ---


def test_a_read_waits_for_an_append_that_was_sent_after_it_came_r10() -> None:
    world, primary, first, second = three()
    primary.append(1)
    rids: list[int] = []
    primary.do(lambda: rids.extend((primary.replica.barrier(), primary.replica.barrier())))
    assert rids == [1, 1]                              # one barrier for all reads of a turn
    world.deliver(Append)
    primary.do(lambda: rids.append(primary.replica.barrier()))
    assert rids[-1] == 2
    world.deliver(Ack, sync=False)
    assert primary.replica.readable(1)
    assert not primary.replica.readable(2)
    world.deliver(Append, to=first.number)
    world.deliver(Ack)
    assert not primary.replica.readable(2)
    world.deliver(Append, to=second.number)
    world.deliver(Ack)
    assert primary.replica.readable(2)


def test_a_read_waits_for_counted_learners_too_r10() -> None:
    world, primary, backup, learner = with_learner()
    world.run(60)
    assert primary.asks(ReplicaSynced)
    primary.do(primary.replica.barrier)
    rid = 1
    world.run(3, among=(primary.number, backup.number))
    assert not primary.replica.readable(rid)
    world.run(30)
    assert primary.replica.readable(rid)
    assert learner.plays(Role.BACKUP)


def test_a_barrier_that_was_lost_is_sent_again_r10() -> None:
    world, primary, *_ = three()
    primary.do(primary.replica.barrier)
    world.drop()
    world.run(10)
    assert primary.replica.readable(1)


def test_a_replica_that_answers_no_barrier_is_asked_to_be_dropped() -> None:
    world, primary, first, second = three()
    for _ in range(40):
        primary.do(primary.replica.barrier)
        world.run(1, among=(primary.number, first.number))
    assert ReplicaDropped(BUCKET, second.number, primary.replica.term) in primary.asks(ReplicaDropped)


def test_enough_counts_the_agreed_in_sync_replicas_only_r11() -> None:
    world, primary, first, second = three(min_in_sync=2)
    assert primary.replica.enough
    for node in (first, second):
        world.agree(down(world.state, node.number))
    world.tell()
    assert not primary.replica.enough


# --- R13: where to resume ---


def test_an_in_sync_replica_with_an_old_commit_index_is_resumed_at_the_primarys_r13() -> None:
    world, primary, first, _ = three()
    for number in range(700):
        primary.append(number)
        if number % 50 == 0:
            world.run(1)
    world.run(4)
    first.crash()
    primary.replica.copy.compact(600, entries_max=10)
    primary.replica.copy.compact(600, entries_max=10)
    primary.sync()
    assert primary.replica.copy.log.base_seq == 512
    first.boot()
    world.agree(up(world.state, first.number, first.incarnation, 9))
    world.tell()
    primary.append(1_000)
    world.run(6)
    assert first.replica.commit == primary.replica.commit == 701
    assert first.alarms == primary.alarms == []


def test_a_learner_is_resumed_at_its_end_where_the_primarys_log_has_it_r13() -> None:
    world, primary, backup, learner = three()
    for number in range(10):
        primary.append(number)
        world.run(2)
    world.agree(down(world.state, learner.number))
    world.tell(primary.number, backup.number)
    for number in range(10, 20):
        primary.append(number)
        world.run(2, among=(primary.number, backup.number))
    world.agree(up(world.state, learner.number, learner.incarnation))
    world.drop()
    world.tell()
    world.deliver(Append, to=learner.number)
    world.deliver(Nak)
    assert entries_sent(world, learner.number) == list(range(10, 20))


# --- R15: alarms ---


def rolled_back() -> tuple[World, Node, Node, Node]:
    """Five entries are committed everywhere; then one disk goes back to what it was after two of them."""
    world, primary, first, second = three()
    for number in range(5):
        primary.append(number)
        world.run(3)
        if number == 1:
            for node in world.nodes.values():
                node.mark = node.store.copy()
    return world, primary, first, second


def roll_back(world: World, node: Node) -> None:
    """The disk goes back, and the node is up again. The book-keeper is not asked: it would say so at once."""
    node.crash()
    node.store.rollback_to(node.mark)
    node.boot()
    world.states.append(apply(world.state, [up(world.state, node.number, node.incarnation, 9)]))
    world.tell()


def test_an_in_sync_backup_that_lost_what_is_committed_says_so_r15a() -> None:
    world, primary, first, _ = rolled_back()
    roll_back(world, first)
    world.drop(Append, to=first.number)
    primary.append(9)
    world.run(8)
    assert first.alarms and primary.alarms
    assert ReplicaDropped(BUCKET, first.number, primary.replica.term) in primary.asks(ReplicaDropped)
    assert first.replica.end == 2


def test_a_primary_that_lost_what_others_committed_stops_serving_r15c() -> None:
    world, primary, _, _ = rolled_back()
    roll_back(world, primary)
    assert primary.plays(Role.PRIMARY)
    world.run(8)
    assert primary.plays(Role.STOPPED)
    assert primary.alarms
    assert primary.asks(ReplicaDropped) == [ReplicaDropped(BUCKET, primary.number, primary.replica.term)]
    assert primary.desk.told[-1] == "entered stopped"
    primary.learn(world.state)
    assert primary.plays(Role.STOPPED)


def test_a_backup_that_is_told_to_change_what_is_committed_says_so_and_writes_nothing_r15b() -> None:
    world, primary, first, _ = rolled_back()
    replica = first.replica
    foreign = tuple((replica.term, encode(submitted(number))) for number in (70, 71, 72))
    first.take(primary.number, Append(BUCKET, replica.term, world.state.epoch, 4, replica.copy.log.term_at(4) or 0,
                                      foreign, 4, 0))
    first.sync()
    assert first.alarms
    assert first.log() == [0, 1, 2, 3, 4]
    assert world.deliver(Ahead) == 1
    assert primary.plays(Role.STOPPED)


def test_a_late_refusal_is_no_alarm_r15() -> None:
    world, primary, first, second = three()
    primary.append(1)
    world.drop()
    primary.append(2)
    world.deliver(Append)
    late = [item for item in world.bag if isinstance(item[2], Nak)]
    world.run(6)
    world.bag += late
    world.run(6)
    assert [node.alarms for node in world.nodes.values()] == [[], [], []]
    assert both(primary, first, second) == [2, 2, 2]


def test_a_replica_that_raised_an_alarm_is_sent_nothing_more() -> None:
    world, primary, first, _ = three()
    primary.take(first.number, Lost(BUCKET, primary.replica.term))
    primary.append(1)
    assert entries_sent(world, first.number) == []
    assert len(primary.alarms) == 1
    primary.tick()
    assert primary.asks(ReplicaDropped)


# --- R16, R17 ---


def test_a_sole_in_sync_primary_commits_its_tail_when_it_takes_over_r16() -> None:
    world = World(1, replicas=1)
    node = world[1]
    node.append(1)
    node.store.commit()                                # on disk, and nobody was told
    node.crash()
    node.boot()
    assert node.replica.commit == 0
    world.agree(up(world.state, 1, node.incarnation, 9))
    world.tell()
    assert node.replica.commit == 1


def test_a_replica_is_dropped_for_its_oldest_unacked_entry_and_not_for_silence_r17() -> None:
    world, primary, first, second = three()
    world.run(100, among=(primary.number, first.number))
    assert primary.asks(ReplicaDropped) == []
    primary.append(1)
    world.run(15, among=(primary.number, first.number))
    assert primary.asks(ReplicaDropped) == []
    world.run(15, among=(primary.number, first.number))
    assert primary.asks(ReplicaDropped) == [ReplicaDropped(BUCKET, second.number, primary.replica.term)]


def test_a_primary_that_was_away_itself_blames_nobody_at_once() -> None:
    world, primary, *_ = three()
    primary.append(1)
    world.now += 5.0
    primary.tick()
    assert primary.asks(ReplicaDropped) == []


def test_wants_are_repeated_while_they_are_meant_c8() -> None:
    world, primary, first, _second = three()
    primary.append(1)
    world.run(30, among=(primary.number, first.number))
    primary.asked.clear()
    world.run(20, among=(primary.number, first.number))
    assert len(primary.asked) == 4 or len(primary.asked) == 5      # about five times a second


@pytest.mark.parametrize(("drops", "seconds"), [(1, 2), (2, 4), (3, 8), (8, 60)])
def test_a_flapping_replica_is_counted_again_only_after_it_has_kept_up_r17(drops: int, seconds: int) -> None:
    world, primary, _backup, learner = three()
    for _ in range(drops):
        world.agree(ReplicaDropped(BUCKET, learner.number, world.state.terms[BUCKET]))
        world.tell()
        if len(world.state.in_sync[BUCKET]) == 2 and _ < drops - 1:
            world.agree(ReplicaSynced(BUCKET, learner.number, world.state.terms[BUCKET]))
            world.tell()
    began = world.now
    while not primary.asks(ReplicaSynced) and world.now < began + 100:
        world.run(1, step=0.05)
    assert seconds - 0.5 < world.now - began < seconds + 1


# --- R14: leaving ---


def test_an_in_sync_replica_that_is_not_desired_is_asked_to_be_retired_r14() -> None:
    world = World(4, replicas=2)
    undesired = next(number for number in world.nodes if number not in world.state.desired(BUCKET))
    # The fourth member becomes in-sync by hand: such a state comes about while the ring moves.
    in_sync = tuple(sorted({*world.state.in_sync[BUCKET], undesired}))
    world.states.append(replace(world.state, epoch=world.state.epoch + 1, in_sync=(in_sync,),
                                terms=(world.state.epoch + 1,)))
    world.tell()
    world.run(3)
    primary = world[world.state.primary(BUCKET) or 0]
    assert primary.asks(ReplicaRetired) == [ReplicaRetired(BUCKET, undesired, primary.replica.term)]


def test_a_copy_is_deleted_only_when_nobody_needs_it_for_long_r14() -> None:
    world = World(4, replicas=2)
    spare = next(world[number] for number in world.nodes if number not in world.state.desired(BUCKET))
    member = next(world[number] for number in world.state.desired(BUCKET))
    assert spare.plays(Role.NONE)
    assert not spare.replica.removable(world.now + DELETE_AFTER - 1)
    assert spare.replica.removable(world.now + DELETE_AFTER)
    assert not member.replica.removable(world.now + 10 * DELETE_AFTER)


def test_a_copy_is_kept_while_a_desired_replica_is_not_in_sync_r14() -> None:
    world = World(4, replicas=2)
    spare = next(world[number] for number in world.nodes if number not in world.state.desired(BUCKET))
    last = world.state.desired(BUCKET)[-1]
    world.agree(ReplicaDropped(BUCKET, last, world.state.terms[BUCKET]))
    world.tell()
    assert not spare.replica.removable(world.now + DELETE_AFTER)
    world.now += 30.0
    world.agree(ReplicaSynced(BUCKET, last, world.state.terms[BUCKET]))
    world.tell()
    assert not spare.replica.removable(world.now + DELETE_AFTER - 1)     # the time begins anew


# --- Q1 ---


def test_bucket_time_goes_on_from_the_last_entry_whatever_the_clocks_say_q1() -> None:
    world, old, new, third = three()
    world.now += 50.0
    assert old.replica.at(world.now) >= 50_000
    old.append(1)
    world.run(4)
    last = new.replica.copy.at
    assert last >= 50_000
    assert new.replica.at(world.now + 1_000.0) == last                   # it stands still where nobody is primary
    world.now += 20.0
    world.agree(down(world.state, old.number))
    world.tell(new.number, third.number)
    assert new.replica.at(world.now) == last
    assert new.replica.at(world.now + 1.5) == last + 1_500


def test_bucket_time_survives_a_restart_and_a_compacted_log_q1() -> None:
    world = World(1, replicas=1)
    node = world[1]
    world.now += 7.0
    node.append(1)
    node.sync()
    node.sync()
    node.restart()
    assert node.replica.copy.at == 7_000
    assert node.replica.commit == 1
