"""The worker's side of tasks: which one a message is for, its run, and what is not for this worker.

A message whose task is not known here, or whose arguments do not fit though they were valid where it was submitted, is
another version's: it goes back, unharmed, for a worker that understands it, and only after the app's `patience` becomes
a dead letter. Arguments do not fit *because of a version* exactly where the message names another signature than the
task has here; where it names the same, or none, its submitter is wrong, and it is rejected at once.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from zmqueue.app import middleware
from zmqueue.app.bodies import AsItIs, NotEncoded
from zmqueue.app.context import Context, current, running
from zmqueue.app.signature import Arguments
from zmqueue.app.task import SIGNATURE_HEADER, TASK_HEADER, Task
from zmqueue.client.executors import Choosing, Handler, Work, asking, exhaust, pack, telling
from zmqueue.client.leased import Leased
from zmqueue.client.parcels import Ack
from zmqueue.client.payloads import Encoded
from zmqueue.core.ids import drawn_at, parse_token
from zmqueue.errors import GiveBack, Reject

if TYPE_CHECKING:
    from zmqueue.app.app import App

log = logging.getLogger("zmqueue.app")

REST_S, REST_S_MAX = 0.5, 30.0             # what is another version's rests here, longer each time that it comes
ARGUMENTS_ERRORS_MAX = 10                  # of a validation, told of in the error's text

T = TypeVar("T")

AnyTask = Task[..., Any, Any]
Message = Any                              # a Leased or a Work: both have what is asked of it


class Dispatch(Choosing):
    """The handler of a queue whose tasks are plain functions."""

    def __init__(self, app: App) -> None:
        self._app = app

    def __call__(self, work: Message) -> Encoded | Ack:
        return run(find(self._app, work), work)

    def apart(self, message: Leased) -> Handler:
        return Apart(find(self._app, message))


@dataclass(frozen=True, slots=True)
class Apart:
    """Runs one task in another process; pickled as the task's name."""

    task: AnyTask

    def __call__(self, work: Work) -> Encoded | Ack:
        return run(self.task, work)


class AsyncDispatch:
    """The handler of a queue with coroutine tasks; plain ones among them run in threads of `pool`."""

    def __init__(self, app: App, pool: ThreadPoolExecutor | None) -> None:
        self._app = app
        self._pool = pool

    async def __call__(self, work: Message) -> Encoded | Ack:
        task = find(self._app, work)
        if task.is_async:
            return await run_async(task, work)
        if self._pool is None:
            return run(task, work)
        here = copy_context()
        if isinstance(work, Leased):                     # its lease is awaited, which a thread cannot
            here.run(telling.set, work.tell)
            leased = work
            here.run(asking.set, lambda: leased.cancelled)
            work = pack(work).unpack()
        ran = self._pool.submit(here.run, run, task, work)
        return await asyncio.wrap_future(ran)


def find(app: App, work: Message) -> AnyTask:
    """The task that a message is for. Raises GiveBack or Reject where there is none."""
    name = work.headers.get(TASK_HEADER)
    task = app.tasks.get(name) if name is not None else None
    if task is not None:
        return task
    if name is None:
        raise strange(app, work, f"it names no task (header {TASK_HEADER})")
    raise strange(app, work, f"this worker knows no task {name!r}")


def read(task: AnyTask, work: Message) -> Arguments:
    """The arguments of a message. Raises GiveBack or Reject where they are none; else what a codec raises."""
    body = work.payload_as(AsItIs())
    try:
        return task.read(body)
    except NotEncoded as error:
        raise Reject(str(error)) from None
    except ValidationError as error:
        version = work.headers.get(SIGNATURE_HEADER)
        text = f"the arguments are none of {task.name!r}: {_told(error)}"
        if version is None or version == task.signature.version:
            raise Reject(text) from None
        raise strange(task.app, work, f"{text} (they are of signature {version}, here it is {task.signature.version})"
                      ) from None


