"""The leases of one bucket as its primary keeps them in memory: by message, by session, by deadline.

They are what LEASES and MESSAGES say, applied state only: rebuilt at a takeover, and as many as are in flight.
"""

from __future__ import annotations

from collections.abc import Sequence
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
    since: int = -1            # bucket time of the lease; -1: granted by an earlier primary, which did not tell


class Holdings:
    """All leases of a bucket."""

    __slots__ = ("_by_session", "_deadlines", "_leases")

    def __init__(self) -> None:
        self._leases: dict[bytes, Holding] = {}
        self._by_session: dict[bytes, set[bytes]] = {}
        self._deadlines: Deadlines[tuple[int, Sequence[Held]]] = Deadlines(self._any_stands)

    def _any_stands(self, item: tuple[int, Sequence[Held]]) -> bool:
        return any(self._stands(lease, item[0]) for lease in item[1])

    def _stands(self, lease: Held, until: int) -> bool:
        holding = self._leases.get(lease[0])
        return holding is not None and holding.fencing == lease[1] and holding.until == until

    def __len__(self) -> int:
        return len(self._leases)

    def get(self, message_id: bytes) -> Holding | None:
        """The lease on a message, if there is one."""
        return self._leases.get(message_id)

    def add(self, leases: Sequence[Held], until: int, session: bytes, request: int, since: int = -1) -> None:
        """Messages were leased together: one deadline for all of them."""
        for message_id, fencing in leases:
            self._leases[message_id] = Holding(fencing, until, session, request, since)
        self._by_session.setdefault(session, set()).update([message_id for message_id, _ in leases])
        self._deadlines.add(until, (until, leases))

    def extend(self, leases: Sequence[Held], until: int) -> None:
        """Leases last longer."""
        for message_id, _ in leases:
            self._leases[message_id] = self._leases[message_id]._replace(until=until)
        self._deadlines.add(until, (until, leases))

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

    def expired(self, at: int) -> list[Held]:
        """The leases with the earliest deadline, if that has passed at bucket time `at`. Each is told once."""
        return [lease for until, leases in self._deadlines.due(at, 1) for lease in leases
                if self._stands(lease, until)]

    def clear(self) -> None:
        """Nothing is known: the term ended."""
        self._leases.clear()
        self._by_session.clear()
        self._deadlines.clear()
