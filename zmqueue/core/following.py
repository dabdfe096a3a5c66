"""Following a message: its events of progress as they are committed, from any index on, and then its end.

Events are rows of the applied state, so whoever reads them, wherever and as often as he likes, gets the same ones in
the same order; none is told that a failover could take back.
"""

from __future__ import annotations

from zmqueue.core.answers import Events
from zmqueue.core.parking import Parking, kept
from zmqueue.core.records import Record, Special
from zmqueue.core.requests import Follow

PAGE = 64
"""Events that are read at once: each may be large, so the bytes are looked at in between."""


class Followers(Parking[Follow]):
    """How the primary of a bucket lets others follow its messages."""

    __slots__ = ()

    def _happened(self, packet: Follow, record: Record) -> bool:
        return record.state.terminal or packet.after < _count(record)

    def _answer(self, client: bytes, packet: Follow, record: Record, at: int) -> None:
        """The next events, as many as one answer holds; with the last of them, how the message is."""
        count = _count(record)
        events = self._read(packet.id, packet.after, count)
        more = bool(events) and events[-1][0] < count
        ended = record.state.terminal and not more
        if ended and not kept(record, at):
            if not events:
                self._result_is_gone(client, packet.request)
                return
            ended, more = False, True                  # first these; that it is gone is the answer to the next question
        self._office.reply(client, Events(
            packet.request, record.state.shown, tuple(events), more, record.deliveries, record.error, record.kind,
            record.result if ended else b"", count))

    def _read(self, message_id: bytes, after: int, count: int) -> list[tuple[int, int, bytes, int]]:
        limits = self._office.limits
        found: list[tuple[int, int, bytes, int]] = []
        size = 0
        while after < count and len(found) < limits.events_told_max and size < limits.events_told_bytes_max:
            many = min(PAGE, limits.events_told_max - len(found), count - after)
            page = self._ledger.machine.events(message_id, after, many)
            for event in page:
                size += len(event[2])
                if found and size > limits.events_told_bytes_max:
                    return found
                found.append(event)
            after = found[-1][0]
        return found


def _count(record: Record) -> int:
    """How many events the message has."""
    return record.events if isinstance(record, Special) else 0
