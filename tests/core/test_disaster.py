"""Recovering from the loss of a majority (C12): what is collected, planned and applied, and what is refused."""

from __future__ import annotations

import msgspec
import pytest

from tests.core.replication_rig import submitted
from tests.core.test_state_changes import ID, cluster, down, forgotten, joined, known, out, up
from zmqueue.core.acceptor import Acceptor
from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.changes import MemberChanged, Value, apply
from zmqueue.core.copies import Copies, Position
from zmqueue.core.damage import Marks, marks_in
from zmqueue.core.disaster import CannotRecover, CopyFacts, Plan, Survivor, losses, plan
from zmqueue.core.log import Log
from zmqueue.core.machine import Machine
from zmqueue.core.operations import encode
from zmqueue.core.salvage import applied, collect
from zmqueue.core.salvage import apply as write
from zmqueue.core.state import ClusterState, Status
from zmqueue.core.tables import Table
from zmqueue.store.memory import MemoryStore


def facts(generation: int = 1, end_term: int = 5, end: int = 9, commit: int = 7, damaged: int = 0) -> CopyFacts:
    return CopyFacts(0, generation, end_term, end, commit, 3, bool(damaged))


def survivor(state: ClusterState, number: int, *copies: CopyFacts) -> Survivor:
    return Survivor(ID(number), 4, state.cluster_id, state.lineage, state.epoch, state.to_bytes(), copies)


def planned(made: Plan) -> ClusterState:
    return ClusterState.from_bytes(made.state)


def five() -> ClusterState:
    """Five members; bucket 0 is held in-sync by its desired three."""
    return cluster(5, min_in_sync=2)


# --- planning ---------------------------------------------------------------------------------------------------


def test_the_new_state_is_of_the_next_lineage_and_has_the_survivors_alone() -> None:
    state = five()
    made = plan([survivor(state, 2), survivor(state, 4)], 77)
    new = planned(made)
    assert (new.lineage, new.epoch, new.cluster_id) == (2, state.epoch + 1, state.cluster_id)
    assert [member.number for member in new.members] == [2, 4] == list(new.voters)
    assert all(member.up and member.since == new.epoch for member in new.members)
    assert new.terms == (new.epoch,) * 4 and new.next_number == state.next_number
    assert [member for member, _ in made.lost] == [ID(1), ID(3), ID(5)]
    mark, = new.disasters
    assert (mark.lineage, mark.epoch, mark.wall, mark.lost) == (2, new.epoch, 77, (ID(1), ID(3), ID(5)))


def test_in_sync_replicas_that_survive_stay_in_sync_whatever_copies_others_have() -> None:
    state = five()
    inside, outside = state.in_sync[0][1], next(n for n in range(1, 6) if n not in state.in_sync[0])
    made = plan([survivor(state, inside, facts(end=2)), survivor(state, outside, facts(end=99))], 0)
    new = planned(made)
    assert new.in_sync[0] == (inside,) and new.generations[0] == 1
    assert 0 not in [one.bucket for one in made.adopted]


def test_where_none_survives_the_best_copy_is_adopted_alone() -> None:
    state = five()
    first, second = [number for number in range(1, 6) if number not in state.in_sync[0]]
    made = plan([survivor(state, first, facts(end=2)), survivor(state, second, facts(end=4))], 0)
    new = planned(made)
    assert new.in_sync[0] == (second,) and new.generations[0] == 2 and new.primary(0) == second
    adopted = next(one for one in made.adopted if one.bucket == 0)
    assert adopted.member == ID(second) and adopted.in_sync == tuple(ID(n) for n in state.in_sync[0])
    assert (0, 2, ID(second)) in new.disasters[0].adopted
    said = " ".join(losses(made))
    assert f"bucket 0 from {ID(second)}, with entries to 4 and 3 unfinished messages" in said


@pytest.mark.parametrize(("better", "worse"), [
    ({"generation": 2, "end_term": 1, "end": 1, "commit": 1}, {"generation": 1}),
    ({"end_term": 6, "end": 3, "commit": 0}, {"end_term": 5, "end": 99, "commit": 99}),
    ({"end": 10, "commit": 0}, {"end": 9, "commit": 9}),
    ({"commit": 8}, {"commit": 7}),
])
def test_the_best_copy_has_the_newest_generation_then_the_latest_last_entry_then_the_longest_log(
        better: dict[str, int], worse: dict[str, int]) -> None:
    state = five()
    first, second = [number for number in range(1, 6) if number not in state.in_sync[0]]
    for one, other in ((first, second), (second, first)):
        made = plan([survivor(state, one, facts(**better)), survivor(state, other, facts(**worse))], 0)
        assert planned(made).in_sync[0] == (one,)


