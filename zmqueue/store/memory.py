"""The in-memory twin of the LMDB store, for simulation: the same contract, and a disk whose faults can be
asked for.

Writes change the rows at once; what they replaced is kept until the commit. So the batch is read without a
detour, a crash puts the old values back, and a snapshot is the rows seen through what was replaced since it
was opened.

Values are kept sealed and checked at each read like on a real disk, so that a flipped bit takes the same way.
"""

from __future__ import annotations

import hashlib
import itertools
from bisect import bisect_left, insort
from collections.abc import Iterator, Mapping, Sequence
from typing import NoReturn

from zmqueue.core.tables import Table
from zmqueue.store.errors import StoreFailed, StoreMisused
from zmqueue.store.records import check_key, seal, seal_rows, unseal

Replaced = dict[bytes, bytes | None]
"""What rows held before they were changed, sealed; None where there was no row."""


class _Rows:
    """One table: sealed values by key, the keys in order, and what the batch replaced."""

    __slots__ = ("keys", "replaced", "values")

    def __init__(self, values: dict[bytes, bytes] | None = None) -> None:
        self.values: dict[bytes, bytes] = {} if values is None else values
        self.keys: list[bytes] = sorted(self.values)
        self.replaced: Replaced = {}

    def set(self, key: bytes, sealed: bytes) -> None:
        old = self.values.get(key)
        if key not in self.replaced:
            self.replaced[key] = old
        if old is None:
            insort(self.keys, key)
        self.values[key] = sealed

    def remove(self, first: int, end: int) -> None:
        """Remove the rows at these places of the order."""
        for key in self.keys[first:end]:
            old = self.values.pop(key)
            self.replaced.setdefault(key, old)
        del self.keys[first:end]

    def span(self, start: bytes, stop: bytes) -> tuple[int, int]:
        first = bisect_left(self.keys, start)
        return first, max(first, bisect_left(self.keys, stop, first))

    def roll_back(self) -> None:
        for key, old in self.replaced.items():
            if old is None:
                self.values.pop(key, None)
            else:
                self.values[key] = old
        if self.replaced:
            self.keys = sorted(self.values)
        self.replaced = {}

    def durable(self) -> dict[bytes, bytes]:
        values = dict(self.values)
        for key, old in self.replaced.items():
            if old is None:
                values.pop(key, None)
            else:
                values[key] = old
        return values


