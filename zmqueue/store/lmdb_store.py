"""The store on disk: an LMDB environment with one named database for each table.

LMDB is a copy-on-write B+tree in one mapped file: a commit writes new pages, syncs, then switches a root, so
a batch is on disk as a whole or not at all and a crash needs no repair. Three of its rules shape this module:
a write transaction belongs to one thread; nothing may be open while the map grows; no handle survives a fork.

Sync stays on and the map read-only: with `sync=False` or `writemap=True` a crash can lose or corrupt what was
confirmed, which is what this queue must never do.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from threading import get_ident

import lmdb

from zmqueue.core.tables import Table
from zmqueue.store.directory import DATA_NAME, sync_directory
from zmqueue.store.errors import (
    DirectoryInUse,
    FormatTooNew,
    StoreError,
    StoreFailed,
    StoreMisused,
    StoreTruncated,
)
from zmqueue.store.lmdb_reads import (
    Databases,
    LmdbSnapshot,
    Transaction,
    delete_rows,
    get_row,
    last_row,
    scan_rows,
)
from zmqueue.store.pages import NotAStore, missing_bytes
from zmqueue.store.records import KEY_BYTES_MAX, check_key, seal, seal_rows
from zmqueue.store.reserve import DiskRoom, Reserve

STORE_FORMAT = 1
MAP_BYTES = 1 << 30         # address space, not disk: the file grows as it is used
HEADROOM_BYTES = 256 << 20  # what one batch may add (half-full and copied pages too); more fails the store
PAGE_BYTES_MAX = 64 << 10
META_PAGES = 2              # the two roots, at the file's beginning
READERS_MAX = 32            # open snapshots at one time: about one for each learner that is being fed

_FORMAT_DATABASE = b"zmqueue"
_FORMAT_KEY = b"store format"
_BROKEN = (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.BadTxnError, lmdb.CursorFullError)
"""What LMDB says of pages that cannot be."""

_NOBODY = 0                 # no thread has this identity


@dataclass(frozen=True, slots=True)
class LmdbStatistics:
    """What an operator may want to know of the disk."""

    used_bytes: int        # of the file, pages that are free for reuse included
    map_bytes: int
    commits: int           # since the store was opened
    commit_seconds: float  # how long the last one took
    snapshots: int         # open now


class LmdbStore:
    """`Store` over LMDB. One store per path and process; one thread at a time: from its first read or write
    of a batch to the commit, a batch belongs to the thread that began it."""

    def __init__(self, path: str | os.PathLike[str], *, map_bytes: int = MAP_BYTES,
                 headroom_bytes: int = HEADROOM_BYTES, readers_max: int = READERS_MAX,
                 reserve_bytes: int | None = None, map_bytes_max: int | None = None) -> None:
        """Open the environment in the directory `path`, made (mode 0700) if missing.

        `reserve_bytes`: disk that is kept allocated ahead of what is used (see `reserve`); None keeps none, and
        `disk_room` is not to be asked then. `map_bytes_max`: beyond that the map does not grow.

        Raises FormatTooNew, DirectoryInUse (open in this process already; across processes `open_directory`
        guards), StoreTruncated, and StoreFailed where LMDB cannot use the files. All are definite: no row was
        touched.
        """
        self.path = Path(path).resolve()
        self._headroom_bytes = headroom_bytes
        self._map_bytes_max = map_bytes_max
        self._reserve: Reserve | None = None
        self._transaction: Transaction | None = None
        self._owner = _NOBODY               # the thread that has the transaction open
        self._dirty = False
        self._closed = False
        self._forked = False                # this is a child's copy
        self._failure: str | None = None
        self._snapshots: weakref.WeakSet[LmdbSnapshot] = weakref.WeakSet()
        self._commits = 0
        self._commit_seconds = 0.0
        # LMDB's locks are per process: a second environment on these files would release those of the first.
        if any(store.path == self.path for store in _open_stores):
            raise DirectoryInUse(f"the store {self.path} is already open in this process ({os.getpid()})")
        _check_whole(self.path / DATA_NAME)
        try:
            made = not self.path.exists()
            self.path.mkdir(mode=0o700, exist_ok=True)
            self._environment = lmdb.open(
                str(self.path), map_size=self._limited(max(map_bytes, self._least_map_bytes())),
                max_dbs=len(Table) + 1,
                max_readers=readers_max, mode=0o600, lock=True, sync=True, metasync=True, writemap=False,
            )
        except (lmdb.Error, OSError) as error:
            raise StoreFailed(f"cannot open the store {self.path}: {error}") from error
        try:
            self._environment.reader_check()  # snapshots of killed processes would hold their pages for ever
            self._page_bytes = self._environment.stat()["psize"]
            self._databases = _open_databases(self._environment, self.path)
            sync_directory(self.path)
            if made:
                sync_directory(self.path.parent)
            if reserve_bytes is not None:
                self._reserve = Reserve(self.path / DATA_NAME, reserve_bytes, map_bytes_max)
        except (lmdb.Error, OSError) as error:
            self._environment.close()
            raise StoreFailed(f"cannot read the store {self.path}: {error}") from error
        except BaseException:
            self._environment.close()
            raise
        _open_stores.add(self)

    # -- reading ---------------------------------------------------------------------------------------------

    def get(self, table: Table, key: bytes) -> bytes | None:
        try:
            return get_row(self._batch(), self._databases, table, key)
        except lmdb.Error as error:
            raise self._fail(f"reading {table.value!r}", error) from error

    def scan(self, table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        try:
            return scan_rows(self._batch(), self._databases, table, start, stop, limit)
        except lmdb.Error as error:
            raise self._fail(f"reading {table.value!r}", error) from error

    def last(self, table: Table, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        try:
            return last_row(self._batch(), self._databases, table, start, stop)
        except lmdb.Error as error:
            raise self._fail(f"reading {table.value!r}", error) from error

    # -- writing ---------------------------------------------------------------------------------------------

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        check_key(table, key)
        batch = self._batch()
        try:
            batch.put(key, seal(table, key, value), db=self._databases[table._value_])
        except lmdb.Error as error:
            raise self._fail(f"writing {table.value!r}", error) from error
        self._dirty = True

    def put_many(self, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
        if not rows:
            return
        sealed = seal_rows(table, rows)
        batch = self._batch()
        try:
            batch.cursor(db=self._databases[table._value_]).putmulti(sealed)
        except lmdb.Error as error:
            raise self._fail(f"writing {table.value!r}", error) from error
        self._dirty = True

    def delete(self, table: Table, key: bytes) -> bool:
        check_key(table, key)
        batch = self._batch()
        try:
            was_there = batch.delete(key, db=self._databases[table._value_])
        except lmdb.Error as error:
            raise self._fail(f"deleting from {table.value!r}", error) from error
        self._dirty = self._dirty or was_there
        return was_there

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        batch = self._batch()
        try:
            deleted = delete_rows(batch, self._databases, table, start, stop, limit)
        except lmdb.Error as error:
            raise self._fail(f"deleting from {table.value!r}", error) from error
        self._dirty = self._dirty or deleted > 0
        return deleted

    # -- batches ---------------------------------------------------------------------------------------------

    @property
    def dirty(self) -> bool:
        return self._dirty

    def commit(self) -> None:
        """Make the batch durable. A batch without a write costs no sync, and lets go of the transaction all
        the same."""
        self._check_usable()
        if self._owner == _NOBODY:
            return
        batch = self._batch()
        if not self._dirty:
            self._drop_batch()
            return
        started = time.perf_counter()
        try:
            batch.commit()
        except lmdb.Error as error:
            raise self._fail("commit", error) from error
        self._commit_seconds = time.perf_counter() - started
        self._commits += 1
        self._transaction, self._owner, self._dirty = None, _NOBODY, False

    def abort(self) -> None:
        """Drop the batch and close all snapshots: what is read next is what the last commit left."""
        self._check_usable()
        if self._owner not in (_NOBODY, get_ident()):
            raise StoreMisused("the thread that has a batch open drops it, and no other")
        self._drop_batch()
        self._close_snapshots()

    def snapshot(self) -> LmdbSnapshot:
        """Open a view of the last durable batch. Raises StoreError when `readers_max` are open already."""
        self._check_usable()
        try:
            transaction = self._environment.begin(write=False)
        except lmdb.ReadersFullError as error:
            limit = self._environment.max_readers()
            raise StoreError(f"{limit} snapshots are open, the limit (readers_max): close some") from error
        except lmdb.Error as error:
            raise self._fail("opening a snapshot", error) from error
        snapshot = LmdbSnapshot(self, transaction, self._databases)
        self._snapshots.add(snapshot)
        return snapshot

    def statistics(self) -> LmdbStatistics:
        """Return counters and sizes as they are now."""
        self._check_usable()
        info = self._environment.info()
        return LmdbStatistics(
            used_bytes=(info["last_pgno"] + 1) * self._page_bytes, map_bytes=info["map_size"],
            commits=self._commits, commit_seconds=self._commit_seconds,
            snapshots=sum(snapshot.valid for snapshot in self._snapshots),
        )

    def reserve_is_whole(self) -> bool:
        """False where what was committed since `disk_room` has touched the reserve: measure again. Cheap."""
        reserve = self._reserve
        return reserve is None or reserve.covers(self._used_bytes())

    def disk_room(self) -> DiskRoom:
        """Fill the reserve up, as far as the disk has it, and say how much room there is.

        To be asked in the thread that writes. Raises StoreFailed where the file cannot be looked at.
        """
        self._check_usable()
        assert self._reserve is not None, "a store without a reserve measures nothing"
        try:
            return self._reserve.measure(self._used_bytes(), self._reusable_bytes)
        except (lmdb.Error, OSError) as error:
            raise self._fail("allocating the reserve", error) from error

    def close(self) -> None:
        """Drop the batch that was not committed and release the files. May be called twice; in a forked child
        it only forgets (the handles are the parent's)."""
        if self._closed or self._forked:
            return
        if self._owner not in (_NOBODY, get_ident()):
            raise StoreMisused("close the store in the thread that has a batch open, or after its commit")
        self._drop_batch()
        self._close_snapshots()
        if self._reserve is not None:
            self._reserve.close()
        self._environment.close()
        self._closed = True
        _open_stores.discard(self)

    # -- inside ----------------------------------------------------------------------------------------------

    def _batch(self) -> Transaction:
        """The batch's transaction: this thread's, or a new one."""
        if self._owner == get_ident():
            assert self._transaction is not None
            return self._transaction
        return self._begin()

    def _begin(self) -> Transaction:
        self._check_usable()
        if self._owner != _NOBODY:
            raise StoreMisused(
                f"thread {get_ident()} used a store whose batch belongs to thread {self._owner}:"
                " one thread has it from the first read or write to the commit"
            )
        try:
            self._make_room()
            self._transaction = self._environment.begin(write=True)
        except lmdb.Error as error:
            raise self._fail("beginning a batch", error) from error
        self._owner = get_ident()
        return self._transaction

    def _least_map_bytes(self) -> int:
        """A map that holds the file as it is and one batch more, in whole pages of any size that machines
        have."""
        data = self.path / DATA_NAME
        used_bytes = data.stat().st_size if data.exists() else 0
        return (used_bytes + self._headroom_bytes + PAGE_BYTES_MAX - 1) // PAGE_BYTES_MAX * PAGE_BYTES_MAX

    def _make_room(self) -> None:
        """Double the map until a batch of `headroom_bytes` fits, whatever of the used part is free for reuse.

        Only between transactions: LMDB moves the map, and every pointer into it dies. So snapshots are closed
        first.
        """
        info = self._environment.info()
        map_bytes = present = info["map_size"]
        needed = (info["last_pgno"] + 1) * self._page_bytes + self._headroom_bytes
        if needed <= map_bytes:
            return
        while map_bytes < needed:
            map_bytes *= 2
        map_bytes = self._limited(map_bytes)
        if map_bytes <= present:
            return                          # at its limit: what is left of it is guarded by the reserve
        self._close_snapshots()
        self._environment.set_mapsize(map_bytes)

    def _limited(self, map_bytes: int) -> int:
        return map_bytes if self._map_bytes_max is None else min(map_bytes, self._map_bytes_max)

    def _used_bytes(self) -> int:
        return int(self._environment.info()["last_pgno"] + 1) * self._page_bytes

    def _reusable_bytes(self) -> int:
        """The pages of the used part that no tree holds: LMDB uses them again before the file grows.

        Those that an open snapshot sees come later, and a large value needs several in a row: the caller keeps
        half of its reserve in unused blocks for that.
        """
        try:
            with self._environment.begin(write=False) as view:
                trees = [view.stat(), *(view.stat(database) for database in self._databases.values())]
        except lmdb.ReadersFullError:
            return 0
        held = sum(tree["branch_pages"] + tree["leaf_pages"] + tree["overflow_pages"] for tree in trees)
        return max(0, self._used_bytes() - (held + META_PAGES) * self._page_bytes)

    def _close_snapshots(self) -> None:
        for snapshot in list(self._snapshots):
            snapshot.close()
        self._snapshots.clear()

    def _drop_batch(self) -> None:
        batch, self._transaction = self._transaction, None
        self._owner, self._dirty = _NOBODY, False
        if batch is not None:
            batch.abort()

    def _fail(self, doing: str, error: Exception) -> StoreFailed:
        """Refuse everything from now on (R18), and return what to raise."""
        if self._failure is None:
            self._failure = f"{doing} in the store {self.path} failed: {error} ({_free_space(self.path)})"
            if isinstance(error, _BROKEN):
                self._failure += (". The file's structure is damaged: `zmqueue doctor` says where; keep it aside, and"
                                  " start the node on an empty directory with --join")
        if self._owner == get_ident():
            self._drop_batch()
        return StoreFailed(f"{self._failure}; the store is unusable until a restart")

    def _check_usable(self) -> None:
        if self._forked:
            raise StoreMisused(f"the store {self.path} was opened before a fork: it is the parent's alone")
        if self._closed:
            raise StoreMisused(f"the store {self.path} is closed")
        if self._failure is not None:
            raise StoreFailed(f"{self._failure}; the store is unusable until a restart")


def _check_whole(path: Path) -> None:
    """Raise StoreTruncated where the file ends before what it holds."""
    try:
        file_bytes = path.stat().st_size
        missing = missing_bytes(path) if file_bytes else 1
    except (FileNotFoundError, NotAStore):
        return                              # it is made now; or LMDB says what it is
    except OSError as error:
        raise StoreFailed(f"cannot read {path}: {error}") from error
    if missing:
        raise StoreTruncated(str(path), file_bytes, missing)


def _open_databases(environment: lmdb.Environment, path: Path) -> Databases:
    """Check the format, then open each table, making those that are missing; all in one transaction."""
    if environment.max_key_size() < KEY_BYTES_MAX:
        raise StoreError(f"LMDB takes keys of {environment.max_key_size()} bytes; {KEY_BYTES_MAX} are needed")
    with environment.begin(write=True) as transaction:
        foreign = transaction.stat()["entries"] > 0
        database = environment.open_db(_FORMAT_DATABASE, txn=transaction)
        found = transaction.get(_FORMAT_KEY, db=database)
        if found is None and foreign:
            raise StoreError(f"{path} holds an LMDB file that is not a zmqueue store: give another directory")
        if found is None:
            transaction.put(_FORMAT_KEY, b"%d" % STORE_FORMAT, db=database)
        elif not found.isdigit():
            raise StoreError(f"{path}: the row that tells the store's format is damaged: {found!r}")
        elif int(found) > STORE_FORMAT:
            raise FormatTooNew(str(path), int(found), STORE_FORMAT)
        return {table.value: environment.open_db(table.value.encode(), txn=transaction) for table in Table}


def _free_space(path: Path) -> str:
    """Tell how full the disk is: LMDB reports a write that a full disk cut short as "Input/output error"."""
    try:
        disk = os.statvfs(path)
    except OSError as error:
        return f"the disk does not answer: {error.strerror}"
    return f"{disk.f_bavail * disk.f_frsize:,} bytes free on its disk"


def _forget_in_child() -> None:
    """A pid compared at each call would cost more than the call; a hook costs nothing."""
    for store in list(_open_stores):
        store._owner, store._forked = _NOBODY, True
        if store._reserve is not None:
            store._reserve.close()
    _open_stores.clear()


_open_stores: weakref.WeakSet[LmdbStore] = weakref.WeakSet()
os.register_at_fork(after_in_child=_forget_in_child)
