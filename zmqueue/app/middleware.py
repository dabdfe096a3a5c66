"""Middleware: plain objects that an app calls around its submits and runs, in their order.

`before` is called in the order of the list, `after` in the opposite one, as if each stood around the next. Any hook may
be a coroutine function where all that it is called for is awaited: the tasks are `async def`, or, for `on_submit`, the
submits are made by `task.aio`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from zmqueue.app.context import Context

Hooked = Awaitable[None] | None


@dataclass(slots=True)
class Outgoing:
    """A submit that is about to be made: of one call, or of many with the same headers."""

    task: str
    queue: str
    headers: dict[str, str] = field(default_factory=dict)    # may be changed; the task's own are added afterwards
    count: int = 1


class Middleware(Protocol):
    """The hooks. Derive from it and write those that you need; what it raises counts as raised by the task.

    `before` may thus refuse a run: Reject, GiveBack and other errors mean what they mean when a handler raises them.
    `on_submit` may refuse a submit. What `on_retry` and `on_dead` raise is logged, and changes nothing.
    """

    def on_submit(self, outgoing: Outgoing) -> Hooked:
        """A submit will be made; its headers may be added to."""
        return None

    def before(self, context: Context) -> Hooked:
        """The arguments are valid, the task will be called."""
        return None

    def after(self, context: Context, result: Any, error: BaseException | None) -> Hooked:
        """It returned, or raised. Called where `before` of this object returned."""
        return None

    def on_retry(self, context: Context, error: BaseException) -> Hooked:
        """It failed, and will be tried again."""
        return None

    def on_dead(self, context: Context, error: BaseException) -> Hooked:
        """It failed for the last time, or was rejected: a dead letter, as far as this worker can know."""
        return None


HOOKS = ("on_submit", "before", "after", "on_retry", "on_dead")
AROUND_RUNS = HOOKS[1:]


class Chain:
    """An app's middleware. Its methods give the calls to be made: who makes them knows whether it may await."""

    def __init__(self, members: Sequence[Middleware]) -> None:
        for member in members:
            missing = [name for name in HOOKS if not callable(getattr(member, name, None))]
            if missing:
                raise TypeError(f"{member!r} is no middleware, it has no {', '.join(missing)}; derive its class from"
                                f" zmqueue.app.Middleware, which has all of them")
        self.members = tuple(members)

    def refuse_coroutines(self, hooks: Sequence[str], why: str) -> None:
        """Raise TypeError where one of these hooks is a coroutine function, which could not be awaited."""
        for member in self.members:
            for name in hooks:
                if inspect.iscoroutinefunction(getattr(member, name)):
                    raise TypeError(f"{type(member).__name__}.{name} is a coroutine function, and {why}")


def call(hook: Callable[..., Hooked], *arguments: Any) -> None:
    """Make a call where nothing can be awaited."""
    waiting = hook(*arguments)
    if waiting is not None:
        if inspect.iscoroutine(waiting):
            waiting.close()
        raise TypeError(f"{hook!r} returned something to be awaited, where nothing can be")


async def call_async(hook: Callable[..., Hooked], *arguments: Any) -> None:
    """Make a call where it can be awaited."""
    waiting = hook(*arguments)
    if waiting is not None:
        await waiting
