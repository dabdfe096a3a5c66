"""`python -m tests.nemesis`: real faults on real processes for a while, and whether all that was promised held."""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType

import msgspec

from tests.nemesis.faults import FAULTS
from tests.nemesis.outcome import Plan, held, report, write
from tests.nemesis.run import Run


def main(arguments: list[str] | None = None) -> int:
    """Run, print, and return the exit status: 0 where all held."""
    plan, as_json = _parse(arguments)
    signal.signal(signal.SIGTERM, _terminated)
    run = Run(plan)
    outcome = run.play()
    write(plan, outcome)
    found = report(plan, outcome)
    if as_json:
        print(msgspec.json.format(msgspec.json.encode(found), indent=2).decode())
    else:
        _summary(found)
    if outcome.verdict.clean and not outcome.not_whole:
        for data in plan.folder.glob("*/data"):        # what is left of nodes is of use only where something is wrong
            shutil.rmtree(data, ignore_errors=True)
    return 0 if held(plan, outcome) else 1


def _terminated(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the run as an error does: what was started is ended and removed on the way out."""
    raise SystemExit(128 + number)


def _parse(arguments: list[str] | None) -> tuple[Plan, bool]:
    parser = argparse.ArgumentParser(prog="python -m tests.nemesis", description=__doc__)
    parser.add_argument("--faults", default="all", metavar="KIND,...", help=f"of {', '.join(FAULTS)}; or all (default)")
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S",
                        help="for how long faults strike (60), and until each kind has; more time to drain and judge")
    parser.add_argument("--nodes", type=int, default=3, choices=(3, 5))
    parser.add_argument("--folder", type=Path, default=None, metavar="DIR",
                        help="where history and verdict go; made, or empty (default: a new temporary one)")
    parser.add_argument("--seed", type=int, default=None, metavar="N", help="which faults, when, and where")
    parser.add_argument("--json", action="store_true", help="one JSON document on standard output")
    given = parser.parse_args(arguments)
    kinds = list(FAULTS) if given.faults == "all" else [kind for kind in given.faults.split(",") if kind]
    if wrong := [kind for kind in kinds if kind not in FAULTS]:
        parser.error(f"there is no fault {', '.join(wrong)}; there are {', '.join(FAULTS)}")
    if given.seconds <= 0:
        parser.error(f"--seconds is {given.seconds:g}; it must be above 0")
    folder = given.folder or Path(tempfile.mkdtemp(prefix="zmqueue-nemesis-"))
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        parser.error(f"{folder} is not an empty directory")
    folder.mkdir(parents=True, exist_ok=True)
    seed = random.SystemRandom().getrandbits(32) if given.seed is None else given.seed
    return Plan(list(dict.fromkeys(kinds)), given.seconds, given.nodes, folder.resolve(), seed), given.json


def _summary(found: dict[str, object]) -> None:
    for name, value in found.items():
        if isinstance(value, list) and value:
            print(name)
            for one in value:
                print(f"    {one}")
        else:
            print(f"{name:<18}{value:.1f}" if isinstance(value, float) else f"{name:<18}{value}")


if __name__ == "__main__":
    sys.exit(main())
