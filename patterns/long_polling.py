"""Long polling: ask once; the node holds the question back until there is an answer, or the time is over.

    caller                        this program                    cluster                    worker
      |   token?                       |                              |                          |
      |------------------------------->|   result(token, 20 s)        |                          |
      |                                |----------------------------->|  (held back, no          |
      |                                |                              |   thread waits here)     |
      |                                |        not yet               |                          |
      |   not yet: ask again           |<-----------------------------|                          |
      |<-------------------------------|                              |                          |
      |   token?                       |   result(token, 20 s)        |                          |
      |------------------------------->|----------------------------->|       ack(result)        |
      |                                |                              |<-------------------------|
      |   the result, at once          |          result              |                          |
      |<-------------------------------|<-----------------------------|                          |

**Choose it** where somebody waits now: a call that should feel like a function call, a page that stays open, a
test. The result arrives the moment that it is there, and a question costs one packet each way however long the
wait is.

**It costs** a thread of the caller's for as long as it waits (on the nodes: a small entry in memory). `hold` is
bounded on purpose: proxies and phones cut connections that say nothing for a minute, and a bounded wait tells a
slow request from a dead connection.

**When something fails**

- The caller goes away: the request goes on, and the token works for whoever asks next, in any pattern.
- The node that holds the question dies: the client asks the bucket's next primary; the wait goes on, nothing is
  lost.
- The worker dies: the request is delivered to another one, and the wait goes on.
- No node answers for a while: `wait_for` goes on until its own time is over. Asking is harmless, any number of
  times.
- The request ends without a result (dead letter, cancelled, expired): RequestFailed, at once, and final.

**Limits.** One wait for one token, one thread for one wait. To wait for many, submit them all first and then
wait for one after the other: the total time is that of the slowest, not the sum.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import zmqueue

HOLD_S = 20.0                          # one question at most: below the 30 to 60 s after which proxies lose patience
PAUSE_S = 0.2                          # after no answer at all: do not ask a cluster that is away in a tight loop


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer to one question. Not `ended`: it goes on, ask again. `error`: why it ended without a result."""

    token: str
    ended: bool
    result: Any = None
    error: str | None = None


def hold(client: zmqueue.Client, token: str, seconds: float = HOLD_S) -> Reply:
    """One question, held back until the request has ended, at most so long: what a server does for one call.

    Raises BadToken, UnknownToken; ClusterUnreachable where nobody is there to be asked.
    """
    try:
        return Reply(token, ended=True, result=client.result(token, timeout=seconds))
    except zmqueue.ResultTimeout:
        return Reply(token, ended=False)
    except zmqueue.RequestFailed as failure:
        return Reply(token, ended=True, error=failure.error or failure.state)


def wait_for(client: zmqueue.Client, token: str, timeout: float) -> Any:
    """Wait for the result through failovers and absences of the cluster: what a caller does, asking again and again.

    Raises RequestFailed where it ended without a result, ResultTimeout (ask again whenever you like) where it has not
    ended, UnknownToken, BadToken; NoAnswer or ClusterUnreachable where at the end of the time nobody answered.
    """
    until = time.monotonic() + timeout
    while True:
        left = max(0.0, until - time.monotonic())
        try:
            return client.result(token, timeout=min(left, HOLD_S))
        except (zmqueue.ResultTimeout, zmqueue.NoAnswer, zmqueue.ClusterUnreachable) as error:
            if time.monotonic() >= until:
                raise
            if not isinstance(error, zmqueue.ResultTimeout):
                time.sleep(PAUSE_S)
