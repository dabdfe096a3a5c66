"""Faults of the function that makes the next cluster state (C5, C7, R1, R14, appendix A)."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.steps import Steps
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core import changes, primary
from zmqueue.core.state import ClusterState


def preconditions_on_the_first_state(patch: pytest.MonkeyPatch) -> None:
    """Whether a replica may leave a set is judged by the state that the list began with, and not as changed so far."""
    rewrite(patch, changes._Draft, "fold", (
        "if any(self._is_up(other) for other in self.in_sync[bucket] if other != number)",
        "if any(self.before.up(other) for other in self.before.in_sync[bucket] if other != number)"))


def down_members_leave_every_set(patch: pytest.MonkeyPatch) -> None:
    """Who is down leaves the in-sync set, also where nobody is left."""
    rewrite(patch, changes._Draft, "outcome", ("if up:", "if True:"))


def down_members_stay_in_sync(patch: pytest.MonkeyPatch) -> None:
    """No normal form: who is down stays in the in-sync set beside those that are up."""
    rewrite(patch, changes._Draft, "outcome", ("numbers &= up", "pass"))


def synced_in_any_term(patch: pytest.MonkeyPatch) -> None:
    """ReplicaSynced does not look at the term in which it was asked for."""
    rewrite(patch, changes._Draft, "fold", (
        "if self._in_term(bucket, term) and self._may_be_synced(bucket, number)",
        "if self._may_be_synced(bucket, number)"))


def synced_after_a_restart(patch: pytest.MonkeyPatch) -> None:
    """ReplicaSynced holds for a learner that restarted earlier in the same list."""
    rewrite(patch, changes._Draft, "_may_be_synced", (
        "and self.members[number] == self.before.member(number)\n", "\n"))


def terms_outlive_growth(patch: pytest.MonkeyPatch) -> None:
    """A replica that becomes in-sync ends no term."""
    def only_grew(before: ClusterState, after: ClusterState, bucket: int) -> bool:
        grew = set(after.in_sync[bucket]) > set(before.in_sync[bucket])
        return grew and after.primary(bucket) == before.primary(bucket)
    patch.setattr(changes, "only_grew", only_grew, raising=False)
    rewrite(patch, changes._Draft, "outcome", (
        "after.config(bucket) != self.before.config(bucket)",
        "after.config(bucket) != self.before.config(bucket) and not only_grew(self.before, after, bucket)"))


def terms_do_not_know_who_is_desired(patch: pytest.MonkeyPatch) -> None:
    """A term stands for the primary and the in-sync set alone, as an earlier wording had it."""
    rewrite(patch, ClusterState, "_config", ("sorted({*in_sync, *desired})", "sorted(in_sync)"),
            ("number in in_sync, number in desired)", "True, True)"))


def terms_do_not_know_incarnations(patch: pytest.MonkeyPatch) -> None:
    """A restart of a replica ends no term."""
    rewrite(patch, ClusterState, "_config", ("self._by_number[number].incarnation", "0"))


def drops_end_no_term(patch: pytest.MonkeyPatch) -> None:
    """A ReplicaDropped that changes no set leaves the term as it was."""
    rewrite(patch, changes._Draft, "fold", ("self.ended.add(bucket)", "pass"))


def the_only_holder_is_forgotten(patch: pytest.MonkeyPatch) -> None:
    """MemberForgotten takes out a member that is the only one to hold a bucket."""
    rewrite(patch, changes._Draft, "_forgotten", (
        "and not any(change.number in numbers for numbers in self.in_sync)", ""),
        ("del self.members[change.number]",
         "del self.members[change.number]; [numbers.discard(change.number) for numbers in self.in_sync]"))


def retired_too_early(patch: pytest.MonkeyPatch) -> None:
    """ReplicaRetired takes out a replica while those that should hold the bucket do not yet."""
    rewrite(patch, changes._Draft, "_may_retire", (
        "and all(other in self.in_sync[bucket] and self._is_up(other) for other in desired)", ""))
    patch.setattr(primary, "_retired", lambda state, bucket: [
        number for number in state.in_sync[bucket] if number not in state.desired(bucket)])


def joiners_vote_at_once(patch: pytest.MonkeyPatch) -> None:
    """A node that joins has a vote before it is up."""
    honest = changes._Draft._joined

    def joined(self: changes._Draft, change: changes.MemberJoined) -> None:
        known = set(self.members)
        honest(self, change)
        for number in set(self.members) - known:
            self.members[number] = replace(self.members[number], voter=True)
    patch.setattr(changes._Draft, "_joined", joined)


STATE_FUNCTION = [
    mutant(preconditions_on_the_first_state, "C5", schedule="two_drops_in_one_list"),
    mutant(down_members_leave_every_set, "C5", schedule="all_go_down"),
    mutant(down_members_stay_in_sync, "C5", Steps.NAME, Logs.IN_SYNC),
    mutant(synced_in_any_term, "R1", Steps.NAME, Logs.IN_SYNC),
    mutant(synced_after_a_restart, "C5", schedule="a_restart_and_its_sync"),
    mutant(terms_outlive_growth, "R1", Steps.NAME, Logs.IN_SYNC, Logs.IDENTITY),
    mutant(terms_do_not_know_who_is_desired, "R1", Steps.NAME, Logs.IN_SYNC),
    mutant(terms_do_not_know_incarnations, "R1", Steps.NAME, Logs.IN_SYNC),
    mutant(drops_end_no_term, "R1", schedule="a_drop_of_the_last_one"),
    mutant(the_only_holder_is_forgotten, "R14", schedule="the_only_holder_is_out"),
    mutant(retired_too_early, "R14", Steps.NAME),
    mutant(joiners_vote_at_once, "C7", Steps.NAME),
]
