"""The acceptor: a voter's memory of one instance, on its disk before it is spoken of.

"Paxos made simple" (Lamport, 2001), for one decree per epoch. A node's own proposals go through its own
acceptor like everybody else's: that is rule C1, and the reason why no ballot ever carries two values.
"""

from __future__ import annotations

import msgspec

from zmqueue.core.ballots import NO_BALLOT, Accepted, Ballot, Nack, Promise
from zmqueue.core.changes import Value
from zmqueue.core.tables import Table, Tables

_KEY = b"acceptor"


class Record(msgspec.Struct, array_like=True, frozen=True):
    """What a voter has promised and accepted in the instance that decides `epoch`."""

    epoch: int
    promised: Ballot = NO_BALLOT
    accepted_ballot: Ballot = NO_BALLOT
    accepted_value: Value | None = None

    @property
    def blank(self) -> bool:
        return self.promised == NO_BALLOT


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Record)


class Acceptor:
    """Promises and accepts. An answer that is not a Nack leaves only when the batch is on disk."""

    __slots__ = ("_record", "_tables")

    def __init__(self, tables: Tables) -> None:
        self._tables = tables
        data = tables.get(Table.META, _KEY)
        self._record = Record(0) if data is None else _decoder.decode(data)

    def record(self, e1: int) -> Record:
        """The record of that instance: a blank one where the last was of another (C3)."""
        return self._record if self._record.epoch == e1 else Record(e1)

    def prepare(self, e1: int, ballot: Ballot) -> Promise | Nack:
        """Promise to accept nothing below the ballot, unless a higher one has that promise."""
        record = self.record(e1)
        # The same ballot again is a repetition, unless something was accepted in it: then its first phase is
        # over.
        repeated = ballot == record.promised and record.accepted_ballot < ballot
        if ballot <= record.promised and not repeated:
            return Nack(e1, record.promised)
        self._write(Record(e1, ballot, record.accepted_ballot, record.accepted_value))
        return Promise(e1, ballot, record.accepted_ballot, record.accepted_value)

    def accept(self, e1: int, ballot: Ballot, value: Value) -> Accepted | Nack:
        """Accept the value, unless a higher ballot has the promise."""
        record = self.record(e1)
        if ballot < record.promised:
            return Nack(e1, record.promised)
        self._write(Record(e1, ballot, ballot, value))
        return Accepted(e1, ballot)

    def clear(self) -> None:
        """Make the record blank: in the same batch that writes a newer state (C3)."""
        self._write(Record(0))

    def _write(self, record: Record) -> None:
        self._record = record
        self._tables.put(Table.META, _KEY, _encoder.encode(record))
