"""The worker: leases messages for its handlers while it has free slots, keeps the leases alive, sends the results.

It never leases more than it can begin at once. The foreman leases and settles, the crew's threads run the handlers.
Lost connections and failovers are the client's business: the worker goes on by itself.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from functools import partial
from typing import Unpack

from zmqueue.client import arguments
from zmqueue.client.client import Client
from zmqueue.client.crew import Crew
from zmqueue.client.executors import Handler, InThread
from zmqueue.client.interrupts import Interrupts
from zmqueue.client.leasing import Holding
from zmqueue.client.message import Message
from zmqueue.client.work_face import WorkerOptions, WorkFace
from zmqueue.errors import Closed

log = logging.getLogger("zmqueue.worker")

LOOK_S = 0.5                           # run() looks this often whether its client lives


class Worker(WorkFace):
    """Runs handlers on the messages of some queues.

    `handlers`: by queue's name; each is called with a Message (`executor="thread"`) or a Work (in processes and other
    executors; both have payload, token, queue, headers, deliveries, fencing). What it returns is the result; `Reject`
    puts the message to the dead letters; any other exception has it tried again after its backoff, or its queue's, or
    `retry_delay(deliveries)` s, which stands before both.
    `concurrency`: how many run at once. `executor`: "thread"; "process", for handlers that can be pickled by name; or
    any concurrent.futures.Executor, which the caller shuts down. `lease`: seconds that one lease lasts (default: the
    cluster's); while the worker's session lives it is renewed. `grace`: seconds that what runs has to end at a stop.
    `on_cancel`: "kill" ends the process ("process") that runs a message when its request is cancelled.
    A message's `deadline` counts from when it is handed to its handler. When it has passed the message fails; a process
    that runs it is killed and replaced, a thread cannot be stopped: its slot stays taken until the handler returns.
    `recycle_after`, `memory_limit`: messages run and bytes held by a process ("process") after which it is replaced.
    """

    def __init__(self, client: Client, handlers: Mapping[str, Handler], **options: Unpack[WorkerOptions]) -> None:
        self._client = client
        self._condition = threading.Condition()
        self._crew: Crew[Message] | None = None
        self._stopping = False
        self._interrupts: Interrupts | None = None
        super().__init__(client, handlers, options, InThread)

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
        with self._condition:
            if self._crew is not None:
                raise RuntimeError("a worker is started once; make a new one")
            self._client._check()
            self._crew = Crew(self._concurrency, self._make_runner, self._foreman.ended)
        self._foreman.open()

    def stop(self, drain: bool = True, grace: float | None = None) -> None:
        """Lease no more; with `drain`, let what runs end within `grace` seconds; give back the rest."""
        seconds = self._grace if grace is None else arguments.seconds("grace", grace)
        if not self._stopping:
            self._stop(seconds if drain else 0.0, lambda: False)

    def __enter__(self) -> Worker:
        self.start()
        return self

    def __exit__(self, *unused: object) -> None:
        self.stop()

    # --- inside ---

    def _deliver(self, queue: str, holding: Holding) -> None:
        assert self._crew is not None
        told = self._crew.interrupt if self._kills else self._crew.cancelled
        holding.on_cancelled = partial(told, holding)
        self._crew.put(self._handlers[queue], Message(self._client, holding))

    def _interrupt(self, holding: Holding) -> bool:
        assert self._crew is not None
        return self._crew.interrupt(holding)

    def _changed(self) -> None:
        with self._condition:
            self._condition.notify_all()
        interrupts = self._interrupts
        if interrupts is not None and (self.error or self._stopping):
            interrupts.poke()

    def _stop(self, grace: float, at_once: Callable[[], bool]) -> None:
        """Lease no more, wait for what runs, give back the rest."""
        crew = self._crew
        if crew is None:
            return
        self._stopping = True
        self._changed()
        self._foreman.close()
        for message in crew.unbegun():
            self._foreman.give_back(message._holding)
        end = time.monotonic() + grace
        with self._condition:
            while self._foreman.busy and not at_once() and not self._client.closed:
                left = end - time.monotonic()
                if left <= 0:
                    log.warning("%d handlers did not end within %g s; their messages go back",
                                self.statistics.running, grace)
                    break
                self._condition.wait(min(left, 0.1))       # at_once is told by a signal: it has to be looked at
            drained = not self.statistics.running
        self._foreman.end()
        crew.stop(drained=drained)
