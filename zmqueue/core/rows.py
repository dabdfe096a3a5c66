"""Reading the rows of one copy of a bucket: every question that a decision of its primary asks.

Everything here is applied state, the committed prefix of the log. Nothing is kept in memory but the counts per queue.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from zmqueue.core import keys
from zmqueue.core.ids import drawn_at
from zmqueue.core.operations import Options, Scope, State, Submission
from zmqueue.core.records import (
    Counts,
    Record,
    Special,
    decode_counts,
    decode_record,
    event_of,
    head_of,
    submission_of,
    waiting_of,
)
from zmqueue.core.tables import RowMissing, Table, View, rows, span

_LAST_MOMENT = (1 << 63) - 1


class Rows:
    """Questions to the rows of one copy. The answers hold until the next operation is applied."""

    def __init__(self, view: View, copy: int) -> None:
        self.copy = copy
        self._view = view
        self._prefix = keys.copy_prefix(copy)
        self.counts: dict[str, Counts] = {queue: decode_counts(value) for queue, value in self.count_rows()}

    def count_rows(self) -> Iterator[tuple[str, bytes]]:
        """The rows of COUNTS: (queue, value)."""
        for key, value in rows(self._view, Table.COUNTS, *span(self._prefix)):
            yield keys.queue_in_count(key), value

    # --- one message ---

    def find(self, message_id: bytes) -> Record | None:
        """How a message is; None where it is not known (never accepted, or forgotten)."""
        key = self._prefix + message_id
        data = self._view.get(Table.MESSAGES, key)
        if data is not None:
            return decode_record(data)
        body = self._view.get(Table.BODIES, key)
        if body is None:
            return None
        head = head_of(body)
        delayed = head.due > 0 and self._view.get(
            Table.DELAYED, keys.delayed_key(self._prefix, head.due, head.order)) is not None
        return Record(State.DELAYED if delayed else State.READY, head.queue, head.priority, head.order,
                      head.attempts, due=head.due if delayed else 0)

    def touched(self, message_id: bytes) -> Record | None:
        """The record of a message that has been handed out at least once, else None."""
        data = self._view.get(Table.MESSAGES, self._prefix + message_id)
        return None if data is None else decode_record(data)

    def submission(self, message_id: bytes) -> tuple[Submission, Options | None] | None:
        """What was submitted; None once the message has ended (the payload is not needed again), but for the dead."""
        body = self._view.get(Table.BODIES, self._prefix + message_id)
        return None if body is None else submission_of(body)

    def record(self, message_id: bytes) -> Record:
        """The record of a message that must have one."""
        key = self._prefix + message_id
        data = self._view.get(Table.MESSAGES, key)
        if data is None:
            raise RowMissing(Table.MESSAGES, key)
        return decode_record(data)

    def body(self, message_id: bytes) -> tuple[Submission, Options | None]:
        """What was submitted as a message that has not ended."""
        key = self._prefix + message_id
        body = self._view.get(Table.BODIES, key)
        if body is None:
            raise RowMissing(Table.BODIES, key)
        return submission_of(body)

    def known(self, message_ids: Sequence[bytes]) -> set[bytes]:
        """Those of the ids that were accepted before and are not forgotten yet.

        The ids of a batch are drawn together, so they lie close together: where no row lies between the lowest and
        the highest, none of them is known, and that is found with two looks instead of two for each.
        """
        lowest, end = self._prefix + min(message_ids), self._prefix + max(message_ids) + b"\x00"
        tables = [table for table in (Table.BODIES, Table.MESSAGES) if self._view.scan(table, lowest, end, 1)]
        if not tables:
            return set()
        return {message_id for message_id in message_ids
                if any(self._view.get(table, self._prefix + message_id) is not None for table in tables)}

    def beginning_with(self, prefix: bytes) -> list[bytes]:
        """The ids of messages that begin so and are not forgotten, ascending."""
        start, end = span(self._prefix + prefix)
        found = {keys.id_in_lease(key) for table in (Table.BODIES, Table.MESSAGES)
                 for key, _ in rows(self._view, table, start, end)}
        return sorted(found)

    def queues(self, message_ids: Sequence[bytes]) -> set[str]:
        """The queues of messages that are known."""
        return {record.queue for record in map(self.find, message_ids) if record is not None}

    def holder(self, unique: bytes, at: int) -> bytes | None:
        """The message whose `unique` key, given by its digest, keeps others out at bucket time `at`."""
        message_id = self._view.get(Table.UNIQUES, self._prefix + unique)
        if message_id is None:
            return None
        record = self.touched(message_id)
        if not isinstance(record, Special):
            raise RowMissing(Table.MESSAGES, self._prefix + message_id)
        return None if record.scope == Scope.WINDOW and record.window <= at else message_id

    def events(self, message_id: bytes, after: int, many: int) -> list[tuple[int, int, bytes, int]]:
        """That many events of progress after index `after`, which are there: (index, kind, data, fencing number)."""
        first = keys.event_key(self._prefix, message_id, after + 1)
        end = keys.event_key(self._prefix, message_id, after + many + 1)
        found = self._view.scan(Table.EVENTS, first, end, many)
        if len(found) < many:
            raise RowMissing(Table.EVENTS, first)
        return [(keys.index_in_event(key), *event_of(value)) for key, value in found]

    def fired(self, name: bytes) -> int:
        """The last tick of a schedule that was dealt with, wall ms; 0: none was. `name`: the digest of its name."""
        row = self._view.get(Table.LINKS, keys.fired_key(self._prefix, name))
        return 0 if row is None else int.from_bytes(row, "big")

    # --- many ---

    def ready(self, queue: str, start: bytes | None, limit: int) -> list[tuple[bytes, bytes, int]]:
        """At most `limit` messages to hand out, best first: (key, id, fencing number of the delivery before).

        `start`: the key to begin at; None: the front.
        """
        first, end = span(keys.queue_prefix(self._prefix, queue))
        found = self._view.scan(Table.READY, start or first, end, limit)
        return [(key, *waiting_of(value)) for key, value in found]

    def letters(self, queue: str, start: bytes | None, limit: int) -> list[tuple[bytes, bytes]]:
        """At most `limit` dead letters of the queue, in the order of their submit: (key, id). `start`: as above."""
        first, end = span(keys.queue_prefix(self._prefix, queue))
        return self._view.scan(Table.DEAD, start or first, end, limit)

    def waited(self, queue: str, wall: int) -> int:
        """How long ago the message at the front was drawn, ms; -1 where none is ready."""
        front = self.ready(queue, None, 1)
        return max(0, wall - drawn_at(front[0][1])) if front else -1

    def ripe(self, wall: int, limit: int) -> list[bytes]:
        """Delayed messages whose due time has come, the first due first."""
        found = self._view.scan(Table.DELAYED, self._prefix, keys.until_moment(self._prefix, wall), limit)
        return [message_id for _, message_id in found]

    def expiring(self, wall: int, limit: int) -> list[bytes]:
        """Messages that still wait after the time until which they were to be begun, the first one first."""
        found = self._view.scan(Table.EXPIRING, self._prefix, keys.until_moment(self._prefix, wall - 1), limit)
        return [keys.id_in_ended(key) for key, _ in found]

    def forgettable(self, at: int, limit: int) -> list[bytes]:
        """Ended messages whose time to be remembered is over at bucket time `at`."""
        found = self._view.scan(Table.ENDED, self._prefix, keys.until_moment(self._prefix, at), limit)
        return [keys.id_in_ended(key) for key, _ in found]

    def leased(self) -> Iterator[tuple[bytes, Record]]:
        """All leases. As many as are in flight, so it is asked only at a takeover."""
        for key, _ in rows(self._view, Table.LEASES, *span(self._prefix)):
            data = self._view.get(Table.MESSAGES, key)
            if data is None:
                raise RowMissing(Table.MESSAGES, key)       # a leased message has a record
            yield keys.id_in_lease(key), decode_record(data)

    def next_due(self) -> int | None:
        """The wall time at which the first delayed message is due; None where none is delayed."""
        end = keys.until_moment(self._prefix, _LAST_MOMENT)
        found = self._view.scan(Table.DELAYED, self._prefix, end, 1)
        return keys.moment_of(found[0][0]) if found else None

    def unfinished(self) -> int:
        """How many messages have not ended."""
        return sum(counts[state] for counts in self.counts.values() for state in State if not state.terminal)

    def count(self, queue: str, state: State) -> int:
        """How many messages of the queue are in that state."""
        counts = self.counts.get(queue)
        return counts[state] if counts else 0
