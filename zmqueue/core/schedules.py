"""Schedules: entries that the cluster agrees on, each of which has a message queued at certain moments, its *ticks*.

An entry lies in the bucket of its name's hash. A tick's message has an id that is made of entry and tick: its time is
the tick, its place the name's, so it lies in that bucket too, and whoever decides the tick again decides the same.

Cron arithmetic is not done here: time zones are data that change from machine to machine. Whoever makes the engine
gives it an `Almanac`; only the bucket's primary asks it, and writes the outcome into the operation.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from zmqueue.core.hashing import digest
from zmqueue.core.ids import PLACES, RANDOM_BYTES, make_id
from zmqueue.core.names import QUEUE_NAME_CHARACTERS_MAX, QUEUE_NAME_RULE, is_queue_name

SCHEDULES_MAX = 1_000
"""Entries of one cluster: each stands in a state that every peer holds."""

ENTRY_BYTES_MAX = 4_096
"""The longest entry, with its payload: what is large is fetched by the handler."""

CRON_CHARACTERS_MAX = 256
ZONE_CHARACTERS_MAX = 64
SALT_BYTES = 16

EVERY_MS_MIN, EVERY_MS_MAX = 1_000, 3_660 * 86_400_000
"""The shortest interval (a failover takes about a second) and the longest: beyond ten years, a unit was mixed up."""

LATE_MS = 60_000
"""A tick that is later than this is missed, for who wants missed ones skipped: no failover takes so long."""

CATCH_UP_MAX = 100
"""Ticks in one entry of the log, where all that were missed are made up for; the others follow in the next ones."""

NAME_HEADER, TICK_HEADER = "zmqueue-schedule", "zmqueue-tick"
"""The headers of a tick's message: the entry's name, and the tick in ms since 1970."""


class CatchUp(enum.IntEnum):
    """What becomes of ticks that passed while nobody could serve the entry's bucket."""

    LAST = 0            # of those that passed, the last one is made up for
    SKIP = 1            # none is
    ALL = 2             # each is, in order


class Entry(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One schedule. Fields are only appended."""

    queue: str
    payload: bytes
    kind: int
    salt: bytes                            # drawn when it was first declared: tokens of ticks cannot be guessed
    start: int                             # wall ms: its ticks are later than this
    cron: str = ""                         # "": it has an interval
    zone: str = "UTC"                      # in which the cron text is meant
    every: int = 0                         # ms from `start` to the first tick and from tick to tick; 0: it has a text
    catch_up: CatchUp = CatchUp.LAST
    paused: bool = False
    overlap: bool = True                   # False: no tick while the message of an earlier one has not ended
    priority: int = 0
    attempts: int = 0                      # of its messages; 0: as the queue says
    expires: int = 0                       # ms after the tick that its message may still be begun; 0: as the queue says
    headers: tuple[tuple[str, str], ...] = ()


class Almanac(Protocol):
    """Knows at which moments a cron text is due. Both raise ValueError for a text or a zone that is none."""

    def after(self, cron: str, zone: str, wall: int) -> int | None:
        """The first tick after that moment, wall ms; None: there is none."""
        ...

    def upto(self, cron: str, zone: str, wall: int) -> int | None:
        """The last tick up to that moment; None: there is none."""
        ...


class _NoAlmanac:
    """Knows no cron text: of a node that was given no almanac. Intervals need none."""

    def after(self, cron: str, zone: str, wall: int) -> int | None:
        raise ValueError("this node was made without an almanac, so it knows no cron texts")

    def upto(self, cron: str, zone: str, wall: int) -> int | None:
        raise ValueError("this node was made without an almanac, so it knows no cron texts")


NO_ALMANAC: Almanac = _NoAlmanac()


def next_tick(entry: Entry, almanac: Almanac, wall: int) -> int | None:
    """The first tick of the entry after that moment; None: there is none."""
    wall = max(wall, entry.start)
    if entry.every:
        return entry.start + ((wall - entry.start) // entry.every + 1) * entry.every
    return almanac.after(entry.cron, entry.zone, wall)


def last_tick(entry: Entry, almanac: Almanac, wall: int) -> int | None:
    """The last tick of the entry up to that moment; None: there was none yet."""
    if wall <= entry.start:
        return None
    if entry.every:
        tick: int | None = entry.start + (wall - entry.start) // entry.every * entry.every
    else:
        tick = almanac.upto(entry.cron, entry.zone, wall)
    return tick if tick is not None and tick > entry.start else None


def name_digest(name: str) -> bytes:
    """16 bytes that stand for an entry's name in rows."""
    return digest(b"schedule\0" + name.encode())


def place_of_name(name: str) -> int:
    """Where in the hash space the entry lies, and with it the messages of its ticks."""
    return int.from_bytes(name_digest(name)[:2], "big") % PLACES


def tick_id(name: str, entry: Entry, tick: int) -> bytes:
    """The id of a tick's message."""
    drawn = digest(b"\0".join((b"tick", entry.salt, name.encode(), b"%d" % tick)))
    return make_id(tick, place_of_name(name), drawn[:RANDOM_BYTES])


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Entry)


