"""Tickets of tasks: they know what the result is."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from zmqueue.aio.ticket import Ticket as AsyncTicket
from zmqueue.client.payloads import Reader
from zmqueue.client.ticket import Ticket

R = TypeVar("R")


class TaskTicket(Ticket, Generic[R]):
    """Of one call of a task."""

    __slots__ = ("_reader",)

    def __init__(self, client: Any, token: str, reader: Reader) -> None:
        super().__init__(client, token)
        self._reader = reader

    def result(self, timeout: float = 30.0, type: Any = None) -> R:
        """Wait for what the task returned, by its annotation.

        Raises RequestFailed where it failed for good (`error_type`, `error_text` and `traceback` say how, as text),
        ResultTimeout where it has not ended, ValueError where the result is not of the annotated type. `type`: read it
        as that instead.
        """
        found: R = self._client.result(self.token, timeout=timeout, type=self._reader if type is None else type)
        return found


class AsyncTaskTicket(AsyncTicket, Generic[R]):
    """Of one call of a task, awaited."""

    __slots__ = ("_reader",)

    def __init__(self, client: Any, token: str, reader: Reader) -> None:
        super().__init__(client, token)
        self._reader = reader

    async def result(self, timeout: float = 30.0, type: Any = None) -> R:
        """As `TaskTicket.result`."""
        found: R = await self._client.result(self.token, timeout=timeout, type=self._reader if type is None else type)
        return found
