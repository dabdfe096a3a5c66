"""Changes: what may be asked of the cluster state, and the pure fold that makes the next state of a list of them.

A change names what it is about exactly enough (`since`, `incarnation`, `term`) to fall away, instead of doing
harm, where something else came first (C8). `apply` goes through a list in order; each precondition looks at
the state as changed so far, except that a term is compared with the bucket's term in the state that the list
began with (C5).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property

import msgspec

from zmqueue.core import policies, schedules
from zmqueue.core.names import is_queue_name
from zmqueue.core.state import (
    DISASTERS_KEPT,
    WEIGHT_MAX,
    Agreed,
    ClusterState,
    Declaration,
    Disaster,
    Member,
    Status,
)

ZONE_CHARACTERS_MAX = 64
"""The longest name of a zone: the state travels whole."""

# --- changes of members -------------------------------------------------------------------------------------


class MemberJoined(msgspec.Struct, array_like=True, frozen=True, tag=1):
    """A node that no state has listed becomes a member: `joining`, without a vote, not placed (C7)."""

    id: str
    incarnation: int
    nonce: int
    endpoint: str
    heartbeats: str
    weight: int = 1
    zone: str = ""


class MemberUp(msgspec.Struct, array_like=True, frozen=True, tag=2):
    """The member runs as this incarnation, at these addresses. One without a vote gets one (C7)."""

    number: int
    incarnation: int
    since: int
    nonce: int
    endpoint: str
    heartbeats: str


class MemberDown(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """The member does not run: a majority of the voters suspects it, or it asked for this itself."""

    number: int
    incarnation: int
    since: int


class MemberOut(msgspec.Struct, array_like=True, frozen=True, tag=4):
    """The down member loses its place; it keeps its vote until another member needs one (C7)."""

    number: int
    incarnation: int
    since: int


class MemberForgotten(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """The member, which is out or was never taken up, and holds nothing, is no member any more."""

    number: int
    since: int


# --- changes of buckets -------------------------------------------------------------------------------------


class ReplicaSynced(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """The learner holds all that the primary of this term has; from here on it is in-sync (R3, R4)."""

    bucket: int
    number: int
    term: int


class ReplicaDropped(msgspec.Struct, array_like=True, frozen=True, tag=7):
    """The replica keeps the primary of this term waiting, or an alarm was raised (R15, R17). Always ends the term."""

    bucket: int
    number: int
    term: int


class ReplicaRetired(msgspec.Struct, array_like=True, frozen=True, tag=8):
    """The replica is in-sync, and not needed any more (R14)."""

    bucket: int
    number: int
    term: int


class SettingChanged(msgspec.Struct, array_like=True, frozen=True, tag=9):
    """A setting gets another value. `since` is that of the settings' record."""

    name: str
    value: int
    since: int


class BucketAdopted(msgspec.Struct, array_like=True, frozen=True, tag=10):
    """The bucket's in-sync replicas are dead, and it goes on from this member's copy: what that lacks is lost (C12).

    An operator's word, never a node's own. `generation` is the bucket's next one; `term` is what was looked at.
    """

    bucket: int
    number: int
    generation: int
    term: int
    wall: int                              # ms, for the mark that it leaves


class MemberChanged(msgspec.Struct, array_like=True, frozen=True, tag=11):
    """The member gets another weight and zone, and with them another place on the ring. An operator's word."""

    number: int
    since: int
    weight: int
    zone: str


# --- changes of queues --------------------------------------------------------------------------------------


class QueueDeclared(msgspec.Struct, array_like=True, frozen=True, tag=12):
    """The queue gets this policy, whether it had one or not. An operator's word.

    `since` is `ClusterState.declared_since` of the state that was looked at.
    """

    name: str
    since: int
    policy: bytes                          # `policies.encode`


class QueueRemoved(msgspec.Struct, array_like=True, frozen=True, tag=13):
    """The queue's declaration is withdrawn: the default policy holds. Its messages stay. An operator's word."""

    name: str
    since: int


