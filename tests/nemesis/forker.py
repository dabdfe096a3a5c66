"""A program that forks while it uses its client: `python -m tests.nemesis.forker ROLE NAME FOLDER SEED RATE`.

What it submits, and what its children do by clients of their own, stands in their books as everybody's does. Its exit
status is 1, with a word why, where a fork did harm.
"""

from __future__ import annotations

import itertools
import os
import random
import sys
import threading
import time
import traceback
from pathlib import Path

import zmqueue
from tests.nemesis import payloads
from tests.nemesis.book import Book
from tests.nemesis.usage import ATTEMPTS, QUEUES, outcome_of

FORKS = 4
MESSAGES = 5                           # of each child
CHILD_S = 90.0                         # its submits take what they take while other faults are on
TRIES = 8


def submit(client: zmqueue.Client, book: Book, head: str) -> bool:
    """Until it is confirmed, a few times; False where it was not."""
    token = client.new_id()
    for _ in range(TRIES):
        number = book.begin("submit", token=token, heads=[head])
        error: Exception | None = None
        try:
            client.submit(QUEUES[0], payloads.body_of(head), id=token, attempts=ATTEMPTS)
        except Exception as raised:
            error = raised
        book.end(number, outcome_of(error), token=token, error=error and type(error).__name__)
        if error is None:
            return True
        time.sleep(0.1)                    # paces the repetition
    return False


def child(name: str, folder: Path, seed: int, inherited: zmqueue.Client) -> None:
    """The parent's client refuses, one of its own works."""
    try:
        inherited.submit(QUEUES[0], b"from the wrong process")
        raise AssertionError("the parent's client took a submit in the child")
    except zmqueue.Closed:
        pass
    inherited.close()                      # harmless for the parent
    dice = random.Random(seed)
    book = Book(folder / f"{name}.jsonl")
    with zmqueue.Client() as client:
        for number in range(MESSAGES):
            submit(client, book, payloads.draw(name, number, dice))
    book.close()


def main(role: str, name: str, folder: str, seed: str, rate: str) -> int:
    """Fork a few times while a thread submits; 0 where nothing was harmed."""
    book, dice, ended = Book(Path(folder) / f"{name}.jsonl"), random.Random(int(seed)), threading.Event()
    failed = 0
    with zmqueue.Client() as client:
        def flow() -> None:
            for number in itertools.count():
                if ended.is_set():
                    return
                submit(client, book, payloads.draw(name, number, dice))

        thread = threading.Thread(target=flow)
        thread.start()
        try:
            for number in range(FORKS):
                time.sleep(0.3)            # the flow goes on for a while
                failed += _fork(f"{name}c{number}", Path(folder), int(seed) + number, client)
        finally:
            ended.set()
            thread.join()
        if not submit(client, book, payloads.draw(f"{name}end", 0, dice)):
            print("the parent's client does not work after its forks", file=sys.stderr)
            failed += 1
    book.close()
    return 1 if failed else 0


def _fork(name: str, folder: Path, seed: int, client: zmqueue.Client) -> int:
    """1 where the child did not end well and in time."""
    pid = os.fork()
    if pid == 0:
        try:
            child(name, folder, seed, client)
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        sys.exit(0)                        # in order: whatever runs at a program's end runs in the child, too
    deadline = time.monotonic() + CHILD_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status:
                print(f"{name} ended with wait status {status}", file=sys.stderr)
            return 1 if status else 0
        time.sleep(0.02)                   # polls; the deadline is above
    print(f"{name} did not end", file=sys.stderr)
    os.kill(pid, 9)
    os.waitpid(pid, 0)
    return 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
