"""The scrub: walks all copies of a node, slowly and for ever, and holds the rows against what is known of them.

Reading finds a damaged row only when somebody asks for it, and a row that has vanished is never asked for: a flipped
bit in a branch of the store's tree hides many at once. So each row's checksum is looked at once in a round, the log's
entries have to follow each other, and the sum of all rows has to be the one that the machine kept up (`sums`).

One bucket at a time, in one view of the store, a few rows with each tick. A view keeps pages from being used again, so
a walk that takes long quickens. Buckets that two replicas disagree about come first.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Callable, Mapping

from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.copies import COPIED, NO_COPY, Position, position_in
from zmqueue.core.host import Host
from zmqueue.core.keys import copy_prefix
from zmqueue.core.replication import Replica
from zmqueue.core.sums import MASK, Sum, digest_of
from zmqueue.core.tables import Damage, RowMissing, Snapshot, Table, span

ROWS_A_TICK = 256
"""Rows looked at with one tick: about 0.3 ms of 25, so one or two per cent of a core, and 10,000 rows a second."""

BYTES_A_TICK = 256 << 10
"""...and their bytes, after which a tick has enough; a larger row is read alone."""

PAGE_ROWS = 32
"""Rows read at a time: bodies may be large."""

QUICKENS_EVERY = 10.0
"""Seconds after which a walk goes on at twice, three times ... the pace..."""

PACE_MOST = 8
"""...up to this: a tenth of a core. Buckets that replicas disagree about are walked at this pace from the start."""

FIRST_AFTER = 30.0
"""Seconds from a node's start to its first round: it has other things to do then."""

REST = 60.0
"""Seconds between two rounds."""

_SEQ = struct.Struct(">Q")


class Scrub:
    """One node's scrub."""

    def __init__(self, host: Host, now: float) -> None:
        self.rows = 0                      # looked at since the node started
        self.rounds = 0                    # ended since then
        self._host = host
        self._left: deque[int] = deque()   # buckets that this round has not walked yet
        self._walk: _Walk | None = None
        self._next_round = now + FIRST_AFTER

    def tick(self, replicas: Mapping[int, Replica], now: float) -> None:
        """Go on a little. To be called every 20 to 50 ms."""
        walk = self._walk
        if walk is None:
            walk = self._walk = self._begin(replicas, now)
            if walk is None:
                return
        replica = replicas.get(walk.copy.bucket)
        if replica is None or replica.copy is not walk.copy or not walk.stands:
            self._end(again=True)          # another copy lies there by now, or the store had to close the view
            return
        pace = PACE_MOST if walk.urgent else min(1 + int((now - walk.began) / QUICKENS_EVERY), PACE_MOST)
        before = walk.rows
        try:
            ended = walk.step(pace * ROWS_A_TICK)
            if ended:
                self._judge(walk)
        except Damage as damage:
            ended = True
            replica.condemn(str(damage), now)
        self.rows += walk.rows - before
        if ended:
            self._end(again=False)
            if not walk.urgent:
                self._note_round(now)

    def close(self) -> None:
        """The node's replicas are no more."""
        self._end(again=False)

    def _begin(self, replicas: Mapping[int, Replica], now: float) -> _Walk | None:
        for bucket in sorted(self._host.suspects):
            if replicas[bucket].copy.number == NO_COPY:
                self._host.suspects.discard(bucket)
                continue
            return self._enter(replicas[bucket].copy, now, urgent=True)
        if not self._left:
            if now < self._next_round:
                return None
            self._left.extend(bucket for bucket, replica in sorted(replicas.items()) if replica.copy.number != NO_COPY)
            if not self._left:
                self._next_round = now + REST
                return None
        copy = replicas[self._left.popleft()].copy
        walk = None if copy.number == NO_COPY else self._enter(copy, now, urgent=False)
        if walk is None:
            self._note_round(now)
        return walk

    def _enter(self, copy: BucketCopy, now: float, *, urgent: bool) -> _Walk | None:
        """Begin to walk a bucket's copy, if what is on the disk is a copy that can be judged."""
        view = self._host.tables.snapshot()
        position = position_in(view, copy.bucket)
        ready = position.copy == copy.number and (copy.machine.counted or copy.added[0] == position.commit)
        if not ready:
            view.close()                   # it is new, and not on the disk yet: another time
            return None
        return _Walk(copy, view, position, now, urgent=urgent)

    def _end(self, *, again: bool) -> None:
        walk, self._walk = self._walk, None
        if walk is None:
            return
        walk.close()
        bucket = walk.copy.bucket
        if again and not walk.urgent:
            self._left.append(bucket)
        elif not again:
            self._host.suspects.discard(bucket)

    def _judge(self, walk: _Walk) -> None:
        """Each row is what it was written as. Are they all? Raises Damage."""
        found, known = walk.sum, Sum(walk.position.count, walk.position.digest)
        if not known.known:
            if not walk.copy.machine.counted:
                walk.copy.counted(found, walk.added)
                self._host.touched.add(walk.copy.bucket)
        elif found != known:
            raise RowsDiffer(found, known)
        elif walk.urgent:
            self._host.effects.note("all rows of the bucket are here as they were written", bucket=walk.copy.bucket,
                                    seq=walk.position.commit, rows=found.rows)

    def _note_round(self, now: float) -> None:
        if not self._left:
            self.rounds += 1
            self._next_round = now + REST


