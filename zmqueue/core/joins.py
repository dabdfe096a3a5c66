"""Joins: a message that is ready when others, its parts, are done: each counted once, whatever is repeated.

A join is queued together with its parts: they are in its own entry, and leave for their buckets by the outbox (Q4). It
is delayed for ever, and for each part that is not done yet a row stands in LINKS. Who acks a part carries word of it to
the join; the word takes the row away, and the last one makes the join ready. A part is known by its id, so a word that
comes again finds no row. A part that ends otherwise than done is awaited until it is requeued and done.
"""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import crc32

from msgspec.structs import replace

from zmqueue.core import keys, outbox
from zmqueue.core.operations import Awaits, Options, State
from zmqueue.core.records import Record
from zmqueue.core.tables import Table, span

if TYPE_CHECKING:
    from zmqueue.core.steps import Steps

NEVER = 1 << 62
"""Due time of a join, wall ms, until its last part is done: no clock comes so far."""


def numbered(options: Options, generation: int, buckets: int) -> Options:
    """A message's options as they go into the log of a bucket in this generation."""
    if options.awaits is None:
        return options
    return replace(options, awaits=replace(options.awaits, generation=generation, buckets=buckets))


def begin(steps: Steps, join: bytes, awaits: Awaits) -> None:
    """A join is queued: its parts leave, and are awaited."""
    prefix = keys.copy_prefix(steps.copy)
    for parcel in awaits.parts:
        steps.put_row(Table.LINKS, keys.awaited_key(prefix, join, parcel.message.id), b"")
    outbox.post(steps, awaits.generation, awaits.parts, awaits.buckets)


def arrived(steps: Steps, join: bytes, part: bytes) -> None:
    """A part is done. Nothing comes of it where the join does not await it: not any more, or it has ended itself."""
    prefix = keys.copy_prefix(steps.copy)
    place = keys.awaited_key(prefix, join, part)
    if steps.tables.get(Table.LINKS, place) is None:
        return
    steps.take_row(Table.LINKS, place)
    if steps.tables.scan(Table.LINKS, *span(keys.awaited_prefix(prefix, join)), 1):
        return
    key, crc = prefix + join, crc32(join)
    record = steps.take(key, crc)
    if awaiting(record):
        steps.delete(Table.DELAYED, keys.delayed_key(prefix, NEVER, record.order))
        record.due = 0
        steps.wait(key, record, crc)
    steps.give(key, record, crc)


def forgotten(steps: Steps, message_id: bytes) -> None:
    """A message is forgotten: if it was a join, so is what it still awaited."""
    first, end = span(keys.awaited_prefix(keys.copy_prefix(steps.copy), message_id))
    for key, _ in list(steps.tables.scan(Table.LINKS, first, end, PARTS_MAX)):
        steps.take_row(Table.LINKS, key)


PARTS_MAX = 1_000
"""Parts of one join: they are one entry of a log with it, and their rows go in one."""


def awaiting(record: Record) -> bool:
    """True while a join waits for its parts."""
    return record.state is State.DELAYED and record.due == NEVER
