"""A node's data directory: one process at a time, private to its user.

    lock        held with flock for as long as the directory is open; names the process that holds it
    store/      the LMDB environment

There is no file for the identity: it lives in the store, so that it cannot be parted from the data that it
signs for.

The lock belongs to the open file and not to the process: a child made by fork would inherit it and keep the
directory locked after the node has died (a killed node whose pool of processes lives on could not be
restarted). So children close it as they start; closing, unlike unlocking, leaves the parent's lock alone.
Programs started by exec never see it. Over NFS, flock is only as good as the server, and LMDB does not work
there at all: the directory must be on a local disk.
"""

from __future__ import annotations

import errno
import fcntl
import os
import weakref
from pathlib import Path
from types import TracebackType

from zmqueue.store.errors import DirectoryInUse, StoreError

LOCK_NAME = "lock"
STORE_NAME = "store"
DATA_NAME = "data.mdb"


class Directory:
    """An open data directory; made by `open_directory`, holds the lock until `close`."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.store_path = path / STORE_NAME
        self._lock = lock
        _open_directories.add(self)

    @property
    def empty(self) -> bool:
        """True while no store was ever made here. (A store without an identity in META is as good as none: a
        crash can come between the two.)"""
        return not (self.store_path / DATA_NAME).exists()

    def close(self) -> None:
        """Release the lock; close the store first. May be called twice."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def __enter__(self) -> Directory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()


def open_directory(path: str | os.PathLike[str], *, create: bool) -> Directory:
    """Open the data directory at `path` and lock it; make it first (mode 0700) if `create` and it is missing.

    Raises DirectoryInUse (definite) when another opener, in this process or another, holds it; StoreError
    when there is no directory, or it cannot be used.
    """
    where = Path(path).absolute()
    try:
        if create and not where.exists():
            where.mkdir(mode=0o700, parents=True, exist_ok=True)
            sync_directory(where.parent)
        lock = os.open(where / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except FileNotFoundError as error:
        raise StoreError(f"there is no data directory {where}: check the path, or have it made") from error
    except OSError as error:
        raise StoreError(f"cannot use {where} as a data directory: {error.strerror}") from error
    try:
        _take(lock, where)
    except BaseException:
        os.close(lock)
        raise
    return Directory(where, lock)


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable: after a power cut, a synced file without its name is lost all
    the same."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _take(lock: int, where: Path) -> None:
    """Lock the open file, and write into it who holds it."""
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            raise StoreError(f"cannot lock {where / LOCK_NAME}: {error.strerror}") from error
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise DirectoryInUse(
            f"data directory {where} is in use by process {holder}: a directory belongs to one node;"
            " stop that one, or give this one a directory of its own"
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, b"%d\n" % os.getpid(), 0)


def _close_in_child() -> None:
    for directory in list(_open_directories):
        directory.close()


_open_directories: weakref.WeakSet[Directory] = weakref.WeakSet()
os.register_at_fork(after_in_child=_close_in_child)
