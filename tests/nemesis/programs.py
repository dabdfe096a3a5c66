"""The programs that use the cluster while it suffers: `python -m tests.nemesis.programs ROLE NAME FOLDER SEED RATE`.

A producer submits single messages at a steady rate, whatever becomes of them, and batches; what is not confirmed it
repeats under the same id, or now and then gives up. A worker leases and settles. A reader asks how messages are. All
write down what they do, and end in order at SIGTERM. $ZMQUEUE_SEEDS names the nodes; $NEMESIS_DELAYS is 0 where
nothing may be put off, since due times are of the wall clock and so as wrong as that (Q1).
"""

from __future__ import annotations

import signal
import sys
import threading
from pathlib import Path

from tests.nemesis.book import Book
from tests.nemesis.producer import Producer
from tests.nemesis.reader import Reader
from tests.nemesis.worker import Worker


def main(role: str, name: str, folder: str, seed: str, rate: str) -> None:
    """Run one program until SIGTERM."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    book = Book(Path(folder) / f"{name}.jsonl")
    try:
        match role:
            case "producer":
                Producer(name, book, int(seed), float(rate), stop).run()
            case "worker":
                Worker(name, book, int(seed), stop).run()
            case "reader":
                Reader(book, Path(folder), int(seed), stop).run()
            case _:
                raise SystemExit(f"no such role: {role}")
    finally:
        book.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
