"""The state machine of one bucket: applies committed operations to the rows of one copy, the same way on every replica.

An operation carries every decision, so nothing here looks at a clock, at settings or at who is primary. An operation
that does not fit the rows is our own mistake (it was decided on applied state, and its messages were locked since):
it is asserted, never repaired, since a repair on one replica would make the copies differ. A row that is not there
is the disk's: it is damage, and the copy is given up.

Along with the rows goes their sum (`sums`): a step from state to state changes it by what that does to the rows that
say where a message stands, and a record is taken from it before it changes and given back after.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import assert_never
from zlib import crc32

from zmqueue.core import keys, sums
from zmqueue.core.operations import (
    Extended,
    Forgotten,
    How,
    Leased,
    Operation,
    Returned,
    Ripened,
    Settle,
    Settled,
    State,
    Submitted,
    Why,
)
from zmqueue.core.records import (
    NOT_SETTLED,
    BodyWriter,
    Record,
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

_LOSS = {Why.EXPIRED: "the lease expired before it was settled",
         Why.SESSION_LOST: "the session of the worker was lost"}


class Machine(Rows):
    """The rows of one copy, and how operations change them.

    Two things are told to the primary and written nowhere: `risen`, the queues that got something to hand out since
    the set was last emptied, and `fronts`, where the search for a message that is not locked may begin. The primary
    moves a front behind what it has picked; a row that is put before it moves it back.
    """

    def __init__(self, tables: Tables, copy: int, sum_of_rows: Sum = NO_ROWS) -> None:
        """`sum_of_rows`: as it was saved with the rows. Where it is not known, only what is added to it is."""
        super().__init__(tables, copy)
        self._tables = tables
        self.counted = sum_of_rows.known
        self._count, self._digest = sum_of_rows if self.counted else NO_ROWS
        self._crcs = 0                         # of the MESSAGES rows that this operation put and took
        self._count_crcs = {queue: crc32(value, crc32(queue.encode())) for queue, value in self.count_rows()}
        self._moved: set[str] = set()          # queues whose counts this operation changed
        self._written: dict[Table, list[tuple[bytes, bytes]]] = {     # rows of this operation, put at its end in one
            Table.MESSAGES: [], Table.READY: [], Table.ENDED: []}     # call: no operation names a message twice
        self._messages, self._ready, self._ended = self._written.values()
        self.risen: set[str] = set()
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

    # --- applying ---

    def apply(self, seq: int, operation: Operation) -> None:
        """Change the rows as the entry `seq` of the log says."""
        match operation:
            case Submitted():
                self._submitted(seq, operation)
            case Leased():
                self._leased(operation)
            case Settled():
                self._settled(operation)
            case Extended():
                self._extended(operation)
            case Returned():
                self._returned(operation)
            case Ripened():
                self._ripened(operation)
            case Forgotten():
                self._forgotten(operation)
            case _:
                assert_never(operation)
        self._write()

    # --- operations ---

    def _submitted(self, seq: int, operation: Submitted) -> None:
        prefix, queue, messages = self._prefix, operation.queue, operation.messages
        body, first = BodyWriter(queue).row, keys.order_of(seq, 0)
        line, rank, best = keys.queue_prefix(prefix, queue), keys.rank, keys.PRIORITY_MAX
        self._tables.put_many(Table.BODIES, [
            (prefix + message.id, body(order, message)) for order, message in enumerate(messages, first)])
        ready = [(line + rank(best - message.priority, order), waiting(message.id, 0))
                 for order, message in enumerate(messages, first) if not message.due]
        if ready:
            self._tables.put_many(Table.READY, ready)
            self._rise(queue, min(ready)[0])
        if len(ready) < len(messages):
            self._tables.put_many(Table.DELAYED, [
                (keys.delayed_key(prefix, message.due, order), message.id)
                for order, message in enumerate(messages, first) if message.due])
        self._stand(State.READY, [crc32(message.id) for message in messages if not message.due])
        self._stand(State.DELAYED, [crc32(message.id) for message in messages if message.due])
        self._arrive(queue, State.READY, len(ready))
        self._arrive(queue, State.DELAYED, len(messages) - len(ready))

    def _leased(self, operation: Leased) -> None:
        prefix, leases = self._prefix, []
        for message_id, fencing in operation.grants:
            key, crc = prefix + message_id, crc32(message_id)
            if fencing == 1:
                record = self._untouched(key)
                self._count += 1                    # the record is a new row
            else:
                record = self._take(key, crc)
            assert record.state is State.READY and record.fencing == fencing - 1, "only what is ready is leased"
            self._delete(Table.READY, keys.ready_key(prefix, record.queue, record.priority, record.order))
            record.fencing = fencing
            record.deliveries += 1
            record.how, record.due = NOT_SETTLED, 0
            record.session, record.request, record.until = operation.session, operation.request, operation.until
            self._move(record, State.LEASED, crc)
            self._give(key, record, crc)
            leases.append((key, b""))
        self._tables.put_many(Table.LEASES, leases)

    def _extended(self, operation: Extended) -> None:
        for message_id, fencing in operation.leases:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self._lease(key, fencing, crc)
            record.until = operation.until
            self._give(key, record, crc)

    def _settled(self, operation: Settled) -> None:
        for settle, due in zip(operation.settles, operation.due, strict=True):
            key, crc = self._prefix + settle.id, crc32(settle.id)
            record = self._release(key, settle.fencing, crc)
            record.how = settle.how
            if settle.how == How.ACK:
                record.kind, record.result, record.error = settle.kind, settle.data, ""
                self._end(key, record, crc, State.DONE, operation)
            else:
                self._failed(key, record, crc, settle, due, operation)
            self._give(key, record, crc)

    def _failed(self, key: bytes, record: Record, crc: int, settle: Settle, due: int,
                operation: Settled) -> None:
        record.failures += 1
        record.error = settle.error
        if settle.how == How.REJECT:
            self._end(key, record, crc, State.DEAD, operation)
        else:
            self._again(key, record, crc, due, operation)

    def _returned(self, operation: Returned) -> None:
        loss = _LOSS.get(Why(operation.why))
        for message_id, fencing in operation.leases:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self._release(key, fencing, crc)
            if loss is None:                        # nobody began on it: it was no delivery
                record.deliveries -= 1
                self._wait(key, record, crc)
            else:
                record.losses += 1
                record.error = loss
                self._again(key, record, crc, 0, operation)
            self._give(key, record, crc)

    def _ripened(self, operation: Ripened) -> None:
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            touched = self._tables.get(Table.MESSAGES, key) is not None
            record = self._take(key, crc) if touched else self._untouched(key)
            self._delete(Table.DELAYED, keys.delayed_key(self._prefix, record.due, record.order))
            record.state, record.due = State.DELAYED, 0     # of one that is untouched, the row was all that said so
            self._wait(key, record, crc)
            if touched:
                self._give(key, record, crc)

    def _forgotten(self, operation: Forgotten) -> None:
        prefix = self._prefix
        for message_id in operation.ids:
            key, crc = prefix + message_id, crc32(message_id)
            record = self._take(key, crc)
            assert record.state.terminal, "only what has ended is forgotten"
            self._delete(Table.MESSAGES, key)
            self._delete(Table.ENDED, keys.ended_key(prefix, record.forget, message_id))
            if record.state is State.DEAD:
                self._delete(Table.BODIES, key)
                self._delete(Table.DEAD, keys.dead_key(prefix, record.queue, record.order))
            self._leave(record.state, crc)
            self._arrive(record.queue, record.state, -1)

    # --- steps ---

    def _untouched(self, key: bytes) -> Record:
        """A record for a message that was never handed out."""
        body = self._tables.get(Table.BODIES, key)
        if body is None:
            raise RowMissing(Table.BODIES, key)     # a message that has not ended has a body
        order, due, attempts, priority, queue = head_of(body)
        return Record(State.READY, queue, priority, order, attempts, due=due)

    def _take(self, key: bytes, crc: int) -> Record:
        """The record of a message that was handed out, taken from the sum. `crc`: of its id."""
        data = self._tables.get(Table.MESSAGES, key)
        if data is None:
            raise RowMissing(Table.MESSAGES, key)
        self._crcs -= crc32(data, crc)
        return decode_record(data)

    def _give(self, key: bytes, record: Record, crc: int) -> None:
        """Write the record, and add it to the sum."""
        data = encode_record(record)
        self._messages.append((key, data))
        self._crcs += crc32(data, crc)

    def _lease(self, key: bytes, fencing: int, crc: int) -> Record:
        record = self._take(key, crc)
        assert record.state is State.LEASED and record.fencing == fencing, "the lease stands and is this one"
        return record

    def _release(self, key: bytes, fencing: int, crc: int) -> Record:
        """The lease ends; what follows is the caller's."""
        record = self._lease(key, fencing, crc)
        self._delete(Table.LEASES, key)
        record.session, record.request, record.until = b"", 0, 0
        return record

    def _delete(self, table: Table, key: bytes) -> None:
        """Delete a row that is there."""
        if not self._tables.delete(table, key):
            raise RowMissing(table, key)

    def _again(self, key: bytes, record: Record, crc: int, due: int, operation: Settled | Returned) -> None:
        """Another delivery after a delivery that did not succeed, if it may have another."""
        limit = record.attempts or operation.attempts
        if limit and record.deliveries >= limit:
            record.error = (f"given up after {record.deliveries} deliveries, {limit} are allowed: {record.failures} "
                            f"failed, {record.losses} lost; the last: {record.error or 'no error was given'}")
            self._end(key, record, crc, State.DEAD, operation)
        elif due:
            record.due = due
            self._move(record, State.DELAYED, crc)
            self._tables.put(Table.DELAYED, keys.delayed_key(self._prefix, due, record.order),
                             key[len(self._prefix):])
        else:
            self._wait(key, record, crc)

    def _wait(self, key: bytes, record: Record, crc: int) -> None:
        """The message is ready, in its old place."""
        self._move(record, State.READY, crc)
        place = keys.ready_key(self._prefix, record.queue, record.priority, record.order)
        self._ready.append((place, waiting(key[len(self._prefix):], record.fencing)))
        self._rise(record.queue, place)

    def _end(self, key: bytes, record: Record, crc: int, state: State, operation: Settled | Returned) -> None:
        """The message has ended. A dead letter keeps its body: somebody may want to look at it, or to try again."""
        self._move(record, state, crc)
        record.ended = operation.at
        record.forget = operation.at + operation.keep
        message_id = key[len(self._prefix):]
        self._ended.append((keys.ended_key(self._prefix, record.forget, message_id), b""))
        if state is State.DEAD:
            self._tables.put(Table.DEAD, keys.dead_key(self._prefix, record.queue, record.order), message_id)
        else:
            self._delete(Table.BODIES, key)

    # --- what goes along ---

    def _rise(self, queue: str, place: bytes) -> None:
        self.risen.add(queue)
        front = self.fronts.get(queue)
        if front is not None and place < front:
            self.fronts[queue] = place

    def _move(self, record: Record, state: State, crc: int) -> None:
        counts = self.counts.get(record.queue)
        if counts is None:
            raise RowMissing(Table.COUNTS, self._prefix + record.queue.encode())
        counts[record.state] -= 1
        counts[state] += 1
        added, weight = sums.STEPS[record.state][state]
        self._count += added
        self._digest += weight * crc
        record.state = state
        self._moved.add(record.queue)

    def _arrive(self, queue: str, state: State, number: int) -> None:
        counts = self.counts.get(queue)
        if counts is None:
            counts = self.counts[queue] = no_counts()
        counts[state] += number
        self._moved.add(queue)

    def _stand(self, state: State, crcs: Collection[int]) -> None:
        """Messages with these CRCs of their ids are new."""
        added, weight = sums.PLACES[state]
        self._count += added * len(crcs)
        self._digest += weight * sum(crcs)

    def _leave(self, state: State, crc: int) -> None:
        """A message is forgotten, and its record with it."""
        added, weight = sums.PLACES[state]
        self._count -= added + 1
        self._digest -= weight * crc

    def _write(self) -> None:
        """Put what was gathered. A queue of which nothing is known any more has no row in COUNTS."""
        for table, gathered in self._written.items():
            if gathered:
                self._tables.put_many(table, gathered)
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
            self._tables.put(Table.COUNTS, self._prefix + name, data)
            crc = self._count_crcs[queue] = crc32(data, crc32(name))
            self._count += known is None
        else:
            if known is not None:
                self._delete(Table.COUNTS, self._prefix + name)
                self._count -= 1
                del self._count_crcs[queue]
            crc = 0
            del self.counts[queue]
            self.fronts.pop(queue, None)
        self._digest += sums.COUNTS * (crc - (known or 0))
