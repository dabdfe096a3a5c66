"""The seeds that every run of the tests looks at; `python -m tests.simulate` runs as many as you like."""

from __future__ import annotations

import pytest

from tests.simulation.run import run_seed

SEEDS = 200
CHUNK = 20


@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_finds_a_violation(first: int) -> None:
    for seed in range(first, first + CHUNK):
        outcome = run_seed(seed, keep=60)
        assert outcome.passed, "\n".join((f"seed {seed}: {outcome.checker}: {outcome.what}", *outcome.trace,
                                          f"again: {outcome.command}"))


@pytest.mark.parametrize("seed", (3, 11))
def test_a_seed_gives_the_same_run_each_time(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert first.trace_sha256 == second.trace_sha256
    assert (first.steps, first.commits, first.confirmed) == (second.steps, second.commits, second.confirmed)
