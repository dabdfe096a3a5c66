"""Cancelling, forgetting, and settling many at once, whichever client is used."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def poll(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a state of the world."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def test_what_waits_is_cancelled_and_never_runs(client: Any, queue: str) -> None:
    waiting, delayed = client.submit(queue, 1), client.submit(queue, 2, delay=60.0)
    assert client.cancel(waiting.token) is True and delayed.cancel() is True
    assert waiting.cancel() is True                          # it may be repeated
    assert client.lease(queue) == []
    for ticket in (waiting, delayed):
        with pytest.raises(zmqueue.RequestFailed) as caught:
            ticket.result(5.0)
        assert caught.value.state == "cancelled"


def test_what_has_ended_is_not_cancelled_and_what_never_was_is_unknown(client: Any, queue: str) -> None:
    ticket = client.submit(queue, 1)
    client.lease(queue, wait=5.0)[0].ack("done")
    assert ticket.cancel() is False and ticket.result(5.0) == "done"
    with pytest.raises(zmqueue.UnknownToken):
        client.cancel(client.new_id())
    with pytest.raises(zmqueue.BadToken):
        client.cancel("short")


def test_many_are_cancelled_at_once_and_each_has_its_outcome(client: Any, queue: str) -> None:
    tickets = client.submit_many(queue, range(20))
    message, = client.lease(queue, wait=5.0)
    message.ack()
    unknown = client.new_id()
    tokens = [ticket.token for ticket in tickets] + [unknown, tickets[0].token]
    outcomes = client.cancel_many(tokens)
    assert [outcome.token for outcome in outcomes] == tokens
    assert [outcome.value for outcome in outcomes if outcome.token == message.token][:1] == [False]
    assert sum(outcome.value is True for outcome in outcomes[:20]) == 19
    assert isinstance(outcomes[20].error, zmqueue.UnknownToken)
    assert client.lease(queue) == [] and client.cancel_many([]) == []


def test_who_holds_a_cancelled_message_sees_it_within_a_second_and_a_nack_ends_it(client: Any, queue: str) -> None:
    ticket = client.submit(queue, 1)
    message, = client.lease(queue, wait=5.0)
    assert not message.cancelled
    assert ticket.cancel() is True
    poll(lambda: message.cancelled, 1.0)
    assert ticket.status().state == "leased" and not message.lost
    message.nack(error="stopped")
    assert ticket.status().state == "cancelled" and client.lease(queue) == []


def test_an_ack_after_a_cancel_counts(client: Any, queue: str) -> None:
    ticket = client.submit(queue, 1)
    message, = client.lease(queue, wait=5.0)
    ticket.cancel()
    message.ack("done all the same")
    assert ticket.result(5.0) == "done all the same"


def test_a_running_handler_learns_of_it_and_is_not_run_again(adapter: Adapter, client: Any, queue: str,
                                                            request: pytest.FixtureRequest) -> None:
    begun, ran, told = threading.Event(), [], []

    def handler(message: Any) -> None:
        ran.append(message.token)
        begun.set()
        poll(lambda: message.cancelled, 5.0)
        told.append(time.monotonic())
        raise RuntimeError("cancelled, so I stop")

    async def coroutine(message: Any) -> None:
        import asyncio
        ran.append(message.token)
        begun.set()
        try:
            await asyncio.sleep(60.0)
        finally:
            assert message.cancelled
            told.append(time.monotonic())

    sync = request.node.callspec.params["adapter"] == "sync"
    ticket = client.submit(queue, 1)
    with adapter.worker(client, {queue: handler if sync else coroutine}) as worker:
        assert begun.wait(10.0)
        ticket.cancel()
        cancelled = time.monotonic()
        with pytest.raises(zmqueue.RequestFailed) as caught:
            ticket.result(10.0)
        assert caught.value.state == "cancelled" and "cancelled" in caught.value.error
        poll(lambda: worker.statistics.cancelled == 1 and not worker.statistics.settling)
        assert worker.statistics == zmqueue.WorkerStatistics(cancelled=1)
    assert len(ran) == 1 and told[0] - cancelled < 1.0


def test_a_result_is_forgotten_when_its_owner_says_so(client: Any, queue: str) -> None:
    ticket = client.submit(queue, 1)
    with pytest.raises(zmqueue.RequestEnded, match="no result to forget"):
        client.forget(ticket.token)
    client.lease(queue, wait=5.0)[0].ack("secret")
    assert ticket.result(5.0) == "secret"
    ticket.forget()
    client.forget(ticket.token)                              # it may be repeated
    with pytest.raises(zmqueue.ResultGone):
        ticket.result(5.0)


def test_many_are_acked_at_once_and_each_has_its_outcome(client: Any, queue: str) -> None:
    tickets = client.submit_many(queue, range(10))
    messages: list[Any] = []
    while len(messages) < 10:
        messages += client.lease(queue, max=10, wait=5.0)
    messages[3].nack(delay=60.0)
    outcomes = client.ack_many(messages, [message.payload * 2 for message in messages])
    assert [outcome.token for outcome in outcomes] == [message.token for message in messages]
    assert [isinstance(outcome.error, zmqueue.LeaseLost) for outcome in outcomes] == [n == 3 for n in range(10)]
    done = [ticket for ticket in tickets if ticket.token != messages[3].token]
    assert sorted(ticket.result(5.0) for ticket in done) == sorted(
        message.payload * 2 for message in messages if message is not messages[3])
    assert client.ack_many([]) == []


def test_what_cannot_be_acked_at_once_is_not_begun(client: Any, queue: str) -> None:
    client.submit_many(queue, range(2))
    messages: list[Any] = []
    while len(messages) < 2:
        messages += client.lease(queue, max=2, wait=5.0)
    with pytest.raises(ValueError, match="1 results for 2 messages"):
        client.ack_many(messages, [1])
    with pytest.raises(ValueError, match="given twice"):
        client.ack_many([messages[0], messages[0]])
    with pytest.raises(zmqueue.BodyTooLarge):
        client.ack_many(messages, [1, bytes(2 << 20)])
    assert [outcome.error for outcome in client.ack_many(messages)] == [None, None]


def test_a_nack_rests_as_the_message_says(client: Any, queue: str) -> None:
    client.submit(queue, 1, backoff=zmqueue.Backoff.constant(60.0))
    message, = client.lease(queue, wait=5.0)
    message.nack()
    assert client.status(message.token).state == "delayed"
    ticket = client.submit(queue + "-b", 1, backoff=zmqueue.Backoff.constant(60.0))
    client.lease(queue + "-b", wait=5.0)[0].nack(delay=0.0)
    assert ticket.status().state == "ready"


def test_a_handlers_message_rests_as_it_says(adapter: Adapter, client: Any, queue: str) -> None:
    def handler(message: Any) -> None:
        raise ValueError("no")

    ticket = client.submit(queue, 1, backoff=zmqueue.Backoff.constant(60.0))
    with adapter.worker(client, {queue: adapter.handler(handler)}) as worker:
        poll(lambda: worker.statistics.failed == 1)
    assert ticket.status().state == "delayed" and client.lease(queue, wait=0.3) == []
