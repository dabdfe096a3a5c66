"""Eager mode: an app's submits run at once, in this process, as if through the queue. For unit tests.

What a worker would do is done by the same code: arguments are encoded, decoded and validated, middleware is called,
results and errors are encoded and read again. What nodes do (placing, leasing, delays, expiry) is not there.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Unpack, cast

from zmqueue.app.running import AsyncDispatch, through
from zmqueue.app.task import TASK_HEADER
from zmqueue.client import arguments, payloads
from zmqueue.client.arguments import BatchOptions, SubmitOptions
from zmqueue.client.calls import Draft
from zmqueue.client.executors import Declined, End, Outcome, Work, failure, success, telling
from zmqueue.client.parcels import Parcel
from zmqueue.client.streaming import Event
from zmqueue.client.ticket import Result, Status, Stub
from zmqueue.core.ids import PLACES, RANDOM_BYTES, make_id, parse_token, token_of
from zmqueue.core.operations import How, State
from zmqueue.core.state import Agreed
from zmqueue.errors import RequestFailed, ResultTimeout, UnknownToken, ZmqueueError

if TYPE_CHECKING:
    from zmqueue.app.app import App

Ran = tuple[str, Sequence[Parcel]]

ATTEMPTS = Agreed().deliveries_max


@dataclass(slots=True)
class Ended:
    """A request, as it ended."""

    work: Work
    end: End
    told: list[tuple[int, object]] = field(default_factory=list)     # (fencing, data): progress, in order

    @property
    def state(self) -> State:
        match self.end:
            case Declined():
                return State.READY
            case Outcome(how=How.ACK):
                return State.DONE
        return State.DEAD

    @property
    def error(self) -> str:
        return self.end.reason if isinstance(self.end, Declined) else self.end.error


class Eager:
    """Stands where a client would. `requests`: what was submitted, by token, in order."""

    def __init__(self, app: App) -> None:
        self.requests: dict[str, Ended] = {}
        self._app = app
        self._handler = AsyncDispatch(app, None)

    # --- as a client ---

    def submit(self, queue: str, payload: object, **options: Unpack[SubmitOptions]) -> Stub:
        """Run it, now, to its end, and what its result queues."""
        token, parcels = self._now(*_drafted(queue, payload, options))
        waiting = deque(parcels)
        while waiting:
            parcel = waiting.popleft()
            waiting.extend(self._now(parcel.queue, parcel.draft)[1])
        return Stub(token)

    def submit_many(self, queue: str, payloads: Iterable[object], **options: Unpack[BatchOptions]) -> list[Stub]:
        """Run them, one after the other."""
        arguments.known("submit_many", options, BatchOptions)
        return [self.submit(queue, payload, **cast(SubmitOptions, options)) for payload in payloads]

    def result(self, token: str, timeout: float = 30.0, type: Any = None) -> Any:
        """What it ended with."""
        request = self._request(token)
        match request.end:
            case Declined(reason=reason):
                raise ResultTimeout(f"request {token} was given back, and nobody else is here to take it: {reason}",
                                    token)
            case Outcome(how=How.ACK, kind=kind, data=data):
                return payloads.decode(kind, data, type)
        raise RequestFailed(token, request.state, request.error, request.work.deliveries)

    def results(self, tokens: Iterable[str], timeout: float = 30.0, type: Any = None) -> Iterator[Result]:
        """What they ended with."""
        for token in dict.fromkeys(tokens):
            try:
                yield Result(token, self.result(token, timeout, type))
            except (ZmqueueError, ValueError) as error:
                yield Result(token, error=error)

    def stream(self, token: str, after: int = 0, timeout: float = 30.0, type: Any = None) -> Iterator[Event]:
        """What it told, and its end."""
        request = self._request(token)
        for index, (fencing, data) in enumerate(request.told, 1):
            if index > after:
                yield Event(index, "progress", data, fencing)
        end = len(request.told) + 1
        try:
            yield Event(end, "result", self.result(token, timeout, type))
        except RequestFailed as error:
            yield Event(end, "error", error.error, error=error)

    def status(self, token: str, *, timeout: float | None = None) -> Status:
        """How it ended."""
        request = self._request(token)
        value = self.result(token) if request.state is State.DONE else None
        return Status(token, request.work.queue, request.state.name.lower(), request.work.deliveries,
                      request.error or None, value)

    # --- inside ---

    async def submit_async(self, queue: str, payload: object, options: SubmitOptions) -> Stub:
        """Run it, now, to its end, and what its result queues; awaits what a coroutine task awaits."""
        token, parcels = await self._one(*_drafted(queue, payload, options))
        waiting = deque(parcels)
        while waiting:
            parcel = waiting.popleft()
            _, more = await self._one(parcel.queue, parcel.draft)
            waiting.extend(more)
        return Stub(token)

    def _now(self, queue: str, draft: Draft) -> Ran:
        task = self._app.tasks.get(dict(draft.headers).get(TASK_HEADER, ""))
        if task is None or not task.is_async:
            return through(self._one(queue, draft))
        return _run(lambda: self._one(queue, draft))

    async def _one(self, queue: str, draft: Draft) -> Ran:
        """-> its token, and what its result queues."""
        token = token_of(draft.id or make_id(time.time_ns() // 1_000_000, os.getpid() % PLACES,
                                             os.urandom(RANDOM_BYTES)))
        if token in self.requests:                       # submitted again with the same id: it is one request
            return token, ()
        encoded = payloads.Encoded(draft.kind, draft.payload)
        work = Work(payloads.decode(draft.kind, draft.payload), token, queue, dict(draft.headers),
                    priority=draft.priority, attempts=draft.attempts or ATTEMPTS, encoded=encoded)
        told: list[tuple[int, object]] = []
        end = await self._perform(work, told)
        while isinstance(end, Outcome) and end.how is How.NACK and work.deliveries < work.attempts:
            work = replace(work, deliveries=work.deliveries + 1, fencing=work.fencing + 1, error=end.error)
            end = await self._perform(work, told)
        self.requests[token] = Ended(work, end, told)
        return token, end.then if isinstance(end, Outcome) else ()

    async def _perform(self, work: Work, told: list[tuple[int, object]]) -> End:
        mark = telling.set(lambda data: told.append((work.fencing, payloads.decode(*payloads.encode(data)))))
        try:
            return success(await self._handler(work))
        except (Exception, SystemExit) as error:
            return failure(error)
        finally:
            telling.reset(mark)

    def _request(self, token: str) -> Ended:
        parse_token(token)
        if token not in self.requests:
            raise UnknownToken(f"request {token} was not submitted in this eager block")
        return self.requests[token]


class AsyncEager:
    """Stands where an asyncio client would."""

    def __init__(self, eager: Eager) -> None:
        self._eager = eager

    async def submit(self, queue: str, payload: object, **options: Unpack[SubmitOptions]) -> Stub:
        """Run it, now, to its end."""
        return await self._eager.submit_async(queue, payload, options)

    async def submit_many(self, queue: str, payloads: Iterable[object], **options: Unpack[BatchOptions]) -> list[Stub]:
        """Run them, one after the other."""
        arguments.known("submit_many", options, BatchOptions)
        return [await self.submit(queue, payload, **cast(SubmitOptions, options)) for payload in payloads]

    async def result(self, token: str, timeout: float = 30.0, type: Any = None) -> Any:
        """What it ended with."""
        return self._eager.result(token, timeout, type)

    async def results(self, tokens: Iterable[str], timeout: float = 30.0, type: Any = None) -> AsyncIterator[Result]:
        """What they ended with."""
        for result in self._eager.results(tokens, timeout, type):
            yield result

    async def stream(self, token: str, after: int = 0, timeout: float = 30.0, type: Any = None) -> AsyncIterator[Event]:
        """What it told, and its end."""
        for event in self._eager.stream(token, after, timeout, type):
            yield event

    async def status(self, token: str, *, timeout: float | None = None) -> Status:
        """How it ended."""
        return self._eager.status(token)


def _drafted(queue: str, payload: object, options: SubmitOptions) -> tuple[str, Draft]:
    arguments.known("submit", options, SubmitOptions)
    return arguments.queue_name(queue), arguments.draft(payload, options)


def _run(make: Callable[[], Coroutine[Any, Any, Ran]]) -> Ran:
    """Run it in a loop of its own; where one runs here already, in a thread beside it."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(make())
    found: list[Ran] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            found.append(asyncio.run(make()))
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="zmqueue-eager")
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return found[0]
