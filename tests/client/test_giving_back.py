"""What a worker gives back, and how an error travels as text."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import zmqueue
from zmqueue.client.executors import Outcome, error_text, perform
from zmqueue.errors import parse_error


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqueue.Client]:
    """Of a real node: fakes do not count deliveries as nodes do."""
    folder = tmp_path_factory.mktemp("given") / "node"
    with (zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True, settings=zmqueue.Settings(buckets=4)) as node,
          zmqueue.Client(node.endpoint) as client):
        yield client


def poll(condition: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def decline_twice(work: Any) -> object:
    if work.fencing <= 2:
        raise zmqueue.GiveBack("another may", pause=0.2)
    return [work.deliveries, work.fencing]


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_what_is_given_back_uses_up_no_attempt_and_comes_again_after_the_pause(
        client: zmqueue.Client, executor: Any, caplog: pytest.LogCaptureFixture) -> None:
    ticket = client.submit("q", "x", attempts=1)
    began = time.monotonic()
    with (caplog.at_level(logging.WARNING, "zmqueue.worker"),
          zmqueue.Worker(client, {"q": decline_twice}, concurrency=1, executor=executor) as worker):
        assert ticket.result(30.0) == [1, 3]
        assert time.monotonic() - began >= 0.4
        assert worker.statistics.given_back == 2
    assert len(caplog.records) == 1 and "another may" in caplog.text     # told once, not twice


def test_what_rests_goes_back_while_what_runs_is_drained(client: zmqueue.Client) -> None:
    begun, goes_on = threading.Event(), threading.Event()

    def handler(message: zmqueue.Message) -> object:
        if message.payload == "not here":
            raise zmqueue.GiveBack("not for me", pause=600.0)
        begun.set()
        return goes_on.wait(30.0)

    other = client.submit("drained", "not here")
    worker = zmqueue.Worker(client, {"drained": handler}, concurrency=1, grace=30.0)
    worker.start()
    poll(lambda: worker.statistics.given_back == 1)
    long = client.submit("drained", "long")
    assert begun.wait(10.0)
    stopping = threading.Thread(target=worker.stop)
    stopping.start()
    assert [message.token for message in client.lease("drained", wait=10.0)] == [other.token]
    goes_on.set()
    stopping.join()
    assert long.result(10.0) is True


def test_a_message_knows_its_attempts(client: zmqueue.Client) -> None:
    client.declare("tried", attempts=4)
    client.submit("tried", "the queue's")
    client.submit("tried", "its own", attempts=2)
    client.submit("untold", "the cluster's")
    tried = client.lease("tried", max=2, wait=5.0) + client.lease("untold", wait=5.0)
    assert sorted((message.attempts, message.payload) for message in tried) == [
        (2, "its own"), (4, "the queue's"), (10, "the cluster's")]
    for message in tried:
        message.ack()


def test_what_rests_keeps_no_slot_and_goes_back_when_the_worker_stops(client: zmqueue.Client) -> None:
    def never_first(message: zmqueue.Message) -> object:
        if message.payload == "not here":
            raise zmqueue.GiveBack("not for me", pause=600.0)
        return message.payload

    other = client.submit("rest", "not here")
    with zmqueue.Worker(client, {"rest": never_first}, concurrency=1):
        assert client.submit("rest", "mine").result(10.0) == "mine"
    assert [message.token for message in client.lease("rest", wait=5.0)] == [other.token]


@pytest.mark.parametrize("pause", [-1.0, 3_601.0, float("nan"), float("inf")])
def test_a_pause_has_bounds(pause: float) -> None:
    with pytest.raises(ValueError, match="0 to 3600"):
        zmqueue.GiveBack("x", pause=pause)


class Unspeakable(Exception):
    """An error whose text cannot be made."""

    def __str__(self) -> str:
        raise RuntimeError("no")


def raising(error: BaseException) -> Outcome:
    def handler(work: Any) -> None:
        raise error

    outcome = perform(handler, zmqueue.Work("x", "token", "q"))
    assert isinstance(outcome, Outcome)
    return outcome


def test_an_error_travels_as_type_text_and_calls() -> None:
    text = raising(KeyError("what: it was\nTraceback (most recent call last):\n  no")).error
    kind, said, calls = parse_error(text)
    assert (kind, said) == ("KeyError", str(KeyError("what: it was\nTraceback (most recent call last):\n  no")))
    assert calls is not None and calls.startswith("Traceback (most recent call last):\n  File ")
    assert "raise error" in calls
    assert parse_error(raising(ValueError("a\n" + "Traceback (most recent call last):\n  x")).error)[1].endswith("  x")


def test_what_the_nodes_say_of_the_attempts_is_no_part_of_the_error() -> None:
    text = "given up after 2 deliveries, 2 may fail: 2 failed, 0 lost; the last: " + raising(ValueError("a; b")).error
    assert parse_error(text)[:2] == ("ValueError", "a; b")


def test_an_error_without_a_type_or_text_is_told_too() -> None:
    assert parse_error("lost: its process died") == (None, "lost: its process died", None)
    assert parse_error(error_text(ValueError()))[:2] == ("ValueError", "")
    assert parse_error(error_text(zmqueue.ResultTimeout("x", "t")))[0] == "zmqueue.errors.ResultTimeout"
    assert parse_error(raising(Unspeakable()).error)[0] == "tests.client.test_giving_back.Unspeakable"


def test_a_long_error_keeps_its_beginning_and_its_innermost_call() -> None:
    text = raising(ValueError("x" * 10_000)).error
    kind, said, calls = parse_error(text)
    assert len(text) == 4_000 and kind == "ValueError" and len(said) > 2_000
    assert calls is not None and "raise error" in calls
