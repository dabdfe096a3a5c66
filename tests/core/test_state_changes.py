"""The cluster state and the fold of changes: rules C5, C7, C8, R1, R14 and appendix A's preconditions."""

from __future__ import annotations

import itertools
import random

import msgspec
import pytest

from zmqueue.core.changes import (
    BucketAdopted,
    Change,
    MemberChanged,
    MemberDown,
    MemberForgotten,
    MemberJoined,
    MemberOut,
    MemberUp,
    ReplicaDropped,
    ReplicaRetired,
    ReplicaSynced,
    SettingChanged,
    apply,
    effective,
)
from zmqueue.core.state import DISASTERS_KEPT, Agreed, ClusterState, Disaster, Member, Status, digest, found

ID = "{:016x}".format


def founder(buckets: int = 4, **settings: int) -> ClusterState:
    member = Member(1, ID(1), 1, 100, "tcp://1", "tcp://h1", Status.UP, True)
    return found("cluster", Agreed(buckets=buckets, **settings), member)


def up(state: ClusterState, number: int, incarnation: int | None = None, nonce: int | None = None) -> MemberUp:
    member = known(state, number)
    same = incarnation in (None, member.incarnation)
    return MemberUp(number, member.incarnation if incarnation is None else incarnation, member.since,
                    member.nonce if same and nonce is None else (nonce or 7), "tcp://new", "tcp://hnew")


def down(state: ClusterState, number: int) -> MemberDown:
    return MemberDown(number, known(state, number).incarnation, known(state, number).since)


def out(state: ClusterState, number: int) -> MemberOut:
    return MemberOut(number, known(state, number).incarnation, known(state, number).since)


def forgotten(state: ClusterState, number: int) -> MemberForgotten:
    return MemberForgotten(number, known(state, number).since)


def known(state: ClusterState, number: int) -> Member:
    member = state.member(number)
    assert member is not None
    return member


def joined(number: int, weight: int = 1) -> MemberJoined:
    return MemberJoined(ID(number), 1, number * 100, f"tcp://{number}", f"tcp://h{number}", weight)


def cluster(members: int, **settings: int) -> ClusterState:
    """Members 1 to n, all up, in-sync wherever desired and nowhere else."""
    state = founder(**settings)
    state = apply(state, [joined(number) for number in range(2, members + 1)])
    state = apply(state, [up(state, number) for number in range(2, members + 1)])
    for _ in range(2):
        state = apply(state, [ReplicaSynced(bucket, number, state.terms[bucket])
                              for bucket in range(state.buckets) for number in state.desired(bucket)])
        state = apply(state, [ReplicaRetired(bucket, number, state.terms[bucket])
                              for bucket in range(state.buckets) for number in state.in_sync[bucket]])
    return state


# --- the state ----------------------------------------------------------------------------------------------


def test_a_founder_is_up_votes_alone_and_is_in_sync_everywhere() -> None:
    state = founder()
    assert (state.epoch, state.voters, state.quorum, state.natural) == (1, (1,), 1, 1)
    assert all(state.primary(bucket) == 1 and state.in_sync[bucket] == (1,) for bucket in range(4))


def test_a_founder_without_weight_is_refused() -> None:
    with pytest.raises(ValueError, match="weight"):
        found("c", Agreed(), Member(1, ID(1), 1, 1, "", "", Status.UP, True, weight=0))


def test_equal_states_have_equal_bytes_and_come_back_from_them() -> None:
    state = cluster(3)
    again = ClusterState.from_bytes(state.to_bytes())
    assert again == state and again.to_bytes() == state.to_bytes() and digest(again) == digest(state)
    assert len(digest(state)) == 16


@pytest.mark.parametrize("broken", [
    {"terms": (1,)}, {"in_sync": ((),) * 4}, {"in_sync": ((9,),) * 4}, {"generations": ()}])
def test_a_state_that_no_changes_can_have_made_is_not_read(broken: dict[str, object]) -> None:
    data = msgspec.structs.replace(founder(), **broken).to_bytes()
    with pytest.raises(msgspec.DecodeError):
        ClusterState.from_bytes(data)


def test_the_natural_proposer_is_the_first_up_voter() -> None:
    state = cluster(3)
    state = apply(state, [down(state, 1)])
    assert state.natural == 2


# --- folding (C5) -------------------------------------------------------------------------------------------


