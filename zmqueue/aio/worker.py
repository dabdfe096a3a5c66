"""The worker for asyncio: runs coroutine functions on messages, at most so many at once.

The foreman is the sync worker's: it leases only what there are free slots for, keeps the leases alive from the client's
own thread (also while a handler blocks the loop), and sends the results. Each message has a task of its own in the
event loop in which the worker was started. Handlers that are plain functions run in the sync worker's crew instead.
"""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import logging
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Unpack

from zmqueue.aio.client import Client
from zmqueue.aio.handover import Handover
from zmqueue.aio.message import Message
from zmqueue.aio.signals import signals
from zmqueue.client import arguments
from zmqueue.client.crew import Crew
from zmqueue.client.executors import Apart, End, Handler, Outcome, failure, success
from zmqueue.client.leasing import Holding
from zmqueue.client.work_face import WorkerOptions, WorkFace
from zmqueue.core.operations import How
from zmqueue.errors import Closed

log = logging.getLogger("zmqueue.worker")

CANCEL_S = 5.0                         # what is cancelled then may take this long to clean up

AsyncHandler = Callable[[Message], Awaitable[object]]
"""Gets a Message of the asyncio client; what it returns is the result."""


CANCELLED = Outcome(How.NACK, error="cancelled while it ran")
OVERDUE = Outcome(How.NACK, error="its deadline has passed")
LOST = Outcome(How.NACK, error="cancelled: its lease was lost")      # for the count: it is not sent


class Run:
    """One message that a handler works on."""

    __slots__ = ("broken", "given_up", "message", "outcome", "task")

    def __init__(self, message: Message) -> None:
        self.message = message
        self.task: asyncio.Task[None] | None = None
        self.outcome: End | None = None              # None: it was cancelled
        self.broken: Outcome | None = None           # what it ends with where its message was the reason to cancel it
        self.given_up = False                            # cancelled by its worker


