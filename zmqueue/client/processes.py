"""Processes: each slot has one to itself, which runs its handlers one after the other.

When a process is killed, it is known whose message killed it, and no other suffers. What a handler has to learn while
it runs (that its request is cancelled) goes to the process by an event of the slot.
"""

from __future__ import annotations

import logging
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from concurrent.futures import BrokenExecutor, Future, ProcessPoolExecutor
from multiprocessing.context import BaseContext
from multiprocessing.synchronize import Event
from typing import Any

from zmqueue.client.executors import (
    Declined,
    End,
    Handler,
    Outcome,
    Parcel,
    Runner,
    asking,
    choose,
    pack,
    perform_apart,
)
from zmqueue.client.leased import Leased
from zmqueue.client.recycling import Recycling, memory_held
from zmqueue.core.operations import How

log = logging.getLogger("zmqueue.worker")

NEVER = Recycling()


class InProcess(Runner):
    """In a process that belongs to the slot; a new one is started when it died, or is to be recycled."""

    def __init__(self, context: BaseContext, recycling: Recycling = NEVER) -> None:
        self._context = context
        self._recycling = recycling
        self._ran = 0                                    # messages, by the process that there is
        self._pool: ProcessPoolExecutor | None = None
        self._stopped = False
        self._interrupted = False                        # the process was killed, whatever it ran
        self._cancelled = context.Event()                # the request that the process works on is cancelled

    def run(self, handler: Handler, message: Leased) -> End:
        if self._stopped:
            return Outcome(How.NACK, error="not begun: its worker stopped")
        chosen = choose(handler, message)
        if isinstance(chosen, Outcome | Declined):
            return chosen
        if self._interrupted:                            # when its message had just ended: the process is dead
            self.close()
            self._interrupted = False
        self._cancelled.clear()
        if message.cancelled:                            # told before it was cleared
            self._cancelled.set()
        pool = self._pool
        if pool is None:
            pool = self._pool = ProcessPoolExecutor(1, self._context, begin, (self._cancelled,))
            self._ran = 0
        try:
            future: Future[tuple[End, int]] = pool.submit(perform_measured, chosen, pack(message))
            if self._interrupted:                        # before there was a process to kill
                self._kill_processes()
            end, held = future.result()
        except BrokenExecutor:
            self.close()
            if self._interrupted:
                self._interrupted = False
                return Outcome(How.NACK, error="broken off: the process that ran it was killed")
            if not self._stopped:
                log.warning("the process of request %s died; a new one will be started", message.token)
            return Outcome(How.NACK, error="lost: the process that ran it died (killed, or crashed)")
        self._ran += 1
        reason = self._recycling.reason(self._ran, held)
        if reason:
            log.info("a process is replaced: %s", reason)
            self.close()
        return end

    def close(self) -> None:
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=True, cancel_futures=True)        # its process is idle or dead, so this is quick

    def cancelled(self) -> None:
        self._cancelled.set()

    def kill(self) -> bool:
        self._stopped = True
        self._kill_processes()
        return True

    def interrupt(self) -> bool:
        self._interrupted = True
        self._kill_processes()
        return True

    def _kill_processes(self) -> None:
        processes: dict[int, Any] = getattr(self._pool, "_processes", None) or {}
        for process in list(processes.values()):
            process.kill()


# --- in the process --------------------------------------------------------------------------------------------------


def perform_measured(handler: Handler, parcel: Parcel) -> tuple[End, int]:
    """As `perform_apart`, and the bytes of memory that its process holds afterwards."""
    return perform_apart(handler, parcel), memory_held()


def begin(cancelled: Event) -> None:
    """Leave Ctrl-C to the parent, and end when the parent does, however it ends."""
    asking.set(cancelled.is_set)                         # for good: the process has one thread that runs handlers
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    parent = multiprocessing.parent_process()
    if parent is None:
        return

    def watch() -> None:
        multiprocessing.connection.wait([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def process_context() -> BaseContext:
    """How processes are started: never by fork, which copies the client's locks and sockets."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")
