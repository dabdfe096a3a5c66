"""The command line: `zmqueue`."""

from __future__ import annotations

from zmqueue.cli.root import main

__all__ = ["main"]
