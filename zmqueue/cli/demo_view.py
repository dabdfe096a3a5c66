"""What the demo shows while it runs: progress bars on a terminal, lines elsewhere, nothing with --json."""

from __future__ import annotations

import sys
import time
from typing import Literal

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

Stage = Literal["nodes", "submitted", "settled", "verified"]


class View:
    """How many nodes are up, how far the requests are, and what happens meanwhile."""

    def __init__(self, requests: int, nodes: int, *, quiet: bool) -> None:
        console = Console(stderr=True)
        self._quiet = quiet
        self._live = console.is_terminal and not quiet
        self._began = time.monotonic()
        self._progress = Progress(TextColumn("{task.description:>9}"), BarColumn(), MofNCompleteColumn(),
                                  TimeElapsedColumn(), console=console, disable=not self._live)
        totals: dict[Stage, int] = {"nodes": nodes, "submitted": requests, "settled": requests, "verified": requests}
        self._tasks = {stage: self._progress.add_task(stage, total=total) for stage, total in totals.items()}

    def __enter__(self) -> View:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def count(self, stage: Stage, number: int) -> None:
        """So many are there, or have come so far."""
        self._progress.update(self._tasks[stage], completed=number)

    def happened(self, text: str) -> None:
        """One line."""
        line = f"{time.monotonic() - self._began:6.1f} s  {text}"
        if self._live:
            self._progress.console.print(line, highlight=False, markup=False)
        elif not self._quiet:
            print(line, file=sys.stderr)
