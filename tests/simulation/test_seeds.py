"""The seeds that every run of the tests looks at; `python -m tests.simulate` runs as many as you like."""

from __future__ import annotations

import functools
import json
import os
import random
import subprocess
import sys
from collections import Counter

import pytest

from tests.simulate import main, outcomes
from tests.simulation.faults import Faults
from tests.simulation.faults.failpoints import FAMILIES, name_of
from tests.simulation.mutants import MUTANTS
from tests.simulation.run import Outcome, run_seed
from tests.simulation.workload import Load, Workload
from zmqueue.testing import Failpoint, VirtualCluster

SEEDS = 200
CHUNK = 20

COUNTED_OTHERWISE = {*FAMILIES, "old disk", "flipped bit"}
"""To lay a fuse is no fault yet; and dishonest disks are so seldom that these seeds may have none."""


@functools.cache
def outcomes_from(first: int) -> tuple[Outcome, ...]:
    """What came of a chunk of seeds, each of which is run once."""
    return tuple(outcomes(functools.partial(run_seed, keep=60), range(first, first + CHUNK), jobs=2))


@pytest.mark.timeout(400)                  # some 12 s of a processor that may be shared by many
@pytest.mark.parametrize("first", range(0, SEEDS, CHUNK))
def test_no_seed_finds_a_violation(first: int) -> None:
    for outcome in outcomes_from(first):
        assert outcome.passed, "\n".join((f"seed {outcome.seed}: {outcome.checker}: {outcome.what}", *outcome.trace,
                                          f"again: {outcome.command}"))


@pytest.mark.timeout(1_200)                # alone, it has to run them all
def test_these_seeds_meet_every_kind_of_fault() -> None:
    struck = sum((outcome.faults for first in range(0, SEEDS, CHUNK) for outcome in outcomes_from(first)), Counter())
    cluster = VirtualCluster(nodes=1)
    swarm = Faults(cluster, Workload(cluster, Load.draw(random.Random(1)), random.Random(1)), random.Random(1),
                   lambda: None, set())
    names = {name_of(point) for point in Failpoint} | swarm.names - COUNTED_OTHERWISE
    assert names <= struck.keys(), f"{sorted(names - struck.keys())} never struck"


@pytest.mark.parametrize("seed", (3, 11))
def test_a_seed_gives_the_same_run_each_time(seed: int) -> None:
    first, second = run_seed(seed), run_seed(seed)
    assert first.trace_sha256 == second.trace_sha256
    assert (first.steps, first.commits, first.confirmed) == (second.steps, second.commits, second.confirmed)


@pytest.mark.parametrize("seed", (3, 11))
def test_a_seed_gives_the_same_run_on_lmdb(seed: int) -> None:
    in_memory, on_lmdb = run_seed(seed, on_lmdb=False), run_seed(seed, on_lmdb=True)
    assert on_lmdb.passed and on_lmdb.commits
    assert in_memory.trace_sha256 == on_lmdb.trace_sha256


def test_a_seed_gives_the_same_run_whatever_a_process_hashes() -> None:
    """Nothing iterates over a set of strings: the order would be another one in each process."""
    found = set()
    for hash_seed in ("1", "2"):
        environment = {**os.environ, "PYTHONHASHSEED": hash_seed, "PYTHONPATH": os.getcwd()}
        done = subprocess.run([sys.executable, "-m", "tests.simulate", "--seeds", "3", "--jobs", "1", "--json"],
                              env=environment, capture_output=True, timeout=100, check=False)
        assert done.returncode == 0, done.stderr.decode()
        found.add(json.loads(done.stdout)["trace_sha256"])
    assert len(found) == 1


def test_several_jobs_give_the_same_outcomes_in_the_order_of_the_seeds() -> None:
    alone, together = ([(outcome.seed, outcome.trace_sha256) for outcome in outcomes(run_seed, range(6), jobs)]
                       for jobs in (1, 2))
    assert alone == together and [seed for seed, _ in alone] == list(range(6))


def test_a_failing_seed_prints_its_command_and_its_last_events(capsys: pytest.CaptureFixture[str],
                                                              monkeypatch: pytest.MonkeyPatch) -> None:
    wrong, = (mutant for mutant in MUTANTS if mutant.name == "backups_are_not_waited_for")
    wrong.plant(monkeypatch)
    assert main(["--seeds", "4", "--start", "4", "--jobs", "1"]) == 1     # the first four fail before any fault strikes
    printed = capsys.readouterr().out
    assert "again: python -m tests.simulate --seeds 1 --start" in printed
    assert "Append(" in printed and "fault: " in printed
