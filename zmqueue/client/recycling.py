"""Recycling: when the process of a slot is replaced by a fresh one, between two messages.

What leaks memory, or keeps more of it than it gives back, is bounded this way. The message that crossed the limit has
ended by then, and the next is not sent to the old process: none is lost, and none runs twice.
"""

from __future__ import annotations

import os
import resource
import sys
from dataclasses import dataclass
from pathlib import Path

from zmqueue.client import arguments

MESSAGES_MAX = 1 << 31
BYTES_MIN = 1 << 20                        # no interpreter fits into less: it would be a mistake of unit
BYTES_MAX = 1 << 48

STATM = Path("/proc/self/statm")


@dataclass(frozen=True, slots=True)
class Recycling:
    """The limits of one process; 0: none."""

    messages: int = 0
    memory_bytes: int = 0

    def __bool__(self) -> bool:
        return bool(self.messages or self.memory_bytes)

    def reason(self, messages: int, memory_bytes: int) -> str:
        """Why a process that has run so many messages and holds so much is to be replaced; empty: it is not."""
        if self.memory_bytes and memory_bytes > self.memory_bytes:
            return f"it holds {memory_bytes:,} bytes; the limit is {self.memory_bytes:,} (memory_limit)"
        if self.messages and messages >= self.messages:
            return f"it has run {messages} messages (recycle_after)"
        return ""


def recycling(messages: int | None, memory_bytes: int | None) -> Recycling:
    """What a caller wrote, checked."""
    return Recycling(
        0 if messages is None else arguments.integer("recycle_after", messages, 1, MESSAGES_MAX),
        0 if memory_bytes is None else arguments.integer("memory_limit", memory_bytes, BYTES_MIN, BYTES_MAX))


def memory_held() -> int:
    """Bytes that this process has in memory now; where the system does not tell, the most that it ever had."""
    try:
        return int(STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        most = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return most if sys.platform == "darwin" else most * 1024
