"""What all operations are made of: the steps by which messages of one copy change, and the sum of rows that goes along.

A record is taken (and with it leaves the sum) before it changes, and given back after; a step from state to state
changes the sum by what that does to the rows that say where a message stands (`sums`). Rows that no state tells of are
put and taken one by one.

An operation that does not fit the rows is our own mistake (it was decided on applied state, and its messages were
locked since): it is asserted, never repaired, since a repair on one replica would make the copies differ. A row that is
not there is the disk's: it is damage, and the copy is given up.
"""

from __future__ import annotations

from collections.abc import Collection
from zlib import crc32

from zmqueue.core import groups, keys, letters, sums
from zmqueue.core.operations import Rule, Scope, State
from zmqueue.core.rates import Tally
from zmqueue.core.records import (
    Record,
    Special,
    decode_record,
    encode_counts,
    encode_record,
    head_of,
    no_counts,
    waiting,
)
from zmqueue.core.rows import Rows
from zmqueue.core.sums import NO_ROWS, Sum
from zmqueue.core.tables import RowMissing, Table, Tables


class Steps(Rows):
    """The rows of one copy, and the ways in which they may change.

    Four things are told to the primary and written nowhere: `risen`, the queues that got something to hand out since
    the set was last emptied; `posted`, the links of the outbox that got something to forward, likewise; `tally`, what
    came into which state; and `fronts`, where the search for a message that is not locked may begin. The primary moves
    a front behind what it has picked; a row that is put before it moves it back.
    """

    def __init__(self, tables: Tables, copy: int, sum_of_rows: Sum = NO_ROWS) -> None:
        """`sum_of_rows`: as it was saved with the rows. Where it is not known, only what is added to it is."""
        super().__init__(tables, copy)
        self.tables = tables
        self.counted = sum_of_rows.known
        self._count, self._digest = sum_of_rows if self.counted else NO_ROWS
        self._crcs = 0                         # of the MESSAGES rows that this operation put and took
        self._count_crcs = {queue: crc32(value, crc32(queue.encode())) for queue, value in self.count_rows()}
        self._moved: set[str] = set()          # queues whose counts this operation changed
        self._written: dict[Table, list[tuple[bytes, bytes]]] = {     # rows of this operation, put at its end in one
            Table.MESSAGES: [], Table.READY: [], Table.ENDED: []}     # call: no operation names a message twice
        self._messages, self._ready, self._ended = self._written.values()
        self.risen: set[str] = set()
        self.posted: set[tuple[int, int]] = set()
        self.tally = Tally()
        self.fronts: dict[str, bytes] = {}

    # --- the sum of the rows ---

    @property
    def sum(self) -> Sum:
        """Of all rows as they are; UNKNOWN where it is not counted yet."""
        return Sum(self._count, self._digest) if self.counted else sums.UNKNOWN

    @property
    def added(self) -> Sum:
        """What is added since the copy was opened, where `counted` is False."""
        return Sum(self._count, self._digest)

    def counted_as(self, was: Sum, added: Sum) -> None:
        """The rows were counted: their sum was `was` when `added` had this value."""
        assert not self.counted, "the sum of a copy is kept up from then on"
        self.counted = True
        self._count += was.rows - added.rows
        self._digest = (self._digest + was.digest - added.digest) & sums.MASK

    # --- records ---

    def untouched(self, key: bytes) -> Record:
        """A record for a message that was never handed out. Only for one without options: others have one."""
        body = self.tables.get(Table.BODIES, key)
        if body is None:
            raise RowMissing(Table.BODIES, key)     # a message that has not ended has a body
        order, due, attempts, priority, queue, _ = head_of(body)
        return Record(State.READY, queue, priority, order, attempts, due=due)

    def new_record(self) -> None:
        """A message gets a record with this operation."""
        self._count += 1

    def take_first(self, key: bytes, crc: int) -> Record:
        """The record of a message that is handed out for the first time: new, but for one with options."""
        body = self.tables.get(Table.BODIES, key)
        if body is None:
            raise RowMissing(Table.BODIES, key)     # a message that has not ended has a body
        order, due, attempts, priority, queue, has_record = head_of(body)
        if has_record:
            return self.take(key, crc)
        self._count += 1
        return Record(State.READY, queue, priority, order, attempts, due=due)

    def take(self, key: bytes, crc: int) -> Record:
        """The record of a message that has one, taken from the sum. `crc`: of its id."""
        data = self.tables.get(Table.MESSAGES, key)
        if data is None:
            raise RowMissing(Table.MESSAGES, key)
        self._crcs -= crc32(data, crc)
        return decode_record(data)

    def take_any(self, key: bytes, crc: int) -> Record:
        """The same for a message that may have none yet: it gets one, with the state in which it waits."""
        data = self.tables.get(Table.MESSAGES, key)
        if data is not None:
            self._crcs -= crc32(data, crc)
            return decode_record(data)
        record = self.untouched(key)
        self._count += 1                            # the record is a new row
        if record.due and self.tables.get(Table.DELAYED,
                                          keys.delayed_key(self._prefix, record.due, record.order)) is not None:
            record.state = State.DELAYED
        else:
            record.due = 0
        return record

    def give(self, key: bytes, record: Record, crc: int) -> None:
        """Write the record, and add it to the sum."""
        data = encode_record(record)
        self._messages.append((key, data))
        self._crcs += crc32(data, crc)

    def put_record(self, key: bytes, record: Record, crc: int) -> None:
        """The same at once: for a message that the operation does not name, or names again further on."""
        data = encode_record(record)
        self.tables.put(Table.MESSAGES, key, data)
        self._crcs += crc32(data, crc)

    def lease(self, key: bytes, fencing: int, crc: int) -> Record:
        """The record of a lease that stands."""
        record = self.take(key, crc)
        assert record.state in _LEASED and record.fencing == fencing, "the lease stands and is this one"
        return record

    def release(self, key: bytes, fencing: int, crc: int) -> Record:
        """The lease ends; what follows is the caller's."""
        record = self.lease(key, fencing, crc)
        self.delete(Table.LEASES, key)
        record.session, record.request, record.until = b"", 0, 0
        return record

    # --- single rows ---

    def delete(self, table: Table, key: bytes) -> None:
        """Delete a row that is there, and that the message's state stands for in the sum."""
        if not self.tables.delete(table, key):
            raise RowMissing(table, key)

    def put_row(self, table: Table, key: bytes, value: bytes) -> None:
        """Write a new row that no state stands for."""
        self.tables.put(table, key, value)
        self._count += 1
        self._digest += sums.WEIGHT[table] * crc32(value, crc32(key[keys.COPY_BYTES:]))

    def take_row(self, table: Table, key: bytes) -> bytes:
        """Delete a row that no state stands for; -> its value."""
        value = self.tables.get(table, key)
        if value is None:
            raise RowMissing(table, key)
        self.tables.delete(table, key)
        self._count -= 1
        self._digest -= sums.WEIGHT[table] * crc32(value, crc32(key[keys.COPY_BYTES:]))
        return value

    # --- where a message stands ---

    def wait(self, key: bytes, record: Record, crc: int) -> None:
        """The message is ready, in its old place; of a group, only while it is at the head."""
        self.await_start(key, record)
        if isinstance(record, Special) and record.group and not groups.take_head(self, key, record):
            self.move(record, State.BEHIND, crc)
            groups.put_behind(self, key, record)
            return
        self.move(record, State.READY, crc)
        place = self._ready_key(record)
        self._ready.append((place, waiting(key[keys.COPY_BYTES:], record.fencing)))
        self._rise(record.queue, place)

    def put_ready(self, key: bytes, record: Record) -> None:
        """The row in READY at once: see `put_record`."""
        place = self._ready_key(record)
        self.tables.put(Table.READY, place, waiting(key[keys.COPY_BYTES:], record.fencing))
        self._rise(record.queue, place)

    def _ready_key(self, record: Record) -> bytes:
        place = record.place if isinstance(record, Special) else 0
        return keys.ready_key(self._prefix, record.queue, record.priority, record.order, place)

    def rest(self, key: bytes, record: Record, due: int, crc: int) -> None:
        """The message waits for its time. Of a group, it stays where it was: at the head, or nowhere yet."""
        self.await_start(key, record)
        record.due = due
        self.move(record, State.DELAYED, crc)
        self.tables.put(Table.DELAYED, keys.delayed_key(self._prefix, due, record.order), key[keys.COPY_BYTES:])

    def await_start(self, key: bytes, record: Record) -> None:
        """It waits again to be begun, if it did not so far: that may be too late one day."""
        if record.state in _NOT_WAITING:
            self.await_first_start(key, record)

    def await_first_start(self, key: bytes, record: Record) -> None:
        """The same for a new message."""
        if isinstance(record, Special) and record.expires:
            self.put_row(Table.EXPIRING, keys.expiring_key(self._prefix, record.expires, key[keys.COPY_BYTES:]), b"")

    def leave(self, key: bytes, record: Record) -> None:
        """Delete the row that says where a message stands that waits. What follows is the caller's."""
        if isinstance(record, Special) and record.expires:
            self.take_row(Table.EXPIRING, keys.expiring_key(self._prefix, record.expires, key[keys.COPY_BYTES:]))
        match record.state:
            case State.READY:
                self.delete(Table.READY, self._ready_key(record))
            case State.DELAYED:
                self.delete(Table.DELAYED, keys.delayed_key(self._prefix, record.due, record.order))
                record.due = 0
            case State.BEHIND:
                groups.leave_behind(self, record)
            case _:
                raise AssertionError("only what waits leaves its place")

    def end(self, key: bytes, record: Record, crc: int, state: State, at: int, rule: Rule) -> None:
        """The message has ended. A dead letter keeps its body: somebody may want to look at it, or to try again."""
        self.move(record, state, crc)
        record.ended = at
        record.forget = at + (rule.keep_dead if state is State.DEAD and rule.keep_dead else rule.keep)
        if isinstance(record, Special):
            self._end_special(key, record, state, rule)
        self._ended.append((keys.ended_key(self._prefix, record.forget, key[keys.COPY_BYTES:]), b""))
        if state is State.DEAD:
            letters.put(self, key, record)
        else:
            self.delete(Table.BODIES, key)

    def end_again(self, key: bytes, record: Record, crc: int, state: State) -> None:
        """The dead letter is not in anybody's hand any more; what followed from its end has happened already."""
        self.move(record, state, crc)
        self._ended.append((keys.ended_key(self._prefix, record.forget, key[keys.COPY_BYTES:]), b""))

    def _end_special(self, key: bytes, record: Special, state: State, rule: Rule) -> None:
        record.cancelling = False
        if state is State.DONE:
            record.keep = record.keep or rule.keep_result
            record.forget = max(record.forget, record.ended + record.keep)
        record.forget = max(record.forget, record.window)
        if record.unique and record.scope != Scope.WINDOW:
            self.free_unique(record)
        if record.group:
            groups.ended(self, key, record, halt=rule.halt and state is State.DEAD)

    def free_unique(self, record: Special) -> None:
        """Its `unique` key keeps nobody out any more."""
        self.take_row(Table.UNIQUES, self._prefix + record.unique)
        record.unique = b""

    # --- what goes along ---

    def _rise(self, queue: str, place: bytes) -> None:
        self.risen.add(queue)
        front = self.fronts.get(queue)
        if front is not None and place < front:
            self.fronts[queue] = place

    def move(self, record: Record, state: State, crc: int) -> None:
        """From the state in which it is into another one, in counts and sum; the rows are the caller's."""
        counts = self.counts.get(record.queue)
        if counts is None:
            raise RowMissing(Table.COUNTS, self._prefix + record.queue.encode())
        counts[record.state] -= 1
        counts[state] += 1
        added, weight = sums.STEPS[record.state][state]
        self._count += added
        self._digest += weight * crc
        was, record.state = record.state, state
        self._moved.add(record.queue)
        if was is not State.MENDING:           # a letter that is laid down did not die anew
            came = (record.queue, state)
            self.tally.entered[came] = self.tally.entered.get(came, 0) + 1

    def arrive(self, queue: str, state: State, number: int) -> None:
        """So many messages more are in that state."""
        counts = self.counts.get(queue)
        if counts is None:
            counts = self.counts[queue] = no_counts()
        counts[state] += number
        self._moved.add(queue)
        if number > 0:
            self.tally.arrived[queue] = self.tally.arrived.get(queue, 0) + number

    def stand(self, state: State, crcs: Collection[int]) -> None:
        """Messages with these CRCs of their ids are new, and have no record."""
        added, weight = sums.PLACES[state]
        self._count += added * len(crcs)
        self._digest += weight * sum(crcs)

    def forget(self, state: State, crc: int) -> None:
        """A message is forgotten, and its record with it."""
        added, weight = sums.PLACES[state]
        self._count -= added + 1
        self._digest -= weight * crc

    def write(self) -> None:
        """Put what was gathered. A queue of which nothing is known any more has no row in COUNTS."""
        for table, gathered in self._written.items():
            if gathered:
                self.tables.put_many(table, gathered)
                gathered.clear()
        for queue in self._moved:
            self._write_counts(queue)
        self._moved.clear()
        self._digest = (self._digest + sums.MESSAGES * self._crcs) & sums.MASK
        self._crcs = 0

    def _write_counts(self, queue: str) -> None:
        name, counts, known = queue.encode(), self.counts[queue], self._count_crcs.get(queue)
        if any(counts):
            data = encode_counts(counts)
            self.tables.put(Table.COUNTS, self._prefix + name, data)
            crc = self._count_crcs[queue] = crc32(data, crc32(name))
            self._count += known is None
        else:
            if known is not None:
                self.delete(Table.COUNTS, self._prefix + name)
                self._count -= 1
                del self._count_crcs[queue]
            crc = 0
            del self.counts[queue]
            self.fronts.pop(queue, None)
        self._digest += sums.COUNTS * (crc - (known or 0))


_LEASED = frozenset((State.LEASED, State.MENDING))
_NOT_WAITING = frozenset(state for state in State if state.terminal) | {State.LEASED}
