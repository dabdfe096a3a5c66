"""What can go wrong for a program that uses zmqueue, named by cause.

Every error says whether it is *definite*: the thing certainly did not happen and may be tried anew in any way; or not:
it may have happened, or may yet. What is indefinite is only ever retried with the same id (Q2), which is harmless:
it is stored once.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from zmqueue.core.answers import Code
from zmqueue.core.operations import State


class ZmqueueError(Exception):
    """Everything that zmqueue raises on its own. `definite`: it certainly did not happen."""

    definite: bool = True


class ClusterUnreachable(ZmqueueError, TimeoutError):
    """No node answered, or none serves, and nothing was sent that could take effect. Definite."""


# --- definite: the cluster's word that it was not done ---------------------------------------------------------------


class Refused(ZmqueueError):
    """The cluster, or the client before asking it, refused: it was not done."""


class BadRequest(Refused):
    """The node found the request malformed: the client and the node do not understand each other."""


class NotEnoughReplicas(Refused):
    """Too few replicas of the bucket are in-sync to accept a request safely (R11)."""


class QueueFull(Refused):
    """The queue holds as many messages as it may."""

    retry_after: float | None = None       # seconds after which there may be room; None: nobody can tell


class BodyTooLarge(Refused):
    """The payload or result is larger than `settings.body_bytes_max`."""


class UnknownToken(Refused):
    """No request of this token is stored: it never was, or its time to be remembered is over."""


class LeaseLost(Refused):
    """The lease is not the caller's any more: it expired, or the message was handed to somebody else."""


class IdTooOld(Refused):
    """The id was drawn too long ago to be deduplicated, so the submit is refused and not run again (Q3)."""


class NotAllowed(Refused):
    """The client may not do this."""


class Busy(Refused):
    """The node has as much in hand as it may."""


class UnknownSchedule(Refused):
    """There is no schedule of this name."""


class NotServing(Refused):
    """The node serves nothing now: it starts, stops, or has no majority."""


class DiskFull(Refused):
    """The node has no room for more."""


class RequestEnded(Refused):
    """The request has ended already, or is in no state in which this could be done to it."""


class ResultGone(Refused):
    """The request is done, and its result is not kept any longer: its `result_ttl` is over, or it was forgotten."""


class Closed(Refused):
    """The client is closed, or belongs to another process (a client does not survive a fork)."""


# --- indefinite: nobody answered in time -----------------------------------------------------------------------------


class Unknown(ZmqueueError):
    """It may have happened, or may yet."""

    definite = False


class NoAnswer(Unknown, TimeoutError):
    """Requests were sent, and none was answered before the deadline."""


class SubmitTimeout(NoAnswer):
    """The submit may be stored or not. Submit again with `id=error.token`: it is stored once (Q2)."""

    ticket: Any = None                     # the client's Ticket of it

    def __init__(self, text: str, token: str) -> None:
        super().__init__(text)
        self.token = token


class SettleTimeout(NoAnswer):
    """The settlement may hold or not. It may be repeated; a lease that is lost says so then."""


class SubmitManyFailed(ZmqueueError):
    """Some of a batch's messages are not confirmed. Definite where each of the errors is.

    `tickets[i]` is the i-th message's ticket, or None where it has no id yet; `errors` maps the index of each message
    that is not confirmed to what went wrong with it. Those that are not in `errors` are confirmed.
    """

    tickets: Sequence[Any] = ()

    def __init__(self, count: int, errors: Mapping[int, ZmqueueError]) -> None:
        first = next(iter(errors))
        super().__init__(f"{len(errors)} of {count} messages are not confirmed; "
                         f"the first is index {first}: {errors[first]}")
        self.errors = errors
        self.definite = all(error.definite for error in errors.values())


# --- results ---------------------------------------------------------------------------------------------------------


class RequestFailed(ZmqueueError):
    """The request ended without a result: it is a dead letter, was cancelled, or expired. This is final."""

    def __init__(self, token: str, state: State, error: str, deliveries: int) -> None:
        told = error.rpartition(CALLS)[0] or error         # the calls are in `traceback`, for those who look for them
        super().__init__(f"request {token} ended as {state.name.lower()} after {deliveries} deliveries"
                         + (f": {told}" if told else ""))
        self.token = token
        self.state = state.name.lower()
        self.error = error
        self.deliveries = deliveries

    @property
    def error_type(self) -> str | None:
        """The type's name of what its handler raised ("ValueError", "module.Type"); None where it raised nothing."""
        return parse_error(self.error)[0]

    @property
    def error_text(self) -> str:
        """What that error said, or the reason in words; may be empty."""
        return parse_error(self.error)[1]

    @property
    def traceback(self) -> str | None:
        """Where it was raised, the innermost calls, as text; None where nothing was raised."""
        return parse_error(self.error)[2]


class ResultTimeout(ZmqueueError, TimeoutError):
    """The request had not ended before the deadline; it goes on. Ask again whenever you like. Not definite."""

    definite = False

    def __init__(self, text: str, token: str) -> None:
        super().__init__(text)
        self.token = token


class Reject(Exception):
    """Raised by a handler: this message can never succeed; put it to the dead letters instead of trying again."""


PAUSE_S_MAX = 3_600.0                  # what is given back is kept from others meanwhile


class GiveBack(Exception):
    """Raised by a handler: not for this worker; another may take it. This does not count as a delivery.

    The worker keeps the message for `pause` seconds, without a slot, so that it does not meet it again at once.
    """

    def __init__(self, text: str = "", pause: float = 1.0) -> None:
        super().__init__(text)
        if not 0.0 <= pause <= PAUSE_S_MAX:
            raise ValueError(f"pause is {pause!r} seconds; allowed is 0 to {PAUSE_S_MAX:g}")
        self.pause = pause


# --- a handler's error, as the text that is kept with its message ----------------------------------------------------

CALLS = "\nTraceback (most recent call last):\n"
"""Stands between `type: text` and the calls. A traceback's lines are indented, so the last one in a text is this."""

GIVEN_UP = re.compile(r"\Agiven up after \d+ deliveries, [^;]*; the last: ")
"""What the nodes put before the last error of a message that was tried too often."""


def parse_error(text: str) -> tuple[str | None, str, str | None]:
    """(type, text, traceback) of an error that was kept; (None, the whole, None) where no exception was told of."""
    first, mark, calls = text.rpartition(CALLS)
    if not mark:
        return None, text, None
    first = GIVEN_UP.sub("", first, count=1)
    kind, _, said = first.partition(": ")
    return kind, said, mark[1:] + calls


BY_CODE: Mapping[int, type[Refused]] = {
    Code.BAD_REQUEST: BadRequest, Code.NOT_ENOUGH_REPLICAS: NotEnoughReplicas, Code.QUEUE_FULL: QueueFull,
    Code.BODY_TOO_LARGE: BodyTooLarge, Code.UNKNOWN_TOKEN: UnknownToken, Code.LEASE_LOST: LeaseLost,
    Code.ID_TOO_OLD: IdTooOld, Code.NOT_ALLOWED: NotAllowed, Code.BUSY: Busy, Code.NOT_SERVING: NotServing,
    Code.QUEUE_WAITS: QueueFull, Code.DISK_FULL: DiskFull, Code.ENDED: RequestEnded,
    Code.RESULT_GONE: ResultGone}
"""The error that stands for a code of the wire."""


def refusal(code: int, text: str) -> Refused:
    """The error for a node's refusal; a code that a later version added is still a definite refusal."""
    return BY_CODE.get(code, Refused)(text)
