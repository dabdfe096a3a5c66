"""Streaming: follow a request while it is worked on, step by step, and go on where one was, whatever broke.

    caller                        this program                    cluster                    worker
      |   token, last seen: 2          |                              |                          |
      |------------------------------->|   stream(token, after=2)     |                          |
      |                                |----------------------------->|      progress("a third") |
      |                                |         3: "a third"         |<-------------------------|
      |   3: "a third"                 |<-----------------------------|                          |
      |<-------------------------------|----------------------------->|  (held back, no          |
      |                                |                              |   thread waits here)     |
      |   (the connection breaks, the caller comes back)              |       progress("half")   |
      |   token, last seen: 3          |                              |<-------------------------|
      |------------------------------->|   stream(token, after=3)     |                          |
      |                                |----------------------------->|                          |
      |   4: "half"                    |         4: "half"            |       ack(result)        |
      |<-------------------------------|<-----------------------------|<-------------------------|
      |   5: the result; the end       |         5: the result        |                          |
      |<-------------------------------|<-----------------------------|                          |

**Choose it** where somebody watches: a progress bar, a log that grows, a text that is written word by word, a job
whose stages others wait for.

**It costs** a row on the disks of all replicas for each event: an event is as safe as a submit, and costs as much.
Handlers that yield (or tell with `wait=False`) have theirs gathered into few packets. Following costs one packet
each way for each answer, and nothing while nothing happens.

**When something fails**

- The caller goes away: it comes back with the index of what it saw last, to any program, and misses nothing. Events
  have the same index for everybody.
- A node dies: the client asks the next primary. What was told once is never taken back, and no event is skipped.
- The worker dies: the request is delivered to another one, which begins anew. What the first one told stays, and
  `event.delivery` tells the two apart: a bar may fall back.
- Nothing is told for long: `follow` waits on, until its own time is over.
- The request ends without a result: that is the last event, with `kind` "error".

**Limits.** 10,000 events for one request, 64 KiB each. They are kept as long as the request is remembered.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import zmqueue

HOLD_S = 20.0                          # for so long may nothing happen; then it is looked whether the time is over
PAUSE_S = 0.2                          # after no answer at all: do not ask a cluster that is away in a tight loop


def follow(client: zmqueue.Client, token: str, after: int = 0, timeout: float = 300.0) -> Iterator[zmqueue.Event]:
    """All events after that one, through failovers and absences of the cluster; the last is the request's end.

    Raises ResultTimeout where it has not ended after `timeout` seconds, NoAnswer or ClusterUnreachable where at the end
    of the time nobody answered; UnknownToken, BadToken. Go on after the last event that came, whenever you like.
    """
    until = time.monotonic() + timeout
    while True:
        left = max(0.0, until - time.monotonic())
        try:
            for event in client.stream(token, after=after, timeout=min(left, HOLD_S)):
                yield event
                after = event.index
                if event.last:
                    return
        except (zmqueue.ResultTimeout, zmqueue.NoAnswer, zmqueue.ClusterUnreachable) as error:
            if time.monotonic() >= until:
                raise
            if not isinstance(error, zmqueue.ResultTimeout):
                time.sleep(PAUSE_S)
