"""Wants: the changes that this node believes should be agreed, gathered until they are proposed.

Wants are level-triggered (C8): who asks repeats while it still believes, and a want that is not repeated is
dropped. What a want says about suspicion is checked again at the moment of proposing.
"""

from __future__ import annotations

from dataclasses import dataclass

from zmqueue.core.changes import Change, MemberDown, MemberForgotten, MemberUp
from zmqueue.core.state import ClusterState, Status
from zmqueue.core.suspicion import SuspicionView

WANT_LIFE = 2.0
"""Seconds after which a want that was not repeated is dropped (C8)."""

FORWARD_EVERY = 0.2
"""Seconds between two sendings of the same want to the natural proposer, however often it is repeated here."""

WANTS_MAX = 16_384
"""Wants kept at once: ReplicaSynced for 4096 buckets from three replicas. More are refused; who asks repeats."""


@dataclass(slots=True)
class _Asked:
    first: float                           # since when it could have been answered
    last: float
    forwarded: float = float("-inf")


class Wants:
    """The changes asked for, each with the times of asking, and whether its own subject asks (a planned leave)."""

    __slots__ = ("_asked",)

    def __init__(self) -> None:
        self._asked: dict[tuple[Change, bool], _Asked] = {}

    def ask(self, change: Change, asker: int | None, now: float) -> None:
        """Note that the member `asker` wants the change, now."""
        key = (change, isinstance(change, MemberDown) and change.number == asker)
        asked = self._asked.get(key)
        if asked is not None:
            asked.last = now
        elif len(self._asked) < WANTS_MAX:
            self._asked[key] = _Asked(now, now)

    def to_forward(self, changes: tuple[Change, ...], asker: int | None, now: float) -> tuple[Change, ...]:
        """Those of the changes that were not sent to the natural proposer lately; they count as sent now."""
        due = []
        for change in changes:
            asked = self._asked.get((change, isinstance(change, MemberDown) and change.number == asker))
            if asked is not None and now - asked.forwarded >= FORWARD_EVERY:
                asked.forwarded = now
                due.append(change)
        return tuple(due)

    def ready(self, state: ClusterState, suspicion: SuspicionView, now: float) -> tuple[tuple[Change, ...], float]:
        """What may be proposed at this moment, in the order of asking (C8, C9), and since when the oldest waits."""
        for key in [key for key, asked in self._asked.items() if now - asked.last > WANT_LIFE]:
            del self._asked[key]
        ready: dict[Change, None] = {}
        since = now
        for (change, by_itself), asked in self._asked.items():
            if by_itself or _may_propose(change, state, suspicion, now):
                ready[change] = None
                since = min(since, asked.first)
            else:
                asked.first = now          # nobody may propose it now, so nobody is late in doing so
        return tuple(ready), since

    def answered(self, now: float) -> None:
        """A newer state is known: what still waits begins to wait anew, and goes to the new natural proposer."""
        for asked in self._asked.values():
            asked.first = now
            asked.forwarded = float("-inf")

    def drop(self, changes: tuple[Change, ...]) -> None:
        """Drop these: they would change nothing. Whoever believes otherwise repeats."""
        for change in changes:
            self._asked.pop((change, False), None)
            self._asked.pop((change, True), None)


def _may_propose(change: Change, state: ClusterState, suspicion: SuspicionView, now: float) -> bool:
    match change:
        case MemberDown(number):
            return suspicion.majority_suspects(number, now, state.voters)
        case MemberUp(number):
            # A member that restarted before it was missed is still `up`: it has nothing to wait for.
            settled = state.up(number) or suspicion.may_return(number, now)
            return settled and suspicion.majority_hears(number, now, state.voters)
        case MemberForgotten(number):
            # One that was never taken up may be about to be; one that is out does not run.
            member = state.member(number)
            return (member is None or member.status is not Status.JOINING
                    or suspicion.majority_suspects(number, now, state.voters))
        case _:
            return True