class MemorySnapshot:
    """The rows as they were durable when it was opened."""

    __slots__ = ("_replaced", "_store")

    def __init__(self, store: MemoryStore) -> None:
        self._store: MemoryStore | None = store
        self._replaced: dict[Table, Replaced] = {}  # by the batches that were committed since

    @property
    def valid(self) -> bool:
        return self._store is not None

    def get(self, table: Table, key: bytes) -> bytes | None:
        check_key(table, key)
        rows, since = self._rows(table)
        if key in since:
            sealed = since[key]
        else:
            sealed = rows.replaced[key] if key in rows.replaced else rows.values.get(key)
        return None if sealed is None else unseal(table, key, sealed)

    def scan(self, table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        rows, since = self._rows(table)
        replaced = {**rows.replaced, **since}  # of two changes to a row, what the first one replaced
        found = itertools.islice(_through(rows, replaced, start, stop), max(limit, 0))
        return [(key, unseal(table, key, sealed)) for key, sealed in found]

    def last(self, table: Table, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        rows, since = self._rows(table)
        found = list(_through(rows, {**rows.replaced, **since}, start, stop))
        return (found[-1][0], unseal(table, *found[-1])) if found else None

    def close(self) -> None:
        if self._store is not None:
            self._store._snapshots.remove(self)
            self._store = None

    def _rows(self, table: Table) -> tuple[_Rows, Replaced]:
        """The rows of now, and what committed batches replaced in them since."""
        if self._store is None:
            raise StoreMisused("this snapshot is closed (by its user, or as its store ended): open another")
        self._store._check_usable()
        return self._store._tables[table], self._replaced.get(table, {})

    def _batch_committed(self, table: Table, replaced: Replaced) -> None:
        mine = self._replaced.setdefault(table, {})
        for key, old in replaced.items():
            mine.setdefault(key, old)


class MemoryStore:
    """`Store` in memory. `crash` and `copy` give the disk; the attributes and `flip` make it fail."""

    def __init__(self) -> None:
        self.fail_next_commit = False   # the next commit fails as fsync does: the batch may be on the disk
        self.fail_next_write = False    # the next write fails: nothing of the batch is on the disk
        self.full = False               # commits fail as on a full disk: the batch is certainly not on it
        self.commits = 0
        self._tables = {table: _Rows() for table in Table}
        self._snapshots: list[MemorySnapshot] = []
        self._dirty = False
        self._batch_lost = False
        self._failure: str | None = None
        self._closed = False

    # -- reading and writing ---------------------------------------------------------------------------------

    def get(self, table: Table, key: bytes) -> bytes | None:
        check_key(table, key)
        self._check_usable()
        sealed = self._tables[table].values.get(key)
        return None if sealed is None else unseal(table, key, sealed)

    def scan(self, table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        self._check_usable()
        rows = self._tables[table]
        first, end = rows.span(start, stop)
        keys = rows.keys[first:min(end, first + max(limit, 0))]
        return [(key, unseal(table, key, rows.values[key])) for key in keys]

    def last(self, table: Table, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        self._check_usable()
        rows = self._tables[table]
        first, end = rows.span(start, stop)
        if first == end:
            return None
        key = rows.keys[end - 1]
        return key, unseal(table, key, rows.values[key])

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        check_key(table, key)
        self._check_usable()
        if self.fail_next_write:
            self._fail("the disk failed to write", batch_lost=True)
        self._tables[table].set(key, seal(table, key, value))
        self._dirty = True

    def put_many(self, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
        sealed_rows = seal_rows(table, rows)
        self._check_usable()
        if self.fail_next_write:
            self._fail("the disk failed to write", batch_lost=True)
        target = self._tables[table]
        for key, sealed in sealed_rows:
            target.set(key, sealed)
        self._dirty = self._dirty or bool(rows)

    def delete(self, table: Table, key: bytes) -> bool:
        check_key(table, key)
        self._check_usable()
        rows = self._tables[table]
        if key not in rows.values:
            return False
        place = bisect_left(rows.keys, key)
        rows.remove(place, place + 1)
        self._dirty = True
        return True

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        self._check_usable()
        rows = self._tables[table]
        first, end = rows.span(start, stop)
        end = min(end, first + max(limit, 0))
        rows.remove(first, end)
        self._dirty = self._dirty or end > first
        return end - first

    # -- batches ---------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        return self._dirty

    def commit(self) -> None:
        self._check_usable()
        if not self._dirty:
            return
        if self.full or self.fail_next_commit:
            self._fail("no space left on the disk" if self.full else "the disk failed to sync", batch_lost=self.full)
        for table, rows in self._tables.items():
            if rows.replaced:
                for snapshot in self._snapshots:
                    snapshot._batch_committed(table, rows.replaced)
                rows.replaced = {}
        self._dirty = False
        self.commits += 1

    def snapshot(self) -> MemorySnapshot:
        self._check_usable()
        snapshot = MemorySnapshot(self)
        self._snapshots.append(snapshot)
        return snapshot

    def abort(self) -> None:
        self._check_usable()
        self._end_batch(keep=False)

    def close(self) -> None:
        """Drop the batch that was not committed; `crash` and `copy` still give the disk. May be called
        twice."""
        if self._closed:
            return
        self._end_batch(keep=False)
        self._closed = True

    # -- the disk and its faults -----------------------------------------------------------------------------

    def crash(self, *, keep_unsynced: bool = False) -> MemoryStore:
        """End this store as a dying process does, and return what a restart finds on the disk.

        The batch that was being gathered is lost, or with `keep_unsynced` all of it is on the disk (a commit
        whose answer never came): LMDB switches one root, so there is nothing between. Faults that were asked
        for end here.
        """
        assert self._tables, "this store has crashed before; its disk went to the one that followed"
        self._end_batch(keep=keep_unsynced and not self._batch_lost)
        after = MemoryStore()
        after._tables, self._tables = self._tables, {}
        self._closed = True
        return after

    def copy(self) -> MemoryStore:
        """Return a second disk with what is durable on this one: a clone, or an old disk for
        `rollback_to`."""
        copied = MemoryStore()
        copied._tables = {table: _Rows(rows.durable()) for table, rows in self._tables.items()}
        return copied

    def rollback_to(self, mark: MemoryStore) -> None:
        """Put what was durable in `mark` (a `copy` made earlier) in place of everything: an old disk was
        restored."""
        self._check_usable()
        self._end_batch(keep=False)
        self._tables = mark.copy()._tables

    def flip(self, table: Table, key: bytes, bit: int) -> None:
        """Flip one bit of a record as it lies on the disk; bit 0 is the lowest of the frame's first byte."""
        rows = self._tables[table]
        assert key not in rows.replaced, "only what is durable lies on the disk; commit first"
        damaged = bytearray(rows.values[key])
        damaged[bit // 8] ^= 1 << bit % 8
        rows.values[key] = bytes(damaged)

    def vanish(self, table: Table, key: bytes) -> None:
        """Take a record from the disk, as a flipped bit in a branch of the tree hides it."""
        rows = self._tables[table]
        assert key not in rows.replaced, "only what is durable lies on the disk; commit first"
        del rows.values[key]
        rows.keys.remove(key)

    def sealed_bytes(self, table: Table, key: bytes) -> int:
        """Return the length of a record with its frame; `flip` takes bits below 8 times that."""
        return len(self._tables[table].values[key])

    def content_hash(self) -> bytes:
        """Return 16 bytes that stand for all that is durable; equal for equal content, in every process."""
        hashed = hashlib.blake2b(digest_size=16)
        for table, rows in self._tables.items():
            for key, sealed in sorted(rows.durable().items()):
                hashed.update(b"%s %d %d " % (table.value.encode(), len(key), len(sealed)) + key + sealed)
        return hashed.digest()

    # -- inside ----------------------------------------------------------------------------------------------

    def _end_batch(self, keep: bool) -> None:
        for snapshot in list(self._snapshots):
            snapshot.close()
        for rows in self._tables.values():
            if keep:
                rows.replaced = {}
            else:
                rows.roll_back()
        self._dirty = False

    def _fail(self, why: str, batch_lost: bool) -> NoReturn:
        """Refuse everything from now on (R18)."""
        self._batch_lost, self._failure = batch_lost, why
        raise StoreFailed(f"{why}; the store is unusable until a restart")

    def _check_usable(self) -> None:
        if self._closed:
            raise StoreMisused("this store is closed")
        if self._failure is not None:
            raise StoreFailed(f"{self._failure}; the store is unusable until a restart")


def _through(rows: _Rows, replaced: Mapping[bytes, bytes | None], start: bytes,
             stop: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The rows of a range, ascending, with what was replaced in place of what is there now."""
    first, end = rows.span(start, stop)
    gone = [key for key in replaced if start <= key < stop and key not in rows.values]
    keys = sorted(rows.keys[first:end] + gone) if gone else rows.keys[first:end]
    for key in keys:
        sealed = replaced[key] if key in replaced else rows.values[key]
        if sealed is not None:
            yield key, sealed
