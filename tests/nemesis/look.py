"""The last look: asks after every message that is known, many at a time."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable
from functools import partial

import zmqueue
from tests.nemesis.book import Book
from tests.nemesis.usage import outcome_of
from zmqueue.client import payloads
from zmqueue.client.calls import AskCall
from zmqueue.core.ids import parse_token
from zmqueue.core.operations import State

AT_ONCE = 500
ROUNDS = 3                             # what was not answered is asked again
ASK_S = 20.0


def look(client: zmqueue.Client, book: Book, tokens: Iterable[str]) -> list[str]:
    """Read each, and write down what was said; those that nobody answered."""
    left = list(tokens)
    for _ in range(ROUNDS):
        left = _round(client, book, left) if left else []
    return left


def _round(client: zmqueue.Client, book: Book, tokens: list[str]) -> list[str]:
    free, unanswered, lock = threading.Semaphore(AT_ONCE), [], threading.Lock()

    def answered(token: str, number: int, call: AskCall) -> None:
        """Runs in the client's thread."""
        answer, error = call.value, call.error
        if isinstance(error, zmqueue.UnknownToken):
            book.end(number, "confirmed", state="unknown", result=None)
        elif error is not None or answer is None:
            with lock:
                unanswered.append(token)
            book.end(number, outcome_of(error), error=type(error).__name__)
        else:
            done = answer.state == State.DONE
            book.end(number, "confirmed", state=State(answer.state).name.lower(),
                     result=payloads.decode(answer.kind, answer.result) if done else None)
        free.release()

    for token in tokens:
        free.acquire()
        call = AskCall(parse_token(token), time.monotonic() + ASK_S)
        call.notify = partial(answered, token, book.begin("read", token=token))
        client._transport.post(client._core.ask, call)
    for _ in range(AT_ONCE):
        free.acquire()
    return unanswered
