"""How the primary of a bucket finds messages: by queue, state, header, and the time at which their ids were drawn.

An answer is a page, bounded in rows that are looked at and in bytes, and says where to go on, so that no search holds
up the node and none is remembered here. The rows are walked in an order that a message keeps while it lives: that of
its id, which begins with the time at which it was drawn, so a span of time is a range of keys; dead letters alone are
walked as they lie, by queue and order. So what is there all the while is found once, whatever else happens between two
pages, and whoever is primary. A page is applied state, after a read barrier (R10).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from zmqueue.core import keys, letters
from zmqueue.core.answers import Code, Found, FoundMessage
from zmqueue.core.ids import drawn_at
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Refusal
from zmqueue.core.operations import NO_OPTIONS, State
from zmqueue.core.records import Record, Special, decode_record, head_of, submission_of
from zmqueue.core.requests import Find
from zmqueue.core.tables import RowMissing, Table, span

if TYPE_CHECKING:
    from zmqueue.core.desk import Hall

_STEP = 16
"""Rows read at once: a body may be large, and what is read is in memory."""

_INDEX = struct.Struct(">I")

_FOUND_AS = {State.BEHIND: State.READY, State.MENDING: State.LEASED}
"""What an operator is told: what is in somebody's hand is leased, also where its submitter is told that it is dead."""


class Seen(NamedTuple):
    """One message that is looked at: its rows, as they were read, and where the search goes on behind it."""

    id: bytes
    body: bytes | None
    record: bytes | None
    cursor: bytes


