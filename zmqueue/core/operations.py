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


NO_OPTIONS = Options()

Chosen = tuple[tuple[int, Options], ...]
"""Options of those messages of a batch that have any: (index in the batch, options), ascending."""


class Settle(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One lease's end. `fencing` is the number of the lease; an older one is refused."""

    id: bytes
    fencing: int
    how: int = How.ACK
    kind: int = Kind.NONE                  # of the result (ack)
    data: bytes = b""                      # the result (ack)
    error: str = ""                        # what went wrong (nack, reject)
    delay: int = 0                         # ms to rest before the next delivery (nack); AS_QUEUE_SAYS


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


Operation = (Submitted | Leased | Extended | Settled | Returned | Ripened | Forgotten | Expired | Cancelled | Requeued
             | Purged | Erased | Progressed)

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
            return [message.id for message in messages] + [
                unique_lock(operation.queue, options) for _, options in operation.options if options.unique]
        case Leased(grants=held) | Extended(leases=held) | Returned(leases=held):
            return [message_id for message_id, _ in held]
        case Settled(settles=settles):
            return [settle.id for settle in settles]
        case Progressed(id=message_id):
            return [message_id]
        case (Ripened(ids=ids) | Forgotten(ids=ids) | Expired(ids=ids) | Cancelled(ids=ids) | Requeued(ids=ids)
              | Purged(ids=ids) | Erased(ids=ids)):
            return list(ids)


_UNIQUE = b"unique"
UNIQUE_PREFIX = len(_UNIQUE)
"""Where the digest begins in a lock for a `unique` key."""


def unique_lock(queue: str, options: Options) -> bytes:
    """What stands for a `unique` key among the locked ids: no id begins like it."""
    return _UNIQUE + unique_digest(queue, options)


def unique_digest(queue: str, options: Options) -> bytes:
    """16 bytes for a `unique` key of a queue. Beside a group it holds within the group, so that both lie together."""
    return digest("\0".join((queue, options.group, options.unique)).encode())


def group_digest(queue: str, group: str) -> bytes:
    """16 bytes for a group of a queue."""
    return digest("\0".join((queue, group)).encode())
