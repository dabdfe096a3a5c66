"""The fault detector: whom this node suspects, and what a majority of the voters suspects.

Every node publishes heartbeats that name the members it suspects; a member is taken down only while a
majority of the voters suspects it (many observers must agree: Rapid, Suresh et al., 2018). So one node with a
cut cable convinces nobody. The detector may be wrong in any way without harm to data (section 5 of the
protocol): it costs availability.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Protocol

from zmqueue.core.state import ClusterState, Status

YOUNG = 3.0
"""Seconds after its start in which a node suspects nobody: its peers may not have connected to it yet (C10)."""

DOWNS_WINDOW = 600.0
"""Seconds for which a MemberDown counts against its member (C9)."""

DOWNS_KEPT = 32
"""MemberDowns that are remembered per member: more change nothing, the back-off is at its limit long before."""


class SuspicionView(Protocol):
    """What agreement asks: the fault detector's answer in a node, an oracle's in a simulation."""

    def majority_suspects(self, number: int, now: float, voters: Collection[int]) -> bool:
        """True while more than half of the voters suspect the member (C8)."""
        ...

    def majority_hears(self, number: int, now: float, voters: Collection[int]) -> bool:
        """True while more than half of the voters hear the member (C9)."""
        ...

    def may_return(self, number: int, now: float) -> bool:
        """True once a member that went down has been down for long enough not to flap (C9)."""
        ...


@dataclass(frozen=True, slots=True)
class Sighting:
    """What a member's newest heartbeat said, and when it was heard."""

    at: float
    incarnation: int
    epoch: int
    suspects: frozenset[int]


class FaultDetector:
    """Listens for heartbeats. Times are seconds of one monotonic clock, passed in."""

    __slots__ = ("_blind_until", "_downs", "_grace", "_heard", "_listened", "_me", "_quiet_since", "_stalled_until",
                 "_timeout")

    def __init__(self, timeout: float, grace: float, now: float) -> None:
        self._timeout = timeout
        self._grace = grace
        self._me: int | None = None
        self._heard: dict[int, Sighting] = {}
        self._quiet_since: dict[int, float] = {}        # of every member but this node; -inf: its port refused
        self._downs: dict[int, deque[float]] = {}
        self._listened = now                            # the last tick
        self._stalled_until = now
        self._blind_until = now + max(YOUNG, timeout)   # suspects nobody before; >= _stalled_until

    def heard(self, number: int, now: float, incarnation: int, epoch: int, disk_age_ms: int,
              suspects: Iterable[int]) -> None:
        """Take note of a heartbeat. One whose sender's disk hangs counts as silence (C9)."""
        before = self._heard.get(number)
        if before is not None and incarnation < before.incarnation:
            return                         # from before a restart, and late
        if disk_age_ms > self._timeout * 1000:
            return
        self._heard[number] = Sighting(now, incarnation, epoch, frozenset(suspects))
        if number in self._quiet_since:
            self._quiet_since[number] = now

    def refused(self, number: int, now: float) -> None:
        """Suspect the member at once: nothing listens at its address."""
        if number in self._quiet_since:
            self._quiet_since[number] = float("-inf")
            self._heard.pop(number, None)

    def tick(self, now: float) -> float:
        """Say that the node's loop runs; at least four times in a timeout, else it counts as stalled.

        -> the seconds for which it stood still, where that was longer than the timeout (others may have taken its
        buckets over meanwhile); else 0.
        """
        stood = now - self._listened
        if stood > self._timeout / 2:
            # What was not heard in a stall says nothing about others, and what waited in the sockets is old.
            self._stalled_until = now + self._timeout
            self._blind_until = max(self._blind_until, self._stalled_until)
        self._listened = now
        return stood if stood > self._timeout else 0.0

    def installed(self, old: ClusterState | None, new: ClusterState, me: int | None, now: float) -> None:
        """Watch the members of the new state; count those that it takes down."""
        self._me = me
        timeout, grace = new.settings.suspicion_ms / 1000, new.settings.grace_ms / 1000
        self._timeout, self._grace = timeout, grace
        for member in new.members:
            before = old.member(member.number) if old is not None else None
            if before is not None and before.up and member.status is Status.DOWN:
                self._downs.setdefault(member.number, deque(maxlen=DOWNS_KEPT)).append(now)
            if member.number != me and member.number not in self._quiet_since:
                self._quiet_since[member.number] = now
        for number in [number for number in self._quiet_since if number == me or new.member(number) is None]:
            del self._quiet_since[number]
            self._heard.pop(number, None)
            self._downs.pop(number, None)

    def suspects(self, now: float) -> frozenset[int]:
        """The members that have been silent for a timeout. Nobody while this node is young or was stalled."""
        if self.is_blind(now):
            return frozenset()
        return frozenset(number for number, since in self._quiet_since.items() if now - since > self._timeout)

    def majority_suspects(self, number: int, now: float, voters: Collection[int]) -> bool:
        """True while more than half of the voters suspect the member (C8)."""
        if now < self._stalled_until or self._is_stalled(now):
            return False
        return 2 * sum(1 for voter in voters if self._voter_suspects(voter, number, now)) > len(voters)

    def majority_hears(self, number: int, now: float, voters: Collection[int]) -> bool:
        """True while more than half of the voters are heard here and do not suspect the member (C9)."""
        return 2 * sum(1 for voter in voters if self._voter_hears(voter, number, now)) > len(voters)

    def may_return(self, number: int, now: float) -> bool:
        """False before 2**k timeouts (at most half the grace) after the k-th MemberDown within ten minutes (C9)."""
        recent = [at for at in self._downs.get(number, ()) if now - at < DOWNS_WINDOW]
        return not recent or now >= recent[-1] + min(2 ** len(recent) * self._timeout, self._grace / 2)

    def hears_majority(self, now: float, voters: Collection[int]) -> bool:
        """True while more than half of the voters, this node included, are heard here."""
        return 2 * sum(1 for voter in voters if voter == self._me or self._fresh(voter, now)) > len(voters)

    def hears(self, number: int, now: float) -> bool:
        """True for this node, and for a member that was heard within the timeout."""
        return number == self._me or self._fresh(number, now) is not None

    def is_blind(self, now: float) -> bool:
        """True while this node has listened for too short a time to judge anybody: it is young, or stood still."""
        return now < self._blind_until or self._is_stalled(now)

    @property
    def timeout(self) -> float:
        """Seconds of silence after which a member is suspected."""
        return self._timeout

    def sighting(self, number: int) -> Sighting | None:
        """The member's newest heartbeat, however old."""
        return self._heard.get(number)

    def _is_stalled(self, now: float) -> bool:
        return now - self._listened > self._timeout / 2

    def _fresh(self, number: int, now: float) -> Sighting | None:
        sighting = self._heard.get(number)
        return sighting if sighting is not None and now - sighting.at <= self._timeout else None

    def _voter_suspects(self, voter: int, number: int, now: float) -> bool:
        if voter == self._me:
            return number in self.suspects(now)
        sighting = self._fresh(voter, now)
        return sighting is not None and number in sighting.suspects

    def _voter_hears(self, voter: int, number: int, now: float) -> bool:
        if voter == self._me:
            return number not in self.suspects(now)
        sighting = self._fresh(voter, now)
        return sighting is not None and number not in sighting.suspects
