"""What all replicas of one node share: who the node is, its tables and copies, and the ways out."""

from __future__ import annotations

from collections.abc import Callable

from zmqueue.core.changes import Change
from zmqueue.core.copies import Copies
from zmqueue.core.damage import Marks
from zmqueue.core.effects import Effects
from zmqueue.core.tables import Tables

ALARM = "data loss alarm: "
"""What the note of an alarm of R15 begins with."""

BRANCH = "lost branch: "
"""What the note of a copy begins with that the bucket went on without (C12)."""


class Host:
    """One node, as its replicas see it.

    `want(now, *changes)` asks agreement for changes; `touched` gathers the buckets that are to be flushed in this turn.
    """

    __slots__ = ("alarms", "copies", "diverged", "effects", "incarnation", "low", "marks", "number", "short",
                 "suspects", "tables", "tight", "touched", "want")

    def __init__(self, number: int, incarnation: int, tables: Tables, effects: Effects, copies: Copies,
                 want: Callable[..., None]) -> None:
        self.number = number
        self.incarnation = incarnation
        self.tables = tables
        self.effects = effects
        self.copies = copies
        self.marks = Marks(tables)
        self.want = want
        self.touched: set[int] = set()
        self.suspects: set[int] = set()    # buckets whose copy is to be scrubbed before all others
        self.alarms = 0
        self.diverged = 0                  # how often the sums of two replicas differed at one entry
        self.short: frozenset[int] = frozenset()    # the members that said last that they are short of disk
        self.tight = False                 # this node is short of disk: logs are kept as short as may be
        self.low = False                   # this node's reserve is half gone: learners here take nothing in (`room`)

    def ask(self, now: float, *changes: Change) -> None:
        """Ask for changes; repeated while they are meant (C8)."""
        self.want(now, *changes)

    def differs(self, what: str, bucket: int, **facts: object) -> None:
        """Two replicas have not the same at one entry. Whose rows are wrong is found by counting them (`scrub`)."""
        self.diverged += 1
        self.suspects.add(bucket)
        self.alarm(what, bucket=bucket, **facts)

    def alarm(self, what: str, **facts: object) -> None:
        """Disks do not hold what they confirmed (R15): say it loudly, and count it."""
        self.alarms += 1
        self.effects.note(ALARM + what, **facts)
