"""Ageing: in a queue that ages, each `ageing_ms` of waiting outweighs one priority, so that nobody waits for ever.

A message's *place* is decided once, by its primary at its submit: the wall time from which on it can run, less what its
priority is worth. The lower place is served first. Of two messages, the one with the lower place at one moment has it
at any other, since both grow old at the same pace: so nothing is ever written again while they wait.

Where a queue begins to age, what stands in it already goes first, by priority; nobody joins it there any more, so it is
worked off. Where it ceases to, those that have a place keep it, behind all others.
"""

from __future__ import annotations

from zmqueue.core.operations import Submission

_ORIGIN = 1 << 62
"""Added to a place: priorities reach back before 1970, and 0 is none."""


def place_of(message: Submission, ageing_ms: int, wall: int) -> int:
    """Where a message that is submitted at `wall` stands; 0: by its priority alone, since its queue does not age."""
    if not ageing_ms:
        return 0
    return _ORIGIN + max(wall, message.due) - message.priority * ageing_ms
