"""Beliefs: what a node wants changed by itself, over and over until it is agreed or no longer so (C8).

That is its own place among the members, the absence of members that a majority suspects, and the end of the
grace of those that are down, or that vanished before they were taken up.
"""

from __future__ import annotations

from dataclasses import dataclass

from zmqueue.core.ballots import Join
from zmqueue.core.changes import Change, MemberDown, MemberForgotten, MemberOut, MemberUp
from zmqueue.core.state import ClusterState, Member, Status
from zmqueue.core.suspicion import SuspicionView


@dataclass(frozen=True, slots=True)
class Identity:
    """Who a node is in this run of it."""

    id: str
    incarnation: int                       # grows at each start, on disk before anything else
    nonce: int                             # drawn at each start (C11)
    endpoint: str                          # its ROUTER, as others reach it
    heartbeats: str                        # its PUB, likewise
    weight: int = 1
    zone: str = ""

    def join(self) -> Join:
        """What a node without a cluster sends to its seeds until a StateIs comes."""
        return Join(self.id, self.incarnation, self.nonce, self.endpoint, self.heartbeats, self.weight, self.zone)

    def founder(self) -> Member:
        """The member that founds a cluster."""
        return Member(1, self.id, self.incarnation, self.nonce, self.endpoint, self.heartbeats, Status.UP, True,
                      self.weight, self.zone)


class Beliefs:
    """What the node `me` believes should be agreed."""

    __slots__ = ("_away_since", "_me", "draining", "leaving")

    def __init__(self, me: Identity) -> None:
        self._me = me
        self.leaving = False               # asks to be taken down, by plan
        self.draining = False              # and then out, for good
        self._away_since: dict[int, tuple[int, float]] = {}   # number -> (its `since`, when first seen not up)

    def about_me(self, state: ClusterState) -> tuple[Change, ...]:
        """To be up as what this node runs as; or, by plan, down, and out."""
        member = state.by_id(self._me.id)
        if member is None:
            return ()
        if self.leaving and member.up:
            return (MemberDown(member.number, member.incarnation, member.since),)
        if self.draining and member.status is Status.DOWN:
            return (MemberOut(member.number, member.incarnation, member.since),)
        if self.leaving or (member.up and member.incarnation == self._me.incarnation):
            return ()
        return (MemberUp(member.number, self._me.incarnation, member.since, self._me.nonce,
                         self._me.endpoint, self._me.heartbeats),)

    def about_others(self, state: ClusterState, suspicion: SuspicionView, now: float) -> tuple[Change, ...]:
        """MemberDown of those whom a majority suspects; MemberOut, or Forgotten, of those whose grace is over."""
        wanted: list[Change] = []
        grace = state.settings.grace_ms / 1000
        self._away_since = {number: away for number, away in self._away_since.items() if state.member(number)}
        for member in state.members:
            if member.id == self._me.id:
                continue
            if member.up and suspicion.majority_suspects(member.number, now, state.voters):
                wanted.append(MemberDown(member.number, member.incarnation, member.since))
            if member.status is Status.DOWN and now - self._seen_away(member, now) >= grace:
                wanted.append(MemberOut(member.number, member.incarnation, member.since))
            if (member.status is Status.JOINING and now - self._seen_away(member, now) >= grace
                    and suspicion.majority_suspects(member.number, now, state.voters)):
                # It holds nothing and has no vote: nothing is decided by it, and it may join anew (C7).
                wanted.append(MemberForgotten(member.number, member.since))
        return tuple(wanted)

    def _seen_away(self, member: Member, now: float) -> float:
        """Since when this node has known the member to be as it is; a restart of this node begins the grace anew."""
        known = self._away_since.get(member.number)
        if known is None or known[0] != member.since:
            known = self._away_since[member.number] = (member.since, now)
        return known[1]
