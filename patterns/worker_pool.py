"""Worker pool: handlers by queue, as many at once as there is room, on as many machines as you like.

    worker (2 slots)                       cluster                      another worker
      |   lease, at most 2                    |                                |
      |-------------------------------------->|                                |
      |   message 1, message 2                |                                |
      |<--------------------------------------|                                |
      |   (handlers run; while they do,       |                                |
      |    the session keeps the leases)      |   lease, at most 8             |
      |                                       |<-------------------------------|
      |   ack(1, result); lease, at most 1    |   message 3, 4 ...             |
      |-------------------------------------->|------------------------------->|
      |   confirmed; message 9                |                                |
      |<--------------------------------------|                                |
      X   (killed)                            |                                |
                                              |   its session is silent:       |
                                              |   messages 2 and 9 are         |
                                              |   ready again                  |
                                              |------------------------------->|

**Choose it** wherever work has to be done: this is the other side of every pattern. A worker takes only what it
can begin at once, so a slow one never sits on work that an idle one could do; add workers at any time, on any
machine.

Threads, for handlers that wait (network, disks, other programs) or compute in code that lets others run
meanwhile; processes, for handlers that compute in Python, or that may crash: each slot has a process of its
own, so a crash takes no other message with it. Handlers for processes are functions at the top of a module.

**It costs** one packet each way for a lease and for a result (those of one bucket travel together under load),
and a heartbeat for each worker. Idle workers are told when there is work; they do not ask.

**When something fails**

- The handler raises: the message is tried again after a rest that doubles (0.1 s ... 60 s), with the error text
  kept; after `attempts` deliveries (`deliveries_max`, 10 by default) it is a dead letter, and its caller gets
  RequestFailed.
- The handler raises `zmqueue.Reject`: it can never succeed, so it is a dead letter at once.
- The worker is killed: its session falls silent, and what it held is ready for others (`session_ms`, 5 s by
  default).
- The worker is stopped (SIGTERM, Ctrl-C): it leases no more, lets what runs end within `grace` seconds, gives
  the rest back.
- A node dies: the others take its buckets over; leases stay with the worker, and a result that was not
  confirmed yet is sent again. The handler does not run again for that.
- A handler that was paused beyond its lease (a suspended machine) may meanwhile run elsewhere: its result is
  refused. What it changes *outside* can be fenced: `message.fencing` grows with each delivery, so a store that
  remembers the highest number it has seen of a token, and refuses smaller ones, has each effect once.

**Limits.** Delivery is at least once: a handler may run twice when its worker died between the effect and the
result. Order over a whole queue is not promised. A slot is a thread (`processes`: a thread and a process): some
hundred for each pool.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Literal

import zmqueue

Handler = Callable[[Any], object]
"""Gets a zmqueue.Message (in threads) or a zmqueue.Work (in processes): payload, token, deliveries, fencing ..."""

THREADS = 8
GRACE_S = 30.0


def pool(client: zmqueue.Client, handlers: Mapping[str, Handler], *, threads: int | None = None,
         processes: int | None = None, grace: float = GRACE_S) -> zmqueue.Worker:
    """A pool on a client of your own, not started: `with pool(...):`, or `.start()` and `.stop()`, or `.run()`.

    Say `threads` or `processes`, how many run at once (default: 8 threads), and not both.
    """
    if threads is not None and processes is not None:
        raise ValueError(f"threads={threads} and processes={processes}: a pool runs its handlers in one or the other; "
                         "make two pools")
    executor: Literal["thread", "process"] = "thread" if processes is None else "process"
    concurrency = processes if processes is not None else THREADS if threads is None else threads
    return zmqueue.Worker(client, handlers, concurrency=concurrency, executor=executor, grace=grace)


def serve(seeds: Iterable[str], handlers: Mapping[str, Handler], *, threads: int | None = None,
          processes: int | None = None, grace: float = GRACE_S) -> zmqueue.WorkerStatistics:
    """Be a worker: the whole of a worker program's `main`. Returns after SIGTERM or SIGINT, when all has ended.

    The cluster need not be there yet, and may go away and come back: the pool waits for it.
    """
    with zmqueue.Client(*seeds) as client:
        worker = pool(client, handlers, threads=threads, processes=processes, grace=grace)
        worker.run()
        return worker.statistics
