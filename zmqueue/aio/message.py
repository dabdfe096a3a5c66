"""Messages of the asyncio client."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zmqueue.client.leased import Leased

if TYPE_CHECKING:
    from zmqueue.aio.client import Client
    from zmqueue.client.leasing import Holding
    from zmqueue.client.parcels import Parcel


class Message(Leased):
    """One message under a lease. Settle it once: `ack`, `nack` or `reject`; or `give_back` what was not begun.

    Each of these returns when it is confirmed, and raises what those of `zmqueue.Message` do. Where the await is
    cancelled, it goes on all the same, and may hold or not.
    """

    def __init__(self, client: Client, holding: Holding) -> None:
        super().__init__(client, holding)
        self._client = client

    async def ack(self, result: object = None, then: Sequence[Parcel] = (), timeout: float | None = None) -> None:
        """It is done, with this result. `then`: what is queued if and only if this holds; see `zmqueue.Message.ack`."""
        await self._client._do(self._to_ack(result, then, timeout))

    async def nack(self, delay: float | None = None, error: str = "", timeout: float | None = None) -> None:
        """Try it again, not before `delay` seconds have passed; after the last attempt it is a dead letter.

        Without a delay it rests as its backoff says, or its queue's; with 0.0 not at all.
        """
        await self._client._do(self._to_nack(delay, error, timeout))

    async def reject(self, error: str = "", timeout: float | None = None) -> None:
        """It can never succeed: to the dead letters."""
        await self._client._do(self._to_reject(error, timeout))

    async def progress(self, data: object, wait: bool = True, timeout: float | None = None) -> None:
        """Tell those who follow the request how far it is. As `zmqueue.Message.progress`."""
        if wait or not self.tell_soon(data):
            await self._client._do(self._to_tell(data, timeout))

    async def extend(self, seconds: float, timeout: float | None = None) -> None:
        """Let the lease last that long from now."""
        await self._client._do(self._to_extend(seconds, timeout))

    async def give_back(self, timeout: float | None = None) -> None:
        """It was not begun: let others have it. It does not count as a delivery."""
        await self._client._do(self._to_give_back(timeout))
