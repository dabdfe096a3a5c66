"""Frames every record with a checksum over table, key and value, so that a changed or misplaced one is
noticed.

    format byte (1) | crc32 of table name, key, value (4 bytes, big-endian) | value

LMDB checks no page, so a flipped bit in a value would otherwise be replicated as if it were right. The key is
covered because a torn page can put a sound value under a wrong key. This runs for every record that is read
or written: the table's part of the checksum is computed once, as the seed of the rest.
"""

from __future__ import annotations

from collections.abc import Sequence
from zlib import crc32

from zmqueue.core.tables import Table
from zmqueue.store.errors import CorruptRecord

RECORD_FORMAT = 1
FRAME_BYTES = 5
KEY_BYTES_MAX = 511  # LMDB's limit as it is compiled everywhere; the in-memory twin keeps it too

_FORMAT = RECORD_FORMAT << 32

# By the member's value and not by the member: hashing an enum member runs Python code, 4 times as slow.
_SEEDS = {table.value: crc32(table.value.encode()) for table in Table}


def seal(table: Table, key: bytes, value: bytes) -> bytes:
    """Return `value` in its frame.

    >>> unseal(Table.META, b"key", seal(Table.META, b"key", b"value"))
    b'value'
    """
    return (_FORMAT | crc32(value, crc32(key, _SEEDS[table._value_]))).to_bytes(5, "big") + value


def unseal(table: Table, key: bytes, sealed: bytes) -> bytes:
    """Return the value in the frame `sealed`. Raises CorruptRecord where frame, table, key and value do not
    fit."""
    value = sealed[5:]
    if sealed[:5] != (_FORMAT | crc32(value, crc32(key, _SEEDS[table._value_]))).to_bytes(5, "big"):
        raise CorruptRecord(table.value, key, len(sealed))
    return value


def seal_rows(table: Table, rows: Sequence[tuple[bytes, bytes]]) -> list[tuple[bytes, bytes]]:
    """Return the rows with sealed values, all keys checked: `check_key` and `seal` for each, without a call
    for each."""
    seed = _SEEDS[table._value_]
    sealed = []
    for key, value in rows:
        if not 0 < len(key) <= KEY_BYTES_MAX:
            check_key(table, key)
        sealed.append((key, (_FORMAT | crc32(value, crc32(key, seed))).to_bytes(5, "big") + value))
    return sealed


def check_key(table: Table, key: bytes) -> None:
    """Raise ValueError unless `key` has a length that a store can hold; nothing was written then."""
    if not 0 < len(key) <= KEY_BYTES_MAX:
        raise ValueError(
            f"key of {len(key)} bytes for table {table.value!r}; a key has 1 to {KEY_BYTES_MAX} bytes:"
            f" {key[:32].hex()}{'...' if len(key) > 32 else ''}"
        )
