"""The crew: the programs that use the cluster, as processes on a host of their own."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.nemesis.hosts import ROOT, Host

END_S = 15.0                           # a worker or a reader ends within that
FINISH_S = 150.0                       # a producer, which repeats until the fate of all that it submitted is known


class Program:
    """One process of one role; `module` takes the role, its name, the folder, a seed and a rate."""

    def __init__(self, role: str, name: str, folder: Path, host: Host, seeds: Sequence[str], seed: int, rate: float,
                 module: str, environment: Mapping[str, str]) -> None:
        self.role, self.name, self.rate = role, name, rate
        self.log = folder / f"{name}.log"
        environment = {**os.environ, "ZMQUEUE_SEEDS": ",".join(seeds), "PYTHONPATH": str(ROOT), **environment}
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [*host.before, sys.executable, "-m", module, role, name, str(folder), str(seed), str(rate)],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environment, start_new_session=True)

    def signal(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def wait(self, seconds: float) -> bool:
        """True where it has ended in time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(seconds)
        return self.process.poll() is not None

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()


class Crew:
    """All programs that run."""

    def __init__(self, folder: Path, host: Host, seeds: Sequence[str], dice: random.Random) -> None:
        self.folder = folder
        self.environment: dict[str, str] = {}      # of those that are started from now on
        self._host, self._seeds, self._dice = host, list(seeds), dice
        self._numbers = itertools.count()
        self._programs: list[Program] = []

    def start(self, role: str, rate: float = 0.0, module: str = "tests.nemesis.programs") -> Program:
        """One more."""
        program = Program(role, f"{role}{next(self._numbers)}", self.folder, self._host, self._seeds,
                          self._dice.getrandbits(32), rate, module, self.environment)
        self._programs.append(program)
        return program

    def pick(self, role: str) -> Program:
        """One of those that run."""
        return self._dice.choice([program for program in self._programs if program.role == role])

    def replace(self, program: Program) -> None:
        """It was killed; another takes its place, under another name."""
        self.dismiss(program)
        self.start(program.role, program.rate)

    def dismiss(self, program: Program) -> None:
        """It was ended on purpose."""
        program.end()
        self._programs.remove(program)

    def stop(self, *roles: str) -> list[str]:
        """SIGTERM to all of these roles, and wait: what did not end in order."""
        stopped = [program for program in self._programs if program.role in roles]
        wrong = []
        for program in stopped:
            program.signal(signal.SIGTERM)
        deadline = time.monotonic() + (FINISH_S if "producer" in roles else END_S)
        for program in stopped:
            if not program.wait(max(0.0, deadline - time.monotonic())):
                wrong.append(f"{program.name} did not end")
            elif program.process.returncode:
                wrong.append(f"{program.name} ended with status {program.process.returncode}")
            self.dismiss(program)
        return wrong

    def end(self) -> None:
        for program in self._programs:
            program.end()
