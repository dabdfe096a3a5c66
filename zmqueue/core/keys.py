"""The keys of a bucket's rows: how they are put together, so that ascending bytes are the order that is wanted.

Every key begins with the number of the bucket's *copy* (u32): a snapshot is written into a new copy and swapped in.
All numbers are big-endian. A queue's name holds no zero byte, so a zero byte ends it::

    BODIES, MESSAGES, LEASES   copy | id
    READY                      copy | queue | 0 | 255 - priority | order        (highest priority first)
                               copy | queue | 0 | 255 | place, its highest bit set | order      (of those that age)
    DELAYED                    copy | due, wall ms, u64 | order
    DEAD                       copy | queue | 0 | order
    ENDED                      copy | bucket time after which it may be forgotten, u64 | id
    COUNTS                     copy | queue
    EXPIRING                   copy | expiry, wall ms, u64 | id
    GROUPS                     copy | digest of queue and group, 16 bytes
    BEHIND                     copy | digest of queue and group, 16 bytes | order
    UNIQUES                    copy | digest of queue, group and key, 16 bytes
    EVENTS                     copy | id | index, u32
    OUTBOX                     copy | target bucket, u16 | generation, u32 | number, u64
    LINKS                      copy | "s" (sent) or "t" (taken) | other bucket, u16 | generation, u32
                               copy | "c" | digest of a schedule's name, 16 bytes
                               copy | "j" | id of a join | id of a part that it awaits
"""

from __future__ import annotations

import struct

PRIORITY_MAX = 255
ORDER_BITS = 16
ENTRY_MESSAGES_MAX = 1 << ORDER_BITS
"""Messages in one entry of the log: `order` has 16 bits for the index in the entry."""

_NUMBER = struct.Struct(">I")
_RANK = struct.Struct(">BQ")
_AGED_RANK = struct.Struct(">BQQ")
_AGED = 1 << 63                # no `order` is as high: whoever ages stands behind all who do not
_ORDER = struct.Struct(">Q")
_MOMENT_AND_ORDER = struct.Struct(">QQ")
_OUTBOX = struct.Struct(">HIQ")
_LINK = struct.Struct(">cHI")
COPY_BYTES = _NUMBER.size
"""The copy's number at the front of each key."""

MOMENT_BYTES = _ORDER.size
"""The time that follows it in a DELAYED, ENDED or EXPIRING key."""

rank = _RANK.pack
"""The end of a READY key: `rank(255 - priority, order)`."""


def copy_prefix(copy: int) -> bytes:
    """What all keys of one copy begin with."""
    return _NUMBER.pack(copy)


def copy_of(key: bytes) -> int | None:
    """The copy that a key belongs to; None where it is too short to be one of a bucket's keys."""
    return _NUMBER.unpack_from(key)[0] if len(key) >= COPY_BYTES else None


def order_of(seq: int, index: int) -> int:
    """The order of the message that stands at `index` in the entry `seq`: unique in its bucket, growing."""
    return seq << ORDER_BITS | index


def queue_prefix(prefix: bytes, queue: str) -> bytes:
    """What the READY and DEAD keys of one queue begin with; `prefix` is the copy's."""
    return b"%b%b\x00" % (prefix, queue.encode())


def ready_key(prefix: bytes, queue: str, priority: int, order: int, place: int = 0) -> bytes:
    """Where a message waits to be handed out. `place`: of one that ages; 0: it does not."""
    if place:
        return queue_prefix(prefix, queue) + _AGED_RANK.pack(PRIORITY_MAX, _AGED | place, order)
    return queue_prefix(prefix, queue) + _RANK.pack(PRIORITY_MAX - priority, order)


def dead_key(prefix: bytes, queue: str, order: int) -> bytes:
    """Where a dead letter lies."""
    return queue_prefix(prefix, queue) + _ORDER.pack(order)


def delayed_key(prefix: bytes, due: int, order: int) -> bytes:
    """Where a message waits for its time."""
    return prefix + _MOMENT_AND_ORDER.pack(due, order)


def ended_key(prefix: bytes, forget: int, message_id: bytes) -> bytes:
    """Where it stands that a message may be forgotten after the bucket time `forget`."""
    return prefix + _ORDER.pack(forget) + message_id


def expiring_key(prefix: bytes, expires: int, message_id: bytes) -> bytes:
    """Where it stands that a waiting message is not to be begun after the wall time `expires`."""
    return prefix + _ORDER.pack(expires) + message_id


def behind_key(prefix: bytes, group: bytes, order: int) -> bytes:
    """Where a message waits behind the head of its group; `group`: the group's digest."""
    return prefix + group + _ORDER.pack(order)


def event_key(prefix: bytes, message_id: bytes, index: int) -> bytes:
    """Where an event of progress lies; the first one has index 1."""
    return prefix + message_id + _NUMBER.pack(index)


def index_in_event(key: bytes) -> int:
    """The index in an EVENTS key."""
    index: int = _NUMBER.unpack_from(key, len(key) - _NUMBER.size)[0]
    return index


def outbox_key(prefix: bytes, target: int, generation: int, number: int) -> bytes:
    """Where a message waits to be taken by another bucket."""
    return prefix + _OUTBOX.pack(target, generation, number)


def in_outbox_key(key: bytes) -> tuple[int, int, int]:
    """(target, generation, number) in an OUTBOX key."""
    target, generation, number = _OUTBOX.unpack_from(key, COPY_BYTES)
    return target, generation, number


def outbox_prefix(prefix: bytes, target: int, generation: int) -> bytes:
    """What the OUTBOX keys of one link begin with."""
    return outbox_key(prefix, target, generation, 0)[:-_ORDER.size]


def awaited_prefix(prefix: bytes, join: bytes) -> bytes:
    """What the LINKS keys of a join begin with, one for each part that it awaits."""
    return prefix + b"j" + join


def awaited_key(prefix: bytes, join: bytes, part: bytes) -> bytes:
    """Where it stands that a join awaits a part."""
    return awaited_prefix(prefix, join) + part


def sent_key(prefix: bytes, target: int, generation: int) -> bytes:
    """Where the number of the last message stands that was put into the outbox for a bucket."""
    return prefix + _LINK.pack(b"s", target, generation)


def taken_key(prefix: bytes, source: int, generation: int) -> bytes:
    """Where the number of the last message stands that was taken from another bucket's outbox."""
    return prefix + _LINK.pack(b"t", source, generation)


def fired_key(prefix: bytes, name: bytes) -> bytes:
    """Where the last tick of a schedule stands; `name`: the digest of its name."""
    return prefix + b"c" + name


def until_moment(prefix: bytes, moment: int) -> bytes:
    """The end of the range of DELAYED, ENDED or EXPIRING keys whose time is at most `moment`."""
    return prefix + _ORDER.pack(moment + 1)


def moment_of(key: bytes) -> int:
    """The time in a DELAYED or ENDED key."""
    moment: int = _ORDER.unpack_from(key, COPY_BYTES)[0]
    return moment


def id_in_ended(key: bytes) -> bytes:
    """The message in an ENDED or EXPIRING key."""
    return key[COPY_BYTES + _ORDER.size:]


def id_in_lease(key: bytes) -> bytes:
    """The message in a LEASES key (or any other of `copy | id`)."""
    return key[COPY_BYTES:]


def queue_in_count(key: bytes) -> str:
    """The queue in a COUNTS key."""
    return key[COPY_BYTES:].decode()
