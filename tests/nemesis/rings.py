"""The ring that a program goes by, written down once for each cluster state that it learns of.

Programs are processes of their own, so what they compute alike does not come from memory that they share, and would
show it where an order of theirs came from chance (as hashes of strings do, which differ between processes).
"""

from __future__ import annotations

import threading
from types import TracebackType

import zmqueue
from tests.nemesis.book import Book
from tests.simulation.checkers.rings import Epoch, digest_of

LOOK_EVERY_S = 0.2
"""States that are newer than the last look and older than the next one are not written down."""


class RingWatch:
    """Beside a client, for as long as the block lasts."""

    def __init__(self, client: zmqueue.Client, book: Book) -> None:
        self._client, self._book = client, book
        self._seen: Epoch | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)

    def __enter__(self) -> RingWatch:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(LOOK_EVERY_S):
            self._client._transport.post(self._look)

    def _look(self, now: float) -> None:
        """In the client's thread: there, state and ring are of one moment."""
        routing = self._client._core.routing
        if routing.state is None or self._seen == (routing.lineage, routing.epoch):
            return
        self._seen = routing.lineage, routing.epoch
        digest = digest_of(routing.state, routing.primary)
        self._book.end(self._book.begin("ring", lineage=routing.lineage, epoch=routing.epoch, digest=digest),
                       "confirmed")
