"""The state machine of one bucket: applies committed operations to the rows of one copy, the same way on every replica.

An operation carries every decision, so nothing here looks at a clock, at settings or at who is primary. An operation
that does not fit the rows is our own mistake (it was decided on applied state, and its messages were locked since):
it is asserted, never repaired, since a repair on one replica would make the copies differ.
"""

from __future__ import annotations

from typing import assert_never

from zmqueue.core import keys
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
from zmqueue.core.tables import Table, Tables

_LOSS = {Why.EXPIRED: "the lease expired before it was settled",
         Why.SESSION_LOST: "the session of the worker was lost"}


class Machine(Rows):
    """The rows of one copy, and how operations change them.

    Two things are told to the primary and written nowhere: `risen`, the queues that got something to hand out since
    the set was last emptied, and `fronts`, where the search for a message that is not locked may begin. The primary
    moves a front behind what it has picked; a row that is put before it moves it back.
    """

    def __init__(self, tables: Tables, copy: int) -> None:
        super().__init__(tables, copy)
        self._tables = tables
        self._moved: set[str] = set()          # queues whose counts this operation changed
        self._written: dict[Table, list[tuple[bytes, bytes]]] = {     # rows of this operation, put at its end in one
            Table.MESSAGES: [], Table.READY: [], Table.ENDED: []}     # call: no operation names a message twice
        self._messages, self._ready, self._ended = self._written.values()
        self.risen: set[str] = set()
        self.fronts: dict[str, bytes] = {}

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
        self._arrive(queue, State.READY, len(ready))
        self._arrive(queue, State.DELAYED, len(messages) - len(ready))

    def _leased(self, operation: Leased) -> None:
        prefix, tables, leases = self._prefix, self._tables, []
        for message_id, fencing in operation.grants:
            key = prefix + message_id
            record = self._untouched(key) if fencing == 1 else self._record(key)
            assert record.state is State.READY and record.fencing == fencing - 1, "only what is ready is leased"
            tables.delete(Table.READY, keys.ready_key(prefix, record.queue, record.priority, record.order))
            record.fencing = fencing
            record.deliveries += 1
            record.how, record.due = NOT_SETTLED, 0
            record.session, record.request, record.until = operation.session, operation.request, operation.until
            self._move(record, State.LEASED)
            self._messages.append((key, encode_record(record)))
            leases.append((key, b""))
        tables.put_many(Table.LEASES, leases)

    def _extended(self, operation: Extended) -> None:
        for message_id, fencing in operation.leases:
            key = self._prefix + message_id
            record = self._lease(key, fencing)
            record.until = operation.until
            self._messages.append((key, encode_record(record)))

    def _settled(self, operation: Settled) -> None:
        for settle, due in zip(operation.settles, operation.due, strict=True):
            key = self._prefix + settle.id
            record = self._release(key, settle.fencing)
            record.how = settle.how
            if settle.how == How.ACK:
                record.kind, record.result, record.error = settle.kind, settle.data, ""
                self._end(key, record, State.DONE, operation)
            else:
                self._failed(key, record, settle, due, operation)
            self._messages.append((key, encode_record(record)))

    def _failed(self, key: bytes, record: Record, settle: Settle, due: int, operation: Settled) -> None:
        record.failures += 1
        record.error = settle.error
        if settle.how == How.REJECT:
            self._end(key, record, State.DEAD, operation)
        else:
            self._again(key, record, due, operation)

    def _returned(self, operation: Returned) -> None:
        loss = _LOSS.get(Why(operation.why))
        for message_id, fencing in operation.leases:
            key = self._prefix + message_id
            record = self._release(key, fencing)
            if loss is None:                        # nobody began on it: it was no delivery
                record.deliveries -= 1
                self._wait(key, record)
            else:
                record.losses += 1
                record.error = loss
                self._again(key, record, 0, operation)
            self._messages.append((key, encode_record(record)))

    def _ripened(self, operation: Ripened) -> None:
        for message_id in operation.ids:
            key = self._prefix + message_id
            data = self._tables.get(Table.MESSAGES, key)
            record = self._untouched(key) if data is None else decode_record(data)
            there = self._tables.delete(Table.DELAYED, keys.delayed_key(self._prefix, record.due, record.order))
            assert there, "only what is delayed ripens"
            if data is None:                        # the row in DELAYED was all that said so
                record.state = State.DELAYED
                self._wait(key, record)
                continue
            record.due = 0
            self._wait(key, record)
            self._messages.append((key, encode_record(record)))

    def _forgotten(self, operation: Forgotten) -> None:
        prefix, tables = self._prefix, self._tables
        for message_id in operation.ids:
            key = prefix + message_id
            record = self._record(key)
            assert record.state.terminal, "only what has ended is forgotten"
            tables.delete(Table.MESSAGES, key)
            tables.delete(Table.ENDED, keys.ended_key(prefix, record.forget, message_id))
            if record.state is State.DEAD:
                tables.delete(Table.BODIES, key)
                tables.delete(Table.DEAD, keys.dead_key(prefix, record.queue, record.order))
            self._arrive(record.queue, record.state, -1)

    # --- steps ---

    def _untouched(self, key: bytes) -> Record:
        """A record for a message that was never handed out."""
        body = self._tables.get(Table.BODIES, key)
        assert body is not None, "a message that has not ended has a body"
        order, due, attempts, priority, queue = head_of(body)
        return Record(State.READY, queue, priority, order, attempts, due=due)

    def _record(self, key: bytes) -> Record:
        data = self._tables.get(Table.MESSAGES, key)
        assert data is not None, "a message that was handed out has a record"
        return decode_record(data)

    def _lease(self, key: bytes, fencing: int) -> Record:
        record = self._record(key)
        assert record.state is State.LEASED and record.fencing == fencing, "the lease stands and is this one"
        return record

    def _release(self, key: bytes, fencing: int) -> Record:
        """The lease ends; what follows is the caller's."""
        record = self._lease(key, fencing)
        self._tables.delete(Table.LEASES, key)
        record.session, record.request, record.until = b"", 0, 0
        return record

    def _again(self, key: bytes, record: Record, due: int, operation: Settled | Returned) -> None:
        """Another delivery after a delivery that did not succeed, if it may have another."""
        limit = record.attempts or operation.attempts
        if limit and record.deliveries >= limit:
            record.error = (f"given up after {record.deliveries} deliveries, {limit} are allowed: {record.failures} "
                            f"failed, {record.losses} lost; the last: {record.error or 'no error was given'}")
            self._end(key, record, State.DEAD, operation)
        elif due:
            record.due = due
            self._move(record, State.DELAYED)
            self._tables.put(Table.DELAYED, keys.delayed_key(self._prefix, due, record.order),
                             key[len(self._prefix):])
        else:
            self._wait(key, record)

    def _wait(self, key: bytes, record: Record) -> None:
        """The message is ready, in its old place."""
        self._move(record, State.READY)
        place = keys.ready_key(self._prefix, record.queue, record.priority, record.order)
        self._ready.append((place, waiting(key[len(self._prefix):], record.fencing)))
        self._rise(record.queue, place)

    def _end(self, key: bytes, record: Record, state: State, operation: Settled | Returned) -> None:
        """The message has ended. A dead letter keeps its body: somebody may want to look at it, or to try again."""
        self._move(record, state)
        record.ended = operation.at
        record.forget = operation.at + operation.keep
        message_id = key[len(self._prefix):]
        self._ended.append((keys.ended_key(self._prefix, record.forget, message_id), b""))
        if state is State.DEAD:
            self._tables.put(Table.DEAD, keys.dead_key(self._prefix, record.queue, record.order), message_id)
        else:
            self._tables.delete(Table.BODIES, key)

    # --- what goes along ---

    def _rise(self, queue: str, place: bytes) -> None:
        self.risen.add(queue)
        front = self.fronts.get(queue)
        if front is not None and place < front:
            self.fronts[queue] = place

    def _move(self, record: Record, state: State) -> None:
        counts = self.counts[record.queue]
        counts[record.state] -= 1
        counts[state] += 1
        record.state = state
        self._moved.add(record.queue)

    def _arrive(self, queue: str, state: State, number: int) -> None:
        counts = self.counts.get(queue)
        if counts is None:
            counts = self.counts[queue] = no_counts()
        counts[state] += number
        self._moved.add(queue)

    def _write(self) -> None:
        """Put what was gathered. A queue of which nothing is known any more has no row in COUNTS."""
        for table, gathered in self._written.items():
            if gathered:
                self._tables.put_many(table, gathered)
                gathered.clear()
        for queue in self._moved:
            key, counts = self._prefix + queue.encode(), self.counts[queue]
            if any(counts):
                self._tables.put(Table.COUNTS, key, encode_counts(counts))
            else:
                self._tables.delete(Table.COUNTS, key)
                del self.counts[queue]
                self.fronts.pop(queue, None)
        self._moved.clear()
