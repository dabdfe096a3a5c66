"""The reader: asks for the status and for the result of what producers submitted lately."""

from __future__ import annotations

import random
import threading
from collections import deque
from pathlib import Path

import msgspec

import zmqueue
from tests.nemesis.book import Book
from tests.nemesis.rings import RingWatch
from tests.nemesis.usage import outcome_of

READERS = 4                            # threads
READ_EVERY_S = 0.05
RECENT = 5_000                         # tokens that it knows


class Reader:
    """Asks for the status and for the result of messages that producers wrote down lately."""

    def __init__(self, book: Book, folder: Path, seed: int, stop: threading.Event) -> None:
        self._book, self._folder, self._seed, self._stop = book, folder, seed, stop
        self._client = zmqueue.Client(timeout=3.0)
        self._known: deque[str] = deque(maxlen=RECENT)
        self._offsets: dict[Path, int] = {}

    def run(self) -> None:
        """Until told to stop."""
        threads = [threading.Thread(target=self._read, args=(random.Random(self._seed + number),))
                   for number in range(READERS)]
        with self._client, RingWatch(self._client, self._book):
            for thread in threads:
                thread.start()
            while not self._stop.wait(0.5):
                self._look()
            for thread in threads:
                thread.join()

    def _look(self) -> None:
        """Take up the tokens that the producers have written down since."""
        for path in self._folder.glob("producer*.jsonl"):
            with path.open("rb") as lines:
                lines.seek(self._offsets.get(path, 0))
                text = lines.read()
            whole = text[:text.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            self._known += [facts["token"] for line in whole.splitlines()
                            if "token" in (facts := msgspec.json.decode(line)) and "outcome" in facts]

    def _read(self, dice: random.Random) -> None:
        while not self._stop.wait(READ_EVERY_S):
            known = list(self._known)
            if not known:
                continue
            token = dice.choice(known[-200:]) if dice.random() < 0.5 else dice.choice(known)
            read(self._client, self._book, token, wait=dice.random() < 0.1)


def read(client: zmqueue.Client, book: Book, token: str, *, wait: bool = False) -> None:
    """Ask after one message, and write down what was said. `wait`: a long poll for its end."""
    number = book.begin("read", token=token)
    try:
        if wait:
            book.end(number, "confirmed", state="done", result=client.result(token, timeout=3.0))
            return
        status = client.status(token)
        book.end(number, "confirmed", state=status.state, result=status.result)
    except zmqueue.UnknownToken:
        book.end(number, "confirmed", state="unknown", result=None)
    except zmqueue.RequestFailed as error:
        book.end(number, "confirmed", state=error.state, result=None)
    except zmqueue.ResultTimeout:
        book.end(number, "unknown", error="ResultTimeout")
    except Exception as error:
        book.end(number, outcome_of(error), error=type(error).__name__)
