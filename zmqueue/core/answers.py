"""What nodes answer to clients: packets 40 to 59 (`packets` says how they travel)."""

from __future__ import annotations

import enum

import msgspec

from zmqueue.core.operations import Held, Options, Submission


class Code(enum.IntEnum):
    """Why something was refused. All are definite: it was not done."""

    BAD_REQUEST = 1
    NOT_ENOUGH_REPLICAS = 2
    QUEUE_FULL = 3
    BODY_TOO_LARGE = 4
    UNKNOWN_TOKEN = 5
    LEASE_LOST = 6
    ID_TOO_OLD = 7
    NOT_ALLOWED = 8
    BUSY = 9
    NOT_SERVING = 10
    DISK_FULL = 11
    ENDED = 12
    RESULT_GONE = 13
    QUEUE_WAITS = 14                       # as QUEUE_FULL; and whoever submits is to wait, says the queue's policy


class StateReply(msgspec.Struct, array_like=True, frozen=True, tag=40, gc=False):
    """The cluster state, or no bytes where the client's is the newest known here."""

    request: int
    epoch: int
    state: bytes
    wall: int


class Confirmed(msgspec.Struct, array_like=True, frozen=True, tag=41, gc=False):
    """All done but the refused ones: (index in the request, code, what was found and what is allowed)."""

    request: int
    refused: tuple[tuple[int, int, str], ...] = ()
    known: tuple[tuple[int, bytes], ...] = ()    # of a submit: (index, id of the message that has its `unique` key)
    retry: int = 0                         # ms after which what a full queue refused may fare better; 0: not known


class Answer(msgspec.Struct, array_like=True, frozen=True, tag=42, gc=False):
    """How the message is."""

    request: int
    state: int
    queue: str
    deliveries: int
    error: str = ""
    kind: int = 3
    result: bytes = b""


class Grant(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message handed out."""

    submission: Submission
    fencing: int
    deliveries: int                        # this one included
    error: str = ""                        # of the delivery before
    options: Options | None = None


class Granted(msgspec.Struct, array_like=True, frozen=True, tag=43, gc=False):
    """What was handed out; `more`: there is more to have here."""

    request: int
    number: int
    lease: int                             # ms
    grants: tuple[Grant, ...]
    more: bool


class Alive(msgspec.Struct, array_like=True, frozen=True, tag=44, gc=False):
    """The session is known here; of what it listed, these leases are not its own any more."""

    request: int
    lost: tuple[Held, ...]
    cancelled: tuple[Held, ...] = ()       # these are not wanted any more


class Hint(msgspec.Struct, array_like=True, frozen=True, tag=45, gc=False):
    """This queue has something to hand out here."""

    queue: str


class QueueDepth(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What stands in one queue, in the buckets that one node is primary of."""

    queue: str
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest: int                            # ms that the oldest ready message has waited; -1: none is ready
    submitted: int = 0                     # in the last minute, as counted by this node while it was primary
    delivered: int = 0
    settled: int = 0                       # done
    died: int = 0                          # became dead letters


class QueuesReply(msgspec.Struct, array_like=True, frozen=True, tag=46, gc=False):
    request: int
    queues: tuple[QueueDepth, ...]
    epoch: int = 0                         # of the state by whose policies the node decides


class MembersReply(msgspec.Struct, array_like=True, frozen=True, tag=47, gc=False):
    """What only the node itself knows: whom it hears, which learners of its buckets are catching up."""

    request: int
    epoch: int
    majority: bool                         # it hears a majority of the voters
    suspects: tuple[int, ...]
    catching_up: tuple[tuple[int, int], ...]     # (bucket, member number), for its primary buckets
    corrupt: int = 0
    repaired: int = 0
    disk_short: bool = False               # it takes no submits for want of disk
    number: int = 0                        # of this member
    missing: tuple[int, ...] = ()          # the voters that it does not hear
    halted: tuple[int, ...] = ()           # buckets of which it is primary, where nobody commits: a replica is missing
    damaged: tuple[int, ...] = ()          # buckets whose copy here is damaged, or is being made anew


class NotPrimary(msgspec.Struct, array_like=True, frozen=True, tag=48, gc=False):
    """Ask the state again. `unknown`: what was asked may yet happen (it was in the log when the term ended)."""

    request: int
    epoch: int
    unknown: bool


class Refused(msgspec.Struct, array_like=True, frozen=True, tag=49, gc=False):
    """Definitely not done."""

    request: int
    code: int
    text: str


class CopyReply(msgspec.Struct, array_like=True, frozen=True, tag=50, gc=False):
    """A node's copy of one bucket, as it is in its memory; `generation` 0: it has none."""

    request: int
    epoch: int
    bucket: int
    generation: int
    commit: int                            # entries up to here are committed, as this node knows,
    end: int                               # and its log goes up to here
    end_term: int                          # the term of that last entry
    unfinished: int                        # messages in the applied state that have not ended
    damaged: bool = False                  # rows of it are not what was written: it is of no use (D1)


class Events(msgspec.Struct, array_like=True, frozen=True, tag=51, gc=False):
    """Events of a message's progress, and how it is. What it ended with comes with the last of them."""

    request: int
    state: int
    events: tuple[tuple[int, int, bytes, int], ...]   # (index, kind, data, fencing number), ascending without a gap
    more: bool                             # there is more already: ask again
    deliveries: int = 0
    error: str = ""
    kind: int = 3                          # of the result, where it has ended
    result: bytes = b""
    count: int = 0                         # of all events that there are


class FoundMessage(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message that was looked for. Times since and until are ms by bucket time, from the moment of the answer."""

    id: bytes
    queue: str
    state: int
    priority: int
    deliveries: int
    failures: int
    losses: int
    due: int                               # wall ms, while it is delayed
    ended: int                             # ms since it ended; -1: it has not
    error: str
    headers: tuple[tuple[str, str], ...] = ()
    group: str = ""
    session: bytes = b""                   # who has leased it
    until: int = 0                         # ms that the lease lasts from now on
    kind: int = 3
    payload: bytes = b""
    size: int = 0                          # of the payload, bytes; 0, too, where there is none any more
    requeued: int = 0                      # how often it was given another try as a dead letter
    history: tuple[tuple[int, int, str], ...] = ()   # (ms since, Fate, error) of its last failed deliveries
    worker: str = ""                       # what the session that has leased it calls itself
    held: int = -1                         # ms since it was leased; -1: not known here (or it is not)


class Found(msgspec.Struct, array_like=True, frozen=True, tag=52, gc=False):
    """A page of what was looked for; `next` b"": that was all."""

    request: int
    messages: tuple[FoundMessage, ...]
    next: bytes


Reply = (StateReply | Confirmed | Answer | Granted | Alive | Hint | QueuesReply | MembersReply | NotPrimary | Refused
         | CopyReply | Events | Found)
