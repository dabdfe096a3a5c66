"""The clients as one: a scenario speaks plain calls, and the adapter awaits what has to be awaited.

The asyncio client runs in an event loop of its own, in a thread; `Awaited` hands each call over to it and waits. What
comes back (tickets, messages) is wrapped likewise. Everything else passes through.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from concurrent.futures import Future
from types import TracebackType
from typing import Any

import zmqueue
import zmqueue.aio

WAIT_S = 60.0
END = object()


class Adapter(ABC):
    """How to make a client of one kind, and how to use it in plain calls."""

    @abstractmethod
    def client(self, *seeds: str, **options: Any) -> Any:
        """A client, which is a context manager and has `close`."""

    @abstractmethod
    def worker(self, client: Any, handlers: dict[str, Callable[[Any], Any]], **options: Any) -> Any:
        """A worker with `start`, `stop`, `statistics`, `error`; a context manager."""

    def handler(self, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
        """The handler in this kind's manner."""
        return plain

    def __enter__(self) -> Adapter:
        return self

    @abstractmethod
    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        """Release what the adapter has."""


class Plain(Adapter):
    """zmqueue.Client, as it is."""

    def client(self, *seeds: str, **options: Any) -> Any:
        return zmqueue.Client(*seeds, **options)

    def worker(self, client: Any, handlers: dict[str, Callable[[Any], Any]], **options: Any) -> Any:
        return zmqueue.Worker(client, handlers, **options)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        pass                                             # it has nothing


class Loop(Adapter):
    """zmqueue.aio.Client, in an event loop in a thread. Whatever the loop complains of is kept in `complaints`."""

    def __init__(self, make: Callable[[], asyncio.AbstractEventLoop]) -> None:
        self.complaints: list[dict[str, Any]] = []
        self.loop = make()
        self.loop.set_exception_handler(lambda loop, context: self.complaints.append(context))
        self._thread = threading.Thread(target=self.loop.run_forever, name="loop")
        self._thread.start()

    def run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        """Run it in the loop, and wait."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(WAIT_S)

    def client(self, *seeds: str, **options: Any) -> Any:
        return Awaited(self, zmqueue.aio.Client(*seeds, **options))

    def worker(self, client: Any, handlers: dict[str, Callable[[Any], Any]], **options: Any) -> Any:
        return Awaited(self, zmqueue.aio.Worker(client.inner, handlers, **options))

    def handler(self, plain: Callable[[Any], Any]) -> Callable[[Any], Any]:
        async def handler(message: Any) -> Any:
            await asyncio.sleep(0)
            return plain(message)

        return handler

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        left = self.run(_others())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join()
        self.loop.close()
        if kind is None:
            assert left == [], "tasks were left behind"
            assert self.complaints == []


class Awaited:
    """One object of zmqueue.aio in plain calls."""

    def __init__(self, adapter: Loop, inner: Any) -> None:
        self.adapter = adapter
        self.inner = inner

    def __getattr__(self, name: str) -> Any:
        found = getattr(self.inner, {"close": "aclose"}.get(name, name))
        if name in ("results", "stream", "find"):
            return lambda *given, **named: self._pulled(found(*given, **named))
        if not inspect.iscoroutinefunction(found):
            return self._wrapped(found)
        return lambda *given, **named: self._wrapped(self.adapter.run(found(*map(_bare, given), **named)))

    def _pulled(self, iterator: AsyncGenerator[Any, None]) -> Iterator[Any]:
        async def next_one() -> Any:
            return await anext(iterator, END)

        try:
            while (item := self.adapter.run(next_one())) is not END:
                yield item
        finally:
            self.adapter.run(iterator.aclose())

    def ticket(self, token: str) -> Any:
        return self._wrapped(self.inner.ticket(token))

    def _wrapped(self, value: Any) -> Any:
        if isinstance(value, list):
            return [self._wrapped(item) for item in value]
        kinds = (zmqueue.aio.Ticket, zmqueue.aio.Message)
        return Awaited(self.adapter, value) if isinstance(value, kinds) else value

    def __enter__(self) -> Awaited:
        self.adapter.run(self.inner.__aenter__())
        return self

    def __exit__(self, *error: Any) -> None:
        self.adapter.run(self.inner.__aexit__(*error))

    def __repr__(self) -> str:
        return repr(self.inner)

    def __eq__(self, other: object) -> bool:
        return bool(self.inner == (other.inner if isinstance(other, Awaited) else other))

    def __hash__(self) -> int:
        return hash(self.inner)


def _bare(value: Any) -> Any:
    """An argument as the asyncio client takes it."""
    if isinstance(value, list):
        return [_bare(item) for item in value]
    return value.inner if isinstance(value, Awaited) else value


def beside(call: Callable[[], Any]) -> Future[Any]:
    """Have the call made in a thread, beside everything else."""
    future: Future[Any] = Future()

    def run() -> None:
        try:
            value = call()
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    threading.Thread(target=run, daemon=True).start()
    return future


async def _others() -> list[str]:
    """The tasks that run in the loop beside this one, once the loop has turned some times."""
    for _ in range(100):
        if len(asyncio.all_tasks()) == 1:
            break
        await asyncio.sleep(0.01)
    return [repr(task) for task in asyncio.all_tasks() if task is not asyncio.current_task()]
