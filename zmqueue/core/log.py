"""The log of one copy: entries numbered without a gap, the newest of them in memory, all of them in the table LOG.

A row is the term in which the entry was created (u64) and the operation's bytes, under `copy | seq (u64)`. The log
begins after its *base*, of which only the term is kept. Below the commit index it is kept for learners that have
fallen behind a little, and is compacted in small steps, so that no turn deletes much at once.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence

from zmqueue.core.keys import copy_prefix
from zmqueue.core.operations import Operation, decode
from zmqueue.core.packets import Entry
from zmqueue.core.tables import RowMissing, Table, Tables, span

KEEP_ENTRIES = 4_096
"""Entries kept below the commit index: some seconds of a busy bucket, what a restarted replica has missed."""

KEEP_BYTES = 16 << 20
"""Bytes kept: a learner that misses more is about as well served by a snapshot."""

COMPACT_ENTRIES = 256
"""Entries deleted in one step: about a millisecond; many steps a second keep pace with any writer."""

PINNED_ENTRIES = 8 * KEEP_ENTRIES
PINNED_BYTES = 8 * KEEP_BYTES
"""What is kept at most for a learner that is catching up; one that is further behind gets a snapshot."""

CACHE_ENTRIES = 1_024
CACHE_BYTES = 1 << 20
"""Committed entries kept in memory, of each bucket: what its replicas have not got yet while all goes well."""

PAGE_ROWS = 16
"""Rows read at a time from the table: they may be large."""

_SEQ = struct.Struct(">Q")
_TERM = struct.Struct(">Q")


class Log:
    """The entries base_seq + 1 to end of one copy."""

    __slots__ = ("_cache", "_cached_bytes", "_cached_from", "_operations", "_prefix", "_sized_bytes", "_sizes",
                 "_tables", "base_seq", "base_term", "end")

    def __init__(self, tables: Tables, copy: int, base_seq: int, base_term: int, commit: int) -> None:
        self._tables = tables
        self._prefix = copy_prefix(copy)
        self.base_seq = base_seq
        self.base_term = base_term
        self.end = self._last_seq()
        assert base_seq <= commit, "what is below the base is committed"
        if self.end < commit:
            raise RowMissing(Table.LOG, self._key(self.end + 1))
        self._operations: dict[int, Operation] = {}     # decoded, of entries that are not applied yet
        self._cache: dict[int, Entry] = {}              # the entries from _cached_from to the end
        self._cached_from = commit + 1
        self._cached_bytes = 0
        self._sizes: deque[int] = deque()               # of the newest entries; of older ones nothing is known
        self._sized_bytes = 0
        for seq, entry in enumerate(self._read(commit + 1, self.end - commit), commit + 1):
            self._remember(seq, entry)

    def _last_seq(self) -> int:
        last = self._tables.last(Table.LOG, *span(self._prefix))
        return self.base_seq if last is None else _SEQ.unpack_from(last[0], len(self._prefix))[0]

    @property
    def known_bytes(self) -> int:
        """The bytes of the log, as far as they are known: of what was there at the start, only the tail's are."""
        return self._sized_bytes

    # --- reading ---

    def term_at(self, seq: int) -> int | None:
        """The term of an entry; None where it is not in the log. The base still tells its term."""
        if seq == self.base_seq:
            return self.base_term
        return self.entry(seq)[0] if self.base_seq < seq <= self.end else None

    def entry(self, seq: int) -> Entry:
        """The entry `seq`, which is in the log."""
        assert self.base_seq < seq <= self.end, f"entry {seq} is not in the log"
        return self._cache[seq] if seq >= self._cached_from else self._read(seq, 1)[0]

    def operation(self, seq: int) -> Operation:
        """What the entry says. What the primary appended itself is not decoded again."""
        operation = self._operations.get(seq)
        return decode(self.entry(seq)[1]) if operation is None else operation

    def entries(self, after: int, entries_max: int, bytes_max: int) -> tuple[Entry, ...]:
        """The entries after `after`: at least one if there is one, then as many as the limits allow."""
        found: list[Entry] = []
        size = 0
        seq, last = after + 1, min(self.end, after + entries_max)
        while seq <= last:
            page = [self._cache[seq]] if seq >= self._cached_from else self._read(seq, min(PAGE_ROWS, last + 1 - seq))
            for entry in page:
                size += len(entry[1])
                if found and size > bytes_max:
                    return tuple(found)
                found.append(entry)
            seq += len(page)
        return tuple(found)

    def _read(self, seq: int, number: int) -> list[Entry]:
        rows = self._tables.scan(Table.LOG, self._key(seq), self._key(self.end + 1), number)
        last = min(seq + number - 1, self.end)
        if last >= seq and (len(rows) != last + 1 - seq or rows[-1][0] != self._key(last)):
            there = {key for key, _ in rows}
            raise RowMissing(Table.LOG, next(key for key in map(self._key, range(seq, last + 1)) if key not in there))
        return [(_TERM.unpack_from(row)[0], row[_TERM.size:]) for _, row in rows]

    def _key(self, seq: int) -> bytes:
        return self._prefix + _SEQ.pack(seq)

    # --- writing ---

    def append(self, term: int, data: bytes, operation: Operation) -> int:
        """Add the primary's own entry; return its seq."""
        self.end += 1
        self._tables.put(Table.LOG, self._key(self.end), _TERM.pack(term) + data)
        self._operations[self.end] = operation
        self._remember(self.end, (term, data))
        return self.end

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add entries as they came from a primary."""
        first = self.end + 1
        self._tables.put_many(Table.LOG, [
            (self._key(seq), _TERM.pack(entry[0]) + entry[1]) for seq, entry in enumerate(entries, first)])
        for seq, entry in enumerate(entries, first):
            self._remember(seq, entry)
        self.end += len(entries)

    def cut(self, seq: int) -> None:
        """Take out all entries above `seq`, none of which is committed (R6)."""
        assert self._cached_from <= seq + 1, "only what is not committed is cut"
        self._tables.delete_range(Table.LOG, self._key(seq + 1), self._key(self.end + 1), self.end - seq)
        for gone in range(seq + 1, self.end + 1):
            self._cached_bytes -= len(self._cache.pop(gone)[1])
            self._operations.pop(gone, None)
            self._sized_bytes -= self._sizes.pop()
        self.end = seq

    def _remember(self, seq: int, entry: Entry) -> None:
        size = len(entry[1])
        self._cache[seq] = entry
        self._cached_bytes += size
        self._sizes.append(size)
        self._sized_bytes += size

    # --- forgetting ---

    def applied(self, seq: int) -> None:
        """The entry is applied: its decoded form is not needed again."""
        self._operations.pop(seq, None)

    def trim(self, commit: int) -> None:
        """Keep only the newest of the committed entries in memory; those above `commit` all stay."""
        while self._cached_from <= commit and (
                self._cached_bytes > CACHE_BYTES or len(self._cache) > CACHE_ENTRIES):
            self._cached_bytes -= len(self._cache.pop(self._cached_from)[1])
            self._cached_from += 1

    def compact(self, upto: int, entries_max: int = KEEP_ENTRIES, bytes_max: int = KEEP_BYTES) -> bool:
        """Raise the base by one step where the log is too long, never above `upto`; say whether it was.

        `upto` is at most the commit index. It waits until a whole step is over the limit: many rows side by side
        are deleted as cheaply as few.
        """
        if (self.end - self.base_seq < entries_max + COMPACT_ENTRIES
                and self._sized_bytes < bytes_max + bytes_max // 16):
            return False
        base = self._base_within(min(upto, self.base_seq + COMPACT_ENTRIES), entries_max, bytes_max)
        if base <= self.base_seq:
            return False
        term = self.term_at(base)
        assert term is not None, "the new base is in the log"
        self._tables.delete_range(Table.LOG, self._key(self.base_seq + 1), self._key(base + 1), base - self.base_seq)
        self._drop_below(base)
        self.base_seq, self.base_term = base, term
        return True

    def _base_within(self, upto: int, entries_max: int, bytes_max: int) -> int:
        """The lowest base at which the log is within its limits, or `upto`."""
        base, size, sized_from = self.base_seq, self._sized_bytes, self.end - len(self._sizes) + 1
        while base < upto and (self.end - base > entries_max or size > bytes_max):
            base += 1
            if base >= sized_from:
                size -= self._sizes[base - sized_from]
        return base

    def _drop_below(self, base: int) -> None:
        while len(self._sizes) > self.end - base:
            self._sized_bytes -= self._sizes.popleft()
        while self._cached_from <= base:
            self._cached_bytes -= len(self._cache.pop(self._cached_from)[1])
            self._cached_from += 1
