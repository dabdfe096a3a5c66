"""The leases of one bucket as its primary keeps them in memory: by message, by session, by deadline.

They are what LEASES and MESSAGES say, applied state only: rebuilt at a takeover, and as many as are in flight.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import NamedTuple

from zmqueue.core.deadlines import Deadlines
from zmqueue.core.operations import Held

_NONE: AbstractSet[bytes] = frozenset()


class Holding(NamedTuple):
    """One lease."""

    fencing: int
    until: int                 # bucket time
    session: bytes
    request: int               # the session's number for the lease request that it answered


class Holdings:
    """All leases of a bucket."""

    __slots__ = ("_by_session", "_deadlines", "_leases")

    def __init__(self) -> None:
        self._leases: dict[bytes, Holding] = {}
        self._by_session: dict[bytes, set[bytes]] = {}
        self._deadlines: Deadlines[tuple[bytes, int, int]] = Deadlines(self._stands)

    def _stands(self, item: tuple[bytes, int, int]) -> bool:
        message_id, fencing, until = item
        holding = self._leases.get(message_id)
        return holding is not None and holding.fencing == fencing and holding.until == until

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, message_id: bytes) -> Holding | None:
        """The lease on a message, if there is one."""
        return self._leases.get(message_id)

    def add(self, message_id: bytes, holding: Holding) -> None:
        """A message was leased."""
        self._leases[message_id] = holding
        self._by_session.setdefault(holding.session, set()).add(message_id)
        self._deadlines.add(holding.until, (message_id, holding.fencing, holding.until))

    def extend(self, message_id: bytes, until: int) -> None:
        """A lease lasts longer."""
        holding = self._leases[message_id]._replace(until=until)
        self._leases[message_id] = holding
        self._deadlines.add(until, (message_id, holding.fencing, until))

    def end(self, message_id: bytes) -> None:
        """A lease ended."""
        session = self._leases.pop(message_id).session
        of_session = self._by_session[session]
        of_session.remove(message_id)
        if not of_session:
            del self._by_session[session]

    def of(self, session: bytes) -> AbstractSet[bytes]:
        """The messages that a session has leased here."""
        return self._by_session.get(session, _NONE)

    def sessions(self) -> list[tuple[bytes, int]]:
        """The sessions that have leases here, each with the highest of its lease requests that got one."""
        return [(session, max(self._leases[message_id].request for message_id in held))
                for session, held in self._by_session.items()]

    def expired(self, at: int, limit: int) -> list[Held]:
        """Leases whose deadline has passed at bucket time `at`. Each is told once."""
        return [(message_id, fencing) for message_id, fencing, _ in self._deadlines.due(at, limit)]

    def clear(self) -> None:
        """Nothing is known: the term ended."""
        self._leases.clear()
        self._by_session.clear()
        self._deadlines.clear()
