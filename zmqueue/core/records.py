"""The values of a bucket's rows: what was submitted, what has become of it, and how much there is.

BODIES: a fixed head (order, due, attempts, priority, queue), which is all that applying an operation needs, then the
submission as it was sent. MESSAGES: a `Record`, only for a message that has been handed out at least once. READY: the
id and the fencing number of the delivery before (0: it was never handed out, so it has no Record: that saves a look
into MESSAGES for most of all messages). COUNTS: how many messages of a queue are in each `State`.
"""

from __future__ import annotations

import struct
from typing import NamedTuple

import msgspec

from zmqueue.core.ids import ID_BYTES
from zmqueue.core.operations import Kind, State, Submission

NOT_SETTLED = -1
"""In `Record.how`: the last lease has not ended by its holder's word."""

_HEAD = struct.Struct(">QQHBB")
_FENCING = struct.Struct(">I")

encode_submission = msgspec.msgpack.Encoder().encode
_submissions = msgspec.msgpack.Decoder(Submission)


class Record(msgspec.Struct, array_like=True, gc=False):
    """What has become of a message. Decoded anew at each look, changed by the machine alone, and written back.

    Fields may be appended with a default in later versions, never moved.
    """

    state: State
    queue: str
    priority: int
    order: int                     # its place among its equals; kept when it is handed out again
    attempts: int                  # deliveries after which it is a dead letter; 0: what the cluster's settings say
    deliveries: int = 0            # that count: without those given back or never claimed
    fencing: int = 0               # of the last lease; grows with each, counted or not
    failures: int = 0              # deliveries that ended with an error
    losses: int = 0                # deliveries that ended without a word: expired, or the worker was lost
    due: int = 0                   # wall ms, while delayed
    how: int = NOT_SETTLED         # how the last lease was settled: tells a repeated settle from a late one
    session: bytes = b""           # the rest, while leased: to whom,
    request: int = 0               # under which of its lease requests (Q5),
    until: int = 0                 # bucket time
    error: str = ""                # of the last delivery that did not succeed
    kind: int = Kind.NONE          # of the result
    result: bytes = b""
    ended: int = 0                 # bucket time at which it ended
    forget: int = 0                # bucket time after which it may be forgotten


encode_record = msgspec.msgpack.Encoder().encode
decode_record = msgspec.msgpack.Decoder(Record).decode


class Head(NamedTuple):
    """What the machine needs of a submission."""

    order: int
    due: int
    attempts: int
    priority: int
    queue: str


class BodyWriter:
    """Makes the BODIES rows of one queue: the name is encoded once for a batch."""

    __slots__ = ("_queue", "_size")

    def __init__(self, queue: str) -> None:
        self._queue = queue.encode()
        self._size = len(self._queue)

    def row(self, order: int, message: Submission) -> bytes:
        """The value for one submission."""
        head = _HEAD.pack(order, message.due, message.attempts, message.priority, self._size)
        return b"".join((head, self._queue, encode_submission(message)))


def head_of(body: bytes) -> Head:
    """Read only the head of a BODIES row."""
    order, due, attempts, priority, size = _HEAD.unpack_from(body)
    return Head(order, due, attempts, priority, body[_HEAD.size:_HEAD.size + size].decode())


def submission_of(body: bytes) -> Submission:
    """The submission in a BODIES row."""
    submission: Submission = _submissions.decode(memoryview(body)[_HEAD.size + body[_HEAD.size - 1]:])
    return submission


def waiting(message_id: bytes, fencing: int) -> bytes:
    """The value of a READY row."""
    return message_id + _FENCING.pack(fencing)


def waiting_of(value: bytes) -> tuple[bytes, int]:
    """(id, fencing number of the delivery before) in a READY row."""
    return value[:ID_BYTES], _FENCING.unpack_from(value, ID_BYTES)[0]


Counts = list[int]
"""By `State`: how many messages of one queue."""

STATES = len(State)
_counts = msgspec.msgpack.Decoder(list[int])
encode_counts = msgspec.msgpack.Encoder().encode


def no_counts() -> Counts:
    """Nothing in any state."""
    return [0] * STATES


def decode_counts(data: bytes) -> Counts:
    """Read a COUNTS row; states that it does not know yet count zero."""
    counts = _counts.decode(data)
    return counts + [0] * (STATES - len(counts))
