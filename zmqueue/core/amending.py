"""What operators want changed in the cluster state: asked of any node, and answered when it is agreed, or cannot be.

An operator's word goes the way of all changes: it is a want (C8), repeated by the node that was asked until the state
on its disk shows the outcome. What can be wrong with it is told in words, from that state.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from zmqueue.core import policies, schedules
from zmqueue.core.answers import Code, Confirmed, Refused
from zmqueue.core.changes import (
    ZONE_CHARACTERS_MAX,
    BucketAdopted,
    Change,
    MemberChanged,
    MemberForgotten,
    MemberOut,
    QueueDeclared,
    QueueRemoved,
    ScheduleDeclared,
    ScheduleRemoved,
)
from zmqueue.core.effects import Effects
from zmqueue.core.names import QUEUE_NAME_CHARACTERS_MAX, QUEUE_NAME_RULE, is_queue_name
from zmqueue.core.requests import Amend
from zmqueue.core.state import WEIGHT_MAX, ClusterState, Member, Status

REPEAT_EVERY = 0.2
"""Seconds between two askings (C8)."""

PATIENCE = 60.0
"""Seconds after which a node asks no longer; whoever still waits asks again."""

AMENDS_MAX = 64
"""Operators' words that wait in one node at a time."""


@dataclass(slots=True)
class _Waiting:
    client: bytes
    packet: Amend
    until: float
    asked_at: float = field(default=float("-inf"))


def beyond_us(change: Change, behind: Sequence[str], almanac: schedules.Almanac) -> str:
    """Why a change may not even be asked for: `behind` lists the members that could not read it, and this node may not
    know the calendar that a schedule needs; "": it may."""
    if behind:
        return (f"{', '.join(behind)} runs a version that does not know this change, or is away and may come back as "
                "one: upgrade every node first")
    return schedules.unreadable(change.entry, almanac) if isinstance(change, ScheduleDeclared) else ""


class Amending:
    """The operators' words that wait for their agreement. `want(now, *changes)` asks for changes."""

    def __init__(self, effects: Effects, want: Callable[..., None]) -> None:
        self._effects = effects
        self._want = want
        self._waiting: list[_Waiting] = []

    def begin(self, client: bytes, packet: Amend, state: ClusterState, now: float) -> None:
        """Take a word; `state` is on this node's disk."""
        if len(self._waiting) >= AMENDS_MAX:
            self._effects.send(client, Refused(packet.request, Code.BUSY, f"{AMENDS_MAX} changes wait on this node"))
            return
        waiting = _Waiting(client, packet, now + PATIENCE)
        if not self._answered(waiting, state):
            self._waiting.append(waiting)
            self._ask(waiting, now)

    def agreed(self, state: ClusterState) -> None:
        """A newer state is on this node's disk."""
        self._waiting = [waiting for waiting in self._waiting if not self._answered(waiting, state)]

    def tick(self, now: float) -> None:
        """Ask again for what is not agreed yet."""
        self._waiting = [waiting for waiting in self._waiting if now < waiting.until]
        for waiting in self._waiting:
            if now - waiting.asked_at >= REPEAT_EVERY:
                self._ask(waiting, now)

    def _ask(self, waiting: _Waiting, now: float) -> None:
        waiting.asked_at = now
        self._want(now, waiting.packet.change)

    def _answered(self, waiting: _Waiting, state: ClusterState) -> bool:
        change, request = waiting.packet.change, waiting.packet.request
        if holds(state, change):
            self._effects.send(waiting.client, Confirmed(request))
            return True
        why = objection(state, change)
        if why:
            self._effects.send(waiting.client, Refused(request, Code.NOT_ALLOWED, why))
        return bool(why)


def holds(state: ClusterState, change: Change) -> bool:
    """True where the state shows what an operator's change asks for."""
    match change:
        case BucketAdopted(bucket, number, generation):
            return any((at, then) == (bucket, generation) and member == _id(state, number)
                       for mark in state.disasters for at, then, member in mark.adopted)
        case MemberForgotten(number):
            return state.member(number) is None and number < state.next_number
        case MemberOut(number):
            member = state.member(number)
            return member is None or member.status is Status.OUT
        case MemberChanged(number, _, weight, zone):
            member = state.member(number)
            return member is not None and (member.weight, member.zone) == (weight, zone)
        case QueueDeclared(name, _, policy):
            found = state.declared(name)
            return found is not None and found[2] == policy
        case QueueRemoved(name):
            return state.declared(name) is None
        case ScheduleDeclared(name, _, entry):
            found = state.scheduled(name)
            return found is not None and found[2] == entry
        case ScheduleRemoved(name):
            return state.scheduled(name) is None
        case _:
            return False


