"""Chains and joins, whichever client submits them and whichever works on them."""

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


def test_each_result_of_a_chain_feeds_the_next_step(adapter: Adapter, client: Any, queue: str) -> None:
    def add(message: Any) -> int:
        return int(message.payload) + 1

    def double(message: Any) -> int:
        return int(message.payload) * 2

    with adapter.worker(client, {f"{queue}-add": adapter.handler(add), f"{queue}-double": adapter.handler(double)}):
        steps = client.submit_chain(zmqueue.chain(
            (f"{queue}-add", 4), f"{queue}-double", zmqueue.to(f"{queue}-add", priority=9)))
        assert client.chain_result(steps, timeout=20.0) == 11
        assert [step.result(5.0) for step in steps] == [5, 10, 11]


def test_a_step_says_what_it_needs_and_knows_what_follows(client: Any, queue: str) -> None:
    steps = client.submit_chain(zmqueue.chain(
        zmqueue.to(queue, "x", headers={"trace": "1"}), zmqueue.to(f"{queue}-b", headers={"trace": "2"}, priority=3)))
    one(client, queue).ack("y")
    message = one(client, f"{queue}-b")
    assert (message.payload, message.priority, message.token) == ("y", 3, steps[1].token)
    assert message.headers == {"trace": "2"}


def test_a_chain_stops_where_a_step_fails(client: Any, queue: str) -> None:
    steps = client.submit_chain(zmqueue.chain((queue, "x"), f"{queue}-b"))
    one(client, queue).reject("no such picture")
    with pytest.raises(zmqueue.RequestFailed, match="no such picture"):
        client.chain_result(steps, timeout=5.0)
    assert client.lease(f"{queue}-b", wait=0.1) == []


def test_a_join_is_ready_when_all_its_parts_are_done(client: Any, queue: str) -> None:
    ticket = client.submit_join(zmqueue.join([zmqueue.to(queue, number) for number in range(3)], f"{queue}-sum"))
    assert ticket.status().state == "delayed"
    messages = [one(client, queue) for _ in range(3)]
    for message in messages[:2]:
        message.ack(message.payload * 10)
    again = messages[2]
    again.nack()
    assert client.lease(f"{queue}-sum", wait=0.1) == []
    last = one(client, queue)
    last.ack(last.payload * 10)
    join = one(client, f"{queue}-sum")
    assert join.token == ticket.token and join.payload == [client.ticket(token).token for token in join.payload]
    assert sorted(result.get() for result in client.results(join.payload, timeout=5.0)) == [0, 10, 20]


def test_a_join_may_have_a_payload_of_its_own(client: Any, queue: str) -> None:
    client.submit_join(zmqueue.join([zmqueue.to(queue, "x")], zmqueue.to(f"{queue}-next", {"album": 7})))
    one(client, queue).ack()
    assert one(client, f"{queue}-next").payload == {"album": 7}


def test_chains_and_joins_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="payload"):
        zmqueue.chain(("a", 1), zmqueue.to("b", 2))
    with pytest.raises(ValueError, match="limit is 64"):
        zmqueue.chain(("a", 1), *["b"] * 64)
    with pytest.raises(ValueError, match="allowed"):
        zmqueue.join([], "b")
    with pytest.raises(TypeError, match="wanted"):
        zmqueue.join([("a", 1)], "b")  # type: ignore[list-item]
