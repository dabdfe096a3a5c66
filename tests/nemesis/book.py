"""The history: every program writes down each call when it begins and when it ends, one JSON line each.

A line is on its way to the disk as soon as the call may take effect, so a program that is killed leaves calls that
began and have no end: these may have happened. Moments are seconds of the machine's monotonic clock, which all
processes share and no fault touches.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

Facts = dict[str, Any]


class Book:
    """One program's book; any number of threads may write."""

    def __init__(self, path: Path) -> None:
        self.name = path.stem
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        self._numbers = itertools.count(1)

    def begin(self, call: str, **facts: object) -> int:
        """A call begins; the number that its end has to name."""
        number = next(self._numbers)
        self._write({"number": number, "call": call, "at": time.monotonic(), **facts})
        return number

    def end(self, number: int, outcome: str, **facts: object) -> None:
        """A call ends: "confirmed", "refused" (it did not happen), or "unknown"."""
        self._write({"number": number, "at": time.monotonic(), "outcome": outcome, **facts})

    def _write(self, facts: Facts) -> None:
        os.write(self._file, msgspec.json.encode(facts) + b"\n")      # one write: lines of threads do not mix

    def close(self) -> None:
        os.close(self._file)


@dataclass(frozen=True, slots=True)
class Call:
    """One call. `end` is infinite, and `outcome` "unknown", where the program did not live to see it."""

    program: str
    call: str
    begun: float
    ended: float
    outcome: str
    asked: Facts
    told: Facts


def read_book(path: Path) -> Iterator[Call]:
    """The calls of one book, in the order in which they ended; those without an end come last."""
    open_calls: dict[int, Facts] = {}
    with path.open("rb") as lines:
        for line in lines:
            if not line.endswith(b"\n"):
                break                      # the program was killed while it wrote
            facts: Facts = msgspec.json.decode(line)
            if "call" in facts:
                open_calls[facts["number"]] = facts
                continue
            asked = open_calls.pop(facts["number"])
            yield Call(path.stem, asked["call"], asked["at"], facts["at"], facts["outcome"], asked, facts)
    for asked in open_calls.values():
        yield Call(path.stem, asked["call"], asked["at"], float("inf"), "unknown", asked, {})


def read_folder(folder: Path) -> Iterator[Call]:
    """The calls of all books in a folder."""
    for path in sorted(folder.glob("*.jsonl")):
        yield from read_book(path)
