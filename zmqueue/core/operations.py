"""The operations of a bucket's log: every decision written down, so that applying one needs no clock and no choice.

An operation names the messages that it changes and carries whatever was decided (who, until when). `at` is bucket time
in ms (Q1). Applying the same operations in the same order gives the same rows on every replica: `machine.py` does it.
Fields may be appended with a default in later versions, never moved.
"""

from __future__ import annotations

import enum

import msgspec

from zmqueue.core.hashing import digest
from zmqueue.core.policies import Backoff


class Kind(enum.IntEnum):
    """What a payload or result is to Python; the bytes themselves are opaque to the node."""

    BYTES = 0
    TEXT = 1
    JSON = 2
    NONE = 3


class State(enum.IntEnum):
    """Where a message is in its life. Terminal states never change."""

    DELAYED = 0
    READY = 1
    LEASED = 2
    DONE = 3
    DEAD = 4
    CANCELLED = 5
    EXPIRED = 6
    BEHIND = 7          # ready, behind another of its group
    PURGED = 8          # dead, and its body is thrown away
    MENDING = 9         # dead, and leased by somebody who looks at it

    @property
    def terminal(self) -> bool:
        return State.DONE <= self <= State.EXPIRED or self is State.PURGED or self is State.MENDING

    @property
    def shown(self) -> State:
        """What its submitter is told: the finer states are the queue's own affair."""
        return _SHOWN.get(self, self)


_SHOWN = {State.BEHIND: State.READY, State.PURGED: State.DEAD, State.MENDING: State.DEAD}


class How(enum.IntEnum):
    """How a lease is settled."""

    ACK = 0
    NACK = 1
    REJECT = 2


class Why(enum.IntEnum):
    """Why a lease ends without being settled."""

    EXPIRED = 0         # its deadline passed
    SESSION_LOST = 1    # its worker fell silent, or ended with the lease in hand
    GIVEN_BACK = 2      # the worker never began on it: it does not count as a delivery
    UNCLAIMED = 3       # granted in an answer that the worker never saw (Q5): it does not count either


class Scope(enum.IntEnum):
    """How long a `unique` key keeps others with the same key out of its queue."""

    DONE = 0            # until the message has ended
    WAITING = 1         # until it is handed out for the first time
    WINDOW = 2          # for a time that begins with its submit, however it ends