class Worker(WorkFace):
    """Runs handlers on the messages of some queues.

    `handlers`: by queue's name. A coroutine function is called with a `zmqueue.aio.Message`, in a task of its own; a
    plain function with a Work, in a thread (or as `executor` says). What it returns is the result; `Reject` puts the
    message to the dead letters; any other exception has it tried again after its backoff, its queue's, or
    `retry_delay(deliveries)` s, which stands before both. A handler's
    task is cancelled when the lease is known to be lost (somebody else may work on the message by then), and when the
    request is cancelled or its `deadline` has passed: unless it succeeds all the same, that ends as cancelled,
    and this has failed. In the crew, as of `zmqueue.Worker`; so is `on_cancel`.
    `concurrency`: how many run at once. `executor`: for plain functions, "thread", "process", or any
    concurrent.futures.Executor, which the caller shuts down. `lease`: seconds that one lease lasts (default: the
    cluster's); while the worker's session lives it is renewed. `grace`: seconds that what runs has to end at a stop.
    """

    def __init__(self, client: Client, handlers: Mapping[str, AsyncHandler | Handler],
                 **options: Unpack[WorkerOptions]) -> None:
        self._client = client
        self._crew: Crew[Message] | None = None
        self._handover: Handover | None = None
        self._runs: dict[Holding, Run] = {}
        self._look = asyncio.Event()                     # something changed that a waiting `run` or `stop` looks at
        self._watching = 0                               # how many of them wait
        self._stopping = False
        self._over = asyncio.Event()                     # it has stopped
        self._signals = 0
        super().__init__(client, handlers, options, Apart)
        self._plain = {queue for queue, handler in self._handlers.items() if not _is_async(handler)}

    # --- life ---

    async def run(self) -> None:
        """Work until SIGTERM or SIGINT (in the main thread) or `stop`, then drain; a second signal ends it at once.

        Cancelled, it does not drain: handlers are cancelled, and their messages go back. Raises Closed where the client
        is closed under it, NotAllowed or BadRequest where the nodes refuse it for good.
        """
        with signals(asyncio.get_running_loop(), self._signalled):
            await self.start()
            try:
                await self._until(lambda: self._stopping or self._signals or self._client.closed or self.error)
            except BaseException:
                await self._stop(0.0)
                raise
            await self._stop(self._grace)
        if self.error is not None:
            raise self.error
        if self._client.closed:
            raise Closed("the client was closed while its worker ran")

    async def start(self) -> None:
        """Begin to work, in tasks of the running loop; returns at once."""
        if self._handover is not None:
            raise RuntimeError("a worker is started once; make a new one")
        self._client._check()
        self._handover = self._client._handover()
        if self._plain:
            self._crew = Crew(self._concurrency, self._make_runner, self._foreman.ended)
        self._client._transport.over.add_done_callback(lambda _: self._changed())
        self._foreman.open()

    async def stop(self, drain: bool = True, grace: float | None = None) -> None:
        """Lease no more; with `drain`, let what runs end within `grace` seconds; cancel and give back the rest."""
        seconds = self._grace if grace is None else arguments.seconds("grace", grace)
        await self._stop(seconds if drain else 0.0)

    async def __aenter__(self) -> Worker:
        await self.start()
        return self

    async def __aexit__(self, *unused: object) -> None:
        await self.stop()

    # --- in the client's thread ---

    def _deliver(self, queue: str, holding: Holding) -> None:
        message = Message(self._client, holding)
        if queue in self._plain:
            assert self._crew is not None
            told = self._crew.interrupt if self._kills else self._crew.cancelled
            holding.on_cancelled = partial(told, holding)
            self._crew.put(self._handlers[queue], message)
            return
        assert self._handover is not None
        holding.on_lost = partial(self._handover.put, partial(self._break, holding, LOST))
        holding.on_cancelled = partial(self._handover.put, partial(self._break, holding, CANCELLED))
        if not self._handover.put(partial(self._begin, queue, message)):
            self._foreman.end()                          # the loop was closed, and the worker never stopped

    def _interrupt(self, holding: Holding) -> bool:
        if holding.queue in self._plain:
            assert self._crew is not None
            return self._crew.interrupt(holding)
        assert self._handover is not None
        return self._handover.put(partial(self._break, holding, OVERDUE))

    def _changed(self) -> None:
        if self._watching and self._handover is not None:
            self._handover.put(self._look.set)

    # --- in the loop ---

    def _begin(self, queue: str, message: Message) -> None:
        if self._stopping:
            self._foreman.give_back(message._holding)
            return
        run = self._runs[message._holding] = Run(message)
        run.task = asyncio.get_running_loop().create_task(self._perform(self._handlers[queue], run),
                                                          name=f"zmqueue {message.token}")
        run.task.add_done_callback(lambda _: self._ended(run))       # called even where it was cancelled unbegun

    async def _perform(self, handler: Callable[[Any], Any], run: Run) -> None:
        try:
            run.outcome = success(await _result(handler, run.message))
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            assert task is not None
            if task.cancelling():
                raise
            run.outcome = failure(error)                 # something that it awaited was cancelled, not itself
        except (Exception, SystemExit) as error:         # sys.exit in a handler ends the run, not the loop
            run.outcome = failure(error)
        except GeneratorExit:                            # its loop was closed under it
            self._foreman.end()
            raise

    def _ended(self, run: Run) -> None:
        holding = run.message._holding
        del self._runs[holding]
        if run.outcome is not None:
            self._foreman.ended(run.message, run.outcome)
        elif run.broken is not None:
            self._foreman.ended(run.message, run.broken)
        elif run.given_up:
            self._foreman.let_go()                       # the end of the session gives it back
        else:
            self._foreman.give_back(holding)             # somebody else cancelled the task

    def _break(self, holding: Holding, end: Outcome) -> None:
        """Cancel the task that works on it: that is what it ends with, unless it has an outcome all the same."""
        run = self._runs.get(holding)
        if run is not None and run.task is not None:
            run.broken = end
            run.task.cancel(end.error)

    def _signalled(self) -> None:
        self._signals += 1
        self._look.set()

    async def _until(self, condition: Callable[[], object], timeout: float | None = None) -> None:
        """Wait until it holds; told by `_changed`, never by looking again and again."""
        self._watching += 1
        try:
            async with asyncio.timeout(timeout):
                while not condition():
                    self._look.clear()
                    await self._look.wait()
        finally:
            self._watching -= 1

    async def _stop(self, grace: float) -> None:
        """Lease no more, wait for what runs, cancel it, give back the rest."""
        if self._handover is None:
            return
        if self._stopping:
            await self._over.wait()
            return
        self._stopping = True
        self._look.set()
        self._foreman.close()
        for message in self._crew.unbegun() if self._crew is not None else ():
            self._foreman.give_back(message._holding)
        try:
            await self._drained(grace)
        finally:
            try:
                await self._break_off()
            finally:
                self._over.set()

    async def _drained(self, grace: float) -> None:
        signals_before = self._signals
        try:
            await self._until(lambda: not self._foreman.busy or self._signals > signals_before or self._client.closed,
                              grace)
        except TimeoutError:
            if grace:
                log.warning("%d handlers did not end within %g s; they are cancelled, and their messages go back",
                            self.statistics.running, grace)

    async def _break_off(self) -> None:
        """Cancel what runs; what all the same ended with an outcome is settled."""
        for run in self._runs.values():
            run.given_up = True
            assert run.task is not None
            run.task.cancel("the worker stops")
        try:
            await self._until(lambda: not (self._runs or self.statistics.settling) or self._client.closed, CANCEL_S)
        except TimeoutError:
            log.warning("%d handlers go on though they were cancelled, %d results are not confirmed; their messages go"
                        " back", len(self._runs), self.statistics.settling)
        finally:
            self._foreman.end()
            if self._crew is not None:
                drained = not self.statistics.running
                await asyncio.get_running_loop().run_in_executor(None, partial(self._crew.stop, drained=drained))


async def _result(handler: Callable[[Message], Any], message: Message) -> object:
    """What the handler returns; or nothing, where it is an asynchronous generator, which yields progress."""
    if not _yields(handler):
        result: object = await handler(message)
        return result
    async with contextlib.aclosing(handler(message)) as generator:
        async for data in generator:
            await message.progress(data, wait=False)
    return None


def _is_async(handler: Callable[..., object]) -> bool:
    return any(map(inspect.iscoroutinefunction, (handler, type(handler).__call__))) or _yields(handler)


def _yields(handler: Callable[..., object]) -> bool:
    return any(map(inspect.isasyncgenfunction, (handler, type(handler).__call__)))
