"""The copies of buckets that lie in a node's tables: which is live, which are being received, which are to be swept.

All rows of a bucket begin with the number of a *copy*, drawn from a counter and never used again. A bucket's position
row names its live copy, so a whole copy is swapped in by one small write (R12), and no transaction is unbounded: a
copy is received over many batches and swept over many. A copy that no position row names has a row in META that dooms
it, from the batch that draws its number on; so a crash leaves nothing behind that nobody sweeps.
"""

from __future__ import annotations

import struct

import msgspec

from zmqueue.core.keys import copy_prefix
from zmqueue.core.tables import Table, Tables, View, rows, span

NO_COPY = 0
"""The number of the copy that a node does not have: nothing lies under it."""

UNCOUNTED = -1
"""The count of a copy whose rows were never counted."""

SWEEP_ROWS = 512
"""Rows swept at once: a few ms, and below what a busy turn writes anyway."""

SENDINGS_MAX = 8
"""Snapshots that a node sends at once: each holds a view of the store open, and the pages that it sees."""

COPIED = (Table.BODIES, Table.MESSAGES, Table.READY, Table.DELAYED, Table.LEASES, Table.DEAD, Table.ENDED,
          Table.COUNTS, Table.EXPIRING, Table.GROUPS, Table.BEHIND, Table.UNIQUES, Table.EVENTS, Table.OUTBOX,
          Table.LINKS)
"""The tables that make up the applied state. A table's place here is its number on the wire: append, never move."""

_SWEPT = (Table.LOG, *COPIED)
_COUNTER = b"copies"
_DOOMED = b"doomed copy "
_BUCKET = struct.Struct(">H")
_COUNT = struct.Struct(">I")


class Position(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """The row of a bucket: where its live copy stands. Written in the batch that holds what it tells of."""

    copy: int = NO_COPY
    base_seq: int = 0      # the log begins after this entry,
    base_term: int = 0     # which was made in this term
    commit: int = 0        # entries up to here are applied to the copy's rows; never below base_seq
    at: int = 0            # bucket time of the last applied entry (Q1)
    generation: int = 1    # of the bucket, when this copy was made or adopted (C12): an older one is a lost branch
    count: int = UNCOUNTED # how many rows the applied state has; UNCOUNTED: an earlier version wrote this row
    digest: int = 0        # the sum over these rows, as far as `count` is known


NOWHERE = Position()
"""Where a bucket stands of which the node has no copy."""

_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Position)


def position_in(view: View, bucket: int) -> Position:
    """The position of a bucket as it stands in `view`; NOWHERE where there is none."""
    data = view.get(Table.BUCKETS, _BUCKET.pack(bucket))
    return NOWHERE if data is None else _decoder.decode(data)


class Copies:
    """All copies on one node; shared by its replicas."""

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        data = tables.get(Table.META, _COUNTER)
        self._drawn = NO_COPY if data is None else _COUNT.unpack(data)[0]
        self._positions = {
            _BUCKET.unpack(key)[0]: _decoder.decode(value)
            for key, value in rows(tables, Table.BUCKETS, b"\x00", b"\xff\xff\xff")}
        self._doomed = [
            _COUNT.unpack(key[len(_DOOMED):])[0] for key, _ in rows(tables, Table.META, *span(_DOOMED))]
        self._receiving: set[int] = set()    # doomed, unless their snapshot becomes whole: not swept meanwhile
        self._snapshots = 0
        self.sendings = 0                    # snapshots that are being sent, at most SENDINGS_MAX

    # --- live copies ---

    @property
    def buckets(self) -> list[int]:
        """The buckets of which this node has a copy, ascending."""
        return sorted(self._positions)

    def position(self, bucket: int) -> Position:
        """Where the bucket's live copy stands; NOWHERE where there is none."""
        return self._positions.get(bucket, NOWHERE)

    def create(self, bucket: int, generation: int = 1) -> Position:
        """Make an empty live copy."""
        assert bucket not in self._positions, "a bucket has one live copy"
        position = Position(self._draw(), generation=generation, count=0)
        self.write(bucket, position)
        return position

    def write(self, bucket: int, position: Position) -> None:
        """Say where the live copy stands."""
        self._positions[bucket] = position
        self._tables.put(Table.BUCKETS, _BUCKET.pack(bucket), _encode(position))

    def adopt(self, bucket: int, position: Position) -> None:
        """A received copy is whole: make it the live one, in one batch with the doom of the one before (R12)."""
        old = self.position(bucket)
        self._receiving.remove(position.copy)
        self._doomed.remove(position.copy)
        self._tables.delete(Table.META, _doomed_key(position.copy))
        self.write(bucket, position)
        if old.copy != NO_COPY:
            self._doom(old.copy)

    def delete(self, bucket: int) -> None:
        """The node needs its copy no more (R14)."""
        position = self._positions.pop(bucket, None)
        if position is None:
            return
        self._tables.delete(Table.BUCKETS, _BUCKET.pack(bucket))
        self._doom(position.copy)

    # --- copies that are not live ---

    def receive(self) -> int:
        """Draw the number of a copy that a snapshot is written into. A crash discards what was written."""
        copy = self._draw()
        self._receiving.add(copy)
        self._doom(copy)
        return copy

    def abandon(self, copy: int) -> None:
        """The snapshot will not become whole: its rows are swept."""
        self._receiving.discard(copy)

    def sweep(self, limit: int = SWEEP_ROWS) -> int:
        """Delete at most `limit` rows of copies that nothing names any more; return how many."""
        swept = 0
        for copy in [copy for copy in self._doomed if copy not in self._receiving]:
            start, stop = span(copy_prefix(copy))
            for table in _SWEPT:
                swept += self._tables.delete_range(table, start, stop, limit - swept)
                if swept >= limit:
                    return swept
            self._doomed.remove(copy)
            self._tables.delete(Table.META, _doomed_key(copy))
        return swept

    @property
    def doomed(self) -> int:
        """How many copies are not live: being received, or waiting to be swept."""
        return len(self._doomed)

    def next_snapshot(self) -> int:
        """A number for the next snapshot that this node sends, growing while it runs."""
        self._snapshots += 1
        return self._snapshots

    def _doom(self, copy: int) -> None:
        self._doomed.append(copy)
        self._tables.put(Table.META, _doomed_key(copy), b"\x01")

    def _draw(self) -> int:
        self._drawn += 1
        self._tables.put(Table.META, _COUNTER, _COUNT.pack(self._drawn))
        return self._drawn


def _doomed_key(copy: int) -> bytes:
    return _DOOMED + _COUNT.pack(copy)
