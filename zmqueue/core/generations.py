"""Generations of the formats: what may be said only when everybody understands it (docs/formats.md).

An appended field with a default harms nobody. What an earlier version cannot read at all, a change of a new kind in a
value that it has to accept, waits until the cluster is upgraded; nodes show their generation in their heartbeats.
"""

from __future__ import annotations

from zmqueue.core.changes import BucketAdopted, Change, MemberChanged
from zmqueue.core.state import ClusterState

GENERATION = 2
"""What this version reads and writes. A node that shows none is of generation 1."""

NEEDED: dict[type[Change], int] = {BucketAdopted: 2, MemberChanged: 2}
"""The generation from which on a change is understood, where it is not the first."""


class Generations:
    """What the members have shown, by id; `me` is of this version."""

    __slots__ = ("_me", "_shown")

    def __init__(self, me: str) -> None:
        self._me = me
        self._shown: dict[str, int] = {}

    def shown(self, member_id: str, generation: int) -> None:
        """A heartbeat told. A member may come back with an earlier version: the last word counts."""
        self._shown[member_id] = generation

    def keep(self, state: ClusterState) -> None:
        """Forget all but the members."""
        self._shown = {member.id: self._shown[member.id] for member in state.members if member.id in self._shown}

    def behind(self, state: ClusterState, change: Change) -> list[str]:
        """The ids of the `up` members that do not understand the change. One that was not heard yet is trusted to: it
        is heard within a heartbeat, and an operator's word takes longer."""
        needed = NEEDED.get(type(change), 1)
        return [member.id for member in state.members
                if member.up and member.id != self._me and self._shown.get(member.id, needed) < needed]