class Submission(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message as its submitter sent it. Stored once, never changed."""

    id: bytes                              # 24 bytes, see ids.py
    payload: bytes
    kind: int = Kind.BYTES
    priority: int = 0                      # 0..255, the highest is served first
    due: int = 0                           # wall ms before which it is not handed out; 0: at once
    headers: tuple[tuple[str, str], ...] = ()
    attempts: int = 0                      # deliveries after which it is a dead letter; 0: the cluster's default


class Options(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a submitter may say of a message beyond a Submission; 0 and "" leave it to the queue. Generation 3."""

    expires: int = 0                       # wall ms after which it is not begun any more
    group: str = ""                        # messages of one group run one at a time, in order
    unique: str = ""                       # another message of the queue with the same key is refused
    scope: int = Scope.DONE                # for how long
    window: int = 0                        # ms, in the scope WINDOW
    losses: int = 0                        # deliveries that may be lost before it is a dead letter
    keep: int = 0                          # ms that its result is kept
    deadline: int = 0                      # ms that one delivery may work on it
    backoff: Backoff | None = None         # how long it rests after a failure
    awaits: Awaits | None = None           # it is a join: ready when its parts are done
    place: int = 0                         # in a queue that ages: where it stands; its primary says so (`ageing`)


class Awaits(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What a join awaits (`joins`). The primary that writes it into its log says how the parts are numbered."""

    parts: tuple[Parcel, ...]
    generation: int = 0                    # of the join's bucket
    buckets: int = 0                       # of the cluster


NO_OPTIONS = Options()

Chosen = tuple[tuple[int, Options], ...]
"""Options of those messages of a batch that have any: (index in the batch, options), ascending."""


class Parcel(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """A message on its way to another bucket: a settle carries it, and it is queued if and only if that holds (Q4).

    Or, where `part` is given, only word that the message `part` is done, for the join `message.id` that awaits it.
    """

    queue: str
    message: Submission
    options: Options | None = None
    part: bytes = b""


class Settle(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One lease's end. `fencing` is the number of the lease; an older one is refused."""

    id: bytes
    fencing: int
    how: int = How.ACK
    kind: int = Kind.NONE                  # of the result (ack)
    data: bytes = b""                      # the result (ack)
    error: str = ""                        # what went wrong (nack, reject)
    delay: int = 0                         # ms to rest before the next delivery (nack); AS_QUEUE_SAYS
    then: tuple[Parcel, ...] = ()          # what is queued if and only if this holds (ack)


AS_QUEUE_SAYS = -1
"""In `Settle.delay`: the rest follows from the message's backoff, or its queue's."""


class Rule(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """What holds for the messages of a queue at the moment of a decision: settings and declarations change at
    different moments on different nodes, so applying an operation must not look at them."""

    attempts: int = 0                      # deliveries that may fail before it is a dead letter; 0: no limit
    losses: int = 0                        # that may be lost; 0: no limit
    keep: int = 0                          # ms that a message which ends is remembered
    keep_dead: int = 0                     # the same, of a dead letter; 0: as others
    keep_result: int = 0                   # ms that a result is given out; 0: while the message is remembered
    halt: bool = False                     # a dead letter halts its group


Rules = tuple[tuple[str, Rule], ...]
"""By queue; "" stands for all that are not named. None at all: `attempts` and `keep` beside it say what holds, and
count deliveries, whatever their end (generations 1 and 2)."""


Held = tuple[bytes, int]
"""A lease as its holder names it: (message id, fencing number)."""


class Submitted(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """Messages were accepted into a queue, in this order."""

    at: int
    queue: str
    messages: tuple[Submission, ...]
    options: Chosen = ()


class Leased(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """Messages were handed to a session, each under its next fencing number; dead letters, too, to be looked at."""

    at: int
    session: bytes                         # 16 bytes
    request: int                           # the session's number for its lease request (Q5)
    grants: tuple[Held, ...]
    until: int                             # bucket time


class Extended(msgspec.Struct, array_like=True, frozen=True, tag=3, gc=False):
    """Leases last longer."""

    at: int
    leases: tuple[Held, ...]
    until: int


class Settled(msgspec.Struct, array_like=True, frozen=True, tag=4, gc=False):
    """Leases ended by their holder's word. `due[i]` is the wall time before which a nacked message rests (0: none).

    `attempts` and `keep` are the cluster's settings when this was decided (see Rule).
    """

    at: int
    settles: tuple[Settle, ...]
    due: tuple[int, ...]
    attempts: int = 0                      # deliveries allowed to a message that does not say; 0: no limit
    keep: int = 0                          # ms that a message which ends here is remembered
    rules: Rules = ()
    generation: int = 0                    # of this bucket when this was decided: its parcels are numbered in it (Q4)
    buckets: int = 0                       # of the cluster: where parcels go follows from it and from their ids


class Returned(msgspec.Struct, array_like=True, frozen=True, tag=5, gc=False):
    """Leases ended without their holder's word. `attempts` and `keep` as in Settled."""

    at: int
    leases: tuple[Held, ...]
    why: int
    attempts: int = 0
    keep: int = 0
    rules: Rules = ()


class Ripened(msgspec.Struct, array_like=True, frozen=True, tag=6, gc=False):
    """Delayed messages are due."""

    at: int
    ids: tuple[bytes, ...]


class Forgotten(msgspec.Struct, array_like=True, frozen=True, tag=7, gc=False):
    """Ended messages whose time to be remembered is over."""

    at: int
    ids: tuple[bytes, ...]


class Expired(msgspec.Struct, array_like=True, frozen=True, tag=8, gc=False):
    """Messages that nobody began on in time: they end, and never run."""

    at: int
    ids: tuple[bytes, ...]
    rules: Rules


class Cancelled(msgspec.Struct, array_like=True, frozen=True, tag=9, gc=False):
    """Messages are not wanted any more: a waiting one ends, the handler of a leased one is told."""

    at: int
    ids: tuple[bytes, ...]
    rules: Rules


class Requeued(msgspec.Struct, array_like=True, frozen=True, tag=10, gc=False):
    """Dead letters get another try, with nothing held against them."""

    at: int
    ids: tuple[bytes, ...]


class Purged(msgspec.Struct, array_like=True, frozen=True, tag=11, gc=False):
    """Dead letters are thrown away; what became of them is still remembered."""

    at: int
    ids: tuple[bytes, ...]


class Erased(msgspec.Struct, array_like=True, frozen=True, tag=12, gc=False):
    """Results are not kept any longer; that the messages are done is still remembered."""

    at: int
    ids: tuple[bytes, ...]


class Progressed(msgspec.Struct, array_like=True, frozen=True, tag=13, gc=False):
    """The handler of a leased message tells how far it is: (kind, data) of each event, in order."""

    at: int
    id: bytes
    fencing: int
    events: tuple[tuple[int, bytes], ...]


class Batch(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """Messages for one queue, in this order; `options` as in Submitted."""

    queue: str
    messages: tuple[Submission, ...]
    options: Chosen = ()


class Forwarded(msgspec.Struct, array_like=True, frozen=True, tag=14, gc=False):
    """What another bucket's outbox holds for this one was taken: its numbers `first` to `last`, each once (Q4).

    In one entry with the messages. Of some of the numbers there is none: what was known here already is not stored
    again, a `unique` key of another message keeps its message out, and word to a join is no message.
    """

    at: int
    source: int                            # the bucket that sent them,
    generation: int                        # and its generation when they were numbered
    first: int
    last: int
    batches: tuple[Batch, ...]
    arrived: tuple[tuple[bytes, bytes], ...] = ()    # (join, part that is done)
    skipped: int = 0                       # numbers before `first` that were taken by a branch that is given up (Q4g)


class Delivered(msgspec.Struct, array_like=True, frozen=True, tag=15, gc=False):
    """The outbox is rid of what the target bucket has committed: the numbers `first` to `last` (Q4)."""

    at: int
    target: int
    generation: int
    first: int
    last: int


class Fired(msgspec.Struct, array_like=True, frozen=True, tag=16, gc=False):
    """A schedule's ticks up to `tick` are dealt with: the messages are those that fire, with options as in Submitted.

    In one entry with the messages, so that each tick is decided once.
    """

    at: int
    name: str
    tick: int                              # wall ms
    queue: str
    messages: tuple[Submission, ...] = ()
    options: Chosen = ()


class Published(msgspec.Struct, array_like=True, frozen=True, tag=17, gc=False):
    """One copy of what was published was put into each queue that was bound to its topic then."""

    at: int
    id: bytes                              # of what was published: the ids of the copies begin like it (`topics`)
    batches: tuple[Batch, ...]             # a queue and its copy each


Operation = (Submitted | Leased | Extended | Settled | Returned | Ripened | Forgotten | Expired | Cancelled | Requeued
             | Purged | Erased | Progressed | Forwarded | Delivered | Fired
             | Published)

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Operation)


def encode(operation: Operation) -> bytes:
    """The operation's bytes: what the log stores and what peers send."""
    return _encoder.encode(operation)


def decode(data: bytes) -> Operation:
    """The operation in the bytes. Raises msgspec.ValidationError for bytes that are none."""
    decoded: Operation = _decoder.decode(data)
    return decoded


def messages_of(operation: Operation) -> list[bytes]:
    """What the operation names, which is locked until it is committed (R9): ids, and the `unique` keys of new ones."""
    match operation:
        case Submitted(messages=messages):
            return _names(operation.queue, messages, operation.options)
        case Leased(grants=held) | Extended(leases=held) | Returned(leases=held):
            return [message_id for message_id, _ in held]
        case Settled(settles=settles):
            return [settle.id for settle in settles]
        case Progressed(id=message_id):
            return [message_id]
        case Forwarded(batches=batches):       # not the joins: word of a part fits whatever has become of its join
            return [taken_lock(operation.source, operation.generation),
                    *(name for batch in batches for name in _names(batch.queue, batch.messages, batch.options))]
        case Fired(name=name, queue=queue, messages=messages, options=options):
            return [schedule_lock(name), *_names(queue, messages, options)]
        case Published(id=message_id, batches=batches):
            return [published_lock(message_id),
                    *(name for batch in batches for name in _names(batch.queue, batch.messages, batch.options))]
        case Delivered(target=target, generation=generation):
            return [sent_lock(target, generation)]
        case (Ripened(ids=ids) | Forgotten(ids=ids) | Expired(ids=ids) | Cancelled(ids=ids) | Requeued(ids=ids)
              | Purged(ids=ids) | Erased(ids=ids)):
            return list(ids)


def arrivals_of(operation: Operation) -> list[tuple[str, int]]:
    """The new messages that the operation brings: (queue, how many)."""
    match operation:
        case Submitted() | Fired():
            return [(operation.queue, len(operation.messages))]
        case Forwarded(batches=batches) | Published(batches=batches):
            return [(batch.queue, len(batch.messages)) for batch in batches]
        case _:
            return []


def _names(queue: str, messages: tuple[Submission, ...], options: Chosen) -> list[bytes]:
    return [message.id for message in messages] + [unique_lock(queue, each) for _, each in options if each.unique]


def taken_lock(source: int, generation: int) -> bytes:
    """What stands among the locked ids for what is taken from another bucket's outbox: no id begins like it."""
    return b"taken %d %d" % (source, generation)


def published_lock(message_id: bytes) -> bytes:
    """The same for what is published under an id."""
    return b"published " + message_id


def sent_lock(target: int, generation: int) -> bytes:
    """The same for what is taken out of the own outbox."""
    return b"sent %d %d" % (target, generation)


def schedule_lock(name: str) -> bytes:
    """The same for what a schedule's next tick is."""
    return b"fired " + name.encode()


_UNIQUE = b"unique"
UNIQUE_PREFIX = len(_UNIQUE)
"""Where the digest begins in a lock for a `unique` key."""


def unique_lock(queue: str, options: Options) -> bytes:
    """What stands for a `unique` key among the locked ids: no id begins like it."""
    return _UNIQUE + unique_digest(queue, options)


def unique_digest(queue: str, options: Options) -> bytes:
    """16 bytes for a `unique` key of a queue. Beside a group it holds within the group, so that both lie together."""
    return digest("\0".join((queue, options.group, options.unique)).encode())


def place_of_key(queue: str, options: Options) -> int | None:
    """The place, 0..65535, of a message that has a `group`, else of one that has a `unique` key: all that share it lie
    in one bucket. None: the message may lie anywhere."""
    if options.group:
        return int.from_bytes(group_digest(queue, options.group)[:2], "big")
    if options.unique:
        return int.from_bytes(unique_digest(queue, options)[:2], "big")
    return None


def group_digest(queue: str, group: str) -> bytes:
    """16 bytes for a group of a queue."""
    return digest("\0".join((queue, group)).encode())
