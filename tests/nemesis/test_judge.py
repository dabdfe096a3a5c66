"""The judge earns trust only by catching what is planted: a history is good, and each change to it is found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.nemesis import payloads
from tests.nemesis.book import Book, Call, read_book
from tests.nemesis.judge import Judge, Verdict
from tests.simulation.checkers.rings import RingBook
from tests.simulation.checkers.sequential import LINEAR

ACK, REJECT = "producer0:1:ack:0", "producer0:2:reject:0"


class History:
    """Calls in a row, each as long as a moment unless said otherwise."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.now = 0.0

    def call(self, call: str, outcome: str, asked: dict[str, Any], told: dict[str, Any], begun: float | None = None,
             ended: float | None = None) -> None:
        self.now += 1.0
        self.calls.append(Call("program", call, self.now if begun is None else begun,
                               self.now + 0.5 if ended is None else ended, outcome, asked, told))

    def submit(self, head: str, outcome: str = "confirmed", token: str = "") -> None:
        self.call("submit", outcome, {"token": token or head, "heads": [head]}, {})

    def deliver(self, head: str, fencing: int = 1, who: str = "worker0", token: str = "", **when: float) -> None:
        self.call("lease", "confirmed", {"who": who}, {"messages": [[token or head, fencing, head]]}, **when)

    def settle(self, head: str, how: str = "ack", fencing: int = 1, outcome: str = "confirmed",
               who: str = "worker0") -> None:
        result = payloads.result(head, who, fencing) if how == "ack" else None
        self.call("settle", outcome, {"who": who, "token": head, "fencing": fencing, "how": how, "result": result}, {})

    def read(self, head: str, state: str = "done", result: object = None, **when: float) -> None:
        if state == "done" and result is None:
            result = payloads.result(head, "worker0", 1)
        self.call("read", "confirmed", {"token": head}, {"state": state, "result": result}, **when)

    def verdict(self) -> Verdict:
        return Judge(lambda: self.calls).judge()


@pytest.fixture
def good() -> History:
    """Two messages: one is done, one is a dead letter."""
    history = History()
    history.submit(ACK)
    history.submit(REJECT)
    history.read(ACK, "ready")
    history.deliver(ACK)
    history.settle(ACK)
    history.deliver(REJECT)
    history.settle(REJECT, "reject")
    history.read(ACK)
    history.read(REJECT, "dead")
    return history


def test_a_good_history_is_clean(good: History) -> None:
    verdict = good.verdict()
    assert verdict.clean, verdict.findings
    assert (verdict.acknowledged, verdict.delivered, verdict.redelivered) == (2, 2, 0)


def test_a_confirmed_message_that_nobody_finds_is_lost(good: History) -> None:
    good.submit("producer0:3:ack:0")
    assert good.verdict().lost == 1, "never read"
    good.read("producer0:3:ack:0", "unknown")
    assert good.verdict().lost == 1, "unknown in the end"


def test_a_confirmed_message_that_does_not_end_is_lost(good: History) -> None:
    good.submit("producer0:3:ack:0")
    good.read("producer0:3:ack:0", "leased")
    assert good.verdict().lost == 1


def test_an_indefinite_message_may_be_stored_or_not(good: History) -> None:
    good.submit("producer0:3:ack:0", "unknown")
    good.submit("producer0:4:ack:0", "unknown")
    good.read("producer0:3:ack:0", "unknown")
    good.deliver("producer0:4:ack:0")
    good.settle("producer0:4:ack:0")
    good.read("producer0:4:ack:0")
    verdict = good.verdict()
    assert verdict.clean, verdict.findings
    assert verdict.indefinite == 2


def test_a_refused_message_that_is_stored_is_a_violation(good: History) -> None:
    good.submit("producer0:3:ack:0", "refused")
    good.read("producer0:3:ack:0", "unknown")
    assert good.verdict().clean
    assert good.verdict().refused == 1
    good.deliver("producer0:3:ack:0")
    assert not good.verdict().clean
    assert good.verdict().queue.unexpected == 1


def test_a_message_that_was_refused_after_an_attempt_of_unknown_fate_may_be_stored(good: History) -> None:
    good.submit("producer0:3:ack:0", "unknown")
    good.submit("producer0:3:ack:0", "refused")
    good.deliver("producer0:3:ack:0")
    good.settle("producer0:3:ack:0")
    good.read("producer0:3:ack:0")
    verdict = good.verdict()
    assert verdict.clean, verdict.findings
    assert verdict.indefinite == 1


def unasked(history: History) -> None:
    history.submit("producer0:5:ack:0")
    history.read("producer0:5:ack:0")


def stale(history: History) -> None:
    history.submit("producer0:5:ack:0")
    history.deliver("producer0:5:ack:0", 1)
    history.deliver("producer0:5:ack:0", 2, "worker1")
    history.settle("producer0:5:ack:0", "nack", 1)


def backwards(history: History) -> None:
    history.submit("producer0:5:ack:0")
    history.deliver("producer0:5:ack:0", 2)
    history.deliver("producer0:5:ack:0", 1)


def changed(history: History) -> None:
    history.submit("producer0:5:ack:0")
    history.deliver("producer0:5:ack:1", token="producer0:5:ack:0")


def seen_once(history: History) -> None:
    """Nobody knows whether it was stored, somebody saw it, and then it is not there."""
    history.submit("producer0:5:ack:0", "unknown")
    history.read("producer0:5:ack:0", "ready")
    history.read("producer0:5:ack:0", "unknown")


