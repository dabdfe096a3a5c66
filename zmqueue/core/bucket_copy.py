"""The live copy of one bucket on one node: its log, what of it is committed, and the rows that follow from that.

state = f(committed prefix of the log): an entry is applied exactly when it is committed, and the position row that
says so is written in the same batch. What is in memory here is what the batch holds; `own` tells what of it is on disk.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zmqueue.core.copies import NO_COPY, Copies, Position
from zmqueue.core.log import KEEP_BYTES, KEEP_ENTRIES, Log
from zmqueue.core.machine import Machine
from zmqueue.core.operations import Operation
from zmqueue.core.packets import Entry
from zmqueue.core.sums import NO_ROWS, Sum
from zmqueue.core.tables import Tables


class Listener(Protocol):
    """Who wants to know what becomes of a bucket: its desk."""

    def entered(self, now: float) -> None:
        """The term or the role changed: what was pending has an unknown fate, what was volatile is void."""
        ...

    def applied(self, seq: int, operation: Operation, now: float) -> None:
        """The entry is committed and applied to the rows. In order, in any role."""
        ...

    def progressed(self, now: float) -> None:
        """Commits, acks or a new state may have made ready what waits."""
        ...


class BucketCopy:
    """One bucket's log, commit index and machine. A node that has no copy yet has an empty one without rows."""

    __slots__ = ("_added", "_copies", "_flushed", "_moved", "_tables", "added", "at", "bucket", "commit", "generation",
                 "log", "machine", "number", "own")

    def __init__(self, bucket: int, tables: Tables, copies: Copies, *, damaged: bool = False) -> None:
        """A damaged copy is not looked at: there is none, until it is deleted."""
        self.bucket = bucket
        self._tables = tables
        self._copies = copies
        position = copies.position(bucket)
        self._open(Position(generation=position.generation) if damaged else position)
        self.own = self._flushed = self.log.end     # it was read from the disk

    def _open(self, position: Position) -> None:
        self.number = position.copy
        self.commit = position.commit
        self.at = position.at               # bucket time of the last applied entry
        self.generation = position.generation
        self.log = Log(self._tables, position.copy, position.base_seq, position.base_term, position.commit)
        self.machine = Machine(self._tables, position.copy, Sum(position.count, position.digest))
        self._added = self.added = position.commit, NO_ROWS   # (entry, what was added up to it), as on the disk
        self._moved = False                 # the position row is behind

    def create(self) -> None:
        """Make sure that there is a copy to write to."""
        if self.number == NO_COPY:
            self._open(self._copies.create(self.bucket, self.generation))

    def renew(self, generation: int) -> None:
        """From this copy the bucket goes on in that generation (C12). In the batch of the state that says so."""
        self.generation = generation
        if self.number != NO_COPY:
            self._moved = True
            self.save()

    def counted(self, was: Sum, added: Sum) -> None:
        """All rows were counted, of a copy that an earlier version wrote (see `Machine.counted_as`)."""
        self.machine.counted_as(was, added)
        self._moved = True

    def forsake(self) -> None:
        """The copy is damaged: have none. What lies on the disk stays there until it may be deleted (D1)."""
        self._open(Position(generation=self.generation))
        self.own = self._flushed = self.log.end

    def give_up(self, generation: int) -> None:
        """The bucket went on without this copy (C12): have none, in the batch of the state that says so."""
        self._copies.delete(self.bucket)
        self._open(self._copies.position(self.bucket))
        self.own = self._flushed = self.log.end
        self.generation = generation

    @property
    def end(self) -> int:
        """The last seq of the log."""
        return self.log.end

    # --- the log ---

    def append(self, term: int, data: bytes, operation: Operation) -> int:
        """Add the primary's own entry."""
        return self.log.append(term, data, operation)

    def extend(self, entries: Sequence[Entry]) -> None:
        """Add a primary's entries at the end."""
        self.create()
        self.log.extend(entries)

    def cut(self, seq: int) -> None:
        """Take out all entries above `seq`. What takes their place counts as on disk only when it is (R8)."""
        assert seq >= self.commit, "what is committed is never cut (R6)"
        self.log.cut(seq)
        self.own = min(self.own, seq)
        self._flushed = min(self._flushed, seq)

    def advance(self, commit: int, listener: Listener, now: float) -> None:
        """Apply the entries up to `commit`, which is above the commit index."""
        log, machine = self.log, self.machine
        self._moved = True
        for seq in range(self.commit + 1, commit + 1):
            operation = log.operation(seq)
            machine.apply(seq, operation)
            log.applied(seq)
            self.commit = seq
            self.at = max(self.at, operation.at)
            listener.applied(seq, operation, now)

    def last_at(self) -> int:
        """The bucket time of the last entry, committed or not (Q1)."""
        return max([self.at, *(operation.at for operation in self.tail())])

    def tail(self) -> list[Operation]:
        """The operations above the commit index, in order."""
        return [self.log.operation(seq) for seq in range(self.commit + 1, self.end + 1)]

    def adopt(self, position: Position) -> None:
        """Take a received copy in place of this one: an empty log after its base (R12). Nothing of it is on disk."""
        assert position.base_seq == position.commit > self.commit, "a snapshot never goes back (R12)"
        self._copies.adopt(self.bucket, position)
        self._open(position)
        self.own = self._flushed = 0

    def compact(self, upto: int, entries_max: int = KEEP_ENTRIES, bytes_max: int = KEEP_BYTES) -> None:
        """Let the log's base rise one step, if it is long and nobody needs what is below `upto`."""
        if self.log.compact(min(upto, self.commit), entries_max, bytes_max):
            self._moved = True
            self.save()

    # --- the disk ---

    def save(self) -> None:
        """Write the position row, if it is behind: once a turn, in the batch of the rows that it tells of."""
        self.log.trim(self.commit)
        if self._moved:
            self._moved = False
            self._copies.write(self.bucket, Position(
                self.number, self.log.base_seq, self.log.base_term, self.commit, self.at, self.generation,
                *self.machine.sum))

    def flush(self) -> None:
        """A batch ends here: it holds everything up to the present end."""
        self.save()
        self._flushed = self.end
        if not self.machine.counted:
            self._added = self.commit, self.machine.added

    def durable(self) -> bool:
        """The batch of the last `flush` is on disk; say whether more of the log is than before."""
        self.added = self._added
        if self.own >= self._flushed:
            return False
        self.own = self._flushed
        return True
