"""How much room the node's disk has, as the shell measured it: what submits may still use of it.

A node keeps a *reserve* for what must go on when a disk is full: leases, settlements, results, deletions. Submits stop
before the reserve is touched, here and at the primaries of the buckets that this node replicates.
"""

from __future__ import annotations

from dataclasses import dataclass

PLENTY_BYTES = 1 << 62
"""More than any disk has: what a node is said to have that measures nothing."""

WRITTEN_PER_BYTE = 4
"""Bytes of the file that one byte of a submit may take: it stands in the log and in its row, each in whole pages."""

WRITTEN_PER_MESSAGE = 1_024
"""...and what each message takes beside its bytes: its rows in half-full pages."""


@dataclass(frozen=True, slots=True)
class Room:
    """One measurement."""

    spare_bytes: int = PLENTY_BYTES        # what submits may write until the next one; 0: the node is *short of disk*
    low: bool = False                      # half of the reserve is gone: no new copies are taken in (learners wait)
    text: str = ""                         # for who is refused: what was found, what is kept back, what to do

    @property
    def short(self) -> bool:
        """True while the node takes no submits."""
        return self.spare_bytes <= 0


PLENTY = Room()
"""What holds until something else is measured."""


def written_bytes(payload_bytes: int, messages: int) -> int:
    """What a submit may take of the disk, at most."""
    return WRITTEN_PER_BYTE * payload_bytes + WRITTEN_PER_MESSAGE * messages
