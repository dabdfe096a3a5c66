"""A run that runs away is ended and named, whatever it runs away with."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from tests.simulation import run
from tests.simulation.bounds import RAN_AWAY, bounded
from tests.simulation.run import Run, run_seed
from zmqueue.testing import RanAway, VirtualTime, clock

MIB = 1 << 20


def gather() -> None:
    """Needs ever more memory."""
    gathered = []
    while True:
        gathered.append(bytes(MIB))


def spin() -> None:
    """Never ends."""
    while True:
        pass


@pytest.mark.parametrize(("away", "error"), [(gather, MemoryError), (spin, RanAway)])
def test_a_step_that_runs_away_is_ended_and_the_next_run_has_the_same_bounds(
        away: Callable[[], None], error: type[Exception]) -> None:
    for _ in range(2):
        with pytest.raises(error), bounded(64 * MIB, 0.2):
            away()
    assert len(bytearray(128 * MIB)) == 128 * MIB, "outside of a run nothing is bounded"


def test_a_run_that_needs_what_it_may_is_left_alone() -> None:
    with bounded(64 * MIB, 10.0):
        assert len(bytearray(32 * MIB)) == 32 * MIB


def test_time_that_does_not_go_on_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clock, "MOMENT_EVENTS_MAX", 100)
    time = VirtualTime()

    def again() -> None:
        time.at(time.now, again)
    time.at(1.0, again)
    with pytest.raises(RanAway, match=r"at 1\.000000, and 0 are planned"):
        time.run(2.0)
    assert time.steps == 100
    for number in range(500):                      # what is spread over time may be as much as it likes
        time.after((number + 1) / 1_000, lambda: None)
    time.run(2.0)
    assert time.steps == 600


@pytest.mark.parametrize("steps", (1_000, 2_000))
def test_a_run_of_too_many_steps_is_a_violation_at_the_same_event_each_time(
        steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(run, "STEPS_MAX", steps)
    first, second = run_seed(3), run_seed(3)
    assert first.checker == second.checker == RAN_AWAY
    assert re.search(rf"{steps:,} events happened", first.what)
    assert (first.steps, first.trace_sha256) == (second.steps, second.trace_sha256) and first.trace


def test_a_run_that_needs_too_much_memory_is_a_violation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Run, "play", lambda self: gather())
    monkeypatch.setattr(run, "bounded", lambda: bounded(64 * MIB))
    outcome = run_seed(3)
    assert outcome.checker == RAN_AWAY and "MemoryError" in outcome.what and "in gather" in outcome.what