class ScheduleDeclared(msgspec.Struct, array_like=True, frozen=True, tag=14):
    """There is this schedule, whether there was one of its name or not. A user's word.

    `since` is `ClusterState.scheduled_since` of the state that was looked at.
    """

    name: str
    since: int
    entry: bytes                           # `schedules.encode`


class ScheduleRemoved(msgspec.Struct, array_like=True, frozen=True, tag=15):
    """The schedule is withdrawn: no tick fires from then on. What was queued stays. A user's word."""

    name: str
    since: int


Change = (MemberJoined | MemberUp | MemberDown | MemberOut | MemberForgotten
          | ReplicaSynced | ReplicaDropped | ReplicaRetired | SettingChanged | BucketAdopted | MemberChanged
          | QueueDeclared | QueueRemoved | ScheduleDeclared | ScheduleRemoved)


class Value(msgspec.Struct, array_like=True, frozen=True):
    """What a ballot carries: the changes, and the digest of the state that they make of the one before (C6)."""

    changes: tuple[Change, ...]
    digest: bytes


FIXED_SETTINGS = frozenset({"buckets", "vnodes", "placement_version", "since"})
"""What cannot be changed by a SettingChanged: the first is fixed at founding, the next two place every bucket anew."""


def apply(state: ClusterState, changes: Iterable[Change]) -> ClusterState:
    """Fold the changes onto the state; one whose precondition fails is skipped. The outcome's epoch is one higher."""
    draft = _Draft(state)
    for change in changes:
        draft.fold(change)
    return draft.outcome()


def effective(state: ClusterState, changes: Iterable[Change]) -> ClusterState | None:
    """The state that the changes make of this one, or None where nothing but the epoch would differ."""
    after = apply(state, changes)
    return None if msgspec.structs.replace(after, epoch=state.epoch) == state else after


