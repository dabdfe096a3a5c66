"""Tickets of tasks: they know what the result is."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from zmqueue.aio.ticket import Ticket as AsyncTicket
from zmqueue.client.streaming import Event
from zmqueue.client.ticket import Ticket

if TYPE_CHECKING:
    from zmqueue.app.task import Task

R = TypeVar("R")


class TaskTicket(Ticket, Generic[R]):
    """Of one call of a task."""

    __slots__ = ("_task",)

    def __init__(self, client: Any, token: str, task: Task[Any, Any, R]) -> None:
        super().__init__(client, token)
        self._task = task

    def result(self, timeout: float = 30.0, type: Any = None) -> R:
        """Wait for what the task returned, by its annotation.

        Raises RequestFailed where it failed for good (`error_type`, `error_text` and `traceback` say how, as text),
        ResultTimeout where it has not ended, ValueError where the result is not of the annotated type. `type`: read it
        as that instead.
        """
        found: R = self._client.result(self.token, timeout=timeout, type=type or self._task.reader)
        return found

    def stream(self, after: int = 0, timeout: float = 30.0, type: Any = None) -> Iterator[Event]:
        """Follow its progress to its end; the last event's `data` is what `result` gives. As `Client.stream`."""
        for event in super().stream(after, timeout, type or self._task.reader):
            yield _opened(self._task, event)


class AsyncTaskTicket(AsyncTicket, Generic[R]):
    """Of one call of a task, awaited."""

    __slots__ = ("_task",)

    def __init__(self, client: Any, token: str, task: Task[Any, Any, R]) -> None:
        super().__init__(client, token)
        self._task = task

    async def result(self, timeout: float = 30.0, type: Any = None) -> R:
        """As `TaskTicket.result`."""
        found: R = await self._client.result(self.token, timeout=timeout, type=type or self._task.reader)
        return found

    async def stream(self, after: int = 0, timeout: float = 30.0, type: Any = None) -> AsyncIterator[Event]:
        """As `TaskTicket.stream`: `async for event in ticket.stream()`."""
        async for event in super().stream(after, timeout, type or self._task.reader):
            yield _opened(self._task, event)


def _opened(task: Task[Any, Any, Any], event: Event) -> Event:
    return event if event.last else replace(event, data=task.app.bodies.heard(event.data))
