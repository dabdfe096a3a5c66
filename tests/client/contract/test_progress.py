"""Progress, and who follows it, whichever client is used."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Generator, Iterator
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter, Plain, beside

KINDS: list[object] = [b"\x00\xff", "text", None, {"percent": 50}]


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def test_progress_comes_as_it_was_told_and_then_the_result(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    for data in KINDS:
        message.progress(data)
    message.ack("done")
    events = list(client.stream(ticket.token, timeout=10.0))
    assert [(event.index, event.kind, event.data) for event in events] == [
        *((number, "progress", data) for number, data in enumerate(KINDS, 1)), (5, "result", "done")]
    assert {event.delivery for event in events[:-1]} == {message.fencing}
    assert [event.last for event in events] == [False] * 4 + [True]


def test_an_event_is_seen_while_the_handler_runs(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    stream = iter(client.stream(ticket.token, timeout=20.0))
    seen = beside(lambda: next(stream))
    message.progress("half")
    assert seen.result(10.0) == zmqueue.Event(1, "progress", "half", message.fencing)
    assert ticket.status().state == "leased"
    message.ack("done")
    assert [event.kind for event in stream] == ["result"]


def test_a_stream_goes_on_from_any_index(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    for number in range(1, 101):
        message.progress(number, wait=False)
    message.ack("done")
    whole = list(client.stream(ticket.token))
    assert [event.data for event in whole] == [*range(1, 101), "done"]
    for after in (0, 1, 50, 99, 100, 101):
        assert list(client.stream(ticket.token, after=after)) == (whole[after:] or whole[-1:])


def test_a_failed_request_ends_with_its_error_which_is_not_raised(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    message.progress("tried")
    message.reject("it cannot be done")
    first, end = client.stream(ticket.token)
    assert (first.data, end.kind, end.data, end.index) == ("tried", "error", "it cannot be done", 2)
    assert isinstance(end.error, zmqueue.RequestFailed) and end.error.state == "dead"


def test_deliveries_are_told_apart(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    for word in ("first", "second"):
        message, = client.lease(queue, wait=5.0)
        message.progress(word)
        message.nack() if word == "first" else message.ack(word)
    events = list(client.stream(ticket.token))
    assert [(event.data, event.delivery) for event in events] == [("first", 1), ("second", 2), ("second", 0)]


def test_a_stream_of_nothing_ends_when_its_time_is_over(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    began = time.monotonic()
    with pytest.raises(zmqueue.ResultTimeout, match=r"after (event )?0"):
        list(client.stream(ticket.token, timeout=0.3))
    assert 0.25 < time.monotonic() - began < 5.0
    with pytest.raises(zmqueue.UnknownToken):
        list(client.stream(client.new_id(), timeout=5.0))
    with pytest.raises(ValueError, match="after"):
        client.stream(ticket.token, after=-1)


def test_what_cannot_be_told_is_refused_before_it_is_sent(client: Any, queue: str) -> None:
    client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    with pytest.raises(zmqueue.BodyTooLarge, match="65,537 bytes"):
        message.progress(b"x" * 65_537)
    with pytest.raises(TypeError):
        message.progress(object())
    message.ack()
    with pytest.raises(zmqueue.LeaseLost):
        message.progress("late")


def test_what_went_wrong_without_being_waited_for_is_raised_by_the_next_call(client: Any, queue: str) -> None:
    client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    message.ack()
    held = message.inner if hasattr(message, "inner") else message
    held._holding.lost = False                       # as where the client does not know it yet
    message.progress("late", wait=False)
    with pytest.raises(zmqueue.LeaseLost):
        for _ in range(1_000):
            message.progress("later", wait=False)
            time.sleep(0.01)


def test_a_handler_that_yields_tells_its_progress(adapter: Adapter, client: Any, queue: str) -> None:
    def plain(message: Any) -> Generator[object, None, str]:
        for number in range(message.payload):
            yield {"done": number}
        return "all"

    async def coroutine(message: Any) -> AsyncIterator[object]:
        for number in range(message.payload):
            yield {"done": number}

    for handler in [plain] if isinstance(adapter, Plain) else [plain, coroutine]:
        with adapter.worker(client, {queue: handler}):
            ticket = client.submit(queue, 1_500)     # more than may be on their way at one time
            events = list(client.stream(ticket.token, timeout=20.0))
        assert [event.data for event in events[:-1]] == [{"done": number} for number in range(1_500)]
        assert (events[-1].kind, events[-1].data) == ("result", "all" if handler is plain else None)


def test_a_handler_that_fails_after_some_progress_leaves_it(adapter: Adapter, client: Any, queue: str) -> None:
    def broken(message: Any) -> Iterator[str]:
        yield "begun"
        raise ValueError("broken")

    with adapter.worker(client, {queue: broken}):
        ticket = client.submit(queue, b"x", attempts=2)
        events = list(client.stream(ticket.token, timeout=20.0))
    assert [event.data for event in events[:-1]] == ["begun", "begun"]
    assert events[-1].error is not None and events[-1].error.error_type == "ValueError"
