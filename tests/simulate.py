"""`python -m tests.simulate`: run many seeds, and say what they found and how to see it again.

    python -m tests.simulate --seeds 1000 [--start S] [--jobs N] [--json]      many seeds
    python -m tests.simulate --seeds 1 --start S --trace                      one of them, with its last events
    python -m tests.simulate --mutants [NAME ...] [--jobs N] [--json]      plant faults, and show that each is caught

Exit status 0: no violation, or all planted faults caught; 1: a violation, or a fault that was not; 2: wrong usage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict
from functools import partial

from tests.simulation import planted
from tests.simulation.checkers.total_queue import Report
from tests.simulation.run import Outcome, run_seed
from tests.simulation.schedules import SCHEDULES

CHUNK = 5
"""Seeds that a process takes at a time."""

SHOWN_MAX = 40
"""Lines of a failed run's trace that are shown unless more are asked for."""


def main(arguments: list[str] | None = None) -> int:
    """Run what the command line says; return the exit status."""
    options = _options(arguments)
    if options.mutants is not None:
        return planted.main(options.mutants, options.jobs, as_json=options.json)
    started = time.perf_counter()
    tell: Callable[[str], None] = (lambda text: print(text, file=sys.stderr)) if options.json else print
    total = Total()
    run = partial(run_seed, keep=options.trace or SHOWN_MAX, always=bool(options.trace))
    for outcome in outcomes(run, range(options.start, options.start + options.seeds), options.jobs):
        total.add(outcome)
        if not outcome.passed:
            tell(f"seed {outcome.seed}: {outcome.checker}: {outcome.what}\n  again: {outcome.command}")
        for line in outcome.trace:
            tell(f"  {line}")
    schedules = [] if options.trace else _schedules()
    report = total.report(schedules, time.perf_counter() - started)
    if options.json:
        print(json.dumps(report, indent=2))
    else:
        _summary(report)
    return 1 if total.failed or not all(schedule["passed"] for schedule in schedules) else 0


def outcomes(run: Callable[[int], Outcome], seeds: Sequence[int], jobs: int) -> Iterator[Outcome]:
    """Run the seeds, several at a time, each in one process from its beginning to its end; in their order."""
    jobs = min(jobs or os.cpu_count() or 1, len(seeds))
    if jobs <= 1:
        yield from map(run, seeds)
        return
    with ProcessPoolExecutor(jobs) as pool:
        yield from pool.map(run, seeds, chunksize=CHUNK)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.simulate", description=__doc__.splitlines()[0])
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--seeds", type=_number, metavar="N", help="how many seeds to run")
    what.add_argument("--mutants", nargs="*", metavar="NAME", type=planted.known,
                      help="plant faults, all or these, and show that each is caught")
    parser.add_argument("--jobs", type=_number, default=0, metavar="N",
                        help="seeds or faults that are tried at the same time (one on each processor)")
    parser.add_argument("--start", type=_number, default=0, metavar="S", help="the first seed (0)")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    parser.add_argument("--trace", type=_number, nargs="?", const=200, default=0, metavar="LINES",
                        help="show the last events of every run (200)")
    return parser.parse_args(arguments)


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise ValueError
    return number


class Total:
    """The sums over all seeds."""

    def __init__(self) -> None:
        self.failed: list[dict[str, object]] = []
        self._sums: Counter[str] = Counter()
        self._queue: Counter[str] = Counter(asdict(Report()))
        self._faults: Counter[str] = Counter()
        self._hash = hashlib.sha256()

    def add(self, outcome: Outcome) -> None:
        """Count one run."""
        self._sums.update(seeds=1, steps=outcome.steps, epochs=outcome.epochs, commits=outcome.commits,
                          confirmed=outcome.confirmed, delivered=outcome.delivered, settled=outcome.settled,
                          negatives=outcome.negatives, snapshots=outcome.snapshots, rings=outcome.rings,
                          carried=outcome.carried, published=outcome.published)
        self._queue.update(asdict(outcome.queue))
        self._faults.update(outcome.faults)
        self._hash.update(outcome.trace_sha256.encode())
        if not outcome.passed:
            self.failed.append({"seed": outcome.seed, "checker": outcome.checker, "command": outcome.command})

    def report(self, schedules: list[dict[str, object]], seconds: float) -> dict[str, object]:
        """What INTERFACE promises, and some more."""
        names = ("seeds", "steps", "epochs", "commits", "confirmed", "delivered", "settled", "negatives", "snapshots",
                 "rings", "carried", "published")
        return {**{name: self._sums[name] for name in names}, "queue": dict(self._queue),
                "faults": dict(sorted(self._faults.items())), "violations": len(self.failed), "failed": self.failed,
                "schedules": schedules, "trace_sha256": self._hash.hexdigest(), "seconds": seconds}


def _schedules() -> list[dict[str, object]]:
    found: list[dict[str, object]] = []
    for name, schedule in SCHEDULES.items():
        try:
            schedule()
        except AssertionError:
            found.append({"name": name, "passed": False})
        else:
            found.append({"name": name, "passed": True})
    return found


def _summary(report: dict[str, object]) -> None:
    for name, value in report.items():
        if name == "failed":
            continue
        if isinstance(value, float):
            value = f"{value:.1f}"
        print(f"{name:<14}{value}")


if __name__ == "__main__":
    sys.exit(main())
