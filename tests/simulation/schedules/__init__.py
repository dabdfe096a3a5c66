"""Directed schedules: runs that are too deep for chance, step by step on the real classes, by name.

`python -m tests.simulate` runs them all; each is shown to find a planted fault (`python -m tests.simulate --mutants`).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.schedules import (
    ageing,
    agreement,
    deep,
    disasters,
    disk,
    letters,
    policies,
    queueing,
    replication,
    snapshots,
    states,
)

SCHEDULES: dict[str, Callable[[], None]] = {
    **deep.SCHEDULES, **agreement.SCHEDULES, **states.SCHEDULES, **replication.SCHEDULES, **snapshots.SCHEDULES,
    **ageing.SCHEDULES,
    **queueing.SCHEDULES, **policies.SCHEDULES, **letters.SCHEDULES, **disk.SCHEDULES, **disasters.SCHEDULES}
