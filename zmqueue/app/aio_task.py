"""The asyncio face of a task: `task.aio.submit(...)` and its fellows, awaited."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from zmqueue.app import middleware
from zmqueue.app.task import MAP_S, Call, InOrder, Task
from zmqueue.app.tickets import AsyncTaskTicket
from zmqueue.client.arguments import BatchOptions, SubmitOptions

P = ParamSpec("P")
R = TypeVar("R")


class AsyncFace(Generic[P, R]):
    """As Task, awaited; by the app's asyncio client."""

    __slots__ = ("_task",)

    def __init__(self, task: Task[P, Any, R]) -> None:
        self._task = task

    async def submit(self, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskTicket[R]:
        """As `Task.submit`."""
        task = self._task
        call = task.call(*args, **kwargs)
        options: SubmitOptions = task._options | {"headers": await self._headers(1)}
        ticket = await task.app.async_way.submit(task.queue, call.body, **options)
        return self.ticket(ticket.token)

    async def submit_many(self, calls: Iterable[Call | tuple[Any, ...]]) -> list[AsyncTaskTicket[R]]:
        """As `Task.submit_many`."""
        task = self._task
        bodies = task.bodies_of(calls)
        if not bodies:
            return []
        options = cast(BatchOptions, {**task._options, "headers": await self._headers(len(bodies))})
        tickets = await task.app.async_way.submit_many(task.queue, bodies, **options)
        return [self.ticket(ticket.token) for ticket in tickets]

    async def map(self, *iterables: Iterable[Any], timeout: float = MAP_S) -> AsyncIterator[R]:
        """As `Task.map`: `async for result in task.aio.map(values)`; what is submitted is, when it is first awaited."""
        tickets = await self.submit_many(zip(*iterables, strict=True))
        tokens = [ticket.token for ticket in tickets]
        order = InOrder(tokens)
        async for result in self._task.app.async_way.results(tokens, timeout=timeout, type=self._task.reader):
            for value in order.came(result):
                yield value

    def ticket(self, token: str) -> AsyncTaskTicket[R]:
        """The ticket of a token that was kept."""
        return AsyncTaskTicket(self._task.app.async_way, token, self._task)

    async def _headers(self, count: int) -> dict[str, str]:
        outgoing = self._task.outgoing(count)
        for member in self._task.app.chain.members:
            await middleware.call_async(member.on_submit, outgoing)
        return self._task.headers_of(outgoing)
