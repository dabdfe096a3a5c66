"""The worker: leases, does what each payload says, and settles, with several threads that share a client."""

from __future__ import annotations

import itertools
import os
import random
import threading

import zmqueue
from tests.nemesis import payloads
from tests.nemesis.book import Book
from tests.nemesis.payloads import Do
from tests.nemesis.rings import RingWatch
from tests.nemesis.usage import QUEUES, outcome_of

WORKER_THREADS = 8
SETTLE_TRIES = 4
DELAYS_S = (0.0,) if os.environ.get("NEMESIS_DELAYS") == "0" else (0.0, 0.0, 0.3)      # of what is nacked


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
        with self._client, RingWatch(self._client, self._book):
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
