"""Long polls of one bucket: questions after a message that wait for its end."""

from __future__ import annotations

from zmqueue.core.answers import Answer
from zmqueue.core.parking import Parking, kept
from zmqueue.core.records import Record
from zmqueue.core.requests import Ask


class Questions(Parking[Ask]):
    """How the primary of a bucket answers them. A settled result is given at once."""

    __slots__ = ()

    def _happened(self, packet: Ask, record: Record) -> bool:
        return record.state.terminal

    def _answer(self, client: bytes, packet: Ask, record: Record, at: int) -> None:
        if packet.result and not kept(record, at):
            self._result_is_gone(client, packet.request)
            return
        self._office.reply(client, Answer(packet.request, record.state.shown, record.queue, record.deliveries,
                                          record.error, record.kind, record.result if packet.result else b""))
