"""A task: a function that can be called here, or submitted and called by a worker."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, ParamSpec, TypeVar, Unpack, cast

from zmqueue.app import middleware
from zmqueue.app.signature import Arguments, Signature
from zmqueue.app.tickets import TaskTicket
from zmqueue.client import arguments, parcels
from zmqueue.client.arguments import BatchOptions, SubmitOptions
from zmqueue.client.parcels import Parcel
from zmqueue.client.payloads import Encoded, Reader
from zmqueue.client.ticket import Result
from zmqueue.core.operations import Kind

if TYPE_CHECKING:
    from zmqueue.app.aio_task import AsyncFace
    from zmqueue.app.app import App

P = ParamSpec("P")
C = TypeVar("C")
R = TypeVar("R")

TASK_HEADER = "zmqueue-task"               # its name
SIGNATURE_HEADER = "zmqueue-signature"     # by which code the arguments were judged

MAP_S = 30.0


@dataclass(frozen=True, slots=True)
class Call:
    """One call that may be submitted: arguments that are valid, and encoded."""

    task: str
    body: Encoded


class Task(Generic[P, C, R]):
    """`task(...)` calls the function, here and now; `task.submit(...)` has a worker do it.

    C is what a plain call returns (a coroutine, for `async def`), R the result. Options that were given to `@app.task`
    hold for each submit; `options(...)` makes a task with others, for one submit say. A task is pickled by its name, so
    where processes run it, it stands at the top of its module.
    """

    def __init__(self, app: App, function: Callable[P, C], name: str, queue: str, options: BatchOptions,
                 names: Mapping[str, Any] | None) -> None:
        functools.update_wrapper(self, function)
        self.app = app
        self.function = function
        self.name = name
        self.queue = queue
        self.is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        self.yields = inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function)
        self._names = names
        self._options: SubmitOptions = cast(SubmitOptions, {**options})

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> C:
        """A plain call: no queue, no validation."""
        return self.function(*args, **kwargs)

    @cached_property
    def signature(self) -> Signature:
        """Made when it is first needed: annotations may name what stands further down."""
        return Signature(self.function, self._names)

    @cached_property
    def reader(self) -> Reader:
        """Reads its results: `client.result(token, type=task.reader)`, wherever a token was kept."""
        return self.app.bodies.reader(self.signature.result)

    # --- submitting ---

    def submit(self, *args: P.args, **kwargs: P.kwargs) -> TaskTicket[R]:
        """Have a worker call it with these arguments. Returns once the call is accepted, as `Client.submit`.

        Raises TypeError where a plain call would, pydantic.ValidationError (a ValueError) where an argument is not what
        its annotation says: nothing was submitted then. Other errors: as `Client.submit`.
        """
        call = self.call(*args, **kwargs)
        options: SubmitOptions = self._options | {"headers": self._headers(1)}
        ticket = self.app.way.submit(self.queue, call.body, **options)
        return self.ticket(ticket.token)

    def call(self, *args: P.args, **kwargs: P.kwargs) -> Call:
        """A call for `submit_many`; raises as `submit` does where the arguments are wrong."""
        return self._call(args, kwargs)

    def to(self, *args: P.args, **kwargs: P.kwargs) -> Parcel:
        """A call for an ack to queue, if and only if it holds: `zmqueue.current().then(task.to(...))` in another task.

        Raises as `submit` does where the arguments are wrong. The task's option `timeout` does not count here.
        """
        call = self.call(*args, **kwargs)
        options: SubmitOptions = self._options | {"headers": self._headers(1)}
        options.pop("timeout", None)
        return parcels.to(self.queue, call.body, **options)

    def submit_many(self, calls: Iterable[Call | tuple[Any, ...]]) -> list[TaskTicket[R]]:
        """Submit many calls of it, as `Client.submit_many`: each is what `call(...)` gave, or a tuple of arguments.

        All are checked before any is submitted. Raises SubmitManyFailed where some are not confirmed.
        """
        bodies = self.bodies_of(calls)
        if not bodies:
            return []
        tickets = self.app.way.submit_many(self.queue, bodies, **self._batch_options(len(bodies)))
        return [self.ticket(ticket.token) for ticket in tickets]

    def map(self, *iterables: Iterable[Any], timeout: float = MAP_S) -> Iterator[R]:
        """As the builtin `map`, with the calls made by workers: submits all at once, gives the results in order.

        `timeout`: seconds that all of them together have. Raises the error of the first call, in order, that has none.
        """
        tickets = self.submit_many(zip(*iterables, strict=True))
        return self._in_order([ticket.token for ticket in tickets], timeout)

    def _in_order(self, tokens: list[str], timeout: float) -> Iterator[R]:
        order = InOrder(tokens)
        for result in self.app.way.results(tokens, timeout=timeout, type=self.reader):
            yield from order.came(result)

    def ticket(self, token: str) -> TaskTicket[R]:
        """The ticket of a token that was kept."""
        return TaskTicket(self.app.way, token, self)

    def options(self, **options: Unpack[SubmitOptions]) -> Task[P, C, R]:
        """This task with other options for its submits: `task.options(delay=60.0).submit(...)`. Headers are added."""
        arguments.known("options", options, SubmitOptions)
        other = copy.copy(self)
        headers = {**(self._options.get("headers") or {}), **(options.get("headers") or {})}
        other._options = {**self._options, **options, "headers": headers}
        return other

    @property
    def aio(self) -> AsyncFace[P, R]:
        """The same names, awaited."""
        from zmqueue.app.aio_task import AsyncFace
        return AsyncFace(cast("Task[P, Any, R]", self))

    # --- what is submitted ---

    def bodies_of(self, calls: Iterable[Call | tuple[Any, ...]]) -> list[Encoded]:
        """The bodies of many calls."""
        made = [call if isinstance(call, Call) else self._call(call, {}) for call in calls]
        strange = [call.task for call in made if call.task != self.name]
        if strange:
            raise ValueError(f"this is a call of {strange[0]!r}; {self.name!r} submits only its own")
        return [call.body for call in made]

    def _call(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Call:
        data = self.signature.encode(args, kwargs)
        return Call(self.name, self.app.bodies.wrap(Encoded(Kind.JSON, data)))

    def outgoing(self, count: int) -> middleware.Outgoing:
        """What middleware is told."""
        return middleware.Outgoing(self.name, self.queue, dict(self._options.get("headers") or {}), count)

    def headers_of(self, outgoing: middleware.Outgoing) -> dict[str, str]:
        """The headers of a message."""
        return {**outgoing.headers, TASK_HEADER: self.name, SIGNATURE_HEADER: self.signature.version}

    def _headers(self, count: int) -> dict[str, str]:
        outgoing = self.outgoing(count)
        for member in self.app.chain.members:
            middleware.call(member.on_submit, outgoing)
        return self.headers_of(outgoing)

    def _batch_options(self, count: int) -> BatchOptions:
        return cast(BatchOptions, {**self._options, "headers": self._headers(count)})

    # --- the worker's side ---

    def read(self, body: Encoded) -> Arguments:
        """The arguments. Raises pydantic.ValidationError, NotEncoded, GiveBack, or what a codec raises."""
        body = self.app.bodies.unwrap(body)
        return self.signature.decode(body.data)          # JSON that was submitted as text or bytes is JSON as well

    def wrap(self, result: object) -> Encoded:
        """The result's body. Raises pydantic.ValidationError, TypeError."""
        return self.app.bodies.wrap(self.signature.result.encode(result))

    # --- as a value ---

    def __reduce__(self) -> str:
        return self.function.__qualname__

    def __repr__(self) -> str:
        return f"<Task {self.name!r} in {self.queue!r}>"


class InOrder:
    """Results come as they end and leave in the order of their tokens."""

    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = iter(tokens)
        self._next = next(self._tokens, None)
        self._waiting: dict[str, Result] = {}

    def came(self, result: Result) -> Iterator[Any]:
        """One has come: give those whose turn it is. Raises the error of one that has no result."""
        self._waiting[result.token] = result
        while self._next is not None and self._next in self._waiting:
            ended = self._waiting.pop(self._next)
            self._next = next(self._tokens, None)
            yield ended.get()
