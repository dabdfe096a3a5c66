"""The sessions of workers that this node hears: when last, how far their lease requests got, what they watch for.

A session is known by its 16 random bytes, not by the connection that it comes over. It is lost when it has been silent
for `session_ms`; then its leases return. A node that did not run for a while cannot know who was silent, so it
listens again for the whole time before it blames anybody; and a lease that is inherited makes its session count as
just heard (Q5).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from zmqueue.core.answers import Code
from zmqueue.core.limits import Limits
from zmqueue.core.office import Refusal

if TYPE_CHECKING:
    from zmqueue.core.gathering import Granting

_FORGET_AFTER = 3
"""A session without leases is forgotten after so many times `session_ms` of silence, and its watches with it."""


class Session:
    """One worker's session, as one node knows it."""

    __slots__ = ("client", "ended", "granting", "heard", "highest", "id", "name")

    def __init__(self, session_id: bytes, now: float) -> None:
        self.id = session_id
        self.client = b""              # where it was last heard from; none yet where its leases were inherited
        self.name = ""                 # what it calls itself
        self.heard = now
        self.highest = -1              # of its lease requests here: a lower number is a repeat (Q5)
        self.ended = False             # by its own word
        self.granting: dict[int, Granting] = {}     # its lease requests that wait for their commit


class Sessions:
    """All sessions that this node knows. Every lease in a bucket that it serves belongs to one of them."""

    __slots__ = ("_limits", "_sessions")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._sessions: dict[bytes, Session] = {}

    def __len__(self) -> int:
        return len(self._sessions)

    def get(self, session_id: bytes) -> Session | None:
        """The session, if it is known."""
        return self._sessions.get(session_id)

    def hear(self, session_id: bytes, client: bytes, now: float) -> Session:
        """A packet of the session came."""
        session = self._sessions.get(session_id)
        if session is None:
            if len(self._sessions) >= self._limits.sessions_max:
                raise Refusal(Code.BUSY, f"this node hears {len(self._sessions):,} sessions; the limit is "
                                         f"{self._limits.sessions_max:,} (limits.sessions_max): use fewer, larger "
                                         "workers")
            session = self._sessions[session_id] = Session(session_id, now)
        session.client = client
        session.heard = now
        return session

    def inherit(self, sessions: Iterable[tuple[bytes, int]], now: float) -> None:
        """Sessions hold leases that were granted under these numbers in an earlier term."""
        for session_id, number in sessions:
            session = self._sessions.get(session_id)
            if session is None:
                session = self._sessions[session_id] = Session(session_id, now)
            session.heard = now
            session.highest = max(session.highest, number)

    def stalled(self, now: float) -> None:
        """This node did not run for a while: everybody counts as just heard."""
        for session in self._sessions.values():
            session.heard = now

    def silent(self, now: float, session_ms: int) -> list[Session]:
        """The sessions whose leases must return."""
        before = now - session_ms / 1_000
        return [session for session in self._sessions.values() if session.heard < before or session.ended]

    def forgettable(self, session: Session, now: float, session_ms: int) -> bool:
        """True where a silent session, if it has no leases, need not be known any longer."""
        return not session.granting and (session.ended or
                                         session.heard < now - _FORGET_AFTER * session_ms / 1_000)

    def forget(self, session: Session) -> None:
        """It is known no more."""
        del self._sessions[session.id]
