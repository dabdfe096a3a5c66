"""What one run may use: a seed that runs away ends as a violation, and not with a machine that has no memory left.

Steps are counted (`VirtualTime.steps_max`), so such a run ends at the same event each time. What goes wrong within one
step, in a loop that never ends or that only gathers, is ended by the operating system's limits on the process: then the
seed is named, and how far it came may differ. The time is the processor's and not the clock's: on a busy machine a run
takes longer, and that is no fault. Memory is bounded on Linux only: elsewhere, a limit on data binds nothing.
"""

from __future__ import annotations

import resource
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from types import FrameType

from zmqueue.testing import RanAway

RAN_AWAY = "a run stays within its bounds"
"""The checker of what ran away."""

STEPS_MAX = 3_000_000
"""Events of one run. Most have some ten thousand, the largest of 1,000 seeds some hundred thousand."""

CPU_S_MAX = 240
"""Seconds of a processor for one run. Most take one, the longest ten."""

MEMORY_BYTES_MAX = 1 << 30
"""What a run may need in memory beyond what the process has at its beginning. Most need some 20 MB."""

_STATM_DATA = 5
"""Which number of /proc/self/statm is the pages of data and stack."""


@contextmanager
def bounded(memory_bytes: int = MEMORY_BYTES_MAX, cpu_s: float = CPU_S_MAX) -> Iterator[None]:
    """Raise MemoryError or RanAway in the block where it needs more than that. In the main thread only."""
    handler = signal.signal(signal.SIGVTALRM, _out_of_time)
    signal.setitimer(signal.ITIMER_VIRTUAL, cpu_s)
    try:
        with _bounded_memory(memory_bytes) if sys.platform == "linux" else nullcontext():
            yield
    finally:
        signal.setitimer(signal.ITIMER_VIRTUAL, 0.0)
        signal.signal(signal.SIGVTALRM, handler)


@contextmanager
def _bounded_memory(more_bytes: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_DATA)
    limit = _data_bytes() + more_bytes
    resource.setrlimit(resource.RLIMIT_DATA, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_DATA, (soft, hard))


def _data_bytes() -> int:
    """What the process has in memory that a limit on its data counts."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[_STATM_DATA])
    return pages * resource.getpagesize()


def _out_of_time(number: int, frame: FrameType | None) -> None:
    raise RanAway("the run has used up its processor time: a step does not end")
