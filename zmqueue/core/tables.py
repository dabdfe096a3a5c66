"""The contract between core and store: ordered tables of bytes, changed in batches that become durable as a whole.

The core reads and writes through these protocols only; `zmqueue.store` has the two implementations (LMDB and the
in-memory twin for simulation), and one contract suite holds for both.
"""

from __future__ import annotations

import enum
from collections.abc import Iterator, Sequence
from typing import Protocol


class Table(enum.Enum):
    """The ordered tables. Every table but META and BUCKETS has keys that begin with the number of a bucket's copy."""

    META = "meta"          # what the node is: identity, cluster state, acceptor record, counters
    BUCKETS = "buckets"    # bucket (u16) -> its position: copy, log base, commit index, bucket time
    LOG = "log"            # copy, seq -> (term, operation)
    BODIES = "bodies"      # copy, id -> the submission: what was submitted, written once
    MESSAGES = "messages"  # copy, id -> the record of a message that somebody has touched
    READY = "ready"        # copy, queue, priority (highest first), order -> id
    DELAYED = "delayed"    # copy, due time, order -> id
    LEASES = "leases"      # copy, id -> nothing: which messages are leased
    DEAD = "dead"          # copy, queue, order -> id
    ENDED = "ended"        # copy, bucket time after which the row may be forgotten, id -> nothing
    COUNTS = "counts"      # copy, queue -> how many messages are in which state
    EXPIRING = "expiring"  # copy, wall time of expiry, id -> nothing: messages that wait and may come too late
    GROUPS = "groups"      # copy, digest of queue and group -> who is at its head, and whether it is halted
    BEHIND = "behind"      # copy, digest of queue and group, order -> id: ready, behind the head
    UNIQUES = "uniques"    # copy, digest of queue and `unique` key -> id of the message that keeps others out
    EVENTS = "events"      # copy, id, index -> an event of progress
    OUTBOX = "outbox"      # copy, target bucket, generation of this bucket, number -> a message on its way there (Q4)
    LINKS = "links"        # copy, direction, other bucket, generation -> the last number sent or taken (Q4)


class Damage(Exception):
    """A row is not what was written: its checksum does not fit, or it is not there. The copy it belongs to is damaged.

    Something below the store did it. What the node makes of it is in `damage`.
    """

    def __init__(self, what: str, table: str, key: bytes) -> None:
        super().__init__(what)
        self.table = table                 # the value of a Table
        self.key = key


class RowMissing(Damage):
    """A row that other rows speak of is not there."""

    def __init__(self, table: Table, key: bytes) -> None:
        super().__init__(f"record {key.hex()} of table {table.value!r} has vanished: something below took it away",
                         table.value, key)


class View(Protocol):
    """Read access to one moment of the store. Keys ascend bytewise; a key has 1 to 511 bytes."""

    def get(self, table: Table, key: bytes) -> bytes | None:
        """Return the value under `key`, or None. This and the others raise Damage where a checksum does not fit."""
        ...

    def scan(self, table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        """Return at most `limit` rows with start <= key < stop, ascending."""
        ...

    def last(self, table: Table, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        """Return the row with the highest key in start <= key < stop, or None."""
        ...


class Snapshot(View, Protocol):
    """A view of what was durable when it was opened; later batches do not show in it."""

    @property
    def valid(self) -> bool:
        """False once the store had to close it (the map grew): open another one."""
        ...

    def close(self) -> None: ...


class Tables(View, Protocol):
    """The batch that is being gathered: reads see its writes; `Store.commit` makes all of it durable, or none."""

    def put(self, table: Table, key: bytes, value: bytes) -> None: ...

    def put_many(self, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
        """Write rows; the same as `put` for each, in one call."""
        ...

    def delete(self, table: Table, key: bytes) -> bool:
        """Delete one row; say whether it was there."""
        ...

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        """Delete at most `limit` rows with start <= key < stop, lowest first; return how many were deleted."""
        ...

    def snapshot(self) -> Snapshot:
        """Open a view of the last durable batch (not of the one being gathered)."""
        ...


class Store(Tables, Protocol):
    """What the shell holds: the tables, and the word that makes a batch durable."""

    @property
    def dirty(self) -> bool:
        """True while the batch that is being gathered holds a write."""
        ...

    def commit(self) -> None:
        """Make the batch durable: when this returns, all of it is on disk. Raises StoreFailed; never retry after it."""
        ...

    def abort(self) -> None:
        """Drop the batch and close all snapshots: what is read next is what the last commit left."""
        ...

    def close(self) -> None:
        """Drop the batch that was not committed and release the files."""
        ...


def span(prefix: bytes) -> tuple[bytes, bytes]:
    """The range [start, stop) of all keys that begin with `prefix` (which must not be all 0xff bytes).

    >>> span(b"ab")
    (b'ab', b'ac')
    """
    stripped = prefix.rstrip(b"\xff")
    assert stripped, "a prefix of nothing but 0xff has no end"
    return prefix, stripped[:-1] + bytes((stripped[-1] + 1,))


def rows(view: View, table: Table, start: bytes, stop: bytes, page: int = 512) -> Iterator[tuple[bytes, bytes]]:
    """All rows of the range, fetched page by page, so that the caller may change the table between rows."""
    while True:
        found = view.scan(table, start, stop, page)
        yield from found
        if len(found) < page:
            return
        start = found[-1][0] + b"\x00"
