"""The context of a running task: which message it works on, and what may be said of that meanwhile."""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from zmqueue.aio.message import Message as AsyncMessage
from zmqueue.client.executors import Work, telling
from zmqueue.client.parcels import Parcel

if TYPE_CHECKING:
    from zmqueue.app.task import Task
    from zmqueue.client.message import Message


class Context:
    """What a task may know of its run. `message`: what its worker was handed.

    That is a Message where the task runs beside the client (in threads; of `zmqueue.aio` in coroutines), a Work in
    other processes, which have no lease to speak for.
    """

    __slots__ = ("message", "parcels", "task")

    def __init__(self, task: Task[Any, Any, Any], message: Message | AsyncMessage | Work) -> None:
        self.task = task
        self.message = message
        self.parcels: list[Parcel] = []                  # what is queued with the result

    @property
    def token(self) -> str:
        """The request's token."""
        return self.message.token

    @property
    def queue(self) -> str:
        """The queue it came from."""
        return self.message.queue

    @property
    def headers(self) -> Mapping[str, str]:
        """What travels with it, the task's own headers among them."""
        return self.message.headers

    @property
    def deliveries(self) -> int:
        """How often it was handed out, this time included."""
        return self.message.deliveries

    @property
    def attempts(self) -> int:
        """Failures after which it is a dead letter, its own or its queue's; 0: not known."""
        return self.message.attempts

    @property
    def fencing(self) -> int:
        """Grows with each delivery: a store that refuses smaller ones is safe from stale runs."""
        return self.message.fencing

    @property
    def error(self) -> str:
        """What went wrong in the delivery before; empty at the first."""
        return self.message.error

    @property
    def cancelled(self) -> bool:
        """True once the request is cancelled: within a second. Give up by raising anything; it ends as cancelled.

        Coroutine tasks need not ask, they are cancelled. In somebody else's executor it is never known.
        """
        return self.message.cancelled

    def then(self, *parcels: Parcel) -> None:
        """Queue these if and only if this run's result holds: `current().then(other.to(...))`, or `zmqueue.to(...)`.

        Where the run fails, or its result comes too late because somebody else has the message, none of them is.
        """
        self.parcels.extend(parcels)

    def progress(self, data: object) -> None:
        """Tell those who follow the request (`ticket.stream()`) how far it is: ordered, and stored before the result.

        For plain tasks; it does not wait for the nodes. Raises RuntimeError in another process, which has no way to
        them, and in a coroutine, which awaits `aprogress`; LeaseLost; what went wrong with an earlier one.
        """
        if self.task.is_async:
            raise RuntimeError("this is a coroutine task: await current().aprogress(...)")
        self._tell(data)

    async def aprogress(self, data: object) -> None:
        """As `progress`, from a coroutine task."""
        if isinstance(self.message, AsyncMessage):
            await self.message.progress(self.task.app.bodies.told(data), wait=False)
        else:
            self._tell(data)

    def _tell(self, data: object) -> None:
        tell = telling.get()
        if tell is None:
            raise RuntimeError("progress can be told where the task runs beside its worker's client: in threads"
                               " (executor='thread') and coroutines; another process has no way to the nodes")
        tell(self.task.app.bodies.told(data))

    def __getattr__(self, name: str) -> Any:
        """Whatever else its message offers here (`lost`, `deadline`, `extend` in threads, say)."""
        if name.startswith("_"):
            raise AttributeError(name)
        return getattr(self.message, name)

    def __repr__(self) -> str:
        return f"<{self.task.name}, delivery {self.deliveries} of {self.token}>"


running: ContextVar[Context] = ContextVar("zmqueue task")


def current() -> Context:
    """The context of the task that runs here. Raises LookupError outside of any, in a plain call say."""
    try:
        return running.get()
    except LookupError:
        raise LookupError("no task of an app runs here: current() is for what a worker (or app.eager()) runs"
                          ) from None