def given_back_and_done(history: History) -> None:
    """A worker that has given a message back is told that it has done it."""
    history.submit("producer0:5:ack:0")
    history.deliver("producer0:5:ack:0")
    history.settle("producer0:5:ack:0", "give back")
    history.settle("producer0:5:ack:0")
    history.read("producer0:5:ack:0", result=payloads.result("producer0:5:ack:0", "worker0", 1))


ONLY_BY_ORDER = {"seen once and then not": seen_once, "given back and done": given_back_and_done}


@pytest.mark.parametrize("name", ONLY_BY_ORDER)
def test_what_no_order_of_calls_explains_is_a_violation(name: str, good: History) -> None:
    ONLY_BY_ORDER[name](good)
    verdict = good.verdict()
    assert LINEAR in verdict.findings and not verdict.clean


def test_what_went_in_and_came_out_is_counted(good: History) -> None:
    good.submit("producer0:5:ack:0", "unknown")
    good.deliver("producer0:5:ack:0")
    good.deliver("producer0:5:ack:0", 2)
    good.settle("producer0:5:ack:0", fencing=2)
    good.submit("producer0:6:ack:0", "unknown")
    queue = good.verdict().queue
    assert (queue.submitted, queue.acknowledged, queue.delivered, queue.settled) == (4, 2, 3, 3)
    assert (queue.recovered, queue.redelivered) == (1, 1) and queue.clean
    good.submit("producer0:7:ack:0")
    assert good.verdict().queue.lost == 1


def ring(history: History, program: str, epoch: int, digest: str) -> None:
    asked = {"lineage": 1, "epoch": epoch, "digest": digest}
    history.calls.append(Call(program, "ring", 0.0, 0.0, "confirmed", asked, {}))


def test_programs_that_compute_another_ring_are_found(good: History) -> None:
    for program, epoch, digest in (("a", 1, "x"), ("b", 1, "x"), ("a", 2, "y"), ("b", 3, "z"), ("c", 2, "y")):
        ring(good, program, epoch, digest)
    verdict = good.verdict()
    assert verdict.clean and verdict.rings == 2
    ring(good, "b", 2, "x")
    assert RingBook.NAME in good.verdict().findings


PLANTED: dict[str, tuple[str, Callable[[History], None]]] = {
    "two settles hold": ("duplicated", lambda history: history.settle(ACK, fencing=2)),
    "another result": ("violations", lambda history: history.read(ACK, result=payloads.result(ACK, "worker0", 2))),
    "a wrong result": ("wrong", lambda history: history.read(ACK, result={"answer": "?"})),
    "dead instead of done": ("wrong", lambda history: history.read(ACK, "dead")),
    "done instead of dead": ("wrong", lambda history: history.read(REJECT)),
    "handed out after its end": ("violations", lambda history: history.deliver(ACK, 2)),
    "ready after its end": ("violations", lambda history: history.read(ACK, "ready")),
    "unknown after its confirmation": ("violations", lambda history: history.read(ACK, "unknown")),
    "one lease for two": ("violations", lambda history: history.deliver(ACK, 1, "worker1")),
    "a message that nobody submitted": ("violations", lambda history: history.deliver("producer0:9:ack:0")),
    "one lease for one, twice": ("violations", lambda history: history.deliver(ACK)),
    "a message changed": ("violations", changed),
    "stored twice": ("violations", lambda history: history.submit(ACK, token="another")),
    "nack and ack of one lease": ("violations", lambda history: history.settle(ACK, "nack")),
    "an error that is none of ours": ("violations", lambda history: history.submit(ACK, "broken")),
    "a result that nobody gave": ("violations", unasked),
    "an old settle": ("violations", stale),
    "an old lease": ("violations", backwards),
}


@pytest.mark.parametrize("name", PLANTED)
def test_what_is_planted_is_caught(name: str, good: History) -> None:
    count, plant = PLANTED[name]
    plant(good)
    verdict = good.verdict()
    assert getattr(verdict, count) >= 1, verdict
    assert not verdict.clean


def test_what_overlaps_is_not_held_against_anybody(good: History) -> None:
    good.read(ACK, "leased", begun=4.9, ended=99.0)              # asked before its end was known
    early = "producer0:6:ack:0"
    good.deliver(early)
    good.settle(early)
    good.read(early)
    good.call("submit", "confirmed", {"token": early, "heads": [early]}, {}, begun=1.0)     # heard of it last
    good.submit("producer0:5:again:0")
    good.deliver("producer0:5:again:0", 2, begun=50.0, ended=51.0)
    good.deliver("producer0:5:again:0", 1, "worker1", begun=49.0, ended=60.0)    # granted first, heard of later
    verdict = good.verdict()
    assert verdict.violations == 0, verdict.findings


def written(path: Path) -> Iterator[Call]:
    book = Book(path)
    first = book.begin("submit", token="t", heads=[ACK])
    book.begin("lease", who="w")
    book.end(first, "confirmed")
    book.close()
    with path.open("ab") as torn:
        torn.write(b'{"number":2,"at":1.0,"outc')
    return read_book(path)


def test_a_book_of_a_killed_program_says_what_had_begun(tmp_path: Path) -> None:
    first, second = written(tmp_path / "producer0.jsonl")
    assert (first.call, first.outcome, first.asked["heads"]) == ("submit", "confirmed", [ACK])
    assert first.begun <= first.ended < second.ended == float("inf")
    assert (second.call, second.outcome) == ("lease", "unknown")