def objection(state: ClusterState, change: Change) -> str:
    """Why this state cannot become what the change asks for, in a sentence for the operator; empty where it can."""
    match change:
        case BucketAdopted():
            return _against_adoption(state, change)
        case MemberForgotten(number):
            member = state.member(number)
            return _no_member(number) if member is None else _against_forgetting(state, member, change)
        case MemberOut(number):
            member = state.member(number)
            if member is None:
                return _no_member(number)
            if member.status is not Status.DOWN:
                return f"member {member.id} is {member.status.name.lower()}: stop it first"
            return "" if member.since == change.since else _moved(member)
        case MemberChanged(number):
            member = state.member(number)
            return _no_member(number) if member is None else _against_change(state, member, change)
        case QueueDeclared() | QueueRemoved():
            return _against_declaration(state, change)
        case ScheduleDeclared() | ScheduleRemoved():
            return _against_schedule(state, change)
        case _:
            return "this is no change that an operator asks for: nodes see to it themselves"


def _against_adoption(state: ClusterState, change: BucketAdopted) -> str:
    bucket, member = change.bucket, state.member(change.number)
    if not 0 <= bucket < state.buckets:
        return f"there is no bucket {bucket}; this cluster has 0 to {state.buckets - 1}"
    living = [_id(state, number) for number in state.in_sync[bucket] if state.up(number)]
    if living:
        return f"bucket {bucket} is held by {', '.join(living)}, in-sync and up: nothing is to be adopted"
    if change.generation != state.generations[bucket] + 1 or change.term != state.terms[bucket]:
        return (f"bucket {bucket} is of generation {state.generations[bucket]} and term {state.terms[bucket]}; the "
                f"request was made of {change.generation - 1} and {change.term}: look again")
    if member is None:
        return _no_member(change.number)
    if not member.up:
        return f"member {member.id} is {member.status.name.lower()}: only one that is up can go on with the bucket"
    return "" if member.weight > 0 else f"member {member.id} has weight 0: it holds no bucket"


def _against_forgetting(state: ClusterState, member: Member, change: MemberForgotten) -> str:
    if member.since != change.since:
        return _moved(member)
    if member.status not in (Status.OUT, Status.JOINING):
        return (f"member {member.id} is {member.status.name.lower()}: stop it first; only one that is out can be "
                "forgotten")
    held = [bucket for bucket, in_sync in enumerate(state.in_sync) if member.number in in_sync]
    if held:
        return (f"member {member.id} is the last that is known to hold what was confirmed in {len(held)} buckets, "
                f"{held[0]} among them: bring it back, or have these buckets adopted first")
    voters = [other for other in state.members if other.voter and other.number != member.number]
    if 2 * sum(1 for other in voters if other.up) <= len(voters):
        return (f"without {member.id} no majority of the remaining {len(voters)} voters is up: bring another one back "
                "first")
    return ""


def _against_change(state: ClusterState, member: Member, change: MemberChanged) -> str:
    if member.since != change.since:
        return _moved(member)
    if not 0 <= change.weight <= WEIGHT_MAX:
        return f"weight is {change.weight}; it must be 0 to {WEIGHT_MAX}"
    if len(change.zone) > ZONE_CHARACTERS_MAX:
        return f"the zone's name has {len(change.zone)} characters; the limit is {ZONE_CHARACTERS_MAX}"
    others = any(other.weight > 0 and other.status.placeable for other in state.members if other != member)
    if change.weight == 0 and not others:
        return f"member {member.id} is the only one that has a weight: somebody must hold the buckets"
    return ""


def _against_declaration(state: ClusterState, change: QueueDeclared | QueueRemoved) -> str:
    if state.declared_since(change.name) != change.since:
        return f"queue {change.name!r} has been declared, or changed, since it was looked at: look again"
    if isinstance(change, QueueRemoved):
        return ""
    if not is_queue_name(change.name):
        return f"{QUEUE_NAME_RULE}, at most {QUEUE_NAME_CHARACTERS_MAX} characters; this is not: {change.name[:40]!r}"
    if state.declared(change.name) is None and len(state.queues) >= policies.DECLARED_MAX:
        return (f"{len(state.queues):,} queues are declared, and that is the limit: queues that need nothing special "
                "need no declaration; undeclare some")
    return policies.objection(change.policy)


def _against_schedule(state: ClusterState, change: ScheduleDeclared | ScheduleRemoved) -> str:
    if state.scheduled_since(change.name) != change.since:
        return f"schedule {change.name!r} has been declared, or changed, since it was looked at: look again"
    if isinstance(change, ScheduleRemoved):
        return ""
    if state.scheduled(change.name) is None and len(state.schedules) >= schedules.SCHEDULES_MAX:
        return f"there are {len(state.schedules):,} schedules, and that is the limit: remove some"
    return schedules.objection(change.name, change.entry)


def _no_member(number: int) -> str:
    return f"there is no member {number} (any more)"


def _moved(member: Member) -> str:
    return f"member {member.id} has changed since it was looked at (it is {member.status.name.lower()} now): look again"


def _id(state: ClusterState, number: int) -> str:
    member = state.member(number)
    return str(number) if member is None else member.id
