"""Each cluster state follows from the one before it as the rules say, told here without the function that makes it.

What is looked at is the outcome: what may have changed, and which change must have been asked for where it did (C5, C7,
R1, R14). Where the preconditions are about a moment in the middle of a list, this is lenient; what slips through shows
itself in the logs.
"""

from __future__ import annotations

from collections.abc import Sequence

from tests.simulation.checkers import Violation
from zmqueue.core.changes import (
    BucketAdopted,
    Change,
    MemberChanged,
    MemberDown,
    MemberForgotten,
    MemberOut,
    MemberUp,
    ReplicaDropped,
    ReplicaRetired,
    ReplicaSynced,
)
from zmqueue.core.state import ClusterState, Status

OfMember = MemberUp | MemberDown | MemberOut | MemberForgotten | MemberChanged


class Steps:
    """One step of the chain."""

    NAME = "a state follows from the one before"

    def __init__(self, before: ClusterState, changes: Sequence[Change], after: ClusterState) -> None:
        self._before, self._changes, self._after = before, changes, after

    def check(self) -> None:
        """Raises Violation."""
        self._check_members()
        for bucket in range(self._after.buckets):
            self._check_set(bucket)
            self._check_term(bucket)

    def _require(self, holds: bool, what: str) -> None:
        if not holds:
            raise Violation(self.NAME, f"epoch {self._after.epoch}: {what}; {self._changes}")

    # --- members ---

    def _check_members(self) -> None:
        before, after = self._before, self._after
        risen = {change.number for change in self._changes if isinstance(change, MemberUp)}
        for member in after.members:
            old = before.member(member.number)
            had_vote = old is not None and old.voter
            self._require(had_vote or not member.voter or member.number in risen,
                          f"{member.number} votes, and never was up (C7)")
            self._require(old is None or old.incarnation <= member.incarnation,
                          f"{member.number} is of an earlier incarnation than before (C8)")
        for old in before.members:
            if after.member(old.number) is None:
                self._require(old.status in (Status.OUT, Status.JOINING), f"{old.number} is forgotten, and was not out")
                voters = [voter for voter in after.members if voter.voter]
                falls = any(isinstance(change, MemberDown) for change in self._changes)
                self._require(falls or 2 * sum(voter.up for voter in voters) > len(voters),
                              f"{old.number} is forgotten, and most of the other voters are not up (C7)")

    # --- buckets ---

    def _check_set(self, bucket: int) -> None:
        before, after, term = self._before, self._after, self._before.terms[bucket]
        new, old = set(after.in_sync[bucket]), set(before.in_sync[bucket])
        self._require(bool(new), f"bucket {bucket} has no in-sync replica")
        self._require(all(after.member(number) is not None for number in new),
                      f"in-sync replicas {sorted(new)} of bucket {bucket} are no members")
        some_up = any(map(after.up, new))
        self._require(not some_up or all(map(after.up, new)), f"in-sync replicas of bucket {bucket} are down (C5)")
        if any(isinstance(change, BucketAdopted) and change.bucket == bucket for change in self._changes):
            return
        for number in new - old:
            self._require(self._was_synced(bucket, number, term),
                          f"{number} became in-sync in bucket {bucket}, and nobody said so in term {term} (R1, C5)")
        for number in old - new:
            self._require((some_up and not after.up(number))
                          or ReplicaDropped(bucket, number, term) in self._changes
                          or self._was_retired(bucket, number, term),
                          f"{number} left the in-sync set of bucket {bucket} for no reason (C5, R14)")

    def _was_synced(self, bucket: int, number: int, term: int) -> bool:
        synced = ReplicaSynced(bucket, number, term)
        if synced not in self._changes:
            return False
        earlier, old = self._changes[:self._changes.index(synced)], self._before.member(number)
        return old is not None and (old == self._after.member(number) or not any(
            isinstance(change, OfMember) and (change.number, change.since) == (number, old.since)
            for change in earlier))

    def _was_retired(self, bucket: int, number: int, term: int) -> bool:
        if ReplicaRetired(bucket, number, term) not in self._changes:
            return False
        if any(isinstance(change, OfMember) for change in self._changes):
            return True                    # it is about a moment between these
        in_sync, desired = self._after.in_sync[bucket], self._after.desired(bucket)
        return number not in desired and all(other in in_sync and self._after.up(other) for other in desired)

    def _check_term(self, bucket: int) -> None:
        """R1, the term rule."""
        before, after = self._before, self._after
        ended = any(isinstance(change, ReplicaDropped | BucketAdopted) and change.bucket == bucket
                    and change.term == before.terms[bucket] for change in self._changes)
        if ended or _shape(before, bucket) != _shape(after, bucket):
            self._require(after.terms[bucket] == after.epoch or (ended and self._adoption_fell_away(bucket)),
                          f"bucket {bucket} goes on in term {after.terms[bucket]}, which has ended (R1)")
        else:
            self._require(after.terms[bucket] == before.terms[bucket],
                          f"the term of bucket {bucket} ended for no reason (R1)")

    def _adoption_fell_away(self, bucket: int) -> bool:
        """True where nothing but an adoption could have ended the term, and its precondition did not hold."""
        return (_shape(self._before, bucket) == _shape(self._after, bucket)
                and self._before.generations[bucket] == self._after.generations[bucket]
                and not any(isinstance(change, ReplicaDropped) and change.bucket == bucket
                            and change.term == self._before.terms[bucket] for change in self._changes))


def _shape(state: ClusterState, bucket: int) -> tuple[object, ...]:
    """What a term stands for: who is primary, and of each replica all that matters."""
    in_sync, desired = state.in_sync[bucket], state.desired(bucket)
    primary = next((number for number in state.walk(bucket) if number in in_sync and state.up(number)), None)
    members = [state.member(number) for number in sorted({*in_sync, *desired})]
    return primary, tuple((member.number, member.incarnation, member.status, member.number in in_sync,
                           member.number in desired) for member in members if member is not None)
