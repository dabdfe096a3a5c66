"""What can go wrong in a store, named by cause.

Only a failed commit is *indefinite* (the batch may be on disk or not); everything else here certainly changed
nothing.
"""

from __future__ import annotations

from zmqueue.core.tables import Damage


class StoreError(Exception):
    """The base of what a store raises for the world's faults."""


class CorruptRecord(StoreError, Damage):
    """A record's bytes are not those that were written under this key in this table. Other records can still
    be read. A node makes its copy of that bucket anew from another replica; it stops where the record is its
    own and no bucket's."""

    def __init__(self, table: str, key: bytes, sealed_bytes: int) -> None:
        super().__init__(
            f"record {key.hex()} of table {table!r} ({sealed_bytes} bytes with its frame) does not fit its"
            " checksum: something below changed it", table, key)
        self.sealed_bytes = sealed_bytes


class StoreFailed(StoreError):
    """A write, a commit or the file itself failed; the store refuses everything from then on (R18).

    Indefinite when `commit` raises it: whether the batch is on disk is known only after a new process has
    opened the store again. Never retry: a second fsync may succeed without having written what the first one
    lost.
    """


class StoreTruncated(StoreError):
    """The file ends before what it holds: something cut it off. Definite: nothing was touched.

    It is found before LMDB maps the file, since a page that is not there ends the process (SIGBUS).
    """

    def __init__(self, path: str, file_bytes: int, missing_bytes: int) -> None:
        what = (f"{missing_bytes:,} bytes of what it holds lie beyond its end, at {file_bytes:,}" if file_bytes else
                "it is empty (if no node ever served from this directory, remove it)")
        super().__init__(f"{path} was cut off: {what}. Keep it aside, and start the node on an empty directory with"
                         " --join: the other nodes fill it")
        self.missing_bytes = missing_bytes


class StoreMisused(StoreError):
    """A second thread, a forked child, or a closed store or snapshot: the caller's mistake. Nothing was done.

    Raised and not asserted, because LMDB answers these mistakes with corruption, also under `python -O`.
    """


class DirectoryInUse(StoreError):
    """Another opener has this data directory. Definite: nothing in it was touched."""


class FormatTooNew(StoreError):
    """A newer version wrote this store, in a format that this one does not know. Definite: nothing was
    touched."""

    def __init__(self, path: str, found: int, known: int) -> None:
        super().__init__(
            f"{path} has store format {found}; this version reads formats up to {known}:"
            " install the version that wrote it, or a later one"
        )
        self.found = found
        self.known = known
