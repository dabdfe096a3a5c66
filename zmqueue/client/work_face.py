"""What the sync and the asyncio worker share: what they are told, and what they tell."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from typing import Any, Literal, TypedDict

from zmqueue.client import arguments, limits
from zmqueue.client.crew import runners
from zmqueue.client.executors import Handler, Runner
from zmqueue.client.face import Face
from zmqueue.client.foreman import Foreman, Turns, WorkerStatistics
from zmqueue.client.leasing import Holding
from zmqueue.client.recycling import recycling
from zmqueue.errors import ZmqueueError

CONCURRENCY = 8
CONCURRENCY_MAX = 1_000                # slots: a thread each, or a task; and each keepalive lists what they hold
GRACE_S = 30.0                         # what runs may take this long to end when the worker is to stop


class WorkerOptions(TypedDict, total=False):
    """How a worker works."""

    concurrency: int                   # how many handlers run at once; default 8
    executor: Literal["thread", "process"] | Executor    # where plain functions run; default "thread"
    order: Literal["fair", "strict"]                     # whose messages come first: all queues in turn (default), or
                                       # those of the queue that comes first in the handlers, as long as there are any
    weights: Mapping[str, float]       # by queue, its share of the slots while others have messages, too; default 1
    lease: float | None                # seconds that one lease lasts; default: the cluster's. It is renewed meanwhile
    grace: float                       # seconds that what runs has to end at a stop; default 30
    recycle_after: int | None          # messages after which a process is replaced ("process"); default: never
    memory_limit: int | None           # bytes in memory beyond which a process is replaced after its message; as above
    on_cancel: Literal["tell", "kill"]                   # when a request is cancelled: "tell" its handler (default), or
                                       # "kill" the process that runs it ("process")
    retry_delay: Callable[[int], float]                  # deliveries -> seconds that a failed message rests; default:
                                       # its backoff, or its queue's; where there is none 0.1 s, 0.2, 0.4 ... 60 s


WEIGHT_MAX = 1_000.0                   # what is more than that is strict order


def turns(handlers: Mapping[str, Handler], options: WorkerOptions) -> Turns:
    """How its queues share a worker's slots."""
    order, weights = options.get("order", "fair"), options.get("weights", {})
    if order not in ("fair", "strict"):
        raise ValueError(f"order is {order!r}; allowed are 'fair' and 'strict'")
    if weights and order == "strict":
        raise TypeError("a worker has weights or a strict order, and not both")
    for queue, weight in weights.items():
        if queue not in handlers:
            raise ValueError(f"there is a weight for queue {queue!r}, and no handler")
        if not 0.001 <= weight <= WEIGHT_MAX:
            raise ValueError(f"the weight of queue {queue!r} is {weight!r}; allowed is 0.001 to {WEIGHT_MAX:g}")
    return Turns(order == "strict", dict(weights))


class WorkFace(ABC):
    """A worker but for its waiting, and for where its handlers run."""

    def __init__(self, face: Face[Any, Any], handlers: Mapping[str, Handler], options: WorkerOptions,
                 in_thread: Callable[[], Runner]) -> None:
        arguments.known("Worker", options, WorkerOptions)
        self._handlers = arguments.handlers(handlers)
        self._concurrency = arguments.integer("concurrency", options.get("concurrency", CONCURRENCY), 1,
                                              CONCURRENCY_MAX)
        self._make_runner = runners(options.get("executor", "thread"), in_thread,
                                    recycling(options.get("recycle_after"), options.get("memory_limit")))
        self._grace = arguments.seconds("grace", options.get("grace", GRACE_S))
        lease_ms = arguments.milliseconds("lease", options.get("lease"), limits.LEASE_S_MAX)
        on_cancel = options.get("on_cancel", "tell")
        if on_cancel not in ("tell", "kill"):
            raise ValueError(f"on_cancel is {on_cancel!r}; allowed are 'tell' and 'kill'")
        self._kills = on_cancel == "kill"
        if self._kills and options.get("executor") != "process":
            raise ValueError("on_cancel='kill' kills processes of the worker's own; it needs executor='process'")
        self._foreman = Foreman(face, self._handlers, turns(self._handlers, options), self._concurrency, lease_ms,
                                options.get("retry_delay"), self._deliver, self._interrupt, self._changed)

    @abstractmethod
    def _deliver(self, queue: str, holding: Holding) -> None:
        """The foreman has leased this. Called in the client's thread; returns at once."""

    @abstractmethod
    def _interrupt(self, holding: Holding) -> bool:
        """Break off the run of this: its deadline has passed. False where that cannot be done. Called likewise."""

    @abstractmethod
    def _changed(self) -> None:
        """Some run's end is settled, or the nodes refuse for good. Called in any thread."""

    @property
    def statistics(self) -> WorkerStatistics:
        """What it did, and how it is."""
        return self._foreman.statistics

    @property
    def error(self) -> ZmqueueError | None:
        """Why the nodes hand out nothing, for good."""
        return self._foreman.error
