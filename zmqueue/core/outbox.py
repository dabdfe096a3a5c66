"""The outbox (Q4): what settles carry lies here until the buckets that it is for have taken it, each message once.

A *link* leads from one bucket, in one of its generations, to another. What is put on it is numbered from 1 on, in the
entry of the settle that carried it, so numbers are a function of the log. The target keeps the last number that it took
for ever, and takes only the next: in the entry that stores the message. So nothing depends on how long anything was
away. When the target has committed what it took, the source deletes it. How it gets from one to the other is in
`forwarding`; here is what applying does to the rows, and how they are read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING

import msgspec

from zmqueue.core import keys
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import Delivered, Forwarded, Parcel
from zmqueue.core.tables import RowMissing, Table, View, rows, span

if TYPE_CHECKING:
    from zmqueue.core.steps import Steps

Link = tuple[int, int]
"""(target bucket, generation of the source): one numbering, at its source."""

_STEP = 8
"""Parcels read in one scan: with large bodies, more than what is sent would be read for nothing each time."""

_NUMBER = struct.Struct(">Q")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Parcel).decode

# --- applying ---------------------------------------------------------------------------------------------------------


def post(steps: Steps, generation: int, parcels: Sequence[Parcel], buckets: int) -> None:
    """A settle holds: put what it carries on the links to where it goes, in this order."""
    prefix = keys.copy_prefix(steps.copy)
    for parcel in parcels:
        target = bucket_of(parcel.message.id, buckets)
        place = keys.sent_key(prefix, target, generation)
        number = number_at(steps.tables, place) + 1
        _set(steps, place, number)
        steps.put_row(Table.OUTBOX, keys.outbox_key(prefix, target, generation, number), _encode(parcel))
        steps.posted.add((target, generation))


def taken(steps: Steps, operation: Forwarded) -> None:
    """Remember that these numbers were taken. What they stand for is stored in the same entry."""
    place = keys.taken_key(keys.copy_prefix(steps.copy), operation.source, operation.generation)
    number = number_at(steps.tables, place)
    assert number + operation.skipped + 1 == operation.first <= operation.last, "only the next number is taken (Q4)"
    _set(steps, place, operation.last)


def delivered(steps: Steps, operation: Delivered) -> None:
    """Delete what the target has committed."""
    prefix = keys.copy_prefix(steps.copy)
    for number in range(operation.first, operation.last + 1):
        steps.take_row(Table.OUTBOX, keys.outbox_key(prefix, operation.target, operation.generation, number))


def _set(steps: Steps, place: bytes, number: int) -> None:
    """Write the number of a link, in place of the one before."""
    if number_at(steps.tables, place):
        steps.take_row(Table.LINKS, place)
    steps.put_row(Table.LINKS, place, _NUMBER.pack(number))


# --- reading ----------------------------------------------------------------------------------------------------------


def number_at(view: View, place: bytes) -> int:
    """The number of a link, by the key of its row; 0 where nothing was ever put on it."""
    row = view.get(Table.LINKS, place)
    return 0 if row is None else _NUMBER.unpack(row)[0]


def last_sent(view: View, copy: int, link: Link) -> int:
    """The number of the last parcel that was put on a link."""
    return number_at(view, keys.sent_key(keys.copy_prefix(copy), *link))


def last_taken(view: View, copy: int, source: int, generation: int) -> int:
    """The number of the last parcel that was taken from another bucket's outbox."""
    return number_at(view, keys.taken_key(keys.copy_prefix(copy), source, generation))


def links(view: View, copy: int) -> Iterator[tuple[Link, int]]:
    """The links on which parcels lie, each with the number of its first one; older generations of a target first."""
    start, end = span(keys.copy_prefix(copy))
    while found := view.scan(Table.OUTBOX, start, end, 1):
        target, generation, number = keys.in_outbox_key(found[0][0])
        yield (target, generation), number
        start = span(keys.outbox_prefix(keys.copy_prefix(copy), target, generation))[1]


def first_on(view: View, copy: int, link: Link) -> int:
    """The number of the first parcel that lies on a link; one does."""
    found = view.scan(Table.OUTBOX, *span(keys.outbox_prefix(keys.copy_prefix(copy), *link)), 1)
    if not found:
        raise RowMissing(Table.OUTBOX, keys.outbox_prefix(keys.copy_prefix(copy), *link))
    return keys.in_outbox_key(found[0][0])[2]


def parcels(view: View, copy: int, link: Link, first: int, limit: int, bytes_max: int) -> tuple[list[Parcel], int]:
    """The parcels on a link from the number `first` on, which lies there, and their bytes: at most `limit` parcels, and
    (but for one) `bytes_max` bytes."""
    prefix = keys.copy_prefix(copy)
    start, end = keys.outbox_key(prefix, *link, first), span(keys.outbox_prefix(prefix, *link))[1]
    found: list[Parcel] = []
    size = 0
    for number, (key, value) in enumerate(islice(rows(view, Table.OUTBOX, start, end, _STEP), limit), first):
        if found and size + len(value) > bytes_max:
            break
        if keys.in_outbox_key(key)[2] != number:
            break
        size += len(value)
        found.append(_decode(value))
    if not found:
        raise RowMissing(Table.OUTBOX, start)
    return found, size
