"""The sum of a copy's rows: how many there are, and 64 bits that stand for what they say.

A checksum tells that a row was changed; only a sum tells that rows are gone. The machine keeps the sum up with each
operation, so it is a function of the committed prefix of the log, as the rows are: replicas at the same entry compare
it, and the scrub holds it against the rows.

The digest is the sum, modulo 2^64, of one term for each row. A message has a few rows that say where it stands (it has
a body, it is ready, it is leased, it has ended): the term of such a row is its table's weight times the CRC of the
message's id, so a step from state to state costs one multiplication, and what is deleted need not be read again. The
term of any other row takes in the whole of it. What a term leaves out (a body's text, a place
in a queue) never changes while the row stands, and has its checksum.

So rows must be the same bytes on all replicas. A version that writes other bytes for the same operation needs a switch
that is agreed, as anything does that changes what applying an operation means.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple
from zlib import crc32

from zmqueue.core.copies import COPIED, UNCOUNTED
from zmqueue.core.hashing import hash64
from zmqueue.core.ids import ID_BYTES
from zmqueue.core.keys import COPY_BYTES, MOMENT_BYTES, copy_prefix
from zmqueue.core.operations import State
from zmqueue.core.tables import Table, View, rows, span

MASK = (1 << 64) - 1

WEIGHTS = tuple(hash64("weight of rows", table.value, 0) | 1 for table in COPIED)
"""By the table's number. Odd: then a row's term is 0 only where its CRC is."""

MESSAGES, COUNTS = WEIGHTS[COPIED.index(Table.MESSAGES)], WEIGHTS[COPIED.index(Table.COUNTS)]

WEIGHT: dict[Table, int] = dict(zip(COPIED, WEIGHTS, strict=True))

_STANDS: dict[State, tuple[Table, ...]] = {
    State.READY: (Table.BODIES, Table.READY),
    State.DELAYED: (Table.BODIES, Table.DELAYED),
    State.LEASED: (Table.BODIES, Table.LEASES),
    State.DONE: (Table.ENDED,),
    State.DEAD: (Table.BODIES, Table.DEAD, Table.ENDED),
    State.CANCELLED: (Table.ENDED,),
    State.EXPIRED: (Table.ENDED,),
    State.BEHIND: (Table.BODIES, Table.BEHIND),
    State.PURGED: (Table.ENDED,),
    State.MENDING: (Table.BODIES, Table.LEASES),
}
"""The rows of a message in each state, beside its record."""

PLACES = tuple((len(_STANDS.get(state, ())), sum(WEIGHTS[COPIED.index(table)] for table in _STANDS.get(state, ())))
               for state in State)
"""By state: how many rows these are, and the sum of their weights."""

STEPS = tuple(tuple((after[0] - before[0], after[1] - before[1]) for after in PLACES) for before in PLACES)
"""STEPS[before][after]: what a step from one state to another adds to both. (By place: to hash an enum is slow.)"""


class Sum(NamedTuple):
    """Of all rows of an applied state."""

    rows: int                              # UNCOUNTED: nothing is known of the rows, and the digest is void
    digest: int

    @property
    def known(self) -> bool:
        """False where a version wrote the copy that did not count."""
        return self.rows != UNCOUNTED


NO_ROWS = Sum(0, 0)
UNKNOWN = Sum(UNCOUNTED, 0)


def digest_of(number: int, found: Iterable[tuple[bytes, bytes]], skip: int = 0) -> int:
    """What rows of one table add to the digest; not reduced. `number`: the table's place in COPIED; `skip`: bytes of
    the keys that are not the copy's own, its number."""
    match COPIED[number]:
        case Table.BODIES | Table.LEASES:
            crcs = [crc32(key[skip:]) for key, _ in found]
        case Table.ENDED:
            skip += MOMENT_BYTES
            crcs = [crc32(key[skip:]) for key, _ in found]
        case Table.READY | Table.DELAYED | Table.DEAD | Table.BEHIND:
            crcs = [crc32(value[:ID_BYTES]) for _, value in found]
        case _:
            crcs = [crc32(value, crc32(key[skip:])) for key, value in found]
    return WEIGHTS[number] * sum(crcs)


def sum_of(view: View, copy: int) -> Sum:
    """Count all rows of a copy. It reads them all: for looking at a disk that nobody works on."""
    count = digest = 0
    for number, table in enumerate(COPIED):
        found = list(rows(view, table, *span(copy_prefix(copy))))
        count += len(found)
        digest += digest_of(number, found, COPY_BYTES)
    return Sum(count, digest & MASK)
