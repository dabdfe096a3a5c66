"""The schedules of the protocol's model (appendix C): six that no random explorer found, and two more of C1.

Five are schedules of replication, three are of agreement; each is told beside the classes that it is about
(`tests/core/test_directed_*.py`). What only a whole engine can show of C4 is the last one.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core import test_directed_agreement as agreement
from tests.core import test_directed_replication as replication
from tests.core.consensus_rig import World
from tests.simulation.bench import use_before_disk_by_engines


def in_order(schedule: Callable[[], None]) -> Callable[[], None]:
    """R17 is about time, these schedules are about order: a dropped replica may be counted again at once. And every
    entry travels alone, so that a learner can be in the middle of what it needs."""
    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zmqueue.core.counting.Flaps.wait", lambda self, number, now: 0.0)
            patch.setattr("zmqueue.core.primary.APPEND_ENTRIES", 1)
            schedule()
    return run


SCHEDULES: dict[str, Callable[[], None]] = {
    "stale_copy": in_order(replication.stale_copy),
    "sync_at_commit": in_order(replication.sync_at_commit),
    "carry_match": in_order(replication.carry_match),
    "use_before_disk": in_order(replication.use_before_disk),
    "read_no_counted": in_order(replication.read_no_counted),
    "ballot_reuse": lambda: agreement.ballot_reuse(World(3)),
    "self_bypass": lambda: agreement.self_bypass(World(3)),
    "r0_twice": lambda: agreement.r0_twice(World(3)),
    "use_before_disk_by_engines": use_before_disk_by_engines,
}