class RowsDiffer(Damage):
    """The rows of a copy are not those that its sum tells of."""

    def __init__(self, found: Sum, known: Sum) -> None:
        what = (f"{known.rows - found.rows:,} of {known.rows:,} rows have vanished" if found.rows < known.rows else
                f"{found.rows:,} rows are there where {known.rows:,} were written" if found.rows > known.rows else
                f"among {found.rows:,} rows are some that are older than what was written last")
        super().__init__(f"{what}: something below changed the store", "", b"")


class _Walk:
    """One bucket's copy, on the way through its rows as they were durable at one moment."""

    __slots__ = ("_cursor", "_digest", "_expected", "_number", "_on_disk", "_page", "_prefix", "_view", "added",
                 "began", "copy", "position", "rows", "urgent")

    def __init__(self, copy: BucketCopy, view: Snapshot, position: Position, now: float, *, urgent: bool) -> None:
        self.copy = copy
        self.position = position           # as the view has it
        self.added = copy.added[1]
        self.began = now
        self.urgent = urgent
        self.rows = 0                      # of the log too
        self._view = view
        self._prefix = copy_prefix(position.copy)
        self._on_disk = copy.own           # the log goes at least as far as this
        self._expected = position.base_seq + 1
        self._number = -1                  # of the table; -1: the log
        self._cursor = self._prefix + _SEQ.pack(self._expected)
        self._page = PAGE_ROWS
        self._digest = 0

    @property
    def stands(self) -> bool:
        """False once the view is closed, or the bucket has another copy."""
        return self._view.valid and self.copy.number == self.position.copy

    @property
    def sum(self) -> Sum:
        """Of the applied state's rows, all of which were seen."""
        return Sum(self.rows - (self._expected - 1 - self.position.base_seq), self._digest & MASK)

    def step(self, limit: int) -> bool:
        """Look at about `limit` rows; say whether that was the last of them. Raises Damage."""
        size = 0
        look: Callable[[list[tuple[bytes, bytes]]], None]
        while limit > 0 and size < BYTES_A_TICK:
            table, look = (Table.LOG, self._entries) if self._number < 0 else (COPIED[self._number], self._state)
            found = self._view.scan(table, self._cursor, span(self._prefix)[1], min(limit, self._page))
            look(found)
            self.rows += len(found)
            limit -= max(1, len(found))    # an empty table costs a look as well
            read = sum([len(value) for _, value in found])
            size += read
            self._page = PAGE_ROWS if read * PAGE_ROWS <= BYTES_A_TICK * len(found) else 1
            if found:
                self._cursor = found[-1][0] + b"\x00"
                continue
            if self._number < 0 and self._expected <= self._on_disk:
                raise RowMissing(Table.LOG, self._prefix + _SEQ.pack(self._expected))
            self._number, self._cursor = self._number + 1, self._prefix
            if self._number == len(COPIED):
                return True
        return False

    def _entries(self, found: list[tuple[bytes, bytes]]) -> None:
        for key, _ in found:
            expected = self._prefix + _SEQ.pack(self._expected)
            if key != expected:
                raise RowMissing(Table.LOG, expected)
            self._expected += 1

    def _state(self, found: list[tuple[bytes, bytes]]) -> None:
        self._digest += digest_of(self._number, found, len(self._prefix))

    def close(self) -> None:
        """Let go of the view."""
        self._view.close()
