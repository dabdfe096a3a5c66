"""What an ack carries is queued if and only if the ack holds, whichever client says it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def one(client: Any, queue: str) -> Any:
    message, = client.lease(queue, wait=5.0)
    return message


def test_what_an_ack_carries_is_queued_and_found_under_its_id(client: Any, queue: str) -> None:
    client.submit(queue, "a.png")
    token = client.new_id()
    one(client, queue).ack("done", then=[
        zmqueue.to(f"{queue}-next", {"from": "a.png"}, id=token, headers={"trace": "1"}, priority=7),
        zmqueue.to(f"{queue}-other", b"x")])
    message = one(client, f"{queue}-next")
    assert (message.token, message.payload, message.headers, message.priority) == (
        token, {"from": "a.png"}, {"trace": "1"}, 7)
    message.ack(3)
    assert client.result(token, timeout=5.0) == 3
    assert one(client, f"{queue}-other").payload == b"x"


def test_an_ack_whose_lease_is_lost_queues_nothing(client: Any, queue: str) -> None:
    client.submit(queue, "x")
    message = one(client, queue)
    message.nack()
    again = one(client, queue)
    with pytest.raises(zmqueue.LeaseLost):
        message.ack(then=[zmqueue.to(f"{queue}-next", "stale")])
    again.ack(then=[zmqueue.to(f"{queue}-next", "fresh")])
    assert one(client, f"{queue}-next").payload == "fresh"
    assert client.lease(f"{queue}-next", wait=0.2) == []


def test_a_delayed_message_of_an_ack_waits_for_its_time(client: Any, queue: str) -> None:
    client.submit(queue, "x")
    one(client, queue).ack(then=[zmqueue.to(f"{queue}-next", "later", delay=0.3)])
    assert one(client, f"{queue}-next").payload == "later"


def test_a_handler_returns_an_ack_with_what_follows(adapter: Adapter, client: Any, queue: str) -> None:
    def first(message: Any) -> zmqueue.Ack:
        return zmqueue.Ack(message.payload + 1, then=[zmqueue.to(f"{queue}-next", message.payload * 10)])

    with adapter.worker(client, {queue: adapter.handler(first)}):
        assert client.submit(queue, 4).result(10.0) == 5
        assert one(client, f"{queue}-next").payload == 40


@pytest.mark.parametrize(("then", "error"), [
    ([("queue", "payload")], TypeError), ([zmqueue.to("q")] * 1_001, ValueError),
    ([zmqueue.to("q", bytes(1_048_577))], zmqueue.BodyTooLarge)])
def test_what_cannot_be_queued_is_refused_and_the_lease_stands(client: Any, queue: str, then: Any,
                                                                error: type[Exception]) -> None:
    client.submit(queue, "x")
    message = one(client, queue)
    with pytest.raises(error):
        message.ack(then=then)
    message.ack("in the end")


def test_what_cannot_be_submitted_cannot_be_carried_either() -> None:
    with pytest.raises(ValueError, match="queue"):
        zmqueue.to("no queue!")
    with pytest.raises(TypeError, match="timeout"):
        zmqueue.to("q", timeout=1.0)
    with pytest.raises(TypeError, match="no option 'colour'"):
        zmqueue.to("q", colour="red")  # type: ignore[call-arg]