def test_a_list_that_changes_nothing_makes_no_proposal() -> None:
    state = cluster(3)
    assert effective(state, []) is None
    assert effective(state, [ReplicaSynced(0, 1, state.terms[0] + 1), MemberDown(2, 9, 9)]) is None


def test_each_state_is_one_epoch_later() -> None:
    state = cluster(2)
    assert apply(state, [joined(3), joined(4)]).epoch == state.epoch + 1


def test_two_drops_in_one_list_leave_somebody_in_sync() -> None:
    """C5, scenario pre_on_base: each has another member in e, but not on the state changed so far."""
    state = cluster(2, replicas=2)
    after = apply(state, [ReplicaDropped(0, 1, state.terms[0]), ReplicaDropped(0, 2, state.terms[0])])
    assert after.in_sync[0] == (2,)


def test_down_and_down_in_one_list_never_empties_a_bucket() -> None:
    state = cluster(3, replicas=2)
    after = apply(state, [down(state, 1), down(state, 2), down(state, 3)])
    assert sum(1 for member in after.members if member.up) == 1
    assert all(after.in_sync)


def test_an_in_sync_set_without_an_up_member_stays_whole() -> None:
    state = cluster(3, replicas=2)
    bucket = next(b for b in range(4) if 3 not in state.in_sync[b])
    after = apply(state, [down(state, number) for number in state.in_sync[bucket]])
    assert after.in_sync[bucket] == state.in_sync[bucket]
    assert after.primary(bucket) is None


def test_a_down_member_leaves_the_sets_in_which_another_is_up() -> None:
    state = cluster(3)
    after = apply(state, [down(state, 2)])
    assert all(numbers == (1, 3) for numbers in after.in_sync)


def test_a_learner_whose_record_changed_in_the_list_is_not_synced_by_it() -> None:
    """C5: it restarted, so what was counted may be gone."""
    state = cluster(3)
    state = apply(state, [ReplicaDropped(0, 2, state.terms[0])])
    synced = ReplicaSynced(0, 2, state.terms[0])
    assert apply(state, [synced]).in_sync[0] == (1, 2, 3)
    assert apply(state, [up(state, 2, incarnation=2), synced]).in_sync[0] == (1, 3)


def test_a_term_in_a_change_is_the_term_in_the_state_before_the_list() -> None:
    state = cluster(3)
    state = apply(state, [ReplicaDropped(0, 2, state.terms[0])])
    term = state.terms[0]
    after = apply(state, [down(state, 3), ReplicaSynced(0, 2, term)])     # the first ends the term, in e+1
    assert after.in_sync[0] == (1, 2) and after.terms[0] == after.epoch
    assert effective(state, [ReplicaSynced(0, 2, term - 1)]) is None


def test_a_learner_is_synced_and_its_primary_taken_down_in_one_list() -> None:
    state = cluster(2)
    state = apply(state, [ReplicaDropped(0, 2, state.terms[0])])
    after = apply(state, [ReplicaSynced(0, 2, state.terms[0]), down(state, 1)])
    assert after.in_sync[0] == (2,) and after.primary(0) == 2


# --- members (C7, C8) ---------------------------------------------------------------------------------------


def test_a_joiner_has_no_vote_and_no_place_until_it_is_up() -> None:
    state = apply(founder(), [joined(2)])
    assert known(state, 2).status is Status.JOINING
    assert state.voters == (1,) and all(state.desired(bucket) == (1,) for bucket in range(4))
    state = apply(state, [up(state, 2)])
    assert state.voters == (1, 2) and all(set(state.desired(bucket)) == {1, 2} for bucket in range(4))


def test_who_is_known_does_not_join_again() -> None:
    assert effective(cluster(2), [joined(2)]) is None


def test_numbers_are_never_used_again() -> None:
    state = cluster(3)
    state = apply(state, [down(state, 3)])
    state = apply(state, [out(state, 3)])
    state = apply(state, [ReplicaSynced(bucket, number, state.terms[bucket])
                          for bucket in range(4) for number in (1, 2)])
    state = apply(state, [forgotten(state, 3)])
    assert state.member(3) is None
    assert known(apply(state, [joined(9)]), 4).id == ID(9)


def test_a_new_voter_takes_the_vote_of_the_lowest_out_member() -> None:
    state = cluster(3)
    for make in (down, out):
        state = apply(state, [make(state, 2)])
    assert state.voters == (1, 2, 3)                    # C7b: out keeps its vote until another needs one
    state = apply(state, [joined(4)])
    state = apply(state, [up(state, 4)])
    assert state.voters == (1, 3, 4)
    assert known(state, 2).since == state.epoch         # its record changed: wants about the old one fall away


