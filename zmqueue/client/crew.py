"""A crew: a worker's threads, one for each slot, in which its handlers run (or from which they are run elsewhere)."""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor
from functools import partial
from typing import Generic, TypeVar

from zmqueue.client.executors import (
    End,
    Handler,
    InExecutor,
    Outcome,
    Runner,
    error_text,
)
from zmqueue.client.leased import Leased
from zmqueue.client.leasing import Holding
from zmqueue.client.processes import InProcess, process_context
from zmqueue.client.recycling import Recycling
from zmqueue.core.operations import How

log = logging.getLogger("zmqueue.worker")

MessageT = TypeVar("MessageT", bound=Leased)

JOIN_S = 5.0                           # processes that are idle or killed are gone within this


class Crew(Generic[MessageT]):
    """`ended(message, outcome)` is called in a slot's thread after each run."""

    def __init__(self, size: int, make_runner: Callable[[], Runner],
                 ended: Callable[[MessageT, End], None]) -> None:
        self._ended = ended
        self._work: queue.SimpleQueue[tuple[Handler, MessageT] | None] = queue.SimpleQueue()
        self._lock = threading.Lock()                    # guards what follows
        self._running: dict[Holding, Runner] = {}
        self._slots: list[tuple[threading.Thread, Runner]] = []
        for number in range(size):
            runner = make_runner()
            thread = threading.Thread(target=self._slot, args=(runner,), name=f"zmqueue-slot-{number}", daemon=True)
            self._slots.append((thread, runner))
            thread.start()

    def put(self, handler: Handler, message: MessageT) -> None:
        """Run the handler as soon as a slot is free."""
        self._work.put((handler, message))

    def unbegun(self) -> list[MessageT]:
        """Take back what waits for a slot."""
        found: list[MessageT] = []
        while True:
            try:
                work = self._work.get_nowait()
            except queue.Empty:
                return found
            if work is not None:
                found.append(work[1])

    def interrupt(self, holding: Holding) -> bool:
        """End the run of that message, from any thread; False where it cannot be ended, or does not run."""
        with self._lock:                                 # so that it is not another one's run that is ended
            runner = self._running.get(holding)
            return runner is not None and runner.interrupt()

    def cancelled(self, holding: Holding) -> None:
        """Tell the run of that message, from any thread, that nobody wants it any more."""
        with self._lock:
            runner = self._running.get(holding)
            if runner is not None:
                runner.cancelled()

    def stop(self, *, drained: bool) -> None:
        """Let the threads end. Where something runs, what can be killed is, and the others are left alone."""
        for _ in self._slots:
            self._work.put(None)
        ending = [thread for thread, runner in self._slots if drained or runner.kill()]
        end = time.monotonic() + JOIN_S
        for thread in ending:
            thread.join(max(0.0, end - time.monotonic()))

    # --- in a slot's thread ---

    def _slot(self, runner: Runner) -> None:
        try:
            self._run_slot(runner)
        finally:
            runner.close()

    def _run_slot(self, runner: Runner) -> None:
        while (work := self._work.get()) is not None:
            handler, message = work
            outcome: End
            with self._lock:
                self._running[message._holding] = runner
            try:
                outcome = runner.run(handler, message)
            except BaseException as error:               # the executor broke, or was shut down
                log.exception("request %s could not be run", message.token)
                outcome = Outcome(How.NACK, error=f"lost: {error_text(error)}")
            with self._lock:
                del self._running[message._holding]
            self._ended(message, outcome)


def runners(executor: object, in_thread: Callable[[], Runner], recycling: Recycling) -> Callable[[], Runner]:
    """How a worker's `executor` runs things. Raises ValueError for what is none, or has no processes to recycle."""
    if recycling and executor != "process":
        raise ValueError("recycle_after and memory_limit replace processes of the worker's own; they need"
                         " executor='process'")
    match executor:
        case "thread":
            return in_thread
        case "process":
            return partial(InProcess, process_context(), recycling)
        case Executor():
            return partial(InExecutor, executor)
    raise ValueError(f"executor is {executor!r}; allowed are 'thread', 'process' and any concurrent.futures.Executor")
