"""What a virtual disk is made of: the in-memory store, or LMDB itself in a directory of its own.

Both obey one contract and fail in the same ways, so a run is the same on either, to the byte.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from zmqueue.core.tables import Store, Table
from zmqueue.store import LmdbStore, MemoryStore, StoreFailed

MAP_BYTES = 64 << 20
"""Room for what a run writes: a map that grew would close open snapshots at a moment of LMDB's choice."""

HEADROOM_BYTES = 8 << 20

SHARED_MEMORY = Path("/dev/shm")
"""Where it is there, files need no disk, and a sync no time."""


class FaultyStore(Store, Protocol):
    """A store that can be told to fail."""

    full: bool                             # commits fail as on a full disk: the batch is certainly not on it
    fail_next_commit: bool                 # the next commit fails as fsync does: the batch may be on the disk
    fail_next_write: bool                  # the next write fails; nothing of the batch is on the disk

    def flip(self, table: Table, key: bytes, bit: int) -> None:
        """Flip one bit of a record as it lies on the disk."""
        ...


class Medium(Protocol):
    """One disk: `store` is what is open on it."""

    @property
    def store(self) -> FaultyStore: ...

    def reopen(self, *, keep_unsynced: bool) -> None:
        """The process died: open what a restart finds, with or without the batch whose sync had begun."""
        ...

    def erase(self) -> None:
        """Put an empty disk in its place."""
        ...


class InMemory:
    """A disk that is a `MemoryStore`."""

    def __init__(self) -> None:
        self.store = MemoryStore()

    def reopen(self, *, keep_unsynced: bool) -> None:
        self.store = self.store.crash(keep_unsynced=keep_unsynced)

    def erase(self) -> None:
        self.store = MemoryStore()


class OnLmdb:
    """A disk that is LMDB, in a directory that `close` removes."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(
            prefix="zmqueue-disk-", dir=SHARED_MEMORY if SHARED_MEMORY.is_dir() else None))
        self._generation = 0
        self.store = self._open()

    def _open(self) -> FaultyLmdbStore:
        return FaultyLmdbStore(self._folder / f"store-{self._generation}", map_bytes=MAP_BYTES,
                               headroom_bytes=HEADROOM_BYTES)

    def reopen(self, *, keep_unsynced: bool) -> None:
        self.store.end(keep_unsynced=keep_unsynced)
        self.store = self._open()

    def erase(self) -> None:
        self.store.end(keep_unsynced=False)
        self._generation += 1
        self.store = self._open()

    def close(self) -> None:
        """Close the store and remove its directory."""
        self.store.end(keep_unsynced=False)
        shutil.rmtree(self._folder)


class FaultyLmdbStore(LmdbStore):
    """`LmdbStore` that fails where it is told to, as `MemoryStore` does."""

    full = fail_next_commit = fail_next_write = False
    _batch_lost = False

    def commit(self) -> None:
        if self.dirty and (self.full or self.fail_next_commit):
            self._refuse("no space left on the disk" if self.full else "the disk failed to sync", batch_lost=self.full)
        super().commit()

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self._look_at_write()
        super().put(table, key, value)

    def put_many(self, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
        self._look_at_write()
        super().put_many(table, rows)

    def _look_at_write(self) -> None:
        if self.fail_next_write:
            self._refuse("the disk failed to write", batch_lost=True)

    def _refuse(self, why: str, batch_lost: bool) -> None:
        # The batch stays open: whether it is on the disk after all is decided at the crash that follows.
        self._batch_lost, self._failure = batch_lost, why
        raise StoreFailed(f"{why}; the store is unusable until a restart")

    def flip(self, table: Table, key: bytes, bit: int) -> None:
        with self._environment.begin(write=True) as change:
            found = change.get(key, db=self._databases[table.value])
            assert found is not None, "only what is durable lies on the disk; commit first"
            record = bytearray(found)
            record[bit // 8] ^= 1 << bit % 8
            change.put(key, bytes(record), db=self._databases[table.value])

    def end(self, *, keep_unsynced: bool) -> None:
        """The process died: the batch is lost, unless its sync had begun and came to its end."""
        self._failure = None
        if keep_unsynced and not self._batch_lost:
            super().commit()
        self.close()
