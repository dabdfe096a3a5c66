"""Generations of the formats: what may be said only when everybody understands it (docs/formats.md).

An appended field with a default harms nobody. What an earlier version cannot read at all waits until the cluster is
upgraded; nodes show their generation in their heartbeats. A change of a new kind waits by itself (`NEEDED`). For all
that is written into logs and rows there is one agreed number, `Agreed.generation`: it is raised when everybody shows a
higher one, and never lowered, so whoever decides by it decides what every replica can apply.
"""

from __future__ import annotations

from typing import NamedTuple

from zmqueue.core.changes import (
    BucketAdopted,
    Change,
    MemberChanged,
    QueueDeclared,
    QueueRemoved,
    ScheduleDeclared,
    ScheduleRemoved,
    SettingChanged,
)
from zmqueue.core.state import ClusterState, Member, Status

GENERATION = 3
"""What this version reads and writes. A node that shows none is of generation 1."""

NEEDED: dict[type[Change], int] = {BucketAdopted: 2, MemberChanged: 2, QueueDeclared: 3, QueueRemoved: 3,
                                 ScheduleDeclared: 3, ScheduleRemoved: 3}
"""The generation from which on a change is understood, where it is not the first."""

AGREED_FROM = 3
"""From this generation on a change waits for the agreed one. Before, there is none, and what was shown counts."""

SETTING = "generation"
"""The field of `Agreed` that holds the agreed one."""


class _Shown(NamedTuple):
    incarnation: int                       # of the run that showed it
    generation: int


class Generations:
    """What the members have shown, by id; `me` is of this version."""

    __slots__ = ("_me", "_shown")

    def __init__(self, me: str) -> None:
        self._me = me
        self._shown: dict[str, _Shown] = {}

    def shown(self, member_id: str, incarnation: int, generation: int) -> None:
        """A heartbeat told. A member may come back with an earlier version: the last word counts."""
        self._shown[member_id] = _Shown(incarnation, generation)

    def keep(self, state: ClusterState) -> None:
        """Forget all but the members."""
        self._shown = {member.id: self._shown[member.id] for member in state.members if member.id in self._shown}

    def understood(self, state: ClusterState, change: Change) -> bool:
        """True where the change may be proposed."""
        needed = NEEDED.get(type(change), 1)
        return state.settings.generation >= needed if needed >= AGREED_FROM else not self.behind(state, change)

    def behind(self, state: ClusterState, change: Change) -> list[str]:
        """The ids of the members for whose sake the change is not proposed. Up to generation 2, one that was not heard
        yet is trusted: it is heard within a heartbeat, and an operator's word takes longer."""
        needed = NEEDED.get(type(change), 1)
        if needed >= AGREED_FROM:
            agreed = state.settings.generation >= needed
            return [] if agreed else [member.id for member in state.members if not self._follows(member)]
        trusted = _Shown(0, needed)
        return [member.id for member in state.members
                if member.up and member.id != self._me and self._shown.get(member.id, trusted).generation < needed]

    def raising(self, state: ClusterState) -> tuple[Change, ...]:
        """The change that raises the agreed generation to this version's, where every member can follow; else none.

        Every `up` member must have shown it in the very run that is agreed: nobody is trusted here, since what is
        written from then on stays written. Who is away or about to join may come back as the version that it was, so
        it is waited for, until it is `out`.
        """
        settings = state.settings
        if settings.generation >= GENERATION or not all(map(self._follows, state.members)):
            return ()
        return (SettingChanged(SETTING, GENERATION, settings.since),)

    def _follows(self, member: Member) -> bool:
        if member.status is Status.OUT or member.id == self._me:
            return True
        shown = self._shown.get(member.id)
        return (member.up and shown is not None and shown.incarnation == member.incarnation
                and shown.generation >= GENERATION)
