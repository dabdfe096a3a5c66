"""Tickets: what a submitter gets at once, and keeps; and what is known of a request."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from zmqueue.client.client import Client
    from zmqueue.client.streaming import Event


@dataclass(frozen=True, slots=True)
class Status:
    """How a request is. `state`: "delayed", "ready", "leased", "done", "dead", "cancelled" or "expired"."""

    token: str
    queue: str
    state: str
    deliveries: int
    error: str | None                      # of the last delivery that failed
    result: Any = None                     # where it is done

    @property
    def ended(self) -> bool:
        """True once it is done, dead, cancelled or expired: this does not change any more."""
        return self.state in ("done", "dead", "cancelled", "expired")


@dataclass(frozen=True, slots=True)
class Result:
    """What one of many requests ended with, or why that is not known."""

    token: str
    value: Any = None                      # where it is done
    error: Exception | None = None         # RequestFailed, ResultTimeout, UnknownToken ...; None where it is done

    def get(self) -> Any:
        """The value; raises the error."""
        if self.error is not None:
            raise self.error
        return self.value


class Stub:
    """A request's token, whichever client it is asked after by. Equal to any of the same token.

    `duplicate`: what was submitted was not stored, because another message has its `unique` key: this is its ticket.
    """

    __slots__ = ("duplicate", "token")

    def __init__(self, token: str) -> None:
        self.token = token
        self.duplicate = False

    def __repr__(self) -> str:
        return f"Ticket({self.token!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Stub) and other.token == self.token

    def __hash__(self) -> int:
        return hash(self.token)


class Ticket(Stub):
    """A request's token and the client to ask by. Equal to any ticket of the same token."""

    __slots__ = ("_client",)

    def __init__(self, client: Client, token: str) -> None:
        super().__init__(token)
        self._client = client

    def status(self, timeout: float | None = None) -> Status:
        """How the request is now. As `Client.status`."""
        return self._client.status(self.token, timeout=timeout)

    def result(self, timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the result. As `Client.result`."""
        return self._client.result(self.token, timeout=timeout, type=type)

    def stream(self, after: int = 0, timeout: float = 30.0, type: Any = None) -> Iterator[Event]:
        """Follow its progress to its end. As `Client.stream`."""
        return self._client.stream(self.token, after, timeout, type)

    def cancel(self, timeout: float | None = None) -> bool:
        """Have it not done any more. As `Client.cancel`."""
        return self._client.cancel(self.token, timeout=timeout)

    def forget(self, timeout: float | None = None) -> None:
        """Have its result thrown away. As `Client.forget`."""
        self._client.forget(self.token, timeout=timeout)
