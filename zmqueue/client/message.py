"""Messages: what a consumer was handed, and how it says what became of it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.leasing import Holding
from zmqueue.core.operations import How, Kind, Settle, Submission
from zmqueue.errors import BodyTooLarge, LeaseLost

if TYPE_CHECKING:
    from zmqueue.client.client import Client


class Message:
    """One message under a lease. Settle it once: `ack`, `nack` or `reject`; or `give_back` what was not begun.

    Each of these returns when it is confirmed: committed on all in-sync replicas. Raises LeaseLost where the lease is
    not this holder's any more, SettleTimeout (indefinite: repeat it) where no node confirmed it in time.
    """

    def __init__(self, client: Client, holding: Holding) -> None:
        self._client = client
        self._holding = holding

    @property
    def submission(self) -> Submission:
        """The message as its submitter sent it, encoded."""
        return self._holding.submission

    @property
    def token(self) -> str:
        return self._holding.token

    @property
    def queue(self) -> str:
        return self._holding.queue

    @cached_property
    def payload(self) -> Any:
        """The payload: bytes, str, None or plain JSON values, as it was submitted."""
        return self.payload_as(None)

    def payload_as(self, type: Any) -> Any:
        """The payload, validated as that type (pydantic.ValidationError where it is not)."""
        submission = self._holding.submission
        return payloads.decode(submission.kind, submission.payload, type)

    @cached_property
    def headers(self) -> Mapping[str, str]:
        return dict(self._holding.submission.headers)

    @property
    def priority(self) -> int:
        return self._holding.submission.priority

    @property
    def deliveries(self) -> int:
        """How often it was handed out, this time included."""
        return self._holding.deliveries

    @property
    def fencing(self) -> int:
        """Grows with each delivery of the message: a store that refuses smaller ones is safe from stale handlers."""
        return self._holding.fencing

    @property
    def error(self) -> str:
        """What went wrong in the delivery before; empty at the first."""
        return self._holding.error

    @property
    def deadline(self) -> float:
        """When the lease ends unless it is extended or renewed, by `time.monotonic()`; never too late (Q1)."""
        return self._holding.deadline

    @property
    def lost(self) -> bool:
        """True once the lease may not be this holder's any more: somebody else may work on the message."""
        return self._holding.lost or time.monotonic() >= self._holding.deadline

    def ack(self, result: object = None, timeout: float | None = None) -> None:
        """It is done, with this result."""
        self._client._settle(self._holding, self.settle_ack(result), timeout)

    def nack(self, delay: float = 0.0, error: str = "", timeout: float | None = None) -> None:
        """Try it again, not before `delay` seconds have passed; after the last attempt it is a dead letter."""
        self._client._settle(self._holding, self.settle_nack(delay, error), timeout)

    def reject(self, error: str = "", timeout: float | None = None) -> None:
        """It can never succeed: to the dead letters."""
        self._client._settle(self._holding, self.settle_reject(error), timeout)

    def extend(self, seconds: float, timeout: float | None = None) -> None:
        """Let the lease last that long from now."""
        lease_ms = arguments.milliseconds("seconds", seconds, limits.LEASE_S_MAX)
        self._client._say("extend", self._holding, timeout, lease_ms=lease_ms)

    def give_back(self, timeout: float | None = None) -> None:
        """It was not begun: let others have it. It does not count as a delivery."""
        self._client._say("give back", self._holding, timeout)

    # --- what a worker sends without waiting ---

    def settle_ack(self, result: object) -> Settle:
        """The settlement for `ack`. Raises TypeError or BodyTooLarge for a result that cannot be kept."""
        kind, data = payloads.encode(result)
        return self.settle_encoded(kind, data)

    def settle_encoded(self, kind: int, data: bytes) -> Settle:
        """The settlement for `ack` with a result that is encoded already."""
        most = self._client._body_bytes_max
        if most is not None and len(data) > most:
            raise BodyTooLarge(f"result is {len(data):,} bytes; the limit is {most:,} (settings.body_bytes_max)")
        return Settle(self._holding.id, self._holding.fencing, How.ACK, kind, data)

    def settle_nack(self, delay: float, error: str) -> Settle:
        """The settlement for `nack`."""
        delay_ms = round(arguments.seconds("delay", delay, limits.DELAY_S_MAX) * 1000)
        return Settle(self._holding.id, self._holding.fencing, How.NACK, Kind.NONE, b"", _error(error), delay_ms)

    def settle_reject(self, error: str) -> Settle:
        """The settlement for `reject`."""
        return Settle(self._holding.id, self._holding.fencing, How.REJECT, Kind.NONE, b"", _error(error))

    def raise_if_lost(self) -> None:
        """Raise LeaseLost once the lease is known to be lost."""
        raise_if_lost(self._holding)

    def __repr__(self) -> str:
        return f"<Message {self.token} of {self.queue!r}, delivery {self.deliveries}>"


def raise_if_lost(holding: Holding) -> None:
    """Raise LeaseLost once the lease is known to be lost."""
    if holding.lost:
        raise LeaseLost(f"the lease of {holding.token} is not yours any more: it ended, or the message was handed to "
                        f"somebody else")


def _error(text: str) -> str:
    if not isinstance(text, str):
        raise TypeError(f"error is a text, got {type(text).__name__}")
    return text[:limits.ERROR_CHARACTERS_MAX].encode("utf-8", "replace").decode()