def encode(entry: Entry) -> bytes:
    """The entry as it stands in the state."""
    return _encoder.encode(entry)


def decode(data: bytes) -> Entry:
    """Read what `encode` wrote, here or in a later version. Raises msgspec.DecodeError for what is none."""
    entry: Entry = _decoder.decode(data)
    return entry


def objection(name: str, data: bytes) -> str:
    """Why this cannot be agreed; empty where it can. Whether a cron text means anything is not looked at."""
    if not is_queue_name(name):
        return (f"a schedule is named like a queue ({QUEUE_NAME_RULE}), with at most {QUEUE_NAME_CHARACTERS_MAX} "
                f"characters; this is not: {name[:40]!r}")
    if len(data) > ENTRY_BYTES_MAX:
        return (f"the schedule has {len(data):,} bytes with its payload; the limit is {ENTRY_BYTES_MAX:,}: let its "
                "handler fetch what is large")
    try:
        return problem(decode(data))
    except msgspec.DecodeError as error:
        return f"this is no schedule: {error}"


def unreadable(data: bytes, almanac: Almanac) -> str:
    """Why this almanac can make nothing of an entry against which nothing else is to be said; empty where it can."""
    try:
        tick = next_tick(decode(data), almanac, 0)
    except msgspec.DecodeError:
        return ""                          # `objection` tells
    except ValueError as error:
        return str(error)
    return "" if tick is not None else "the schedule is never due"


def problem(entry: Entry) -> str:
    """What cannot be in an entry: what was found and what is allowed; empty where all is well."""
    if not is_queue_name(entry.queue):
        return f"{QUEUE_NAME_RULE}; this is not: {entry.queue[:40]!r}"
    if bool(entry.cron) == bool(entry.every):
        return "a schedule has a cron text or an interval, and not both"
    if len(entry.cron) > CRON_CHARACTERS_MAX or not 0 < len(entry.zone) <= ZONE_CHARACTERS_MAX:
        return (f"a cron text has at most {CRON_CHARACTERS_MAX} characters, a zone's name 1 to {ZONE_CHARACTERS_MAX}; "
                f"these have {len(entry.cron):,} and {len(entry.zone):,}")
    if len(entry.salt) != SALT_BYTES:
        return f"the salt has {len(entry.salt)} bytes; it must have {SALT_BYTES}"
    for field, value, least, most in (
            ("interval", entry.every, EVERY_MS_MIN if entry.every else 0, EVERY_MS_MAX),
            ("expiry", entry.expires, 0, EVERY_MS_MAX), ("priority", entry.priority, 0, 255),
            ("attempts", entry.attempts, 0, 65_535), ("kind", entry.kind, 0, 255), ("start", entry.start, 0, 1 << 47)):
        if not least <= value <= most:
            return f"the schedule's {field} is {value:,}; allowed is {least:,} to {most:,}"
    return ""
