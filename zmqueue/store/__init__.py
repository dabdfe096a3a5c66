"""Stores: ordered tables of bytes that change in durable batches. LMDB on disk, and its in-memory twin for
simulation.

The contract is `zmqueue.core.tables`.
"""

from __future__ import annotations

from zmqueue.store.directory import Directory, open_directory
from zmqueue.store.errors import (
    CorruptRecord,
    DirectoryInUse,
    FormatTooNew,
    StoreError,
    StoreFailed,
    StoreMisused,
    StoreTruncated,
)
from zmqueue.store.lmdb_store import LmdbStatistics, LmdbStore
from zmqueue.store.memory import MemoryStore
from zmqueue.store.reserve import DiskRoom

__all__ = [
    "CorruptRecord",
    "Directory",
    "DirectoryInUse",
    "DiskRoom",
    "FormatTooNew",
    "LmdbStatistics",
    "LmdbStore",
    "MemoryStore",
    "StoreError",
    "StoreFailed",
    "StoreMisused",
    "StoreTruncated",
    "open_directory",
]
