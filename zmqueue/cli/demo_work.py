"""The demo's work, and its worker process: SHA-256 of a source file and the counts of its syntax tree's nodes."""

from __future__ import annotations

import ast
import hashlib
import os
import sys
import threading
import warnings
from collections import Counter
from pathlib import Path
from typing import Any

import zmqueue

QUEUE = "sources"
THREADS = 4                            # in each worker process


def digest(path: bytes) -> dict[str, Any]:
    """Look at one file: its SHA-256, its size, and how many nodes of each type its syntax tree has, or why it has none.

    `path` is bytes, as the file system's own names are: not all of them are text.
    """
    try:
        data = Path(os.fsdecode(path)).read_bytes()
    except OSError as error:
        return {"unreadable": type(error).__name__}
    facts: dict[str, Any] = {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(data)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return {**facts, "unparsable": type(error).__name__}
    counts = Counter(type(node).__name__ for node in ast.walk(tree))
    return {**facts, "nodes": dict(sorted(counts.items()))}


def main(seeds: str, runs: str) -> None:
    """Work the demo's queue off until SIGTERM; write down each run of a handler in the file `runs`."""
    lock = threading.Lock()
    with open(runs, "a", encoding="ascii") as book, zmqueue.Client(*seeds.split(",")) as client:

        def handle(message: zmqueue.Message) -> dict[str, Any]:
            with lock:
                book.write(f"{message.token}\n")
                book.flush()
            return digest(message.payload)

        zmqueue.Worker(client, {QUEUE: handle}, concurrency=THREADS).run()


if __name__ == "__main__":
    main(*sys.argv[1:])
