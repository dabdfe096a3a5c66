"""The history of one message: each call about it, with its begin, its end and what the program was told.

It knows nothing but what programs saw, so it is the same whether they ran in the simulator or for real. What was
definitely refused did not happen, and so has no place here; what has no answer (its caller waited no longer, or died)
has no end: it may have taken effect at any time since it began, may do so yet, or never.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Hashable
from dataclasses import dataclass

NEVER = math.inf
"""When a call ended whose outcome is unknown."""


class What(enum.Enum):
    """What was called."""

    SUBMIT = "submit"
    READ = "read"                          # status or result
    GRANT = "grant"                        # handed out to a worker
    SETTLE = "settle"
    CANCEL = "cancel"
    REQUEUE = "requeue"


class Seen(enum.StrEnum):
    """What a read was told. That it is ready, delayed or leased is all one here: it has not ended."""

    UNKNOWN = "unknown"                    # there is no such message
    OPEN = "open"
    DONE = "done"
    DEAD = "dead"
    CANCELLED = "cancelled"
    EXPIRED = "expired"

    @property
    def end(self) -> bool:
        return self not in (Seen.UNKNOWN, Seen.OPEN)

    @staticmethod
    def of(name: str) -> Seen:
        """From the name of a state, as users see it."""
        return Seen.OPEN if name in ("delayed", "ready", "leased") else Seen(name)


class How(enum.StrEnum):
    """How a lease was settled."""

    ACK = "ack"
    NACK = "nack"
    REJECT = "reject"
    GIVE_BACK = "give back"

    @property
    def end(self) -> Seen | None:
        """What the message is afterwards; None: not ended."""
        return {How.ACK: Seen.DONE, How.REJECT: Seen.DEAD}.get(self)


@dataclass(frozen=True, slots=True)
class Act:
    """One call about one message. Times in seconds of a clock that all programs share."""

    what: What
    program: str
    begun: float
    ended: float = NEVER
    fencing: int = 0                       # of a grant, and of the lease that is settled
    how: How | None = None                 # of a settle
    seen: Seen | None = None               # of a read
    result: Hashable = None                # of an ack, and what a read was told
    payload: Hashable = None               # of a submit, and of a grant
    promised: bool = False                 # of a submit without an end: a settle that held carries it

    @property
    def certain(self) -> bool:
        """False where nobody knows whether it happened."""
        return self.ended < NEVER

    @property
    def pure(self) -> bool:
        """True where it changes nothing."""
        return self.what is What.READ

    def __str__(self) -> str:
        facts = [self.how, self.fencing and f"under {self.fencing}", self.seen,
                 None if self.result is None else repr(self.result)[:60]]
        words = " ".join(str(fact) for fact in facts if fact)
        until = f"{self.ended:.6f}" if self.certain else "?"
        return f"[{self.begun:.6f} to {until}] {self.program} {self.what.value}{words and ' '}{words}"
