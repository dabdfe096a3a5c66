"""Dead letters: where they lie, and what becomes of one that somebody takes up to look at it or to repair it.

They are a queue of their own: named `QUEUE!dead` in a lease request, in the order in which they were submitted. Taken
up, a letter is leased as any message is, but to its submitter it stays dead, and nothing of it counts as a delivery.
Acknowledged, it is done with: its body is thrown away and the result of the repair is kept. However else the lease
ends, the letter lies where it lay.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zmqueue.core import groups, keys
from zmqueue.core.operations import How, Rule, Settle, State
from zmqueue.core.records import Fate, Record, Special, remember, special
from zmqueue.core.tables import Table

if TYPE_CHECKING:
    from zmqueue.core.steps import Steps

SUFFIX = "!dead"
"""No queue's name has it: so the dead letters of a queue have a name that means nothing else."""


def name_of(queue: str) -> str:
    """What the dead letters of a queue are called."""
    return queue + SUFFIX


def queue_of(line: str) -> str | None:
    """The queue whose dead letters are called so; None where the name is a queue's own."""
    return line.removesuffix(SUFFIX) if line.endswith(SUFFIX) else None


def put(steps: Steps, key: bytes, record: Record) -> None:
    """It lies among the dead letters of its queue."""
    steps.tables.put(Table.DEAD, _place(steps, record), key[keys.COPY_BYTES:])
    steps.risen.add(name_of(record.queue))


def leave(steps: Steps, key: bytes, record: Record) -> None:
    """It does not lie there any more, and is not to be forgotten. What follows is the caller's."""
    steps.delete(Table.DEAD, _place(steps, record))
    steps.delete(Table.ENDED, keys.ended_key(keys.copy_prefix(steps.copy), record.forget, key[keys.COPY_BYTES:]))


def take_up(steps: Steps, key: bytes, record: Record, crc: int) -> None:
    """It is leased."""
    leave(steps, key, record)
    steps.move(record, State.MENDING, crc)


def lay_down(steps: Steps, key: bytes, record: Record, crc: int) -> None:
    """The lease ended, and nothing came of it."""
    steps.end_again(key, record, crc, State.DEAD)
    put(steps, key, record)


def settled(steps: Steps, key: bytes, record: Record, crc: int, settle: Settle, at: int, rule: Rule) -> Special:
    """The lease ended by its holder's word. -> the record, to be given back."""
    if settle.how != How.ACK:
        fate = Fate.REJECTED if settle.how == How.REJECT else Fate.FAILED
        letter = remember(record, at, fate, settle.error)        # why it died stays in `error`
        lay_down(steps, key, letter, crc)
        return letter
    letter = special(record)
    letter.kind, letter.result = settle.kind, settle.data
    letter.forget = max(letter.forget, at + rule.keep)
    steps.delete(Table.BODIES, key)
    steps.end_again(key, letter, crc, State.PURGED)
    if letter.group:
        groups.thrown_away(steps, key, letter)
    return letter


def _place(steps: Steps, record: Record) -> bytes:
    return keys.dead_key(keys.copy_prefix(steps.copy), record.queue, record.order)
