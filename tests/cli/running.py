"""Runs the command line as a shell does: a process, its two streams, its exit status."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Ran:
    """What a command did."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode().strip()

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def environment(seeds: Iterable[str] = (), **more: str) -> dict[str, str]:
    """This process's, with these seeds and no others."""
    names = {name: value for name, value in os.environ.items() if name != "ZMQUEUE_SEEDS"}
    joined = ",".join(seeds)
    return {**names, **({"ZMQUEUE_SEEDS": joined} if joined else {}), **more}


def zmqueue(*arguments: str | bytes, stdin: bytes = b"", seeds: Iterable[str] = (), wait: float = 60.0,
            **more: str) -> Ran:
    """Run one command to its end. A traceback is never an answer."""
    done = subprocess.run([sys.executable, "-m", "zmqueue", *arguments], input=stdin, capture_output=True,
                          env=environment(seeds, **more), timeout=wait, check=False)
    ran = Ran(done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"))
    assert "Traceback" not in ran.err, ran.err
    return ran
