"""Executors: where a worker's handlers run (threads, processes, somebody else's pool), and what comes of a run.

Each slot of a worker is a thread that runs one handler at a time, by one of the runners here, or in a process of its
own (`processes`). Between processes goes what this program itself pickles: a message's bytes and an outcome; nothing
from the network is ever unpickled.
"""

from __future__ import annotations

import contextlib
import logging
import traceback
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Mapping
from concurrent.futures import Executor
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from types import GeneratorType
from typing import Any

from pydantic import TypeAdapter

from zmqueue.client import limits, parcels, payloads
from zmqueue.client.leased import Leased
from zmqueue.client.parcels import Ack, checked
from zmqueue.core.operations import How, Kind
from zmqueue.errors import CALLS, GiveBack, Reject

log = logging.getLogger("zmqueue.worker")

TRACEBACK_CALLS = 6                    # the innermost calls of a failed handler that its error text shows


@dataclass(frozen=True, slots=True)
class Work:
    """What a handler is given where it runs apart from the client (in a process): the message without its lease."""

    payload: Any
    token: str
    queue: str
    headers: Mapping[str, str] = field(default_factory=dict)
    deliveries: int = 1
    fencing: int = 1
    error: str = ""
    priority: int = 0
    attempts: int = 0                      # failures after which it is a dead letter; 0: not known
    due: int = 0                           # wall ms before which it was not to be handed out; 0: at once
    encoded: payloads.Encoded | None = field(default=None, compare=False, repr=False)    # the payload as it came

    @property
    def cancelled(self) -> bool:
        """As `Message.cancelled`, where it runs; in somebody else's executor nobody tells it."""
        ask = asking.get()
        return ask is not None and ask()

    def payload_as(self, type: Any) -> Any:
        """The payload, validated as that type (pydantic.ValidationError where it is not)."""
        if self.encoded is not None:
            return payloads.decode(self.encoded.kind, self.encoded.data, type)
        return TypeAdapter(type).validate_python(self.payload)


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message on its way to a process: its payload is decoded there."""

    kind: int
    data: bytes
    facts: tuple[str, str, dict[str, str], int, int, str, int, int, int]

    def unpack(self) -> Work:
        """The work as the handler sees it."""
        work = Work(payloads.decode(self.kind, self.data), *self.facts)
        return replace(work, encoded=payloads.Encoded(self.kind, self.data))


@dataclass(frozen=True, slots=True)
class Declined:
    """A run that was none: the message goes to others after a pause, and this was no attempt."""

    pause: float
    reason: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run."""

    how: How
    kind: int = Kind.NONE
    data: bytes = b""
    error: str = ""
    then: tuple[parcels.Parcel, ...] = ()


End = Outcome | Declined
"""How a message's time in a slot ends."""

Handler = Callable[[Any], object]
"""Gets a Message (in threads) or a Work (elsewhere): both have payload, token, queue, headers, deliveries, fencing."""


class Choosing(ABC):
    """A handler that stands for many, and sends only the one that a message needs to another process."""

    @abstractmethod
    def __call__(self, work: Any) -> object:
        """Handle it here."""

    @abstractmethod
    def apart(self, message: Leased) -> Handler:
        """What handles it elsewhere; can be pickled. Raises as a handler does."""


Tell = Callable[[object], None]
"""Tells of progress, in order."""

telling: ContextVar[Tell | None] = ContextVar("zmqueue telling", default=None)
"""How what runs here tells of progress; None: it cannot."""

asking: ContextVar[Callable[[], bool] | None] = ContextVar("zmqueue asking", default=None)
"""How what runs here learns that its request is cancelled; None: it cannot."""


def perform(handler: Handler, work: Leased | Work, tell: Tell | None = None) -> End:
    """Run the handler. Its result is an ack, Reject is a reject, GiveBack no run; any other exception is a nack.

    Where it is a generator function, what it yields is told as progress, and what it returns is the result.
    """
    mark = telling.set(tell)
    try:
        returned = handler(work)
        if isinstance(returned, GeneratorType):
            returned = exhaust(returned, tell)
        return success(returned)
    except (Exception, SystemExit) as error:             # sys.exit in a handler ends the run, not the worker
        return failure(error)
    finally:
        telling.reset(mark)


