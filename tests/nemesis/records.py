"""What the books of all programs say of one message, and its history as the simulator's checkers read it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import msgspec

from tests.simulation.checkers.history import NEVER, Act, How, Seen, What


@dataclass(slots=True)
class Fate:
    """One message, by its head: what its program was told of it."""

    begun: float
    perhaps_from: float = float("inf")     # when the first attempt began that was not refused
    token: str = ""
    attempts: int = 0
    refusals: int = 0
    confirmed_at: float = float("inf")     # when its program knew
    answered_at: float = 0.0               # when the last attempt ended

    @property
    def confirmed(self) -> bool:
        return self.confirmed_at < float("inf")

    @property
    def refused(self) -> bool:
        """Definitely not stored, as its program was told."""
        return not self.confirmed and self.refusals == self.attempts


@dataclass(frozen=True, slots=True)
class Delivery:
    """A message was handed out to `who`, by a lease that began and ended then."""

    fencing: int
    who: str
    head: str
    begun: float
    ended: float


@dataclass(frozen=True, slots=True)
class Settle:
    """A settle under a lease."""

    fencing: int
    who: str
    how: str
    result: object
    begun: float
    ended: float
    outcome: str


@dataclass(frozen=True, slots=True)
class Read:
    """What a program was told of a message's state; "unknown": that there is none of that token."""

    program: str
    state: str
    result: object
    begun: float
    ended: float


def acts_of(fate: Fate | None, deliveries: Iterable[Delivery], settles: Iterable[Settle], reads: Iterable[Read],
            head: str) -> list[Act]:
    """All calls about one message, but those that were refused. A message's attempts are one submit, which began with
    the first of them that may have been stored and ended when its program knew. `fate`: of one that was submitted."""
    acts = []
    if fate is not None and fate.perhaps_from < NEVER:
        acts.append(Act(What.SUBMIT, head.partition(":")[0], fate.perhaps_from, fate.confirmed_at, payload=head))
    acts += [Act(What.GRANT, handed.who, handed.begun, handed.ended, handed.fencing, payload=handed.head)
             for handed in deliveries]
    acts += [Act(What.SETTLE, settle.who, settle.begun, settle.ended if settle.outcome == "confirmed" else NEVER,
                 settle.fencing, How(settle.how), result=_comparable(settle.result))
             for settle in settles if settle.outcome != "refused"]
    acts += [Act(What.READ, read.program, read.begun, read.ended, seen=Seen.of(read.state),
                 result=_comparable(read.result)) for read in reads]
    return acts


def _comparable(result: object) -> bytes | None:
    """A result by its bytes, since two are only ever compared."""
    return None if result is None else msgspec.json.encode(result, order="sorted")
