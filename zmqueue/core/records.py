"""The values of a bucket's rows: what was submitted, what has become of it, and how much there is.

BODIES: a fixed head (order, due, attempts, priority, queue), which is all that applying an operation needs, then the
options, where it has any, and the submission as it was sent. MESSAGES: a `Record`, only for a message that has been
handed out at least once, or has options: `Special` where there is more to say than of most. READY and BEHIND: the id
and the fencing number of the delivery before (0: it was never handed out, so a plain one has no Record: that saves a
look into MESSAGES for most of all messages). COUNTS: how many messages of a queue are in each `State`.
"""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

import msgspec

from zmqueue.core.ids import ID_BYTES
from zmqueue.core.operations import Kind, Options, Scope, State, Submission

NOT_SETTLED = -1
"""In `Record.how`: the last lease has not ended by its holder's word."""

ERASED = -1
"""In `Special.keep`: the result was thrown away."""

_HEAD = struct.Struct(">QQHBB")
_SPECIAL = 1 << 63             # in the head's due time: options follow
_DUE_BYTE = 8                  # where that time begins
_OPTIONS = struct.Struct(">H")
_FENCING = struct.Struct(">I")
_EVENT = struct.Struct(">BI")

encode_submission = msgspec.msgpack.Encoder().encode
_submissions = msgspec.msgpack.Decoder(Submission)
_encode_options = msgspec.msgpack.Encoder().encode
_decode_options = msgspec.msgpack.Decoder(Options).decode


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


class Fate(enum.IntEnum):
    """How a delivery ended that did not succeed."""

    FAILED = 0          # its handler said so
    REJECTED = 1        # its handler said that none will succeed
    EXPIRED = 2         # its lease was not settled in time
    LOST = 3            # the session of its worker was lost


Outcome = tuple[int, int, str]
"""(bucket time, Fate, error) of a delivery that did not succeed."""

OUTCOMES_MAX = 5
"""Outcomes that a record keeps: a record is read and written at each step, so it must not grow with its failures."""

OUTCOME_CHARACTERS_MAX = 200
"""Of an outcome's error, its beginning: the type, and what it said. The last error stands whole in `Record.error`."""


class Special(Record, array_like=True, gc=False):
    """The record of a message of which there is more to say. Its fields may be appended to, as a Record's may not."""

    expires: int = 0               # wall ms after which it is not begun any more
    group: str = ""
    unique: bytes = b""            # the digest of its key, while that keeps others out
    scope: int = Scope.DONE        # how long that is
    window: int = 0                # bucket time until which it is, in the scope WINDOW
    losses_max: int = 0            # losses after which it is a dead letter; 0: what its queue says
    keep: int = 0                  # ms after its end that its result is given out; 0: what its queue says
    cancelling: bool = False       # it is not wanted any more, and its handler was told
    events: int = 0                # how many events of progress it has,
    told: int = 0                  # and how many of them under its present lease
    requeued: int = 0              # how often it was given another try as a dead letter
    history: tuple[Outcome, ...] = ()    # of its last deliveries that did not succeed, the oldest first
    place: int = 0                 # where it stands among those that age; 0: among the others, by priority and order


_PLAIN_FIELDS = len(Record.__struct_fields__)
assert 16 <= _PLAIN_FIELDS < 256, "the third byte of a record is the number of its fields"

encode_record = msgspec.msgpack.Encoder().encode
_plain = msgspec.msgpack.Decoder(Record).decode
_special = msgspec.msgpack.Decoder(Special).decode


def decode_record(data: bytes) -> Record:
    """The record in a MESSAGES row: plain or special, as it was written."""
    return _plain(data) if data[2] <= _PLAIN_FIELDS else _special(data)


def special(record: Record) -> Special:
    """The record with room for more."""
    if isinstance(record, Special):
        return record
    return Special(*(getattr(record, name) for name in record.__struct_fields__))


def remember(record: Record, at: int, fate: Fate, error: str) -> Special:
    """The record with one outcome more; the oldest ones fade."""
    with_history = special(record)
    outcome = (at, int(fate), error[:OUTCOME_CHARACTERS_MAX])
    with_history.history = (*with_history.history, outcome)[-OUTCOMES_MAX:]
    return with_history


class Head(NamedTuple):
    """What the machine needs of a submission."""

    order: int
    due: int
    attempts: int
    priority: int
    queue: str
    special: bool = False          # it has options, and a record from the beginning


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

    def special_row(self, order: int, message: Submission, options: Options) -> bytes:
        """The value for one submission that has options."""
        head = _HEAD.pack(order, message.due | _SPECIAL, message.attempts, message.priority, self._size)
        data = _encode_options(options)
        return b"".join((head, self._queue, _OPTIONS.pack(len(data)), data, encode_submission(message)))


def head_of(body: bytes) -> Head:
    """Read only the head of a BODIES row."""
    order, due, attempts, priority, size = _HEAD.unpack_from(body)
    return Head(order, due & ~_SPECIAL, attempts, priority, body[_HEAD.size:_HEAD.size + size].decode(),
                due >= _SPECIAL)


def submission_of(body: bytes) -> tuple[Submission, Options | None]:
    """The submission in a BODIES row, and its options, if it has any."""
    start, options = _HEAD.size + body[_HEAD.size - 1], None
    view = memoryview(body)
    if body[_DUE_BYTE] & 0x80:
        size = _OPTIONS.unpack_from(body, start)[0]
        start += _OPTIONS.size
        options = _decode_options(view[start:start + size])
        start += size
    submission: Submission = _submissions.decode(view[start:])
    return submission, options


def waiting(message_id: bytes, fencing: int) -> bytes:
    """The value of a READY row."""
    return message_id + _FENCING.pack(fencing)


def waiting_of(value: bytes) -> tuple[bytes, int]:
    """(id, fencing number of the delivery before) in a READY row."""
    return value[:ID_BYTES], _FENCING.unpack_from(value, ID_BYTES)[0]


def event_row(kind: int, fencing: int, data: bytes) -> bytes:
    """The value of an EVENTS row; `fencing`: of the lease under which it was told."""
    return _EVENT.pack(kind, fencing) + data


def event_of(value: bytes) -> tuple[int, bytes, int]:
    """(kind, data, fencing) in an EVENTS row."""
    kind, fencing = _EVENT.unpack_from(value)
    return kind, value[_EVENT.size:], fencing


Counts = list[int]
"""By `State`: how many messages of one queue."""

STATES = len(State)
_STATES_ALWAYS = State.EXPIRED + 1
"""How many states the first format has: their counts are always written. Never changed."""

_counts = msgspec.msgpack.Decoder(list[int])
_encode_counts = msgspec.msgpack.Encoder().encode


def no_counts() -> Counts:
    """Nothing in any state."""
    return [0] * STATES


def encode_counts(counts: Counts) -> bytes:
    """A COUNTS row, without the states at the end that came later and count zero."""
    if any(counts[_STATES_ALWAYS:]):
        return _encode_counts(counts)
    return _encode_counts(counts[:_STATES_ALWAYS])


def decode_counts(data: bytes) -> Counts:
    """Read a COUNTS row; states that it does not know yet count zero."""
    counts = _counts.decode(data)
    return counts + [0] * (STATES - len(counts))
