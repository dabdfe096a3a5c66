"""What is submitted and what must come out of it: a payload says how its handler is to behave, and names itself.

Its head, `program:number:do:padding`, says all; the rest is so many x. Books hold heads, as bodies may be large.
"""

from __future__ import annotations

import hashlib
import random
from enum import StrEnum


class Do(StrEnum):
    """What a handler does with a message."""

    ACK = "ack"
    SLOW = "slow"                          # works for a while, often longer than its lease would last by itself
    AGAIN = "again"                        # the first deliveries are nacked
    REJECT = "reject"                      # ends as a dead letter


WEIGHTS = {Do.ACK: 93, Do.SLOW: 1, Do.AGAIN: 5, Do.REJECT: 1}
PADDINGS = {0: 20, 100: 50, 1_000: 29, 30_000: 1}


def draw(program: str, number: int, dice: random.Random) -> str:
    """The head of a program's n-th message."""
    do, = dice.choices(list(WEIGHTS), list(WEIGHTS.values()))
    padding, = dice.choices(list(PADDINGS), list(PADDINGS.values()))
    return f"{program}:{number}:{do}:{padding}"


def body_of(head: str) -> str:
    """The payload."""
    return f"{head}:{'x' * int(head.rsplit(':', 1)[1])}"


def head_of(body: object) -> str:
    """The head of a payload that was handed out; of one that nobody submitted, all of it, which no head equals."""
    if isinstance(body, str):
        head = body.rpartition(":")[0]
        try:
            if body_of(head) == body:
                return head
        except (ValueError, IndexError):
            pass
    return f"not a payload: {body!r}"


def do_of(head: str) -> Do:
    return Do(head.split(":")[2])


def answer(head: str) -> str:
    """What the right result says."""
    return hashlib.sha256(body_of(head).encode()).hexdigest()[:20]


def result(head: str, worker: str, fencing: int) -> dict[str, object]:
    """The result of one handler's run: right, and telling whose it is, so that a second one would be seen."""
    return {"answer": answer(head), "by": worker, "fencing": fencing}