def test_a_bucket_of_which_nobody_has_a_sound_copy_begins_empty_and_says_so() -> None:
    state = five()
    outside = next(number for number in range(1, 6) if number not in state.in_sync[0])
    for copies in ((), (facts(damaged=True),)):
        made = plan([survivor(state, outside, *copies)], 0)
        new = planned(made)
        assert new.in_sync[0] == (outside,) and new.generations[0] == 2 and 0 in new.disasters[0].begun_empty
        assert "begin empty" in " ".join(losses(made))


def test_a_damaged_copy_is_no_in_sync_replica_that_survives() -> None:
    state = five()
    inside, outside = state.in_sync[0][0], next(n for n in range(1, 6) if n not in state.in_sync[0])
    made = plan([survivor(state, inside, facts(damaged=True)), survivor(state, outside, facts(end=1))], 0)
    assert planned(made).in_sync[0] == (outside,)


def test_a_weightless_voter_survives_and_holds_nothing() -> None:
    state = five()
    state = apply(state, [MemberChanged(2, known(state, 2).since, 0, "")])
    made = plan([survivor(state, 2), survivor(state, 3)], 0)
    new = planned(made)
    assert known(new, 2).voter and all(3 in in_sync or 2 in state.in_sync[bucket]
                                       for bucket, in_sync in enumerate(new.in_sync))
    with pytest.raises(CannotRecover, match="weight"):
        plan([survivor(state, 2)], 0)


def test_members_that_were_down_or_joining_come_up_as_voters() -> None:
    state = apply(five(), [joined(6)])
    state = apply(state, [down(state, 4)])
    new = planned(plan([survivor(state, 4), survivor(state, 6)], 0))
    assert [(member.number, member.status, member.voter) for member in new.members] == [
        (4, Status.UP, True), (6, Status.UP, True)]


def test_the_newest_state_that_a_survivor_knows_is_the_base() -> None:
    old = five()
    new = apply(old, [down(old, 1)])
    for order in ([survivor(old, 2), survivor(new, 4)], [survivor(new, 4), survivor(old, 2)]):
        made = plan(order, 0)
        assert made.base_epoch == new.epoch and planned(made).epoch == new.epoch + 1


def test_what_may_be_lost_is_told_first_and_at_length() -> None:
    state = five()
    made = plan([survivor(state, 2), survivor(state, 4)], 0)
    said = losses(made)
    assert f"epoch {state.epoch}" in said[0] and "may be lost" in said[0]
    assert ID(1) in said[1] and "tcp://new" in said[1]


def refused(*survivors: Survivor) -> str:
    with pytest.raises(CannotRecover) as found:
        plan(survivors, 0)
    return str(found.value)


def test_a_plan_is_refused_where_it_would_do_harm_or_is_not_needed() -> None:
    state, other = five(), msgspec.structs.replace(five(), cluster_id="other")
    later = msgspec.structs.replace(state, lineage=2)
    forked = msgspec.structs.replace(state, next_number=99)
    gone = apply(state, [down(state, 5)])
    gone = apply(gone, [out(gone, 5)])
    gone = apply(gone, [forgotten(gone, 5)])
    assert gone.by_id(ID(5)) is None
    assert "at least one" in refused()
    assert "different clusters" in refused(survivor(state, 1), survivor(other, 2))
    assert "twice" in refused(survivor(state, 1), survivor(state, 1))
    assert "lineage 1" in refused(survivor(state, 1), survivor(later, 2))
    assert "different states" in refused(survivor(state, 1), survivor(forked, 2))
    assert "leave it out" in refused(survivor(gone, 1), survivor(state, 5))
    assert "majority: start them" in refused(*(survivor(state, number) for number in (1, 2, 3)))
    assert "another version" in refused(msgspec.structs.replace(survivor(state, 1), format=9))


# --- disks ------------------------------------------------------------------------------------------------------


class Disk:
    """A stopped node's tables, with one copy of bucket 0."""

    def __init__(self, state: ClusterState, number: int, entries: int = 3, commit: int = 2) -> None:
        self.store = store = MemoryStore()
        self.id = ID(number)
        store.put(Table.META, STATE_KEY, state.to_bytes())
        copies = Copies(store)
        position = copies.create(0)
        log, machine = Log(store, position.copy, 0, 0, 0), Machine(store, position.copy)
        for seq in range(1, entries + 1):
            log.append(state.terms[0], encode(submitted(seq)), submitted(seq))
            if seq <= commit:
                machine.apply(seq, submitted(seq))
        copies.write(0, Position(position.copy, 0, 0, commit))
        Acceptor(store).accept(state.epoch + 1, (0, 1), Value((), b""))
        store.commit()

    def collect(self) -> Survivor:
        return collect(self.store, self.id, 4)

    def content(self) -> list[tuple[bytes, bytes]]:
        return self.store.scan(Table.META, b"\x00", b"\xff", 99) + self.store.scan(Table.BUCKETS, b"\x00", b"\xff", 99)