def test_a_member_without_a_vote_that_returns_gets_one() -> None:
    state = with_an_out_member_without_a_vote()
    state = apply(state, [up(state, 2, incarnation=2)])
    assert 2 in state.voters and known(state, 2).up


def with_an_out_member_without_a_vote() -> ClusterState:
    state = cluster(3)
    for make in (down, out):
        state = apply(state, [make(state, 2)])
    state = apply(state, [joined(4)])
    state = apply(state, [up(state, 4)])
    assert not known(state, 2).voter
    return state


def test_the_last_up_voter_is_not_taken_down() -> None:
    state = cluster(2)
    state = apply(state, [down(state, 2)])
    assert effective(state, [down(state, 1)]) is None


def test_a_delayed_member_down_misses_the_member_that_came_back() -> None:
    """C8: with the same incarnation, even."""
    state = cluster(3)
    late = down(state, 2)
    state = apply(state, [late])
    state = apply(state, [up(state, 2)])
    assert known(state, 2).up and effective(state, [late]) is None


def test_a_member_is_not_up_as_an_older_incarnation() -> None:
    state = cluster(3)
    state = apply(state, [up(state, 2, incarnation=5)])
    assert known(state, 2).incarnation == 5 and known(state, 2).endpoint == "tcp://new"
    assert effective(state, [up(state, 2, incarnation=4)]) is None
    assert effective(state, [up(state, 2)]) is None     # it is up already


def test_the_same_incarnation_with_another_nonce_is_not_taken_up() -> None:
    """C11: two processes ran from one disk."""
    state = cluster(3)
    state = apply(state, [down(state, 2)])
    assert effective(state, [up(state, 2, nonce=12345)]) is None


def test_a_member_goes_out_only_from_down() -> None:
    state = cluster(3)
    assert effective(state, [out(state, 2)]) is None
    state = apply(state, [down(state, 2)])
    assert known(apply(state, [out(state, 2)]), 2).status is Status.OUT


def test_down_and_out_of_one_member_take_two_lists() -> None:
    state = cluster(3)
    after = apply(state, [down(state, 2), out(state, 2)])
    assert known(after, 2).status is Status.DOWN


def test_a_member_that_holds_something_is_not_forgotten() -> None:
    """R14, scenario forget_holder."""
    state = founder()
    state = apply(state, [joined(2), joined(3)])
    state = apply(state, [up(state, 2), up(state, 3)])
    for make in (down, out):
        state = apply(state, [make(state, 1)])
    assert state.in_sync == ((1,),) * 4
    assert effective(state, [forgotten(state, 1)]) is None


def test_a_member_is_forgotten_only_if_a_majority_of_those_who_remain_is_up() -> None:
    """C7c: voters 1, 2, 3; 2 is down; forgetting 3 would leave one of two."""
    state = cluster(3)
    state = apply(state, [down(state, 2), down(state, 3)])
    state = apply(state, [out(state, 3)])
    assert not any(3 in numbers for numbers in state.in_sync)
    assert effective(state, [forgotten(state, 3)]) is None
    state = apply(state, [up(state, 2)])
    assert apply(state, [forgotten(state, 3)]).voters == (1, 2)


# --- terms (R1) ---------------------------------------------------------------------------------------------


def test_a_term_is_new_where_a_replica_restarts() -> None:
    """cfg_no_inc: the set, the primary and the status are the same; the incarnation is not."""
    state = cluster(3)
    after = apply(state, [up(state, 2, incarnation=2)])
    assert after.in_sync == state.in_sync
    assert after.terms == (after.epoch,) * 4


def test_a_term_is_new_where_only_the_desired_change() -> None:
    """stale_copy: the ring moves away and back; a former learner's ReplicaSynced must not fit."""
    state = founder(buckets=32, replicas=2)
    state = apply(state, [joined(2), joined(3)])
    state = apply(state, [up(state, 2)])
    after = apply(state, [up(state, 3)])
    moved = [bucket for bucket in range(32) if set(after.desired(bucket)) != set(state.desired(bucket))]
    assert moved
    for bucket in range(32):
        assert (after.terms[bucket] == after.epoch) == (after.config(bucket) != state.config(bucket))
        assert after.terms[bucket] == after.epoch if bucket in moved else True


