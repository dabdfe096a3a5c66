"""Damaged copies: which copies hold rows that are not what was written, as marked on this node's disk.

A copy with a mark is never read for service again, in any term (`replication`); it is made anew from another replica.
The mark is written before anything else happens, so a restart cannot forget it. It tells the term in which the copy
was condemned: the copy may have acked entries in that term, so it is deleted only under a later one (D1).

A mark stays, without a copy, while the fresh copy is not in-sync again: that is the repair which `repaired` counts.
"""

from __future__ import annotations

import struct

import msgspec

from zmqueue.core.agreement import _KEY as _STATE_KEY
from zmqueue.core.copies import NO_COPY, position_in
from zmqueue.core.keys import copy_of
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Damage, Table, Tables, View, rows, span

_MARK = b"damaged bucket "
_TALLY = b"damage tally"
_BUCKET = struct.Struct(">H")


class Mark(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What is known of one bucket's damaged copy."""

    copy: int                              # NO_COPY once it is deleted: a fresh one is being made
    term: int                              # of the bucket, when the copy was condemned
    what: str                              # was found, for people

    @property
    def deleted(self) -> bool:
        """True where the damaged copy is gone, and its successor is not in-sync yet."""
        return self.copy == NO_COPY


class Tally(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What this node's disk has done to it since its directory was made."""

    corrupt: int = 0                       # copies condemned
    repaired: int = 0                      # of these, made anew and in-sync again, or not needed any more


_encode = msgspec.msgpack.Encoder().encode
_marks = msgspec.msgpack.Decoder(Mark)
_tallies = msgspec.msgpack.Decoder(Tally)


def marks_in(view: View) -> dict[int, Mark]:
    """All marks as they stand in `view`, by bucket."""
    return {_BUCKET.unpack_from(key, len(_MARK))[0]: _marks.decode(value)
            for key, value in rows(view, Table.META, *span(_MARK))}


def tally_in(view: View) -> Tally:
    """The counts as they stand in `view`."""
    data = view.get(Table.META, _TALLY)
    return Tally() if data is None else _tallies.decode(data)


class Marks:
    """The marks of one node, in memory and in the batch alike."""

    __slots__ = ("_marks", "_tables", "tally")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        self._marks = marks_in(tables)
        self.tally = tally_in(tables)

    def of(self, bucket: int) -> Mark | None:
        """The bucket's mark; None where its copy is sound, as far as is known."""
        return self._marks.get(bucket)

    @property
    def buckets(self) -> list[int]:
        """The buckets whose copy is damaged, or is being made anew."""
        return sorted(self._marks)

    def condemn(self, bucket: int, copy: int, term: int, what: str) -> None:
        """Mark the bucket's live copy. Again: only the term may become later."""
        known = self._marks.get(bucket)
        if known is not None and known.copy == copy:
            self._put(bucket, Mark(copy, max(term, known.term), known.what))
            return
        self._count(corrupt=1)
        self._put(bucket, Mark(copy, term, what))

    def deleted(self, bucket: int) -> None:
        """The damaged copy is deleted: a fresh one may be made."""
        self._put(bucket, msgspec.structs.replace(self._marks[bucket], copy=NO_COPY))

    def repaired(self, bucket: int) -> None:
        """The fresh copy is in-sync, or none is needed here any more."""
        assert self._marks[bucket].deleted, "a mark goes when its copy is gone (D1)"
        del self._marks[bucket]
        self._tables.delete(Table.META, _key(bucket))
        self._count(repaired=1)

    def given_up(self, bucket: int) -> None:
        """The damaged copy is given up for good: an operator decided that the bucket begins empty (C12)."""
        if self._marks.pop(bucket, None) is not None:
            self._tables.delete(Table.META, _key(bucket))

    def _put(self, bucket: int, mark: Mark) -> None:
        self._marks[bucket] = mark
        self._tables.put(Table.META, _key(bucket), _encode(mark))

    def _count(self, corrupt: int = 0, repaired: int = 0) -> None:
        self.tally = Tally(self.tally.corrupt + corrupt, self.tally.repaired + repaired)
        self._tables.put(Table.META, _TALLY, _encode(self.tally))


def condemn(tables: Tables, damage: Damage) -> bool:
    """Mark the copy that a damaged row belongs to; to be called on what is durable, with nothing in the batch.

    The term in the mark is that of the state on the disk: nothing has left this node under a later one (C4).
    False where the row is the node's own (META, BUCKETS): then the node cannot go on. A row of a copy that is not
    live needs no mark: nothing reads it again. Raises Damage where what has to be read for this is damaged itself.
    """
    if damage.table in (Table.META.value, Table.BUCKETS.value):
        return False
    data = tables.get(Table.META, _STATE_KEY)
    copy = copy_of(damage.key)
    if data is None or copy is None:
        return True
    terms = ClusterState.from_bytes(data).terms
    for bucket, term in enumerate(terms):
        if position_in(tables, bucket).copy == copy != NO_COPY:
            Marks(tables).condemn(bucket, copy, term, str(damage))
    return True


def _key(bucket: int) -> bytes:
    return _MARK + _BUCKET.pack(bucket)