class _Draft:
    """A state while a list of changes is folded onto it."""

    def __init__(self, before: ClusterState) -> None:
        self.before = before
        self.epoch = before.epoch + 1
        self.settings = before.settings
        self.members = {member.number: member for member in before.members}
        self.next_number = before.next_number
        self.in_sync = [set(numbers) for numbers in before.in_sync]
        self.generations = list(before.generations)
        self.queues: dict[str, Declaration] = {declaration[0]: declaration for declaration in before.queues}
        self.adopted: list[tuple[int, int, str]] = []      # what the mark says (C12),
        self.adopted_at = 0                # and when it was said
        self.removed = before.removed
        self.schedules: dict[str, Declaration] = {declaration[0]: declaration for declaration in before.schedules}
        self.unscheduled = before.unscheduled
        self.ended: set[int] = set()       # buckets whose term ends whatever else happens (R1)

    def fold(self, change: Change) -> None:
        """Make one change, or skip it."""
        match change:
            case MemberJoined():
                self._joined(change)
            case MemberUp():
                self._up(change)
            case MemberDown(number, incarnation, since):
                others = any(other.up and other.voter for other in self.members.values() if other.number != number)
                if self._is(number, Status.UP, incarnation, since) and others:
                    self._set(number, status=Status.DOWN)
            case MemberOut(number, incarnation, since):
                if self._is(number, Status.DOWN, incarnation, since):
                    self._set(number, status=Status.OUT)
            case MemberForgotten():
                self._forgotten(change)
            case ReplicaSynced(bucket, number, term):
                if self._in_term(bucket, term) and self._may_be_synced(bucket, number):
                    self.in_sync[bucket].add(number)
            case ReplicaDropped(bucket, number, term):
                if self._in_term(bucket, term):
                    self.ended.add(bucket)
                    if any(self._is_up(other) for other in self.in_sync[bucket] if other != number):
                        self.in_sync[bucket].discard(number)
            case ReplicaRetired(bucket, number, term):
                if self._in_term(bucket, term) and self._may_retire(bucket, number):
                    self.in_sync[bucket].remove(number)
            case SettingChanged():
                self._setting(change)
            case BucketAdopted():
                self._adopted(change)
            case MemberChanged():
                self._changed(change)
            case QueueDeclared():
                self._declared(change)
            case QueueRemoved(name, since):
                if name in self.queues and self._since(name) == since:
                    del self.queues[name]
                    self.removed = self.epoch
            case ScheduleDeclared():
                self._scheduled(change)
            case ScheduleRemoved(name, since):
                if name in self.schedules and self.schedules[name][1] == since:
                    del self.schedules[name]
                    self.unscheduled = self.epoch

    # --- members ---

    def _joined(self, change: MemberJoined) -> None:
        known = any(member.id == change.id for member in self.members.values())
        if known or not 0 <= change.weight <= WEIGHT_MAX:
            return
        number, self.next_number = self.next_number, self.next_number + 1
        self.members[number] = Member(
            number, change.id, change.incarnation, change.nonce, change.endpoint, change.heartbeats,
            Status.JOINING, False, change.weight, change.zone, self.epoch)
        self._places_changed()

    def _up(self, change: MemberUp) -> None:
        member = self.members.get(change.number)
        if member is None or member.since != change.since or change.incarnation < member.incarnation:
            return
        if change.incarnation == member.incarnation and (member.up or change.nonce != member.nonce):
            return                         # another nonce is a clone (C11): the one that was first stays
        self._set(change.number, status=Status.UP, incarnation=change.incarnation, nonce=change.nonce,
                  endpoint=change.endpoint, heartbeats=change.heartbeats, voter=True)
        if not member.voter:
            replaced = next((other for other in sorted(self.members) if self._is_out_voter(other)), None)
            if replaced is not None:
                self._set(replaced, voter=False)

    def _forgotten(self, change: MemberForgotten) -> None:
        member = self.members.get(change.number)
        if member is None or member.status not in (Status.OUT, Status.JOINING) or member.since != change.since:
            return
        voters = [other for other in self.members.values() if other.voter and other.number != change.number]
        live = sum(1 for other in voters if other.up)
        if 2 * live > len(voters) and not any(change.number in numbers for numbers in self.in_sync):
            del self.members[change.number]
            self._places_changed()

    def _changed(self, change: MemberChanged) -> None:
        member = self.members.get(change.number)
        if member is None or member.since != change.since:
            return
        if (member.weight, member.zone) == (change.weight, change.zone):
            return
        if not 0 <= change.weight <= WEIGHT_MAX or len(change.zone) > ZONE_CHARACTERS_MAX:
            return
        others = any(other.weight > 0 and other.status.placeable for other in self.members.values()
                     if other.number != change.number)
        if change.weight > 0 or others:    # somebody has to hold the buckets
            self._set(change.number, weight=change.weight, zone=change.zone)

    def _is(self, number: int, status: Status, incarnation: int, since: int) -> bool:
        member = self.members.get(number)
        return member is not None and (member.status, member.incarnation, member.since) == (status, incarnation, since)

    def _is_up(self, number: int) -> bool:
        member = self.members.get(number)
        return member is not None and member.up

    def _is_out_voter(self, number: int) -> bool:
        return self.members[number].status is Status.OUT and self.members[number].voter

    def _set(self, number: int, **fields: object) -> None:
        self.members[number] = msgspec.structs.replace(self.members[number], since=self.epoch, **fields)
        self._places_changed()

    def _places_changed(self) -> None:
        self.__dict__.pop("_now", None)

    # --- buckets ---

    @cached_property
    def _now(self) -> ClusterState:
        """The intermediate state, for who is desired; its in-sync sets and terms are not looked at."""
        return msgspec.structs.replace(self.before, settings=self.settings, members=self._sorted_members())

    def _sorted_members(self) -> tuple[Member, ...]:
        return tuple(self.members[number] for number in sorted(self.members))

    def _in_term(self, bucket: int, term: int) -> bool:
        # After its adoption nothing else in this list is about the bucket: a learner of the old branch must not become
        # in-sync in the new one, although the term in e is the same (C5, C12).
        if any(bucket == adopted for adopted, _, _ in self.adopted):
            return False
        return 0 <= bucket < len(self.before.terms) and self.before.terms[bucket] == term

    def _may_be_synced(self, bucket: int, number: int) -> bool:
        # A record that changed in this very list (a restart, say) means that what was counted may be gone
        # (C5).
        return (self._is_up(number) and self.members[number] == self.before.member(number)
                and number not in self.in_sync[bucket] and number in self._now.desired(bucket))

    def _may_retire(self, bucket: int, number: int) -> bool:
        desired = self._now.desired(bucket)
        return (number in self.in_sync[bucket] and number not in desired and len(desired) > 0
                and all(other in self.in_sync[bucket] and self._is_up(other) for other in desired))

    def _adopted(self, change: BucketAdopted) -> None:
        bucket, member = change.bucket, self.members.get(change.number)
        if not self._in_term(bucket, change.term) or change.generation != self.generations[bucket] + 1:
            return
        # In e too: with that term, it is what the operator looked at. Who goes down in this very list was up there.
        if any(self._is_up(number) or self.before.up(number) for number in self.in_sync[bucket]):
            return
        if member is None or not member.up or member.weight < 1:
            return
        self.in_sync[bucket] = {change.number}
        self.generations[bucket] = change.generation
        self.adopted.append((bucket, change.generation, member.id))
        self.adopted_at = max(self.adopted_at, change.wall)

    # --- the rest ---

    def _setting(self, change: SettingChanged) -> None:
        known = change.name in Agreed.__struct_fields__ and change.name not in FIXED_SETTINGS
        lowers = change.name == "generation" and change.value <= self.settings.generation    # what is written stays
        if known and change.since == self.settings.since and change.value > 0 and not lowers:
            self.settings = msgspec.structs.replace(
                self.settings, since=self.epoch, **{change.name: change.value})
            self._places_changed()

    def _since(self, queue: str) -> int:
        return self.queues[queue][1] if queue in self.queues else self.removed

    def _declared(self, change: QueueDeclared) -> None:
        name, known = change.name, change.name in self.queues
        if self._since(name) != change.since or (known and self.queues[name][2] == change.policy):
            return
        if not known and len(self.queues) >= policies.DECLARED_MAX:
            return
        if is_queue_name(name) and not policies.objection(change.policy):
            self.queues[name] = (name, self.epoch, change.policy)

    def _scheduled(self, change: ScheduleDeclared) -> None:
        name, known = change.name, self.schedules.get(change.name)
        if change.since != (self.unscheduled if known is None else known[1]) or (known and known[2] == change.entry):
            return
        if known is None and len(self.schedules) >= schedules.SCHEDULES_MAX:
            return
        if not schedules.objection(name, change.entry):
            self.schedules[name] = (name, self.epoch, change.entry)

    def outcome(self) -> ClusterState:
        """The next state: in normal form (C5), with its terms (R1)."""
        for numbers in self.in_sync:
            up = {number for number in numbers if self._is_up(number)}
            if up:                         # none up: all stay, each of them holds everything that was committed
                numbers &= up
        after = msgspec.structs.replace(
            self.before, epoch=self.epoch, settings=self.settings, members=self._sorted_members(),
            next_number=self.next_number, in_sync=tuple(tuple(sorted(numbers)) for numbers in self.in_sync),
            generations=tuple(self.generations), disasters=self._marks(),
            queues=tuple(self.queues[name] for name in sorted(self.queues)), removed=self.removed,
            schedules=tuple(self.schedules[name] for name in sorted(self.schedules)), unscheduled=self.unscheduled)
        terms = tuple(
            self.epoch if bucket in self.ended or after.config(bucket) != self.before.config(bucket) else term
            for bucket, term in enumerate(self.before.terms))
        return msgspec.structs.replace(after, terms=terms)

    def _marks(self) -> tuple[Disaster, ...]:
        before = self.before
        if not self.adopted:
            return before.disasters
        mark = Disaster(before.lineage, self.epoch, self.adopted_at, (), tuple(sorted(self.adopted)))
        return (*before.disasters, mark)[-DISASTERS_KEPT:]
