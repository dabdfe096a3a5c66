"""Nodes and programs of an earlier version, from the package that lies packed in its golden folder."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from tests.cluster.rig import NodeProcess
from tests.formats.files import GOLDEN

LOAD = Path(__file__).with_name("load.py")


class Version(NamedTuple):
    """Which package a process imports."""

    name: str
    before: tuple[str, ...]                # what makes it so

    def node(self, folder: Path, *arguments: str) -> NodeProcess:
        """A node of this version on that directory, not started."""
        return NodeProcess(folder, "--log-level", "info", *arguments, before=self.before)

    def imported(self) -> str:
        """Where a program of this version gets the package from."""
        done = subprocess.run([*self.before, sys.executable, "-c", "import zmqueue; print(zmqueue.__file__)"],
                              capture_output=True, text=True, check=True, timeout=30)
        return done.stdout.strip()


PREVIOUS = Version("previous", ("env", f"PYTHONPATH={GOLDEN / '0001' / 'zmqueue.zip'}", "PYTHONSAFEPATH=1"))
"""The last version that was released. PYTHONSAFEPATH: not the package in the folder that the tests run in."""

PRESENT = Version("present", ())
"""The version under test."""


class Program:
    """A program of some version that loads a cluster until it is told to end: see `load.py`."""

    def __init__(self, version: Version, what: str, name: str, seeds: Sequence[str], said: Path) -> None:
        self._said = said
        with said.open("w") as out:
            self.process = subprocess.Popen(
                [*version.before, sys.executable, str(LOAD), what, name, *seeds], stdin=subprocess.PIPE, stdout=out,
                stderr=subprocess.STDOUT, text=True)

    def lines(self) -> list[str]:
        """What it has said so far."""
        return self._said.read_text().splitlines()

    def finish(self, wait: float = 90.0) -> list[str]:
        """Tell it to end; all that it said."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        status = self.process.wait(wait)
        assert status == 0, "\n".join(self.lines()[-30:])
        return self.lines()

    def end(self) -> None:
        """Make sure that it is gone."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait(10.0)
        if self.process.stdin is not None and not self.process.stdin.closed:
            self.process.stdin.close()
