"""The app: an application's tasks, the clients that they are submitted by, and workers for them."""

from __future__ import annotations

import asyncio
import inspect
import os
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from types import MappingProxyType
from typing import Any, ParamSpec, TypeVar, Unpack, cast, overload

from zmqueue.aio.client import Client as AsyncClient
from zmqueue.aio.worker import Worker as AsyncWorker
from zmqueue.app import middleware
from zmqueue.app.bodies import Bodies, Codec
from zmqueue.app.eager import AsyncEager, Eager
from zmqueue.app.running import AsyncDispatch, Dispatch
from zmqueue.app.task import Task
from zmqueue.client import arguments
from zmqueue.client.arguments import BatchOptions
from zmqueue.client.client import Client
from zmqueue.client.face import TIMEOUT_S
from zmqueue.client.foreman import WorkerStatistics
from zmqueue.client.work_face import CONCURRENCY, WorkerOptions
from zmqueue.client.worker import Worker

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

QUEUE = "default"
PATIENCE_S = 86_400.0


class App:
    """Tasks, and the way to the cluster. May be made at import: nothing is connected before the first submit.

    `seeds`: as for Client, read when a client is first needed (default then: $ZMQUEUE_SEEDS). `client`, `aio_client`:
    clients to be used instead, which their owner closes. `queue`: of tasks that name none. `middleware`: called around
    submits and runs, in this order. `codecs`: payload hooks; each body is encoded by all of them, in this order.
    `accept_plain`: also read bodies that none of them made, while they are introduced. `patience`: seconds from its
    submit (or the end of its delay) for which a message of another version is given back before it is a dead letter.
    """

    def __init__(self, *seeds: str, client: Client | None = None, aio_client: AsyncClient | None = None,
                 queue: str = QUEUE, middleware: Sequence[middleware.Middleware] = (), codecs: Sequence[Codec] = (),
                 accept_plain: bool = False, patience: float = PATIENCE_S, timeout: float = TIMEOUT_S) -> None:
        self._seeds = seeds
        self._timeout = timeout
        self._queue = arguments.queue_name(queue)
        self.patience = arguments.seconds("patience", patience)
        self.chain = _chain(middleware)
        self.bodies = Bodies(codecs, accept_plain)
        self._tasks: dict[str, Task[..., Any, Any]] = {}
        self._lock = threading.Lock()
        self._client, self._aio_client = client, aio_client
        self._made: list[Client | AsyncClient] = []      # those that are closed here
        self._made_by = os.getpid()
        self._eager: Eager | None = None

    # --- tasks ---

    @overload
    def task(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def task(self, function: Callable[P, Generator[Any, None, R]], /) -> Task[P, Generator[Any, None, R], R]: ...
    @overload
    def task(self, function: Callable[P, AsyncIterator[T]], /) -> Task[P, AsyncIterator[T], None]: ...
    @overload
    def task(self, function: Callable[P, R], /) -> Task[P, R, R]: ...
    @overload
    def task(self, /, *, queue: str | None = None, name: str | None = None,
             **options: Unpack[BatchOptions]) -> Decorator: ...
    def task(self, function: Callable[..., Any] | None = None, /, *, queue: str | None = None, name: str | None = None,
             **options: Any) -> Any:
        """Make a function a task: `@app.task`, or `@app.task(queue=..., attempts=...)`.

        `name`: what it is called on the wire (default: the function's own name, wherever the module stands); one app
        has each name once. `options`: whatever `submit_many` takes (attempts, priority, delay, headers, timeout ...).
        """
        arguments.known("task", options, BatchOptions)
        given = cast(BatchOptions, options)
        decorator = Decorator(self, self._queue if queue is None else arguments.queue_name(queue), name, given)
        return decorator if function is None else decorator.made(function, sys._getframe(1).f_locals)

    def add(self, task: Task[..., Any, Any]) -> None:
        """Take in a task. Raises ValueError where its name is taken, TypeError where its middleware cannot be run."""
        if task.name in self._tasks:
            raise ValueError(f"this app has a task {task.name!r} already, {self._tasks[task.name].function!r}; give one"
                             f" of them another name: @app.task(name=...)")
        if not task.is_async:
            self.chain.refuse_coroutines(middleware.AROUND_RUNS,
                                         f"task {task.name!r} is a plain function, whose run cannot await it")
        self._tasks[task.name] = task

    @property
    def tasks(self) -> Mapping[str, Task[..., Any, Any]]:
        """By name."""
        return MappingProxyType(self._tasks)

    @property
    def queues(self) -> list[str]:
        """In which there are tasks, sorted."""
        return sorted({task.queue for task in self._tasks.values()})

    # --- the way to the cluster ---

    @property
    def client(self) -> Client:
        """The client of this process, made when it is first asked for."""
        with self._lock:
            self._forget_forked()
            if self._client is None:
                self._client = Client(*self._seeds, timeout=self._timeout)
                self._made.append(self._client)
            return self._client

    @property
    def aio_client(self) -> AsyncClient:
        """The asyncio client of this process, made when it is first asked for."""
        with self._lock:
            self._forget_forked()
            if self._aio_client is None:
                self._aio_client = AsyncClient(*self._seeds, timeout=self._timeout)
                self._made.append(self._aio_client)
            return self._aio_client

    def _forget_forked(self) -> None:
        if self._made_by == os.getpid():
            return
        self._made_by = os.getpid()                      # a fork: what its parent made does not work here
        if self._client in self._made:
            self._client = None
        if self._aio_client in self._made:
            self._aio_client = None
        self._made.clear()

    @property
    def way(self) -> Client | Eager:
        """Where a submit goes: to the cluster, or nowhere (`eager`)."""
        return self.client if self._eager is None else self._eager

    @property
    def async_way(self) -> AsyncClient | AsyncEager:
        """As `way`, awaited."""
        return self.aio_client if self._eager is None else AsyncEager(self._eager)

    def close(self) -> None:
        """Close the clients that it made. It may be used on: others are made then."""
        with self._lock:
            self._forget_forked()
            made, self._made = self._made, []
            if self._client in made:
                self._client = None
            if self._aio_client in made:
                self._aio_client = None
        for client in made:
            client._finalizer()

    async def aclose(self) -> None:
        """As `close`, without blocking the event loop."""
        await asyncio.to_thread(self.close)

    def __enter__(self) -> App:
        return self

    def __exit__(self, *unused: object) -> None:
        self.close()

    async def __aenter__(self) -> App:
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.aclose()

    @contextmanager
    def eager(self) -> Iterator[Eager]:
        """For tests: while entered, submits run at once, in this process, through the same codec; no node is needed.

        A failed call is tried again at once, as often as its `attempts` say, and its ticket raises RequestFailed. It
        holds for all threads; delays and priorities mean nothing.
        """
        before, self._eager = self._eager, Eager(self)
        try:
            yield self._eager
        finally:
            self._eager = before

    # --- workers ---

    def worker(self, *queues: str, **options: Unpack[WorkerOptions]) -> Worker:
        """A worker for the tasks of these queues (default: of all), as `Worker(client, handlers, ...)`.

        Raises ValueError where a task is a coroutine function (`aio_worker` runs those), or cannot be pickled by its
        name though `executor` is not "thread".
        """
        chosen = self._chosen(queues)
        for task in chosen:
            if task.yields and options.get("executor", "thread") != "thread":
                raise ValueError(f"task {task.name!r} yields progress, which another process has no way to tell; with"
                                 f" executor={options.get('executor')!r} leave its queue to another worker")
            if task.is_async:
                raise ValueError(f"task {task.name!r} is a coroutine function: app.aio_worker() or app.run() runs it")
        if options.get("executor", "thread") != "thread":
            _require_names(chosen)
        return Worker(self.client, {queue: Dispatch(self) for queue in {task.queue for task in chosen}}, **options)

    def aio_worker(self, *queues: str, **options: Unpack[WorkerOptions]) -> AsyncWorker:
        """A worker for coroutine tasks, as `zmqueue.aio.Worker`; plain ones run in threads beside the event loop.

        `executor`: where the plain tasks of queues run that have no coroutine tasks.
        """
        chosen = self._chosen(queues)
        handlers: dict[str, Any] = {}
        pool: ThreadPoolExecutor | None = None
        for queue in sorted({task.queue for task in chosen}):
            tasks = [task for task in chosen if task.queue == queue]
            plain = [task for task in tasks if not task.is_async]
            if plain and options.get("executor", "thread") != "thread":
                if len(plain) < len(tasks):
                    raise ValueError(f"queue {queue!r} has plain and coroutine tasks; with executor="
                                     f"{options.get('executor')!r} give the plain ones a queue of their own")
                _require_names(plain)
            if len(plain) == len(tasks):
                handlers[queue] = Dispatch(self)
                continue
            if plain and pool is None:
                pool = ThreadPoolExecutor(options.get("concurrency", CONCURRENCY), "zmqueue-task")
            handlers[queue] = AsyncDispatch(self, pool)
        return AsyncWorker(self.aio_client, handlers, **options)

    def run(self, *queues: str, **options: Unpack[WorkerOptions]) -> WorkerStatistics:
        """Work until SIGTERM or SIGINT, then drain (`Worker.run`); with an event loop where a task needs one."""
        if not any(task.is_async for task in self._chosen(queues)):
            worker = self.worker(*queues, **options)
            worker.run()
            return worker.statistics
        awaited = self.aio_worker(*queues, **options)
        asyncio.run(awaited.run())
        return awaited.statistics

    def _chosen(self, queues: Sequence[str]) -> list[Task[..., Any, Any]]:
        unknown = set(queues) - set(self.queues)
        if unknown:
            raise ValueError(f"no task of this app is in queue {sorted(unknown)[0]!r}; there are"
                             f" {', '.join(self.queues) or 'none'}")
        chosen = [task for task in self._tasks.values() if not queues or task.queue in queues]
        if not chosen:
            raise ValueError("this app has no tasks; are the modules that hold them imported?")
        for task in chosen:
            task.reader                                  # noqa: B018  # annotations that mean nothing are told of now
        return chosen

    def __repr__(self) -> str:
        return f"<App of {len(self._tasks)} tasks in {', '.join(self.queues) or 'no queue'}>"


class Decorator:
    """What `@app.task(...)` gives."""

    def __init__(self, app: App, queue: str, name: str | None, options: BatchOptions) -> None:
        self._app, self._queue, self._name, self._options = app, queue, name, options

    @overload
    def __call__(self, function: Callable[P, Coroutine[Any, Any, R]], /) -> Task[P, Coroutine[Any, Any, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, Generator[Any, None, R]], /) -> Task[P, Generator[Any, None, R], R]: ...
    @overload
    def __call__(self, function: Callable[P, AsyncIterator[T]], /) -> Task[P, AsyncIterator[T], None]: ...
    @overload
    def __call__(self, function: Callable[P, R], /) -> Task[P, R, R]: ...
    def __call__(self, function: Callable[..., Any], /) -> Any:
        """Make the function a task."""
        return self.made(function, sys._getframe(1).f_locals)

    def made(self, function: Callable[..., Any], names: Mapping[str, Any]) -> Task[..., Any, Any]:
        """`names`: what is to be seen where it is defined, for the annotations of one that stands in a function."""
        if not inspect.isroutine(function):
            raise TypeError(f"a task is made of a function, this is {function!r}")
        local = "<locals>" in function.__qualname__
        name = function.__name__ if self._name is None else self._name
        task: Task[..., Any, Any] = Task(self._app, function, name, self._queue, self._options,
                                         names if local else None)
        self._app.add(task)
        return task


def _chain(members: Sequence[middleware.Middleware]) -> middleware.Chain:
    return middleware.Chain(members)


def _require_names(tasks: Sequence[Task[..., Any, Any]]) -> None:
    """Raise ValueError where a task cannot be found by its name in another process."""
    for task in tasks:
        found: Any = sys.modules.get(task.function.__module__)
        for part in task.function.__qualname__.split("."):
            found = getattr(found, part, None)           # of None: None
        if found is not task:
            raise ValueError(f"task {task.name!r} cannot be found in another process: it has to stand at the top of its"
                             f" module as {task.function.__qualname__}")
