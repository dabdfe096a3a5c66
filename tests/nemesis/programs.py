"""The programs that use the cluster while it suffers: `python -m tests.nemesis.programs ROLE NAME FOLDER SEED RATE`.

A producer submits single messages at a steady rate, whatever becomes of them, and batches; what is not confirmed it
repeats under the same id, or now and then gives up. A worker leases and settles. A reader asks how messages are. All
write down what they do, and end in order at SIGTERM. $ZMQUEUE_SEEDS names the nodes; $NEMESIS_DELAYS is 0 where
nothing may be put off, since due times are of the wall clock and so as wrong as that (Q1).
"""

from __future__ import annotations

import heapq
import itertools
import os
import random
import signal
import sys
import threading
import time
from collections import deque
from concurrent.futures import Future
from pathlib import Path

import msgspec

import zmqueue
from tests.nemesis import payloads
from tests.nemesis.book import Book
from tests.nemesis.payloads import Do

QUEUES = ("red", "blue")
ATTEMPTS = 10_000                      # nothing dies of deliveries that faults ended

SUBMIT_S = 5.0                         # one call's patience: then it is unknown, and repeated
OPEN_MAX = 3_000                       # submits of one producer that are not finished: beyond, it submits nothing new
BATCH = 20
BATCH_EVERY_S = 0.2
FINISH_S = 120.0                       # at the end: until the fate of all is known

WORKER_THREADS = 6
SETTLE_TRIES = 4

DELAYS_S = (0.0,) if os.environ.get("NEMESIS_DELAYS") == "0" else (0.0, 0.0, 0.3)      # of what is nacked

READERS = 2                            # threads of a reader
READ_EVERY_S = 0.05
RECENT = 5_000                         # tokens that a reader knows


def outcome_of(error: BaseException | None) -> str:
    """How a call ended; "broken" by an error that is none of zmqueue's, which the judge holds against it."""
    if error is None:
        return "confirmed"
    if isinstance(error, zmqueue.ZmqueueError):
        return "refused" if error.definite else "unknown"
    return "broken"


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
        with self._client:
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


class Worker:
    """Leases and settles, with several threads that share a client."""

    def __init__(self, name: str, book: Book, seed: int, stop: threading.Event) -> None:
        self._name, self._book, self._stop = name, book, stop
        self._seed = seed
        self._client = zmqueue.Client(timeout=5.0)

    def run(self) -> None:
        """Until told to stop."""
        threads = [threading.Thread(target=self._work, args=(f"{self._name}.{number}",
                                                             random.Random(self._seed * 100 + number)))
                   for number in range(WORKER_THREADS)]
        with self._client:
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()

    def _work(self, who: str, dice: random.Random) -> None:
        for queue in itertools.cycle(dice.sample(QUEUES, 2)):
            if self._stop.is_set():
                return
            number = self._book.begin("lease", who=who)
            try:
                messages = self._client.lease(queue, dice.choice((1, 4, 8, 16)), wait=0.3,
                                              lease=dice.choice((None, None, 2.0)))
            except Exception as error:
                self._book.end(number, outcome_of(error), error=type(error).__name__)
                self._stop.wait(0.05)
                continue
            heads = [payloads.head_of(message.payload) for message in messages]
            self._book.end(number, "confirmed", messages=[
                [message.token, message.fencing, head] for message, head in zip(messages, heads, strict=True)])
            for message, head in zip(messages, heads, strict=True):
                self._handle(who, message, head, dice)

    def _handle(self, who: str, message: zmqueue.Message, head: str, dice: random.Random) -> None:
        if dice.random() < 0.005:
            self._settle(who, message, "give back", "")
            return
        match payloads.do_of(head):
            case Do.AGAIN if message.deliveries <= 2:
                self._settle(who, message, "nack", "", dice.choice(DELAYS_S))
            case Do.REJECT:
                self._settle(who, message, "reject", "")
            case Do.SLOW:
                self._stop.wait(dice.choice((0.2, 1.0, 3.0)))
                self._settle(who, message, "ack", head)
            case _:
                self._settle(who, message, "ack", head)

    def _settle(self, who: str, message: zmqueue.Message, how: str, head: str, delay: float = 0.0) -> None:
        """Until it is confirmed or refused; where nobody answers, a few times: the lease then ends by itself."""
        result = payloads.result(head, who, message.fencing) if how == "ack" else None
        for _ in range(SETTLE_TRIES):
            number = self._book.begin("settle", who=who, token=message.token, fencing=message.fencing, how=how,
                                      result=result)
            error: Exception | None = None
            try:
                match how:
                    case "ack":
                        message.ack(result)
                    case "nack":
                        message.nack(delay)
                    case "reject":
                        message.reject("as its payload says")
                    case _:
                        message.give_back()
            except Exception as raised:
                error = raised
            outcome = outcome_of(error)
            self._book.end(number, outcome, error=error and type(error).__name__)
            if outcome != "unknown":
                return


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
        with self._client:
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
            read(self._client, self._book, token, wait=dice.random() < 0.3)


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
    print(os.getpid(), file=sys.stderr)
    main(*sys.argv[1:])
