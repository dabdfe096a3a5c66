"""The worker: leases messages for its handlers while it has free slots, keeps the leases alive, sends the results.

It never leases more than it can begin at once. Its session is its own, so that what it holds returns as soon as it
ends or dies. Results are sent without waiting for one another; those that wait for the same bucket go together. Lost
connections and failovers are the client's business: the worker goes on by itself.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from typing import Literal

from zmqueue.client import arguments, limits
from zmqueue.client.calls import LeaseSayCall
from zmqueue.client.client import Client
from zmqueue.client.executors import (
    Handler,
    InExecutor,
    InProcess,
    InThread,
    Outcome,
    Runner,
    error_text,
    process_context,
)
from zmqueue.client.interrupts import Interrupts
from zmqueue.client.leasing import Holding, Slots, Subscription
from zmqueue.client.message import Message
from zmqueue.client.session import Session
from zmqueue.core.operations import How, Settle
from zmqueue.errors import BodyTooLarge, Closed, LeaseLost, ZmqueueError

log = logging.getLogger("zmqueue.worker")

CONCURRENCY_MAX = 1_000                # slots: each is a thread
SETTLE_S = 600.0                       # a result is offered for this long: the cluster may be away for a while
UNSETTLED_MAX = 1_000                  # results on their way; beyond, slots stay taken until some are confirmed
RETRY_DELAY_S, RETRY_DELAY_S_MAX = 0.1, 60.0     # a failed message rests, longer each time
GRACE_S = 30.0                         # what runs may take this long to end when the worker is to stop
JOIN_S = 5.0                           # processes that are idle or killed are gone within this
LOOK_S = 0.5                           # run() looks this often whether its client lives

Begun = tuple[Handler, Message] | None


def retry_delay(deliveries: int) -> float:
    """Seconds for which a message rests after its handler failed in that delivery: 0.1, 0.2, 0.4 ... 60."""
    return min(RETRY_DELAY_S * 2.0 ** min(deliveries - 1, 20), RETRY_DELAY_S_MAX)


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """What a worker did since it was made. Counts of runs; the last two are how it is now."""

    done: int = 0                      # results confirmed
    failed: int = 0                    # handlers that raised: tried again
    rejected: int = 0                  # handlers that raised Reject: dead letters
    lost: int = 0                      # leases that were not ours any more when the run ended
    unconfirmed: int = 0               # results that no node confirmed; the message will be delivered again
    running: int = 0
    settling: int = 0                  # results on their way


class Worker:
    """Runs handlers on the messages of some queues.

    `handlers`: by queue's name; each is called with a Message (`executor="thread"`) or a Work (in processes and other
    executors; both have payload, token, queue, headers, deliveries, fencing). What it returns is the result; `Reject`
    puts the message to the dead letters; any other exception has it tried again after `retry_delay(deliveries)` s.
    `concurrency`: how many run at once. `executor`: "thread"; "process", for handlers that can be pickled by name; or
    any concurrent.futures.Executor, which the caller shuts down. `lease`: seconds that one lease lasts (default: the
    cluster's); while the worker's session lives it is renewed. `grace`: seconds that what runs has to end at a stop.
    """

    def __init__(self, client: Client, handlers: Mapping[str, Handler], *, concurrency: int = 8,
                 executor: Literal["thread", "process"] | Executor = "thread", lease: float | None = None,
                 grace: float = GRACE_S, retry_delay: Callable[[int], float] = retry_delay) -> None:
        if not handlers:
            raise ValueError("a worker needs at least one handler: Worker(client, {'queue': handler})")
        for name, handler in handlers.items():
            arguments.queue_name(name)
            if not callable(handler):
                raise TypeError(f"the handler of queue {name!r} is not callable: {type(handler).__name__}")
        self._client = client
        self._handlers = dict(handlers)
        self._concurrency = arguments.integer("concurrency", concurrency, 1, CONCURRENCY_MAX)
        self._make_runner = _runners(executor)
        self._lease_ms = arguments.milliseconds("lease", lease, limits.LEASE_S_MAX)
        self._grace = arguments.seconds("grace", grace)
        self._retry_delay = retry_delay
        self._slots = Slots(self._concurrency)
        self._session: Session | None = None
        self._subscriptions: list[Subscription] = []
        self._work: queue.SimpleQueue[Begun] = queue.SimpleQueue()
        self._runners: list[Runner] = []
        self._threads: list[threading.Thread] = []       # one for each runner
        self._changed = threading.Condition()            # guards what follows
        self._statistics = WorkerStatistics()
        self._owed = 0                                   # slots that stay taken until results are confirmed
        self._started = False
        self._stopping = False
        self._interrupts: Interrupts | None = None
        self.error: ZmqueueError | None = None           # why the nodes hand out nothing, for good

    # --- life ---

    def run(self) -> None:
        """Work until SIGTERM or SIGINT (in the main thread) or `stop`, then drain; a second signal ends it at once.

        Raises Closed where the client is closed under it, NotAllowed or BadRequest where the nodes refuse it for good.
        """
        with Interrupts() as interrupts:
            self._interrupts = interrupts
            self.start()
            try:
                while not (self._stopping or interrupts.count or self._client.closed or self.error):
                    interrupts.wait(LOOK_S)
            finally:
                if not self._stopping:
                    self._stop(self._grace, lambda: interrupts.count > 1)
                self._interrupts = None
        if self.error is not None:
            raise self.error
        if self._client.closed:
            raise Closed("the client was closed while its worker ran")

    def start(self) -> None:
        """Begin to work, in threads of its own; returns at once."""
        with self._changed:
            if self._started:
                raise RuntimeError("a worker is started once; make a new one")
            self._started = True
        self._client._check()
        for number in range(self._concurrency):
            runner = self._make_runner()
            self._runners.append(runner)
            thread = threading.Thread(target=self._slot, args=(runner,), name=f"zmqueue-slot-{number}", daemon=True)
            self._threads.append(thread)
            thread.start()
        self._client._transport.post(self._subscribe)

    def stop(self, drain: bool = True, grace: float | None = None) -> None:
        """Lease no more; with `drain`, let what runs end within `grace` seconds; give back the rest."""
        seconds = self._grace if grace is None else arguments.seconds("grace", grace)
        if self._started and not self._stopping:
            self._stop(seconds if drain else 0.0, lambda: False)

    @property
    def statistics(self) -> WorkerStatistics:
        """What it did, and how it is."""
        with self._changed:
            return self._statistics

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    # --- in the slots' threads ---

    def _slot(self, runner: Runner) -> None:
        try:
            self._run_slot(runner)
        finally:
            runner.close()

    def _run_slot(self, runner: Runner) -> None:
        while (work := self._work.get()) is not None:
            handler, message = work
            try:
                outcome = runner.run(handler, message)
            except BaseException as error:               # the executor broke, or was shut down
                log.exception("request %s could not be run", message.token)
                outcome = Outcome(How.NACK, error=f"lost: {error_text(error)}")
            self._ended(message, outcome)

    def _ended(self, message: Message, outcome: Outcome) -> None:
        settle = self._settlement(message, outcome)
        with self._changed:
            free = self._statistics.settling + self._owed < UNSETTLED_MAX
            self._owed += not free
            self._count(running=-1, settling=1)
        self._client._transport.post(self._settle, message._holding, settle, free)

    def _settlement(self, message: Message, outcome: Outcome) -> Settle:
        if outcome.how is How.ACK:
            try:
                return message.settle_encoded(outcome.kind, outcome.data)
            except BodyTooLarge as error:                # it would be so again
                return message.settle_reject(str(error))
        if outcome.how is How.REJECT:
            return message.settle_reject(outcome.error)
        return message.settle_nack(self._retry_delay(message.deliveries), outcome.error)

    # --- in the client's thread ---

    def _subscribe(self, now: float) -> None:
        core = self._client._core
        self._session = core.open_session()
        for name, handler in self._handlers.items():
            subscription = Subscription(self._slots, partial(self._deliver, handler), self._refused)
            self._subscriptions.append(subscription)
            core.subscribe(self._session, subscription, name, self._lease_ms, now)

    def _deliver(self, handler: Handler, holding: Holding) -> None:
        with self._changed:
            self._count(running=1)
        self._work.put((handler, Message(self._client, holding)))

    def _refused(self, error: ZmqueueError) -> None:
        log.error("the nodes hand out nothing to this worker: %s", error)
        self.error = error
        self._poke()

    def _settle(self, holding: Holding, settle: Settle, free: bool, now: float) -> None:
        self._slots.free += free
        call = LeaseSayCall("settle", (holding.id, holding.fencing), now + SETTLE_S,
                            partial(self._settled, holding.token, settle.how), settle=settle)
        if holding.lost:
            call.fail(LeaseLost(f"the lease of {holding.token} ended while its handler ran"))
        else:
            self._client._core.say(holding, call, now)

    def _settled(self, token: str, how: int, call: LeaseSayCall) -> None:
        error = call.error
        with self._changed:
            self._count(settling=-1, done=error is None and how == How.ACK, failed=error is None and how == How.NACK,
                        rejected=error is None and how == How.REJECT, lost=isinstance(error, LeaseLost),
                        unconfirmed=error is not None and not isinstance(error, LeaseLost))
            if self._owed:
                self._owed -= 1
                self._slots.free += 1
            self._changed.notify_all()
        if error is not None:
            log.warning("the outcome of request %s does not count: %s", token, error)

    def _count(self, **changes: int) -> None:
        now = self._statistics
        self._statistics = replace(now, **{name: getattr(now, name) + change for name, change in changes.items()})

    # --- stopping ---

    def _stop(self, grace: float, at_once: Callable[[], bool]) -> None:
        """Lease no more, wait for what runs, give back the rest."""
        self._stopping = True
        self._poke()
        self._client._transport.post(self._unsubscribe)
        self._give_back_unbegun()
        end = time.monotonic() + grace
        with self._changed:
            while (self._statistics.running or self._statistics.settling) and not at_once() and not self._client.closed:
                left = end - time.monotonic()
                if left <= 0:
                    log.warning("%d handlers did not end within %g s; their messages go back", self._statistics.running,
                                grace)
                    break
                self._changed.wait(min(left, 0.1))       # at_once is told by a signal: it has to be looked at
            drained = not self._statistics.running
        for _ in self._runners:
            self._work.put(None)
        self._client._transport.post(self._end_session)
        ending = [thread for thread, runner in zip(self._threads, self._runners, strict=True)
                  if drained or runner.kill()]
        end = time.monotonic() + JOIN_S
        for thread in ending:
            thread.join(max(0.0, end - time.monotonic()))

    def _give_back_unbegun(self) -> None:
        while True:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                return
            if work is not None:
                with self._changed:
                    self._count(running=-1)
                self._client._transport.post(self._give_back, work[1]._holding)

    def _give_back(self, holding: Holding, now: float) -> None:
        if self._session is not None and not holding.lost:
            self._session.surplus(holding, now)

    def _unsubscribe(self, now: float) -> None:
        if self._session is not None:
            for subscription in self._subscriptions:
                self._session.unsubscribe(subscription)

    def _end_session(self, now: float) -> None:
        if self._session is not None:
            self._client._core.end_session(self._session, now)

    def _poke(self) -> None:
        interrupts = self._interrupts
        if interrupts is not None:
            interrupts.poke()


def _runners(executor: object) -> Callable[[], Runner]:
    match executor:
        case "thread":
            return InThread
        case "process":
            return partial(InProcess, process_context())
        case Executor():
            return partial(InExecutor, executor)
    raise ValueError(f"executor is {executor!r}; allowed are 'thread', 'process' and any concurrent.futures.Executor")
