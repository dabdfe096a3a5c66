"""The six schedules that are too deep for chance, all in one place: `python -m tests.simulate` runs them too.

Five are schedules of replication, one is of agreement; each is shown to lose data without its rule beside the classes
that it is about (`tests/core/test_directed_*.py`). What is here are those same schedules by name, and the one of them
that only a whole engine can show: what leaves a node under a state that is not on its disk (C4).
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.core import test_directed_agreement as agreement
from tests.core import test_directed_replication as replication
from tests.core.consensus_rig import World
from tests.simulation.bench import use_before_disk_by_engines
from zmqueue.core.effects import Effects


def _replication(schedule: Callable[[], None]) -> Callable[[], None]:
    def run() -> None:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("zmqueue.core.counting.Flaps.wait", lambda self, number, now: 0.0)
            patch.setattr("zmqueue.core.primary.APPEND_ENTRIES", 1)
            schedule()
    return run


SCHEDULES: dict[str, Callable[[], None]] = {
    "stale_copy": _replication(replication.stale_copy),
    "sync_at_commit": _replication(replication.sync_at_commit),
    "carry_match": _replication(replication.carry_match),
    "use_before_disk": _replication(replication.use_before_disk),
    "read_no_counted": _replication(replication.read_no_counted),
    "ballot_reuse": lambda: agreement.ballot_reuse(World(3)),
    "use_before_disk_by_engines": use_before_disk_by_engines,
}


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_rules_hold_in_the_deep_schedules(name: str) -> None:
    SCHEDULES[name]()


def test_engines_that_let_packets_leave_before_the_state_is_on_disk_are_caught(
        monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Effects.take

    def hasty(self: Effects) -> Effects:
        taken = honest(self)
        taken.hold = False
        return taken
    monkeypatch.setattr(Effects, "take", hasty)
    with pytest.raises(AssertionError, match="before the state is on its disk"):
        use_before_disk_by_engines()
