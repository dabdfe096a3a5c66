"""Messages: what a consumer was handed, and how it says what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zmqueue.client.leased import Leased

if TYPE_CHECKING:
    from zmqueue.client.client import Client
    from zmqueue.client.leasing import Holding
    from zmqueue.client.parcels import Parcel


class Message(Leased):
    """One message under a lease. Settle it once: `ack`, `nack` or `reject`; or `give_back` what was not begun.

    Each of these returns when it is confirmed: committed on all in-sync replicas. Raises LeaseLost where the lease is
    not this holder's any more, SettleTimeout (indefinite: repeat it) where no node confirmed it in time.
    """

    def __init__(self, client: Client, holding: Holding) -> None:
        super().__init__(client, holding)
        self._client = client

    def ack(self, result: object = None, then: Sequence[Parcel] = (), timeout: float | None = None) -> None:
        """It is done, with this result. `then`: messages, made by `zmqueue.to`, that are queued if and only if this
        holds, each once. Raises DiskFull (definite) where there is no room for them."""
        self._client._do(self._to_ack(result, then, timeout))

    def nack(self, delay: float | None = None, error: str = "", timeout: float | None = None) -> None:
        """Try it again, not before `delay` seconds have passed; after the last attempt it is a dead letter.

        Without a delay it rests as its backoff says, or its queue's; with 0.0 not at all.
        """
        self._client._do(self._to_nack(delay, error, timeout))

    def reject(self, error: str = "", timeout: float | None = None) -> None:
        """It can never succeed: to the dead letters."""
        self._client._do(self._to_reject(error, timeout))

    def progress(self, data: object, wait: bool = True, timeout: float | None = None) -> None:
        """Tell those who follow the request how far it is. `data`: as a payload, up to 64 KiB.

        Events keep their order. When it returns, the event is as safe as a confirmed submit; without `wait` it is on
        its way, and many travel together: the next call raises what went wrong with it, and a settlement waits until
        all that was told before is stored. Raises LeaseLost; BodyTooLarge; BadRequest beyond 10,000 events of a
        message; NoAnswer (indefinite: not to be repeated, it may be stored).
        """
        if wait or not self.tell_soon(data):
            self._client._do(self._to_tell(data, timeout))

    def extend(self, seconds: float, timeout: float | None = None) -> None:
        """Let the lease last that long from now."""
        self._client._do(self._to_extend(seconds, timeout))

    def give_back(self, timeout: float | None = None) -> None:
        """It was not begun: let others have it. It does not count as a delivery."""
        self._client._do(self._to_give_back(timeout))
