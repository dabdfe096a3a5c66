"""Snapshots: the applied state of a bucket on its way to a learner that the log cannot serve (R12).

The sender reads one durable view of its tables and sends it in numbered chunks, each when the one before is on the
learner's disk: that bounds what is in memory on both sides. The learner writes them into a copy of its own, which
becomes the live one, in one batch, when the last chunk is there.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from zmqueue.core.copies import COPIED, SENDINGS_MAX, Copies, Position, position_in
from zmqueue.core.keys import copy_prefix
from zmqueue.core.log import Log
from zmqueue.core.packets import Snap, SnapMore, SnapshotId
from zmqueue.core.sums import MASK, UNKNOWN, Sum, digest_of
from zmqueue.core.tables import Snapshot, Tables, rows, span

CHUNK_BYTES = 1 << 20
"""Bytes of rows in one chunk (a larger row travels alone): a few ms of disk and network on either side."""

CHUNK_ROWS = 4_096
"""Rows in one chunk: index rows are small, and each costs a write."""

PAGE_ROWS = 16
"""Rows read at a time: bodies may be large."""

CHUNK_AGAIN = 0.5
"""Seconds without an answer after which a chunk is sent again; a slow disk may need that long for a megabyte."""

GIVE_UP = 10.0
"""Seconds without progress after which a sender lets go of its view, so that its pages can be used again."""

Row = tuple[int, bytes, bytes]
_NUMBERS = frozenset(range(len(COPIED)))


class Sending:
    """One snapshot on its way to one learner."""

    __slots__ = ("_copies", "_left", "_next", "_view", "id", "index", "last", "position", "progress_at", "rows",
                 "sent_at", "seq_term")

    def __init__(self, snapshot: SnapshotId, view: Snapshot, position: Position, seq_term: int, copies: Copies,
                 now: float) -> None:
        self.id = snapshot
        self.position = position           # as the view has it
        self.seq_term = seq_term
        self._view = view
        self._copies = copies
        self._left = self._all_rows()
        self._next: Row | None = next(self._left, None)
        self.index = -1
        self.rows: tuple[Row, ...] = ()    # of the chunk that is on its way
        self.last = False
        self.sent_at = self.progress_at = now
        copies.sendings += 1

    @property
    def seq(self) -> int:
        """The snapshot is the applied state at this entry."""
        return self.position.commit

    @property
    def valid(self) -> bool:
        """False once the store had to close the view: begin a new snapshot."""
        return self._view.valid

    @property
    def sum(self) -> Sum:
        """What the last chunk says of all rows, so that the learner sees whether it has got them."""
        return Sum(self.position.count, self.position.digest) if self.last else UNKNOWN

    def next_chunk(self, now: float) -> None:
        """Go on to the next chunk."""
        assert not self.last, "after the last chunk there is none"
        chunk: list[Row] = []
        size = 0
        while self._next is not None and len(chunk) < CHUNK_ROWS:
            size += len(self._next[1]) + len(self._next[2])
            if chunk and size > CHUNK_BYTES:
                break
            chunk.append(self._next)
            self._next = next(self._left, None)
        self.index += 1
        self.rows, self.last = tuple(chunk), self._next is None
        self.progress_at = now

    def _all_rows(self) -> Iterator[Row]:
        prefix = copy_prefix(self.position.copy)
        for number, table in enumerate(COPIED):
            for key, value in rows(self._view, table, *span(prefix), PAGE_ROWS):
                yield number, key[len(prefix):], value

    def close(self) -> None:
        """Let go of the view."""
        self._copies.sendings -= 1
        self._view.close()


def begin(tables: Tables, copies: Copies, bucket: int, log: Log, member: tuple[int, int], now: float) -> Sending | None:
    """Begin to send a snapshot; None where this is not the moment. `member`: this node's number and incarnation."""
    if copies.sendings >= SENDINGS_MAX:
        return None
    view = tables.snapshot()
    position = position_in(view, bucket)
    seq_term = log.term_at(position.commit) if position.copy == copies.position(bucket).copy else None
    if seq_term is None:
        # The view is older than the base of the log, so the log could not go on after it: after the next commit.
        view.close()
        return None
    return Sending((*member, copies.next_snapshot()), view, position, seq_term, copies, now)


class Staging:
    """The copy into which a learner gathers the chunks of one snapshot."""

    __slots__ = ("_copies", "_digest", "_prefix", "_rows", "_tables", "id", "index", "position")

    def __init__(self, first: Snap, tables: Tables, copies: Copies, generation: int) -> None:
        self._tables = tables
        self._copies = copies
        self.id = first.snapshot
        self.index = 0                     # of the chunk that comes next
        copy = copies.receive()
        self.position = Position(copy, first.seq, first.seq_term, first.seq, first.at, generation)
        self._prefix = copy_prefix(copy)
        self._rows = self._digest = 0

    def write(self, chunk: Snap) -> None:
        """Write the chunk that comes next."""
        assert chunk.snapshot == self.id and chunk.index == self.index, "chunks of one snapshot, in order (R12)"
        by_table: dict[int, list[tuple[bytes, bytes]]] = {}
        for number, key, value in chunk.rows:
            by_table.setdefault(number, []).append((self._prefix + key, value))
        for number, written in by_table.items():
            self._tables.put_many(COPIED[number], written)
            self._rows += len(written)
            self._digest += digest_of(number, written, len(self._prefix))
        self.index += 1

    @property
    def sum(self) -> Sum:
        """Of the rows that were written."""
        return Sum(self._rows, self._digest & MASK)

    def whole(self) -> Position:
        """The position of the copy, all of whose rows are here."""
        return replace(self.position, count=self._rows, digest=self.sum.digest)

    def more(self, bucket: int, term: int) -> SnapMore:
        """What is said once everything so far is on disk."""
        return SnapMore(bucket, term, self.id, self.index)

    def abandon(self) -> None:
        """Nothing will come of it: its rows are swept."""
        self._copies.abandon(self.position.copy)


def known_tables(chunk: Snap) -> bool:
    """False where the chunk has rows of a table that this version does not have."""
    return {number for number, _, _ in chunk.rows} <= _NUMBERS