def test_a_valid_drop_ends_the_term_even_if_the_set_stays() -> None:
    state = founder()
    after = effective(state, [ReplicaDropped(2, 1, state.terms[2])])
    assert after is not None and after.in_sync == state.in_sync
    assert after.terms == (1, 1, after.epoch, 1)


def test_a_term_stays_where_nothing_about_the_bucket_changes() -> None:
    state = cluster(3)
    assert apply(state, [joined(4)]).terms == state.terms


# --- buckets ------------------------------------------------------------------------------------------------


def test_only_a_desired_up_member_is_synced() -> None:
    state = cluster(4, buckets=8, replicas=2)
    for bucket in range(8):
        for number in range(1, 5):
            after = effective(state, [ReplicaSynced(bucket, number, state.terms[bucket])])
            assert after is None                        # it is in-sync, or not desired


def test_a_replica_retires_only_when_all_desired_are_in_sync_and_up() -> None:
    state = cluster(4, buckets=8, replicas=2)
    state = apply(state, [down(state, 1)])
    for bucket in range(8):
        for number in state.in_sync[bucket]:
            desired = state.desired(bucket)
            allowed = number not in desired and all(
                other in state.in_sync[bucket] and state.up(other) for other in desired)
            after = apply(state, [ReplicaRetired(bucket, number, state.terms[bucket])])
            assert (number not in after.in_sync[bucket]) == allowed


def test_a_change_about_a_bucket_that_is_none_changes_nothing() -> None:
    state = cluster(2)
    assert effective(state, [ReplicaDropped(99, 1, 1), ReplicaSynced(-1, 1, state.terms[-1])]) is None


def test_a_setting_changes_once_for_the_record_it_was_asked_about() -> None:
    state = cluster(3)
    change = SettingChanged("grace_ms", 60_000, state.settings.since)
    after = apply(state, [change, SettingChanged("grace_ms", 1, state.settings.since)])
    assert after.settings.grace_ms == 60_000
    assert effective(after, [change]) is None


@pytest.mark.parametrize("name", ["buckets", "vnodes", "placement_version", "since", "no such"])
def test_what_places_every_bucket_is_no_setting_to_change(name: str) -> None:
    state = cluster(3)
    assert effective(state, [SettingChanged(name, 64, state.settings.since)]) is None


# --- any list of changes ------------------------------------------------------------------------------------


def random_change(state: ClusterState, dice: random.Random) -> Change:
    number = dice.randint(1, 6)
    member = state.member(number) or known(state, state.members[0].number)
    bucket = dice.randrange(state.buckets)
    term = state.terms[bucket] - (dice.random() < 0.1)
    incarnation = member.incarnation + (dice.random() < 0.3)
    since = member.since - (dice.random() < 0.1)
    choices: list[Change] = [
        joined(dice.randint(2, 8), dice.choice([0, 1, 2])),
        MemberUp(member.number, incarnation, since, member.nonce, "e", "h"),
        MemberDown(member.number, member.incarnation, since), MemberOut(member.number, member.incarnation, since),
        MemberForgotten(member.number, since), ReplicaSynced(bucket, member.number, term),
        ReplicaDropped(bucket, member.number, term), ReplicaRetired(bucket, member.number, term),
        BucketAdopted(bucket, member.number, state.generations[bucket] + 1, term, 0),
        MemberChanged(member.number, since, dice.choice([0, 1, 1, 3]), dice.choice(["", "cellar"]))]
    return dice.choice(choices)


@pytest.mark.parametrize("seed", range(60))
def test_any_changes_keep_what_must_hold(seed: int) -> None:
    dice = random.Random(seed)
    state = founder(buckets=3, replicas=dice.choice([1, 2, 3]))
    for _ in range(60):
        changes = [random_change(state, dice) for _ in range(dice.randint(1, 5))]
        after = apply(state, changes)
        assert apply(state, changes).to_bytes() == after.to_bytes()
        assert ClusterState.from_bytes(after.to_bytes()) == after
        assert after.natural is not None                # one voter is always up
        for bucket, numbers in enumerate(after.in_sync):
            assert numbers and list(numbers) == sorted(set(numbers))
            ups = [number for number in numbers if after.up(number)]
            assert not ups or len(ups) == len(numbers)  # normal form
            assert after.terms[bucket] in (state.terms[bucket], after.epoch)
            if after.config(bucket) != state.config(bucket):
                assert after.terms[bucket] == after.epoch
            if after.generations[bucket] != state.generations[bucket]:
                assert after.generations[bucket] == state.generations[bucket] + 1 and len(numbers) == 1
                assert after.terms[bucket] == after.epoch and not any(map(state.up, state.in_sync[bucket]))
            assert after.primary(bucket) is not None or not ups     # also where their weight became 0
        for old, new in itertools.product(state.members, after.members):
            if old.number == new.number and old != new:
                assert new.since == after.epoch         # C8
        state = after