def success(returned: object) -> Outcome:
    """What comes of a handler that returned this."""
    if isinstance(returned, Ack):
        return Outcome(How.ACK, *payloads.encode(returned.result), then=checked(returned.then, None))
    return Outcome(How.ACK, *payloads.encode(returned))


def exhaust(generator: Generator[object, None, object], tell: Tell | None) -> object:
    """Tell of all that it yields; -> what it returns."""
    with contextlib.closing(generator):
        if tell is None:
            raise TypeError("a handler that yields progress runs in its worker's threads or event loop: from another "
                            "process nothing can be told")
        while True:
            try:
                told = next(generator)
            except StopIteration as end:
                return end.value
            tell(told)


def failure(error: BaseException) -> End:
    """What comes of a handler that raised this."""
    if isinstance(error, GiveBack):
        return Declined(error.pause, str(error) or "its handler gave it back")
    if isinstance(error, Reject):
        return Outcome(How.REJECT, error=str(error) or "rejected by its handler")
    return Outcome(How.NACK, error=error_text(error))


def perform_apart(handler: Handler, parcel: Parcel, tell: Tell | None = None) -> End:
    """Run the handler in a process of its own."""
    try:
        work = parcel.unpack()
    except ValueError as error:
        return Outcome(How.NACK, error=error_text(error))
    return perform(handler, work, tell)


def error_text(error: BaseException) -> str:
    """Type and text, then the innermost calls, as `errors.parse_error` reads them.

    Where it is too long, half at least is left to the text; of the calls the outermost are cut.
    """
    most = limits.ERROR_CHARACTERS_MAX
    calls = traceback.format_tb(error.__traceback__, limit=-TRACEBACK_CALLS)
    while calls and len(CALLS) + sum(map(len, calls)) > most // 2:
        calls = calls[1:]
    tail = CALLS + "".join(calls).rstrip()
    return f"{_name_of(type(error))}: {_said(error)}"[:most - len(tail)] + tail


def _said(error: BaseException) -> str:
    try:
        return str(error)
    except Exception:                                    # its own __str__ is broken
        return "(what it says cannot be told)"


def _name_of(kind: type[BaseException]) -> str:
    plain = kind.__module__ in ("builtins", "__main__", "__mp_main__")
    return kind.__qualname__ if plain else f"{kind.__module__}.{kind.__qualname__}"


def pack(message: Leased) -> Parcel:
    """What goes to a process."""
    submission = message.submission
    return Parcel(submission.kind, submission.payload, (
        message.token, message.queue, dict(message.headers), message.deliveries, message.fencing, message.error,
        message.priority, message.attempts, message.due))


def choose(handler: Handler, message: Leased) -> Handler | End:
    """What is to be sent to another process; or the end, where it ends before that."""
    if not isinstance(handler, Choosing):
        return handler
    try:
        return handler.apart(message)
    except Exception as error:
        return failure(error)


# --- runners: one for each slot --------------------------------------------------------------------------------------


class Runner(ABC):
    """Runs handlers for one slot, one at a time."""

    @abstractmethod
    def run(self, handler: Handler, message: Leased) -> End:
        """Run it to its end."""

    def close(self) -> None:
        """Nothing runs, and no more will be run. Called in the slot's thread."""
        return                             # most have nothing of their own to release

    def cancelled(self) -> None:
        """The request that runs is cancelled: let it know, from another thread."""
        return                             # most share the message's memory with it

    def kill(self) -> bool:
        """End what runs, and run nothing more, from another thread; False where that cannot be done."""
        return False

    def interrupt(self) -> bool:
        """End what runs, from another thread, and go on with the next; False where that cannot be done."""
        return False


class InThread(Runner):
    """In the slot's own thread."""

    def run(self, handler: Handler, message: Leased) -> End:
        return perform(handler, message, message.tell)


class Apart(Runner):
    """In the slot's own thread, which is given a Work: for handlers that must not touch the message's lease."""

    def run(self, handler: Handler, message: Leased) -> End:
        mark = asking.set(lambda: message.cancelled)
        try:
            return perform_apart(handler, pack(message), message.tell)
        finally:
            asking.reset(mark)


class InExecutor(Runner):
    """In an executor that somebody else made and will shut down."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor

    def run(self, handler: Handler, message: Leased) -> End:
        chosen = choose(handler, message)
        if isinstance(chosen, Outcome | Declined):
            return chosen
        return self._executor.submit(perform_apart, chosen, pack(message)).result()