def strange(app: App, work: Message, reason: str) -> GiveBack | Reject:
    """What is raised for a message of another version."""
    since_ms = max(drawn_at(parse_token(work.token)), work.due)
    if time.time() - since_ms / 1000 > app.patience:
        return Reject(f"{reason}, and no worker that does came in {app.patience:g} s")
    returned = work.fencing - work.deliveries            # each lease has a number; what is given back is no delivery
    return GiveBack(reason, min(REST_S * 2.0 ** min(returned, 20), REST_S_MAX))


def _told(error: ValidationError) -> str:
    told = [f"{'.'.join(map(str, found['loc'])) or 'they'}: {found['msg']}"
            for found in error.errors(include_url=False, include_context=False, include_input=False)]
    more = len(told) - ARGUMENTS_ERRORS_MAX
    return "; ".join(told[:ARGUMENTS_ERRORS_MAX]) + (f"; and {more} more" if more > 0 else "")


# --- a run -----------------------------------------------------------------------------------------------------------


def run(task: AnyTask, work: Message) -> Encoded | Ack:
    """Run a plain task on a message, within its middleware."""
    return through(_perform(task, work, _yielded if task.yields else _called, _hooked))


async def run_async(task: AnyTask, work: Message) -> Encoded | Ack:
    """Run a coroutine task on a message, within its middleware."""
    return await _perform(task, work, _yielded_async if task.yields else _awaited, middleware.call_async)


async def _perform(task: AnyTask, work: Message,
                   invoke: Callable[[Callable[..., Any], tuple[Any, ...], dict[str, Any]], Awaitable[Any]],
                   hook: Callable[..., Awaitable[None]]) -> Encoded | Ack:
    """Written once for both kinds: what is awaited is either real, or has ended when it is awaited."""
    args, kwargs = read(task, work)
    context = Context(task, work)
    mark = running.set(context)
    try:
        called = functools.partial(invoke, task.function, args, kwargs)
        result = task.wrap(await _within(task, context, called, hook))
        return Ack(result, context.parcels) if context.parcels else result
    except GiveBack:
        raise
    except (Exception, SystemExit) as error:
        await _tell(task, context, error, hook)
        raise
    finally:
        running.reset(mark)


async def _within(task: AnyTask, context: Context, called: Callable[[], Awaitable[Any]],
                  hook: Callable[..., Awaitable[None]]) -> Any:
    entered: list[middleware.Middleware] = []
    result, error = None, None
    try:
        for member in task.app.chain.members:
            await hook(member.before, context)
            entered.append(member)
        result = await called()
    except BaseException as raised:
        error = raised
    for member in reversed(entered):
        try:
            await hook(member.after, context, result, error)
        except BaseException as raised:                  # counts as raised by the task
            result, error = None, raised
    if error is not None:
        raise error
    return result


async def _tell(task: AnyTask, context: Context, error: BaseException, hook: Callable[..., Awaitable[None]]) -> None:
    dead = isinstance(error, Reject) or 0 < context.attempts <= context.deliveries
    for member in task.app.chain.members:
        told = member.on_dead if dead else member.on_retry
        try:
            await hook(told, context, error)
        except Exception:
            log.exception("%r failed; what became of the task stands", told)


async def _called(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return function(*args, **kwargs)


async def _yielded(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return exhaust(function(*args, **kwargs), current().progress)


async def _awaited(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    return await function(*args, **kwargs)


async def _yielded_async(function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
    async with contextlib.aclosing(function(*args, **kwargs)) as generator:
        async for data in generator:
            await current().aprogress(data)


async def _hooked(hook: Callable[..., middleware.Hooked], *arguments: Any) -> None:
    middleware.call(hook, *arguments)


def through(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run to its end a coroutine that never waits."""
    try:
        coroutine.send(None)
    except StopIteration as ended:
        value: T = ended.value
        return value
    raise AssertionError("a plain task's run waited for something")