# --- operator tools (C12) -------------------------------------------------------------------------------------


def bereft() -> tuple[ClusterState, int, int]:
    """A state of three members in which the one in-sync replica of a bucket is down; that bucket; an up member."""
    state = cluster(3, replicas=2, min_in_sync=1)
    bucket = next(b for b in range(4) if len(state.in_sync[b]) == 2)
    holder, dropped = state.in_sync[bucket]
    state = apply(state, [ReplicaDropped(bucket, dropped, state.terms[bucket])])
    return apply(state, [down(state, holder)]), bucket, dropped


def adopted(state: ClusterState, bucket: int, number: int, **other: int) -> BucketAdopted:
    fields = {"generation": state.generations[bucket] + 1, "term": state.terms[bucket], "wall": 5, **other}
    return BucketAdopted(bucket, number, **fields)


def test_an_adopted_bucket_has_one_replica_a_generation_a_term_and_leaves_a_mark() -> None:
    state, bucket, number = bereft()
    assert state.primary(bucket) is None
    after = apply(state, [adopted(state, bucket, number)])
    assert after.in_sync[bucket] == (number,) and after.primary(bucket) == number
    assert after.generations[bucket] == 2 and after.terms[bucket] == after.epoch
    mark, = after.disasters
    assert (mark.lineage, mark.epoch, mark.wall) == (1, after.epoch, 5)
    assert mark.adopted == ((bucket, 2, known(state, number).id),)
    assert ClusterState.from_bytes(after.to_bytes()) == after
    others = [other for other in range(4) if other != bucket]
    assert all(after.generations[other] == 1 for other in others)


@pytest.mark.parametrize("other", [{"generation": 3}, {"generation": 1}, {"term": 1}])
def test_an_adoption_that_names_another_generation_or_term_falls_away(other: dict[str, int]) -> None:
    state, bucket, number = bereft()
    assert effective(state, [adopted(state, bucket, number, **other)]) is None


def test_a_bucket_with_an_up_in_sync_replica_is_not_adopted() -> None:
    state, bucket, number = bereft()
    holder = state.in_sync[bucket][0]
    again: list[Change] = [up(state, holder, known(state, holder).incarnation + 1), adopted(state, bucket, number)]
    assert apply(state, again).generations[bucket] == 1, "judged on the state as changed so far (C5)"
    after = apply(state, again[::-1])
    assert after.generations[bucket] == 2 and after.in_sync[bucket] == (number,)


def test_a_bucket_whose_holder_goes_down_in_the_same_list_is_not_adopted_by_it() -> None:
    """Nobody has looked at a state in which it was down."""
    state = cluster(3, replicas=1, min_in_sync=1)
    holder, = state.in_sync[0]
    other = next(number for number in (1, 2, 3) if number != holder)
    after = apply(state, [down(state, holder), adopted(state, 0, other)])
    assert after.in_sync[0] == (holder,) and after.generations[0] == 1


@pytest.mark.parametrize("number", [1, 2, 3, 9])
def test_only_an_up_member_that_may_hold_a_bucket_adopts_it(number: int) -> None:
    state, bucket, _ = bereft()
    takes = state.up(number)
    assert (effective(state, [adopted(state, bucket, number)]) is not None) == takes
    if takes:
        light = apply(state, [MemberChanged(number, known(state, number).since, 0, "")])
        assert effective(light, [adopted(light, bucket, number)]) is None


def test_a_learner_of_the_old_branch_is_not_synced_in_the_list_of_the_adoption() -> None:
    """Its term is still that of e, and it holds what the adopted copy lacks."""
    state, bucket, learner = bereft()
    other = next(member.number for member in state.members if member.up and member.number != learner)
    synced = ReplicaSynced(bucket, learner, state.terms[bucket])
    assert learner in state.desired(bucket) and learner in apply(state, [synced]).in_sync[bucket]
    assert apply(state, [adopted(state, bucket, other), synced]).in_sync[bucket] == (other,)