class Finding:
    """The searches of one bucket."""

    __slots__ = ("_hall", "_ledger")

    def __init__(self, ledger: Ledger, hall: Hall) -> None:
        self._ledger = ledger
        self._hall = hall

    def find(self, client: bytes, packet: Find, now: float) -> None:
        """Answer with a page, once no other node can have become primary before the question came."""
        office = self._ledger.office
        if office.searches >= office.limits.searches_max:
            raise Refusal(Code.BUSY, f"{office.searches:,} searches wait on this node; the limit is "
                                     f"{office.limits.searches_max:,} (limits.searches_max): try again later")
        office.searches += 1
        self._ledger.after_barrier(_Search(self, client, packet), now)

    def failed(self, client: bytes, request: int) -> None:
        """The term ended while a search waited for its barrier."""
        self._ledger.office.searches -= 1
        self._ledger.office.not_primary(client, request, unknown=False)

    def go_on(self, client: bytes, packet: Find, now: float) -> None:
        """The barrier is passed."""
        self._ledger.office.searches -= 1
        self.look(client, packet, now)

    def look(self, client: bytes, packet: Find, now: float) -> None:
        """Walk on from where the page before ended, until the page is full or enough was looked at."""
        limits, at = self._ledger.office.limits, self._ledger.replica.at(now)
        found: list[FoundMessage] = []
        read = payloads = 0
        cursor = b""
        for rows, seen in enumerate(self._walk(packet), 1):
            message = self._judge(packet, seen, at)
            if message is not None:
                if found and payloads + len(message.payload) > limits.found_bytes_max:
                    break                              # it begins the next page
                payloads += len(message.payload)
                found.append(message)
            cursor = seen.cursor
            read += len(seen.body or b"") + len(seen.record or b"")
            if len(found) == packet.limit or rows >= limits.find_rows_max or read >= limits.find_bytes_max:
                break
        else:
            cursor = b""                               # that was all
        self._ledger.office.reply(client, Found(packet.request, tuple(found), cursor))

    # --- which rows are looked at ---

    def _walk(self, packet: Find) -> Iterator[Seen]:
        states = set(packet.states)
        if packet.ids:
            return self._named(packet)
        if states == {State.DEAD}:
            return self._dead(packet)
        if states == {State.LEASED}:
            return self._leased(packet)
        return self._all(packet)

    def _named(self, packet: Find) -> Iterator[Seen]:
        first = _INDEX.unpack(packet.after)[0] if len(packet.after) == _INDEX.size else 0
        for index, message_id in enumerate(packet.ids[first:], first + 1):
            yield self._seen(message_id, _INDEX.pack(index))

    def _dead(self, packet: Find) -> Iterator[Seen]:
        """As they lie: so all dead letters are found without a look at anything else."""
        prefix = self._prefix
        first, stop = span(keys.queue_prefix(prefix, packet.queue) if packet.queue else prefix)
        if packet.after:
            first = max(first, prefix + packet.after + b"\x00")
        for key, message_id in self._rows(Table.DEAD, first, stop):
            yield self._seen(message_id, key[keys.COPY_BYTES:])

    def _leased(self, packet: Find) -> Iterator[Seen]:
        for key, _ in self._rows(Table.LEASES, *self._range(packet)):
            message_id = keys.id_in_lease(key)
            yield self._seen(message_id, message_id)

    def _all(self, packet: Find) -> Iterator[Seen]:
        """By id. What has ended has no body, and what nobody touched has no record: both tables are walked together,
        up to the id up to which both are read."""
        tables = self._ledger.machine.tables
        start, stop = self._range(packet)
        while True:
            bodies = tables.scan(Table.BODIES, start, stop, _STEP)
            records = tables.scan(Table.MESSAGES, start, stop, _STEP)
            last = min((rows[-1][0] for rows in (bodies, records) if len(rows) == _STEP), default=stop)
            of_body, of_record = dict(bodies), dict(records)
            for key in sorted(of_body.keys() | of_record.keys()):
                if key > last:
                    break
                message_id = keys.id_in_lease(key)
                yield Seen(message_id, of_body.get(key), of_record.get(key), message_id)
            if last == stop:
                return
            start = last + b"\x00"

    def _rows(self, table: Table, start: bytes, stop: bytes) -> Iterator[tuple[bytes, bytes]]:
        tables = self._ledger.machine.tables
        while found := tables.scan(table, start, stop, _STEP):
            yield from found
            start = found[-1][0] + b"\x00"

    def _range(self, packet: Find) -> tuple[bytes, bytes]:
        """The keys of the ids that were drawn in the span of time, behind the last page."""
        prefix = self._prefix + b"\x01"
        start = prefix + packet.since.to_bytes(6, "big")
        stop = prefix + packet.before.to_bytes(6, "big") if packet.before else span(self._prefix)[1]
        if packet.after:
            start = max(start, self._prefix + packet.after + b"\x00")
        return start, stop

    def _seen(self, message_id: bytes, cursor: bytes) -> Seen:
        tables, key = self._ledger.machine.tables, self._prefix + message_id
        return Seen(message_id, tables.get(Table.BODIES, key), tables.get(Table.MESSAGES, key), cursor)

    @property
    def _prefix(self) -> bytes:
        return keys.copy_prefix(self._ledger.machine.copy)

    # --- which of them are meant ---

    def _judge(self, packet: Find, seen: Seen, at: int) -> FoundMessage | None:
        """The message, if it is one of those that are looked for. What was purged is not: it is thrown away."""
        record = self._record(packet, seen)
        if record is None or record.state is State.PURGED or (packet.queue and record.queue != packet.queue):
            return None
        drawn = drawn_at(seen.id)
        if drawn < packet.since or (packet.before and drawn >= packet.before):
            return None
        if packet.states and _FOUND_AS.get(record.state, record.state) not in packet.states:
            return None
        return self._message(packet, seen, record, at)

    def _record(self, packet: Find, seen: Seen) -> Record | None:
        if seen.record is not None:
            return decode_record(seen.record)
        if seen.body is None:
            return None                                # of a named id: it is not known
        if packet.queue and head_of(seen.body).queue != packet.queue:
            return None
        return self._ledger.machine.find(seen.id)

    def _message(self, packet: Find, seen: Seen, record: Record, at: int) -> FoundMessage | None:
        headers: tuple[tuple[str, str], ...] = ()
        group, kind, payload, size = "", 3, b"", 0
        if seen.body is not None:
            submission, options = submission_of(seen.body)
            headers, kind, size = submission.headers, submission.kind, len(submission.payload)
            payload = submission.payload if packet.payload else b""
            group = (options or NO_OPTIONS).group
        elif not record.state.terminal:
            raise RowMissing(Table.BODIES, self._prefix + seen.id)
        if not set(packet.headers) <= set(headers):
            return None
        more = record if isinstance(record, Special) else None
        holding = self._ledger.holdings.get(seen.id)
        mended = record.state is State.MENDING
        return FoundMessage(
            seen.id, letters.name_of(record.queue) if mended else record.queue,
            _FOUND_AS.get(record.state, record.state), record.priority, record.deliveries, record.failures,
            record.losses, record.due, max(0, at - record.ended) if record.ended else -1, record.error, headers,
            group or (more.group if more else ""), record.session, max(0, record.until - at) if record.session else 0,
            kind, payload, size, more.requeued if more else 0,
            tuple((max(0, at - when), fate, error) for when, fate, error in more.history) if more else (),
            self._hall.name_of(record.session) if record.session else "",
            max(0, at - holding.since) if holding is not None and holding.since >= 0 else -1)


class _Search:
    """A search that waits for its barrier."""

    __slots__ = ("_client", "_finding", "_packet")

    def __init__(self, finding: Finding, client: bytes, packet: Find) -> None:
        self._finding = finding
        self._client = client
        self._packet = packet

    def done(self, now: float) -> None:
        self._finding.go_on(self._client, self._packet, now)

    def failed(self) -> None:
        self._finding.failed(self._client, self._packet.request)
