"""Where a virtual node's process may die: the moments between two things that a reader may take for one.

A `Fuse` is laid at one of them; when the process gets there, it is dead. What was durable then is what a restart finds,
and what had left is on its way to the others: every promise must hold on just that.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass


class Failpoint(enum.Enum):
    """The named moments, in the order of a node's life and of a turn's."""

    BOOT = "boot: the new incarnation is on disk, nothing else has begun"
    RECOVERED = "boot: the disk is read, nothing has left"
    STATE_IN_MEMORY = "view change: the new state is in memory, not on disk"
    CHUNK_TAKEN = "snapshot: the learner has taken a chunk, not on disk"
    CHUNK_READ = "snapshot: the sender has read a chunk, and not sent it"
    BEFORE_SENDS = "send: before the first packet that needs no disk"
    BETWEEN_SENDS = "send: some of a turn's packets have left, others not"
    SENT_NOT_COMMITTED = "send: all that needs no disk has left, the commit has not begun"
    BEFORE_COMMIT = "write: the batch is complete, the commit has not begun"
    IN_COMMIT = "write: the commit has begun, and nobody knows how far it got"
    AFTER_COMMIT = "write: the batch is durable, nothing that waited for it has left"
    STATE_ON_DISK = "view change: the new state is on disk, and not sent"
    CHUNK_ON_DISK = "snapshot: the learner has a chunk on disk, and not answered"
    BETWEEN_PROMISES = "send: some of what waited for the disk has left, other not"
    AFTER_PROMISES = "send: all that waited for the disk has left, the engine does not know"
    CHUNK_SENT = "snapshot: the sender has sent a chunk"


@dataclass(slots=True)
class Fuse:
    """An appointment with death: at the failpoint, after it was reached `skip` times; `blown` is called afterwards."""

    point: Failpoint
    skip: int = 0
    blown: Callable[[], None] | None = None


class Death(Exception):
    """The process is dead; raised through whatever it was doing. Caught where a step of a process begins."""

    def __init__(self, fuse: Fuse) -> None:
        super().__init__(fuse.point.value)
        self.fuse = fuse
