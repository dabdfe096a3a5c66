"""Short polling: hand out a token at once, and tell whoever comes back with it how the request is.

    caller                        this program                    cluster                    worker
      |   "please do this"             |                              |                          |
      |------------------------------->|   submit(id=token)           |                          |
      |                                |----------------------------->| on the disks of all      |
      |          token                 |          confirmed           | in-sync replicas         |
      |<-------------------------------|<-----------------------------|         lease            |
      |                                |                              |<-------------------------|
      |   token?                       |   status(token)              |                          |
      |------------------------------->|----------------------------->|                          |
      |   loading, again in 0.2 s      |          "leased"            |                          |
      |<-------------------------------|<-----------------------------|       ack(result)        |
      |                                |                              |<-------------------------|
      |   token?                       |   status(token)              |                          |
      |------------------------------->|----------------------------->|                          |
      |   ready: the result            |       "done", result         |                          |
      |<-------------------------------|<-----------------------------|                          |

**Choose it** where callers come and go: a page that reloads, a phone that sleeps, a script that looks once an
hour. Nobody holds a connection or a thread, and this program holds no state at all: any other process may
answer the next poll. The token is unguessable, so it may stand in a URL: who has it may see the result.

**It costs** one question to one node for each poll, whether there is news or not, and the caller learns of the
end up to one interval late. `Page.retry_after` spreads the polls: soon at first, ever more seldom later.

**When something fails**

- The caller goes away: the request goes on. Whoever has the token can ask, until the result is forgotten
  (`result_ttl_ms` after its end, 24 hours by default).
- This program dies before the token is handed out: draw the token first (`client.new_id()`), keep it, and
  submit with it. After a crash submit again with the same token: it is stored once (for as long as
  `dedup_window_ms` says).
- The submit is not confirmed: `SubmitTimeout` (it may be stored or not) carries the token to repeat it with.
- A node dies: the client asks the next one; a poll takes a second or so longer. "Not yet" and "unknown" are
  never guesses: the node has made sure that nobody else knows better.
- The worker dies: the request is delivered to another one; the page goes on loading.
- No node answers: `poll` raises ClusterUnreachable or NoAnswer. That says nothing about the request: ask again.

**Limits.** A thousand callers that poll each second are a thousand questions each second; where somebody really
waits, `long_polling` asks once.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any

import zmqueue

RETRY_AFTER_S, RETRY_AFTER_S_MAX = 0.2, 5.0          # the first pause between two polls, and the longest
GROWTH = 1.5                                         # each pause is so much longer than the one before


class Look(enum.Enum):
    """What a page shows. All but LOADING are final."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"                                # a dead letter, cancelled or expired
    UNKNOWN = "unknown"                              # no such request, or forgotten by now


@dataclass(frozen=True, slots=True)
class Page:
    """What to show to a caller. `retry_after`: seconds after which to ask again; None: nothing more will come."""

    token: str
    look: Look
    result: Any = None
    error: str | None = None
    retry_after: float | None = None

    @property
    def final(self) -> bool:
        """True where asking again would give the same."""
        return self.look is not Look.LOADING


def submit_request(client: zmqueue.Client, queue: str, payload: object, *, token: str | None = None) -> str:
    """Have a request accepted, and return the token to hand out; only now is it safe to tell anybody "we have it".

    `token`: one that was drawn before (`client.new_id()`) and kept, so that a repetition is stored once. Raises
    SubmitTimeout, where the fate is unknown: call again with `token=error.token`; all other errors are definite.
    """
    return client.submit(queue, payload, id=token or client.new_id()).token


def poll(client: zmqueue.Client, token: str, polls: int = 0) -> Page:
    """Look how the request is. `polls`: how often this caller has asked before (it may stand in the page's link).

    Raises BadToken for a text that is no token, ClusterUnreachable or NoAnswer where nothing is known now.
    """
    try:
        status = client.status(token)
    except zmqueue.UnknownToken:
        return Page(token, Look.UNKNOWN)
    if not status.ended:
        return Page(token, Look.LOADING, error=status.error, retry_after=retry_after(polls))
    if status.state == "done":
        return Page(token, Look.READY, result=status.result)
    return Page(token, Look.FAILED, error=status.error or status.state)


def retry_after(polls: int) -> float:
    """Seconds until the next poll is worth its price: 0.2, 0.3, 0.45 ... 5."""
    return min(RETRY_AFTER_S * GROWTH ** min(polls, 50), RETRY_AFTER_S_MAX)
