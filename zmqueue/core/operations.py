"""The operations of a bucket's log: every decision written down, so that applying one needs no clock and no choice.

An operation names the messages that it changes and carries whatever was decided (who, until when). `at` is bucket time
in ms (Q1). Applying the same operations in the same order gives the same rows on every replica: `machine.py` does it.
Fields may be appended with a default in later versions, never moved.
"""

from __future__ import annotations

import enum

import msgspec


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

    @property
    def terminal(self) -> bool:
        return self >= State.DONE


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


class Submission(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One message as its submitter sent it. Stored once, never changed."""

    id: bytes                              # 24 bytes, see ids.py
    payload: bytes
    kind: int = Kind.BYTES
    priority: int = 0                      # 0..255, the highest is served first
    due: int = 0                           # wall ms before which it is not handed out; 0: at once
    headers: tuple[tuple[str, str], ...] = ()
    attempts: int = 0                      # deliveries after which it is a dead letter; 0: the cluster's default


class Settle(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One lease's end. `fencing` is the number of the lease; an older one is refused."""

    id: bytes
    fencing: int
    how: int = How.ACK
    kind: int = Kind.NONE                  # of the result (ack)
    data: bytes = b""                      # the result (ack)
    error: str = ""                        # what went wrong (nack, reject)
    delay: int = 0                         # ms to rest before the next delivery (nack)


Held = tuple[bytes, int]
"""A lease as its holder names it: (message id, fencing number)."""


class Submitted(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """Messages were accepted into a queue, in this order."""

    at: int
    queue: str
    messages: tuple[Submission, ...]


class Leased(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """Messages were handed to a session, each under its next fencing number."""

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

    `attempts` and `keep` are the cluster's settings when this was decided: settings change at different moments on
    different nodes, so applying an operation must not look at them.
    """

    at: int
    settles: tuple[Settle, ...]
    due: tuple[int, ...]
    attempts: int = 0                      # deliveries allowed to a message that does not say; 0: no limit
    keep: int = 0                          # ms that a message which ends here is remembered


class Returned(msgspec.Struct, array_like=True, frozen=True, tag=5, gc=False):
    """Leases ended without their holder's word. `attempts` and `keep` as in Settled."""

    at: int
    leases: tuple[Held, ...]
    why: int
    attempts: int = 0
    keep: int = 0


class Ripened(msgspec.Struct, array_like=True, frozen=True, tag=6, gc=False):
    """Delayed messages are due."""

    at: int
    ids: tuple[bytes, ...]


class Forgotten(msgspec.Struct, array_like=True, frozen=True, tag=7, gc=False):
    """Ended messages whose time to be remembered is over."""

    at: int
    ids: tuple[bytes, ...]


Operation = Submitted | Leased | Extended | Settled | Returned | Ripened | Forgotten

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
    """The ids of the messages that the operation names: these are locked until it is committed (R9)."""
    match operation:
        case Submitted(messages=messages):
            return [message.id for message in messages]
        case Leased(grants=held) | Extended(leases=held) | Returned(leases=held):
            return [message_id for message_id, _ in held]
        case Settled(settles=settles):
            return [settle.id for settle in settles]
        case Ripened(ids=ids) | Forgotten(ids=ids):
            return list(ids)
