"""Answers that need something of several buckets: they leave when the last part has arrived, or its term has ended."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

from zmqueue.core.answers import Alive, Confirmed, Grant, Granted
from zmqueue.core.office import Office
from zmqueue.core.operations import Held
from zmqueue.core.sessions import Session


class Gathering(ABC):
    """Counts the parts that are expected. One more is expected until `complete`, so that nothing leaves too early."""

    __slots__ = ("_expected",)

    def __init__(self) -> None:
        self._expected = 1

    def expect(self) -> None:
        """One more part."""
        self._expected += 1

    def arrived(self) -> None:
        """A part has come, or will never come."""
        self._expected -= 1
        if not self._expected:
            self.finish()

    def complete(self) -> None:
        """No more parts will be expected."""
        self.arrived()

    @abstractmethod
    def finish(self) -> None:
        """All parts are there."""


class Granting(Gathering):
    """The answer to a lease request: what was committed of it. Leases of a bucket whose term ended meanwhile may stand
    all the same; the session does not list them, so they are given back."""

    __slots__ = ("_grants", "_office", "client", "lease_ms", "more", "number", "request", "session", "size")

    def __init__(self, office: Office, session: Session, client: bytes, request: int, number: int,
                 lease_ms: int) -> None:
        super().__init__()
        self._office = office
        self._grants: list[Grant] = []
        self.session = session
        self.client = client
        self.request = request
        self.number = number
        self.lease_ms = lease_ms
        self.more = False
        self.size = 0                  # bytes of payload, counted in office.granting_bytes until the answer leaves
        session.granting[number] = self

    def part(self, grants: Sequence[Grant]) -> GrantPart:
        """Expect these to be committed."""
        size = sum(len(grant.submission.payload) for grant in grants)
        self.size += size
        self._office.granting_bytes += size
        self.expect()
        return GrantPart(self, grants)

    def add(self, grants: Sequence[Grant]) -> None:
        """These are committed."""
        self._grants.extend(grants)

    def finish(self) -> None:
        self._office.granting_bytes -= self.size
        del self.session.granting[self.number]
        self._office.reply(self.client, Granted(self.request, self.number, self.lease_ms, tuple(self._grants),
                                                self.more))


class GrantPart:
    """What one bucket grants."""

    __slots__ = ("_granting", "_grants")

    def __init__(self, granting: Granting, grants: Sequence[Grant]) -> None:
        self._granting = granting
        self._grants = grants

    def done(self, now: float) -> None:
        self._granting.add(self._grants)
        self._granting.arrived()

    def failed(self) -> None:
        self._granting.arrived()


class Reassuring(Gathering):
    """The answer to a keepalive: which of the leases that it lists are of cancelled messages, and which do not stand.
    That is said only after a barrier (R10), since a worker drops what it hears is lost."""

    __slots__ = ("_client", "_lost", "_office", "_request", "_unwanted")

    def __init__(self, office: Office, client: bytes, request: int) -> None:
        super().__init__()
        self._office = office
        self._client = client
        self._request = request
        self._lost: list[Held] = []
        self._unwanted: list[Held] = []

    def part(self, lost: Sequence[Held]) -> LostPart:
        """Expect a barrier."""
        self.expect()
        return LostPart(self, lost)

    def add(self, lost: Sequence[Held]) -> None:
        """These are lost for certain."""
        self._lost.extend(lost)

    def unwanted(self, leases: Sequence[Held]) -> None:
        """The messages of these are cancelled. That is applied, so it needs no barrier."""
        self._unwanted.extend(leases)

    def finish(self) -> None:
        self._office.reply(self._client, Alive(self._request, tuple(self._lost), tuple(self._unwanted)))


class LostPart:
    """What a session lost in one bucket."""

    __slots__ = ("_lost", "_reassuring")

    def __init__(self, reassuring: Reassuring, lost: Sequence[Held]) -> None:
        self._reassuring = reassuring
        self._lost = lost

    def done(self, now: float) -> None:
        self._reassuring.add(self._lost)
        self._reassuring.arrived()

    def failed(self) -> None:
        self._reassuring.arrived()


class Parting(Gathering):
    """The answer to the end of a session: its leases have returned, as far as this node is still to say so."""

    __slots__ = ("_client", "_office", "_request")

    def __init__(self, office: Office, client: bytes, request: int) -> None:
        super().__init__()
        self._office = office
        self._client = client
        self._request = request

    def done(self, now: float) -> None:
        self.arrived()

    def failed(self) -> None:
        self.arrived()

    def finish(self) -> None:
        self._office.reply(self._client, Confirmed(self._request))