def test_only_the_newest_marks_are_kept() -> None:
    state, bucket, number = bereft()
    old = tuple(Disaster(1, epoch, 0, (), ((0, 1, ""),)) for epoch in range(DISASTERS_KEPT))
    after = apply(msgspec.structs.replace(state, disasters=old), [adopted(state, bucket, number)])
    assert after.disasters[:-1] == old[1:] and after.disasters[-1].epoch == after.epoch


def test_a_state_without_marks_has_the_bytes_that_the_version_before_gives_it() -> None:
    state = cluster(3)
    fields = msgspec.structs.astuple(state)
    settings = msgspec.structs.astuple(state.settings)[:16]      # later ones are at their defaults
    assert fields[11:] == ((), 0, (), 0)
    assert state.to_bytes() == msgspec.msgpack.encode([*fields[:3], settings, *fields[4:11]])


# --- weight and zone --------------------------------------------------------------------------------------------


def changed(state: ClusterState, number: int, weight: int, zone: str = "") -> MemberChanged:
    return MemberChanged(number, known(state, number).since, weight, zone)


def test_a_change_of_weight_or_zone_is_a_change_of_the_record_and_moves_buckets() -> None:
    state = cluster(3, replicas=2)
    after = apply(state, [changed(state, 2, 5, "cellar")])
    assert (known(after, 2).weight, known(after, 2).zone, known(after, 2).since) == (5, "cellar", after.epoch)
    moved = [bucket for bucket in range(4) if after.desired(bucket) != state.desired(bucket)]
    assert moved and all(after.terms[bucket] == after.epoch for bucket in moved), "R1"
    assert effective(after, [changed(state, 2, 1)]) is None, "it names a record that is no more (C8)"
    assert effective(after, [changed(after, 2, 5, "cellar")]) is None


@pytest.mark.parametrize(("weight", "zone"), [(-1, ""), (101, ""), (1, "z" * 65)])
def test_a_weight_or_zone_beyond_its_limit_is_not_agreed(weight: int, zone: str) -> None:
    state = cluster(3)
    assert effective(state, [changed(state, 2, weight, zone)]) is None


def test_somebody_keeps_a_weight() -> None:
    state = cluster(2)
    after = apply(state, [changed(state, 1, 0), changed(state, 2, 0)])
    assert (known(after, 1).weight, known(after, 2).weight) == (0, 1)


def test_a_member_whose_weight_became_0_serves_until_its_copies_are_elsewhere() -> None:
    """It is on no walk, and yet it may be the only one that holds a bucket."""
    state = founder()
    state = apply(state, [joined(2)])
    state = apply(state, [up(state, 2)])
    assert all(state.in_sync[bucket] == (1,) for bucket in range(4))
    state = apply(state, [changed(state, 1, 0)])
    assert all(state.desired(bucket) == (2,) and state.primary(bucket) == 1 for bucket in range(4))
    state = apply(state, [ReplicaSynced(bucket, 2, state.terms[bucket]) for bucket in range(4)])
    assert all(state.primary(bucket) == 2 for bucket in range(4))
    state = apply(state, [ReplicaRetired(bucket, 1, state.terms[bucket]) for bucket in range(4)])
    assert all(state.in_sync[bucket] == (2,) for bucket in range(4))


def test_stand_ins_follow_the_new_weights() -> None:
    """P2: while too few of the desired are up, the next up ones on the walk are desired too; one of weight 0 never."""
    state = cluster(4, replicas=2)
    bucket = 0
    first, second = state.desired(bucket)
    spare = [number for number in state.walk(bucket) if number not in (first, second)]
    state = apply(state, [changed(state, spare[0], 0), down(state, second)])
    assert state.desired(bucket) == (first, second, spare[1])


# --- joiners that vanish ----------------------------------------------------------------------------------------


def test_a_member_that_was_never_taken_up_can_be_forgotten() -> None:
    state = apply(cluster(3), [joined(4)])
    after = apply(state, [forgotten(state, 4)])
    assert after.member(4) is None and after.voters == state.voters and after.terms == state.terms
    taken = apply(state, [up(state, 4)])
    assert taken.voters == (1, 2, 3, 4)
    assert apply(taken, [forgotten(state, 4), forgotten(taken, 4)]).member(4) is not None, "an up member never"
