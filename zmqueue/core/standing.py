"""What a node can still do, by whom it hears: told once when the majority is lost, and once when it is back.

Without a majority of the voters nothing can be agreed, but a bucket whose in-sync replicas are all here goes on. An
operator has to know which, and whom he has to bring back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from zmqueue.core.effects import Effects
from zmqueue.core.replication import Replica
from zmqueue.core.state import ClusterState
from zmqueue.core.suspicion import FaultDetector


class Standing(NamedTuple):
    """How things stand at one moment."""

    majority: bool                         # more than half of the voters are heard, this node included
    missing: tuple[int, ...]               # voters that are not heard
    going_on: tuple[int, ...]              # buckets of which this node is primary, and everybody who counts is heard
    halted: tuple[int, ...]                # ...and somebody who counts is not: nothing is committed there


def survey(state: ClusterState, detector: FaultDetector, replicas: Iterable[Replica], now: float) -> Standing:
    """Look around."""
    going_on: list[int] = []
    halted: list[int] = []
    for replica in replicas:
        side = replica.primary
        if side is not None:
            heard = all(detector.hears(number, now) for number, peer in side.peers.items() if peer.counts)
            (going_on if heard else halted).append(replica.bucket)
    missing = tuple(voter for voter in sorted(state.voters) if not detector.hears(voter, now))
    return Standing(2 * len(missing) < len(state.voters), missing, tuple(going_on), tuple(halted))


ALONE_S = 1.0
"""Seconds without a majority after which a node says so."""


class MajorityWatch:
    """Tells of changes. A node that is young, or stood still, has heard too little to say anything; and where all stop
    one after another, the last of them is not alone for long enough to be worth a word."""

    __slots__ = ("_alone_since", "_effects", "_lost_at")

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._alone_since: float | None = None
        self._lost_at: float | None = None        # since when it is so, once that was said

    def tick(self, state: ClusterState, detector: FaultDetector, replicas: Iterable[Replica], now: float) -> None:
        """Look whether the majority is there. Cheap while nothing changes."""
        heard = detector.hears_majority(now, state.voters)
        if heard:
            self._alone_since = None
        elif self._alone_since is None:
            self._alone_since = now
        if heard == (self._lost_at is None) or detector.is_blind(now):
            return
        if heard:
            assert self._lost_at is not None
            self._effects.warn("a majority of the voters is heard again: changes are agreed, buckets move on",
                               seconds=round(now - self._lost_at, 1))
            self._lost_at = None
            return
        assert self._alone_since is not None
        if now - self._alone_since < ALONE_S:
            return
        self._lost_at = self._alone_since
        found = survey(state, detector, replicas, now)
        self._effects.warn(
            "no majority of the voters is heard: nothing can be agreed, so no bucket gets another primary or another "
            "replica, and nobody is taken up, down, in or out. Bring the missing voters back",
            missing=_names(state, found.missing), voters=len(state.voters),
            buckets_that_go_on=_list(found.going_on), buckets_that_stand_still=_list(found.halted),
            buckets_of_others=state.buckets - len(found.going_on) - len(found.halted))


def _names(state: ClusterState, numbers: Iterable[int]) -> str:
    members = (state.member(number) for number in numbers)
    return ", ".join(f"{member.id} ({member.endpoint})" for member in members if member is not None)


def _list(buckets: tuple[int, ...]) -> str:
    return ",".join(map(str, buckets)) or "none"
