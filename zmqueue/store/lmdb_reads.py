"""Reads the rows of an LMDB transaction: alike for the batch and for the snapshot, which is here too.

A table is found by its value, not by the enum member: hashing a member runs Python code (see `records`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import lmdb

from zmqueue.core.tables import Table
from zmqueue.store.errors import CorruptRecord, StoreMisused
from zmqueue.store.records import check_key, unseal

if TYPE_CHECKING:
    from zmqueue.store.lmdb_store import LmdbStore

Transaction: TypeAlias = "lmdb.Transaction[bytes]"
Databases: TypeAlias = "dict[str, lmdb._Database]"


class LmdbSnapshot:
    """A read transaction on the last durable batch. Pages that it can see are not reused: close it soon."""

    __slots__ = ("__weakref__", "_databases", "_store", "_transaction")

    def __init__(self, store: LmdbStore, transaction: Transaction, databases: Databases) -> None:
        self._store = store
        self._transaction: Transaction | None = transaction
        self._databases = databases

    @property
    def valid(self) -> bool:
        return self._transaction is not None

    def get(self, table: Table, key: bytes) -> bytes | None:
        try:
            return get_row(self._open(), self._databases, table, key)
        except lmdb.Error as error:
            raise self._store._fail(f"reading {table.value!r}", error) from error

    def scan(self, table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        try:
            return scan_rows(self._open(), self._databases, table, start, stop, limit)
        except lmdb.Error as error:
            raise self._store._fail(f"reading {table.value!r}", error) from error

    def last(self, table: Table, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        try:
            return last_row(self._open(), self._databases, table, start, stop)
        except lmdb.Error as error:
            raise self._store._fail(f"reading {table.value!r}", error) from error

    def close(self) -> None:
        transaction, self._transaction = self._transaction, None
        if transaction is not None and not self._store._forked:
            transaction.abort()

    def _open(self) -> Transaction:
        self._store._check_usable()
        if self._transaction is None:
            raise StoreMisused("this snapshot is closed (by its user, or as the map grew): open another one")
        return self._transaction


def get_row(transaction: Transaction, databases: Databases, table: Table, key: bytes) -> bytes | None:
    check_key(table, key)
    sealed = transaction.get(key, db=databases[table._value_])
    return None if sealed is None else unseal(table, key, sealed)


def scan_rows(transaction: Transaction, databases: Databases, table: Table, start: bytes, stop: bytes,
              limit: int) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    cursor = transaction.cursor(db=databases[table._value_])
    if limit <= 0 or not _seek(cursor, start):
        return found
    try:
        for key, sealed in cursor.iternext():
            if key >= stop:
                break
            found.append((key, unseal(table, key, sealed)))
            if len(found) == limit:
                break
    except CorruptRecord as damage:
        if damage.key >= start:
            raise
        # The key itself was changed: what it says now belongs to nobody, but it stands among the rows of this range.
        raise CorruptRecord(table.value, start, damage.sealed_bytes) from damage
    return found


def last_row(transaction: Transaction, databases: Databases, table: Table, start: bytes,
             stop: bytes) -> tuple[bytes, bytes] | None:
    cursor = transaction.cursor(db=databases[table._value_])
    there = cursor.prev() if _seek(cursor, stop) else cursor.last()
    if not there:
        return None
    key, sealed = cursor.item()
    return (key, unseal(table, key, sealed)) if start <= key < stop else None


def delete_rows(transaction: Transaction, databases: Databases, table: Table, start: bytes, stop: bytes,
                limit: int) -> int:
    """Delete at most `limit` rows of the range, lowest first; a damaged row goes like any other."""
    cursor = transaction.cursor(db=databases[table._value_])
    deleted = 0
    there = limit > 0 and _seek(cursor, start)
    while there and deleted < limit and cursor.key() < stop:
        cursor.delete()  # leaves the cursor on the next row
        deleted += 1
        there = cursor.key() != b""
    return deleted


def _seek(cursor: lmdb.Cursor[bytes], start: bytes) -> bool:
    """Move to the first row with a key >= start; say whether there is one. LMDB has no empty key, not even to
    seek."""
    return cursor.set_range(start) if start else cursor.first()
