"""What a consumer was handed: a message under a lease, as both clients show it; and what may be said of it."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterable, Mapping
from functools import cached_property
from typing import TYPE_CHECKING, Any

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.leasing import Holding
from zmqueue.client.parcels import Parcel, checked, drawn
from zmqueue.client.telling import TellCall
from zmqueue.core.operations import AS_QUEUE_SAYS, How, Kind, Settle, Submission
from zmqueue.errors import BodyTooLarge, LeaseLost, NoAnswer, ZmqueueError

if TYPE_CHECKING:
    from zmqueue.client.errands import Errand
    from zmqueue.client.face import Face

log = logging.getLogger("zmqueue.client")


class Leased:
    """What is known of the message, and the settlements that can be made for it."""

    def __init__(self, face: Face[Any, Any], holding: Holding) -> None:
        self._face = face
        self._holding = holding
        self._untold: ZmqueueError | None = None             # what went wrong with progress that nobody waited for

    @cached_property
    def _telling(self) -> threading.Semaphore:
        """How many more events may be on their way."""
        return threading.Semaphore(limits.TELLING_MAX)

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
    def attempts(self) -> int:
        """Failures after which it is a dead letter, its own or its queue's; 0: not known here yet."""
        return self._holding.submission.attempts or self._face._attempts_in(self.queue)

    @property
    def due(self) -> int:
        """Wall ms before which it was not to be handed out for the first time; 0: at once."""
        return self._holding.submission.due

    @property
    def has_backoff(self) -> bool:
        """True where the message, or its queue, says how long it rests after a failure."""
        options = self._holding.options
        return bool(options is not None and options.backoff is not None) or self._face._backs_off(self.queue)

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

    @property
    def cancelled(self) -> bool:
        """True once it is known here that nobody wants it any more: within a second, while its session lives.

        From any thread. Whoever gives up the work says so by a nack (a handler: by raising anything): it ends as
        cancelled then. An ack counts all the same.
        """
        return self._holding.cancelled

    # --- what its holder may say: the errands of the client that leased it ---

    def _to_ack(self, result: object, then: Iterable[Parcel], timeout: float | None) -> Errand[None]:
        return self._to_settle(self.settle_ack(result, then), timeout)

    def _to_nack(self, delay: float | None, error: str, timeout: float | None) -> Errand[None]:
        return self._to_settle(self.settle_nack(delay, error), timeout)

    def _to_reject(self, error: str, timeout: float | None) -> Errand[None]:
        return self._to_settle(self.settle_reject(error), timeout)

    def _to_extend(self, seconds: float, timeout: float | None) -> Errand[None]:
        lease_ms = arguments.milliseconds("seconds", seconds, limits.LEASE_S_MAX)
        return self._face._to_say("extend", self._holding, timeout, lease_ms=lease_ms)

    def _to_give_back(self, timeout: float | None) -> Errand[None]:
        return self._face._to_say("give back", self._holding, timeout)

    def _to_settle(self, settle: Settle, timeout: float | None) -> Errand[None]:
        return self._face._to_say("settle", self._holding, timeout, settle=settle)

    # --- progress ---

    def _to_tell(self, data: object, timeout: float | None) -> Errand[None]:
        return self._face._to_tell(self._holding, self._tell_call(data, self._face._deadline(timeout)))

    def tell_soon(self, data: object) -> bool:
        """Have it told after what was told before, without waiting, from any thread. False, and nothing happened: as
        many as may be are on their way. Raises what went wrong with an earlier one, once."""
        call = self._tell_call(data, time.monotonic() + limits.TELL_S)
        if not self._telling.acquire(blocking=False):
            return False
        call.notify = self._told
        self._face._transport.post(self._face._core.tell, self._holding, call)
        return True

    def tell(self, data: object) -> None:
        """As `tell_soon`, from a thread that may wait: where too many are on their way, it waits for all of them."""
        if self.tell_soon(data):
            return
        errand = self._to_tell(data, limits.TELL_S)
        finished = threading.Event()
        errand.call.notify = lambda _: finished.set()
        self._face._transport.post(errand.begin)
        if not finished.wait(limits.TELL_S + 1.0):           # its deadline passed: nobody serves the client any more
            raise NoAnswer(f"the progress of {self.token} was not confirmed: the client's thread has ended")
        errand.end()

    def _tell_call(self, data: object, deadline: float) -> TellCall:
        error, self._untold = self._untold, None
        if error is not None:
            raise error
        raise_if_lost(self._holding)
        kind, encoded = payloads.encode(data)
        if len(encoded) > limits.EVENT_BYTES_MAX:
            raise BodyTooLarge(f"an event of progress has {len(encoded):,} bytes; the limit is "
                               f"{limits.EVENT_BYTES_MAX:,}: what is large belongs into the result")
        return TellCall(kind, encoded, deadline)

    def _told(self, call: TellCall) -> None:
        """The fate of an event that nobody waits for is known."""
        self._telling.release()
        if call.error is not None:
            self._untold = call.error
            log.warning("progress of request %s was not told: %s", self.token, call.error)

    # --- what a worker sends without waiting ---

    def settle_ack(self, result: object, then: Iterable[Parcel] = ()) -> Settle:
        """The settlement for `ack`. Raises TypeError, ValueError or BodyTooLarge for what cannot be kept or queued."""
        kind, data = payloads.encode(result)
        return self.settle_encoded(kind, data, then)

    def settle_encoded(self, kind: int, data: bytes, then: Iterable[Parcel] = ()) -> Settle:
        """The settlement for `ack` with a result that is encoded already. The ids of what it queues are drawn here:
        however often it is sent, they are the same."""
        most = self._face._body_bytes_max
        if most is not None and len(data) > most:
            raise BodyTooLarge(f"result is {len(data):,} bytes; the limit is {most:,} (settings.body_bytes_max)")
        face = self._face
        carried = drawn(checked(then, most), self._holding.submission, kind, data, face._wall(), face._new_id)
        return Settle(self._holding.id, self._holding.fencing, How.ACK, kind, data, then=carried)

    def settle_nack(self, delay: float | None, error: str) -> Settle:
        """The settlement for `nack`; without a delay, it rests as its backoff says, or its queue's.

        A cluster with older nodes knows of no backoff: there, it does not rest.
        """
        if delay is None:
            delay_ms = AS_QUEUE_SAYS if self._face._knows_options else 0
        else:
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
