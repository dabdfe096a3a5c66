"""Schedules of the function that makes the next state: lists of changes that are rare, and what may come of them."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.test_state_changes import cluster, down, forgotten, out, up
from tests.simulation.checkers.steps import Steps
from zmqueue.core.changes import Change, ReplicaDropped, ReplicaSynced, apply
from zmqueue.core.state import ClusterState

BUCKET = 0


def step(state: ClusterState, *changes: Change) -> ClusterState:
    """The state that the changes make, checked against the one before."""
    after = apply(state, changes)
    Steps(state, changes, after).check()
    return after


def shrunk(state: ClusterState, to: int) -> ClusterState:
    """The state with fewer in-sync replicas of the bucket, one drop after the other."""
    while len(state.in_sync[BUCKET]) > to:
        state = step(state, ReplicaDropped(BUCKET, state.in_sync[BUCKET][-1], state.terms[BUCKET]))
    return state


def two_drops_in_one_list() -> None:
    """C5: each of the two in-sync replicas is to be dropped, and either may go where the other stays."""
    state = shrunk(cluster(3, buckets=1, replicas=3), 2)
    term = state.terms[BUCKET]
    after = step(state, *(ReplicaDropped(BUCKET, number, term) for number in state.in_sync[BUCKET]))
    assert len(after.in_sync[BUCKET]) == 1


def a_drop_of_the_last_one() -> None:
    """R1: who is alone in the set stays, and the term ends all the same: it asked for that because of an alarm."""
    state = shrunk(cluster(3, buckets=1, replicas=3), 1)
    step(state, ReplicaDropped(BUCKET, state.in_sync[BUCKET][0], state.terms[BUCKET]))


def all_go_down() -> None:
    """C5: the last in-sync replica goes down; it is still the one that holds the bucket."""
    state = shrunk(cluster(3, buckets=1, replicas=3), 1)
    step(state, down(state, state.in_sync[BUCKET][0]))


def a_restart_and_its_sync() -> None:
    """C5: a learner restarts, and in the same list it is said to be in-sync, by what it held before."""
    state = shrunk(cluster(3, buckets=1, replicas=3), 2)
    learner = next(number for number in state.desired(BUCKET) if number not in state.in_sync[BUCKET])
    step(state, up(state, learner, incarnation=2), ReplicaSynced(BUCKET, learner, state.terms[BUCKET]))


def the_only_holder_is_out() -> None:
    """R14: the only in-sync replica is down, out, and then to be forgotten."""
    state = shrunk(cluster(3, buckets=1, replicas=3), 1)
    holder = state.in_sync[BUCKET][0]
    state = step(state, down(state, holder))
    state = step(state, out(state, holder))
    after = step(state, forgotten(state, holder))
    assert after.member(holder) is not None


SCHEDULES: dict[str, Callable[[], None]] = {
    "two_drops_in_one_list": two_drops_in_one_list,
    "a_drop_of_the_last_one": a_drop_of_the_last_one,
    "all_go_down": all_go_down,
    "a_restart_and_its_sync": a_restart_and_its_sync,
    "the_only_holder_is_out": the_only_holder_is_out,
}
