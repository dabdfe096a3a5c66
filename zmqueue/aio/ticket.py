"""Tickets of the asyncio client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING, Any

from zmqueue.client.ticket import Status, Stub

if TYPE_CHECKING:
    from zmqueue.aio.client import Client
    from zmqueue.client.streaming import Event


class Ticket(Stub):
    """A request's token and the client to ask by. Equal to any ticket of the same token."""

    __slots__ = ("_client",)

    def __init__(self, client: Client, token: str) -> None:
        super().__init__(token)
        self._client = client

    async def status(self, timeout: float | None = None) -> Status:
        """How the request is now. As `Client.status`."""
        return await self._client.status(self.token, timeout=timeout)

    async def result(self, timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the result. As `Client.result`."""
        return await self._client.result(self.token, timeout=timeout, type=type)

    def stream(self, after: int = 0, timeout: float = 30.0, type: Any = None) -> AsyncIterator[Event]:
        """Follow its progress to its end: `async for event in ticket.stream()`."""
        return self._client.stream(self.token, after, timeout, type)

    async def cancel(self, timeout: float | None = None) -> bool:
        """Have it not done any more. As `Client.cancel`."""
        return await self._client.cancel(self.token, timeout=timeout)

    async def forget(self, timeout: float | None = None) -> None:
        """Have its result thrown away. As `Client.forget`."""
        await self._client.forget(self.token, timeout=timeout)
