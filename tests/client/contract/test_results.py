"""Results of many requests in one call, whichever client asks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

import zmqueue
from tests.client.contract.faces import Adapter, beside


class Sum(BaseModel):
    sum: int


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def tokens_of(tickets: list[Any]) -> list[str]:
    return [ticket.token for ticket in tickets]


def test_each_result_is_given_once_as_it_comes(client: Any, queue: str) -> None:
    tokens = tokens_of(client.submit_many(queue, range(6)))
    messages = {message.token: message for message in client.lease(queue, max=6, wait=5.0)}
    results = client.results([*tokens, *tokens], 20.0)
    for token in [tokens[4], tokens[0], tokens[2]]:
        messages.pop(token).ack(token)
        assert next(results) == zmqueue.Result(token, token), "in the order in which they end"
    rest = beside(lambda: list(results))
    for token, message in messages.items():
        message.ack(token)
    assert sorted(result.get() for result in rest.result(10.0)) == sorted(messages)


def test_what_went_wrong_is_told_of_each_and_raised_for_none(client: Any, queue: str) -> None:
    done, dead, open_ = client.submit_many(queue, ["done", "dead", "open"])
    for message in client.lease(queue, max=3, wait=5.0):
        if message.payload == "done":
            message.ack({"sum": 3})
        elif message.payload == "dead":
            message.reject("no such picture")
    unknown = client.new_id()
    began = time.monotonic()
    found = {result.token: result for result in client.results([done.token, dead.token, open_.token, unknown], 0.5)}
    assert 0.4 < time.monotonic() - began < 3.0
    assert found[done.token].get() == {"sum": 3}
    errors = {token: type(result.error) for token, result in found.items() if result.error is not None}
    assert errors == {dead.token: zmqueue.RequestFailed, open_.token: zmqueue.ResultTimeout,
                      unknown: zmqueue.UnknownToken}
    with pytest.raises(zmqueue.RequestFailed, match="no such picture"):
        found[dead.token].get()


def test_results_are_validated_each_for_itself(client: Any, queue: str) -> None:
    tickets = client.submit_many(queue, [{"sum": 1}, {"total": 1}])
    for message in client.lease(queue, max=2, wait=5.0):
        message.ack(message.payload)
    found = {result.token: result for result in client.results(tokens_of(tickets), type=Sum)}
    assert found[tickets[0].token].value == Sum(sum=1)
    assert isinstance(found[tickets[1].token].error, ValueError)


def test_none_of_none_and_more_than_are_asked_after_at_a_time_all_come(adapter: Adapter, client: Any,
                                                                       queue: str) -> None:
    assert list(client.results([])) == []
    tickets = client.submit_many(queue, range(2500))
    with adapter.worker(client, {queue: adapter.handler(lambda message: message.payload)}, concurrency=100):
        found = {result.token: result.get() for result in client.results(tokens_of(tickets), 60.0)}
    assert [found[ticket.token] for ticket in tickets] == list(range(2500))


def test_an_iteration_that_is_given_up_asks_no_more(client: Any, queue: str) -> None:
    tokens = tokens_of(client.submit_many(queue, range(3)))
    for message in client.lease(queue, max=2, wait=5.0):
        message.ack()
    results = client.results(tokens, 60.0)
    assert next(results).error is None
    results.close()
    with pytest.raises(StopIteration):
        next(results)


def test_closing_the_client_ends_it(adapter: Adapter, node: zmqueue.Node, queue: str) -> None:
    client = adapter.client(node.endpoint)
    tokens = tokens_of(client.submit_many(queue, range(3)))
    waiting = beside(lambda: list(client.results(tokens, 60.0)))
    time.sleep(0.2)                                          # let it get going; nothing depends on how far
    client.close()
    with pytest.raises(zmqueue.Closed):
        waiting.result(5.0)


def test_without_any_node_each_is_told_in_time(adapter: Adapter) -> None:
    with adapter.client("tcp://127.0.0.1:9") as client:
        tokens = [client.new_id() for _ in range(3)]
        found = list(client.results(tokens, 0.3))
    assert {type(result.error) for result in found} == {zmqueue.ClusterUnreachable} and len(found) == 3


def test_a_bad_token_is_said_at_once(client: Any) -> None:
    with pytest.raises(zmqueue.BadToken):
        client.results(["mine"])