def outside(state: ClusterState) -> int:
    return next(number for number in range(1, 6) if number not in state.in_sync[0])


def test_what_is_collected_is_the_disk_and_survives_json() -> None:
    state = five()
    disk = Disk(state, 2)
    before = disk.content()
    found = disk.collect()
    assert found.copies == (CopyFacts(0, 1, state.terms[0], 3, 2, 2),)
    assert (found.id, found.epoch, found.state) == (ID(2), state.epoch, state.to_bytes())
    assert msgspec.json.decode(msgspec.json.encode(found), type=Survivor) == found
    made = plan([found], 0)
    assert msgspec.json.decode(msgspec.json.encode(made), type=Plan) == made
    assert disk.content() == before and not disk.store.dirty, "nothing is written"


def test_a_condemned_copy_is_collected_as_damaged() -> None:
    state = five()
    disk = Disk(state, 2)
    Marks(disk.store).condemn(0, Copies(disk.store).position(0).copy, state.terms[0], "flipped")
    copy, = disk.collect().copies
    assert copy.damaged


def test_a_plan_is_written_in_one_batch_state_acceptor_and_generations() -> None:
    state = five()
    disk = Disk(state, outside(state))
    made = plan([disk.collect()], 0)
    assert not applied(disk.store, made)
    write(disk.store, disk.id, made)
    crashed = disk.store.crash(keep_unsynced=False)
    assert not applied(crashed, made) and Copies(crashed).position(0).generation == 1
    disk.store = crashed
    write(disk.store, disk.id, made)
    disk.store.commit()
    assert applied(disk.store, made)
    assert Copies(disk.store).position(0).generation == 2 == planned(made).generations[0]
    assert Acceptor(disk.store).record(state.epoch + 1).blank
    assert collect(disk.store, disk.id, 4).lineage == 2


def test_the_copy_of_a_survivor_that_is_not_in_sync_keeps_its_old_generation() -> None:
    """So its node finds that it is a lost branch, and gives it up."""
    state = five()
    first, second = [number for number in range(1, 6) if number not in state.in_sync[0]]
    best, other = Disk(state, first, entries=5), Disk(state, second)
    made = plan([best.collect(), other.collect()], 0)
    for disk in (best, other):
        write(disk.store, disk.id, made)
    assert [Copies(disk.store).position(0).generation for disk in (best, other)] == [2, 1]


def test_a_bucket_that_begins_empty_begins_without_the_damaged_copy() -> None:
    state = five()
    disk = Disk(state, outside(state))
    Marks(disk.store).condemn(0, Copies(disk.store).position(0).copy, state.terms[0], "flipped")
    made = plan([disk.collect()], 0)
    write(disk.store, disk.id, made)
    assert Copies(disk.store).buckets == [] and Copies(disk.store).doomed == 1
    assert marks_in(disk.store) == {}


def not_written(disk: Disk, made: Plan, words: str) -> None:
    before = disk.content()
    with pytest.raises(CannotRecover, match=words):
        write(disk.store, disk.id, made)
    assert disk.content() == before


def test_a_plan_is_not_written_onto_a_disk_that_it_is_not_for() -> None:
    state = five()
    one, two = Disk(state, 1), Disk(state, 2)
    made = plan([one.collect()], 0)
    not_written(two, made, "not name")
    not_written(one, msgspec.structs.replace(made, cluster_id="other"), "cluster other|for other")
    write(one.store, one.id, made)
    not_written(one, made, "lineage 2 already")
    ran = Disk(apply(state, [down(state, 5)]), 1)
    not_written(ran, made, "ran since")
    with pytest.raises(CannotRecover, match="holds no cluster"):
        collect(MemoryStore(), ID(1), 1)


def test_a_plan_is_not_written_onto_a_disk_that_holds_less_than_it_did() -> None:
    state = five()
    made = plan([Disk(state, 1, entries=5).collect()], 0)
    not_written(Disk(state, 1, entries=4), made, "holds less")
    more = Disk(state, 1, entries=6)
    write(more.store, more.id, made)


def test_a_second_recovery_builds_on_the_first() -> None:
    state = cluster(3, min_in_sync=2)
    disk = Disk(state, 1)
    made = plan([disk.collect()], 5)
    write(disk.store, disk.id, made)
    first = planned(made)
    assert first.quorum == 1 and "start them" in refused(disk.collect())
    grown = apply(first, [joined(7)])
    grown = apply(grown, [up(grown, known_number(grown, 7))])
    assert grown.quorum == 2
    second = planned(plan([survivor(grown, 1)], 6))
    assert second.lineage == 3 and [mark.lineage for mark in second.disasters] == [2, 3]


def known_number(state: ClusterState, number: int) -> int:
    """The number that the node which is called so was given."""
    return next(member.number for member in state.members if member.id == ID(number))
