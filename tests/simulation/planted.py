"""`python -m tests.simulate --mutants`: plants every fault in turn, and says how many seeds it took to catch it.

A fault counts as caught when one of the checkers that are named for it sees a violation, or when the product itself
notices by an assertion where that is named; an exception out of the planted words is a mistake of the planting. Then
the same seed, or the same schedule, is run without the fault, and must be clean.
"""

from __future__ import annotations

import json
import os
import sys
import time
from argparse import ArgumentTypeError
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import asdict, dataclass

import pytest

from tests.core import consensus_rig, replication_rig
from tests.simulation import checkers
from tests.simulation.mutants import MUTANTS
from tests.simulation.mutants.planting import CRASHED, CannotPlant, Mutant, of_the_planting, of_the_product
from tests.simulation.run import Outcome, run_seed
from tests.simulation.schedules import SCHEDULES

SEEDS_MAX = 1_000
"""Seeds, from 0 on, within which a fault must be caught that has no schedule of its own."""

SHOWN_MAX = 300
"""Characters of what was seen."""

VIOLATIONS = (checkers.Violation, consensus_rig.Violation, replication_rig.Violation)
"""What a schedule raises where a rule is broken. Any other exception is a mistake of the schedule or the planting."""


@dataclass(frozen=True, slots=True)
class Caught:
    """What came of one planted fault."""

    name: str
    rule: str
    caught: bool
    seeds: int | None                      # until caught, from seed 0
    seed: int | None
    by: str                                # the checker, or the schedule
    schedule: bool
    control_passed: bool | None            # the same without the fault; None: not caught, so there is nothing to repeat
    what: str                              # was seen; "": nothing
    seconds: float

    @property
    def good(self) -> bool:
        return self.caught and self.control_passed is True


def counts(mutant: Mutant, outcome: Outcome) -> bool:
    """True where that outcome of a run catches the fault."""
    if outcome.checker not in mutant.checkers:
        return False
    return outcome.checker != CRASHED or of_the_product(outcome.what)


def hunt(mutant: Mutant, seeds: int = SEEDS_MAX, start: int = 0) -> tuple[int, Outcome] | None:
    """Run seeds with the fault until it is caught: (how many that took, what was found). Raises CannotPlant where it is
    the planting that fails."""
    for tried, seed in enumerate(range(start, start + seeds), 1):
        with pytest.MonkeyPatch.context() as patch:
            mutant.plant(patch)
            outcome = run_seed(seed, 0)
        if counts(mutant, outcome):
            return tried, outcome
        if outcome.checker == CRASHED and of_the_planting(outcome.what):
            raise CannotPlant(f"{mutant.name}: {outcome.what}")
    return None


def on_schedule(mutant: Mutant) -> str:
    """What the fault's schedule says with it; "": nothing."""
    with pytest.MonkeyPatch.context() as patch:
        mutant.plant(patch)
        try:
            SCHEDULES[mutant.schedule]()
        except VIOLATIONS as violation:
            return str(violation)
    return ""


def passes(schedule: str) -> bool:
    """True where the schedule finds nothing without any fault."""
    try:
        SCHEDULES[schedule]()
    except VIOLATIONS:
        return False
    return True


def try_one(mutant: Mutant, seeds: int = SEEDS_MAX) -> Caught:
    """Plant one fault, and run the control."""
    began = time.perf_counter()
    if mutant.schedule:
        try:
            what = on_schedule(mutant)
        except Exception as error:             # the run of all the others goes on
            return Caught(mutant.name, mutant.rule, False, None, None, "", True, None,
                          f"{mutant.schedule} does not come to its end: {error!r}", time.perf_counter() - began)
        clean = passes(mutant.schedule) if what else None
        return Caught(mutant.name, mutant.rule, bool(what), None, None, mutant.schedule if what else "", True, clean,
                      what, time.perf_counter() - began)
    try:
        found, what = hunt(mutant, seeds), ""
    except CannotPlant as error:
        found, what = None, str(error)
    if found is None:
        return Caught(mutant.name, mutant.rule, False, seeds, None, "", False, None, what, time.perf_counter() - began)
    tried, outcome = found
    clean, what = run_seed(outcome.seed, 0).passed, outcome.what.splitlines()[0][:SHOWN_MAX]
    return Caught(mutant.name, mutant.rule, True, tried, outcome.seed, outcome.checker, False, clean, what,
                  time.perf_counter() - began)


def known(name: str) -> str:
    """The name of a planted fault, from a command line."""
    if not any(mutant.name == name for mutant in MUTANTS):
        raise ArgumentTypeError(f"no planted fault is called {name!r}")
    return name


def try_named(name: str) -> Caught:
    """The same, by name: for other processes."""
    return try_one(next(mutant for mutant in MUTANTS if mutant.name == name))


def try_all(names: Sequence[str], jobs: int, tell: Callable[[str], None]) -> dict[str, object]:
    """Plant all faults (or those named), several at a time; report as INTERFACE says, in the order of the list."""
    began = time.perf_counter()
    chosen = [mutant for mutant in MUTANTS if not names or mutant.name in names]
    longest_first = sorted(chosen, key=lambda mutant: not mutant.deep)
    results: dict[str, Caught] = {}
    with ProcessPoolExecutor(max_workers=jobs or os.cpu_count()) as pool:
        for done in as_completed([pool.submit(try_named, mutant.name) for mutant in longest_first]):
            result = done.result()
            results[result.name] = result
            tell(line(result))
    return {"mutants": [asdict(results[mutant.name]) for mutant in chosen], "total": len(chosen),
            "caught": sum(result.caught for result in results.values()),
            "good": sum(result.good for result in results.values()), "seconds": time.perf_counter() - began}


def line(result: Caught) -> str:
    """One result, for people."""
    if not result.caught:
        return f"{result.name:<48} NOT CAUGHT in {result.seeds or 'its schedule'}  {result.what}"
    where = "schedule" if result.schedule else f"{result.seeds} seeds"
    control = "" if result.control_passed else "  THE CONTROL FAILS"
    return f"{result.name:<48} {result.rule:<4} {where:>10}  {result.seconds:6.1f} s  {result.by}{control}"


def main(names: Sequence[str], jobs: int, *, as_json: bool) -> int:
    """All of it, or the faults of these names; return the exit status."""
    def tell(text: str) -> None:
        print(text, file=sys.stderr if as_json else sys.stdout, flush=True)
    report = try_all(names, jobs, tell)
    good = report["good"] == report["total"]
    if as_json:
        print(json.dumps(report, indent=2))
    else:
        print(f"{report['good']} of {report['total']} planted faults caught, {report['seconds']:.0f} s")
    return 0 if good else 1
