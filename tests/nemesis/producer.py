"""The producer: submits at a steady rate whatever becomes of it, batches beside, and repeats what is not confirmed."""

from __future__ import annotations

import heapq
import itertools
import random
import threading
import time
from concurrent.futures import Future

import zmqueue
from tests.nemesis import payloads
from tests.nemesis.book import Book
from tests.nemesis.rings import RingWatch
from tests.nemesis.usage import ATTEMPTS, QUEUES, outcome_of

SUBMIT_S = 5.0                         # one call's patience: then it is unknown, and repeated
OPEN_MAX = 3_000                       # submits of one producer that are not finished: beyond, it submits nothing new
BATCH = 10
BATCH_EVERY_S = 0.2
FINISH_S = 120.0                       # at the end: until the fate of all is known


class Producer:
    """Submits; the main thread paces, the client's thread hears the answers."""

    def __init__(self, name: str, book: Book, seed: int, rate: float, stop: threading.Event) -> None:
        self._name, self._book, self._stop = name, book, stop
        self._pause = 1.0 / rate
        self._dice = random.Random(seed)
        self._client = zmqueue.Client(timeout=SUBMIT_S)
        self._numbers = itertools.count(1)
        self._lock = threading.Lock()
        self._open = 0
        self._again: list[tuple[float, int, str, str]] = []     # (when, order, token, head): a heap
        self._order = itertools.count()

    def run(self) -> None:
        """Until told to stop; then until the fate of all is known, or it takes too long."""
        batches = threading.Thread(target=self._batches)
        batches.start()
        due = time.monotonic()
        with self._client, RingWatch(self._client, self._book):
            while not self._stop.is_set():
                if self._open < OPEN_MAX:
                    self._submit(self._client.new_id(), payloads.draw(self._name, next(self._numbers), self._dice))
                self._repeat()
                due = max(due + self._pause, time.monotonic() - 1.0)
                self._stop.wait(max(0.0, due - time.monotonic()))
            batches.join()
            until = time.monotonic() + FINISH_S
            while (self._open or self._again) and time.monotonic() < until:
                self._repeat()
                time.sleep(0.02)           # polls; the deadline is above

    def _repeat(self) -> None:
        while True:
            with self._lock:
                if not self._again or self._again[0][0] > time.monotonic():
                    return
                _, _, token, head = heapq.heappop(self._again)
            self._submit(token, head)

    def _submit(self, token: str, head: str) -> None:
        queue = QUEUES[len(head) % 2]
        with self._lock:
            self._open += 1
        number = self._book.begin("submit", token=token, heads=[head])
        future = self._client.submit_soon(queue, payloads.body_of(head), id=token, attempts=ATTEMPTS)
        future.add_done_callback(lambda future: self._answered(future, number, token, head))

    def _answered(self, future: Future[zmqueue.Ticket], number: int, token: str, head: str) -> None:
        error = future.exception()
        outcome = outcome_of(error)
        self._book.end(number, outcome, token=token, error=error and type(error).__name__)
        with self._lock:
            self._open -= 1
            self._decide(outcome, token, head)

    def _decide(self, outcome: str, token: str, head: str) -> None:
        """Whether it is submitted again, and when. The lock is held."""
        dice = self._dice.random()
        match outcome:
            case "confirmed":
                if dice < 0.02 and not self._stop.is_set():      # it is stored once, however often it is submitted
                    self._plan(token, head, 3.0 * self._dice.random())
            case "refused":
                if dice < 0.9:
                    self._plan(token, head, 0.1)
            case _:
                if dice < 0.95:
                    self._plan(token, head, 0.02)

    def _plan(self, token: str, head: str, pause: float) -> None:
        heapq.heappush(self._again, (time.monotonic() + pause, next(self._order), token, head))

    def _batches(self) -> None:
        dice = random.Random(self._dice.random())
        while not self._stop.wait(BATCH_EVERY_S):
            if self._open >= OPEN_MAX:
                continue
            heads = [payloads.draw(self._name, next(self._numbers), dice) for _ in range(BATCH)]
            number = self._book.begin("submit", heads=heads)
            errors: dict[int, Exception] = {}
            try:
                tickets = self._client.submit_many(QUEUES[number % 2], [payloads.body_of(head) for head in heads],
                                                   attempts=ATTEMPTS)
                tokens: list[str | None] = [ticket.token for ticket in tickets]
            except zmqueue.SubmitManyFailed as failed:
                errors = dict(failed.errors)
                tokens = [ticket and ticket.token for ticket in failed.tickets]
            except Exception as error:
                errors, tokens = dict.fromkeys(range(BATCH), error), [None] * BATCH
            outcomes = [outcome_of(errors.get(index)) for index in range(BATCH)]
            self._book.end(number, "batch", tokens=tokens, outcomes=outcomes,
                           errors=sorted({type(error).__name__ for error in errors.values()}))
            with self._lock:
                for token, head, outcome in zip(tokens, heads, outcomes, strict=True):
                    if token is not None and outcome != "confirmed":
                        self._decide(outcome, token, head)
