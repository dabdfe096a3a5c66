"""What a submitter may say of his messages, whichever client he uses."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter
from zmqueue import With


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def test_a_unique_key_keeps_others_out_until_its_message_has_ended(client: Any, queue: str) -> None:
    first = client.submit(queue, 1, unique="picture-7")
    again = client.submit(queue, 2, unique="picture-7")
    assert (first.duplicate, again.duplicate, again.token) == (False, True, first.token)
    message, = client.lease(queue, max=5, wait=5.0)
    assert client.submit(queue, 3, unique="picture-7").duplicate
    message.ack()
    fresh = client.submit(queue, 4, unique="picture-7")
    assert not fresh.duplicate and fresh.token != first.token


def test_a_unique_key_may_hold_while_waiting_or_for_a_window(client: Any, queue: str) -> None:
    waiting = client.submit(queue, 1, unique="a", unique_scope="waiting")
    assert client.submit(queue, 2, unique="a", unique_scope="waiting") == waiting
    window = client.submit(queue, 1, unique="b", unique_window=60.0)
    messages = client.lease(queue, max=2, wait=5.0)
    assert {message.token for message in messages} == {waiting.token, window.token}
    assert not client.submit(queue, 3, unique="a", unique_scope="waiting").duplicate
    for message in messages:
        message.ack()
    assert client.submit(queue, 2, unique="b", unique_window=60.0) == window


def test_a_group_runs_one_at_a_time_in_order_and_blocks_nobody(client: Any, queue: str) -> None:
    tickets = client.submit_many(queue, [With(payload, group=payload[0]) for payload in ("a1", "a2", "b1", "b2")])
    assert not any(ticket.duplicate for ticket in tickets)
    one, two = client.lease(queue, max=4, wait=5.0)
    assert {one.payload, two.payload} == {"a1", "b1"}
    a1 = one if one.payload == "a1" else two
    a1.nack(delay=0.0)
    a1, = client.lease(queue, max=4, wait=5.0)
    assert a1.payload == "a1" and a1.deliveries == 2         # the next one waits for it, across retries
    a1.ack()
    assert [message.payload for message in client.lease(queue, max=4, wait=5.0)] == ["a2"]


def test_what_was_not_begun_in_time_expires(client: Any, queue: str) -> None:
    tickets = [client.submit(queue, 1, expires=0.05), client.submit(queue, 2, expires=datetime.now(UTC))]
    for ticket in tickets:
        with pytest.raises(zmqueue.RequestFailed) as caught:
            ticket.result(5.0)
        assert caught.value.state == "expired"
    assert client.lease(queue) == []


def test_a_message_rests_until_its_moment(client: Any, queue: str) -> None:
    eta = datetime.now(UTC) + timedelta(seconds=0.3)
    ticket = client.submit(queue, "x", eta=eta)
    assert ticket.status().state == "delayed"
    message, = client.lease(queue, wait=5.0)
    assert time.time() >= eta.timestamp() and message.token == ticket.token


def test_attempts_and_losses_are_counted_apart(client: Any, queue: str) -> None:
    ticket = client.submit(queue, "x", attempts=2, losses=1)
    for _ in range(2):
        message, = client.lease(queue, wait=5.0)
        message.nack(delay=0.0, error="no")
    with pytest.raises(zmqueue.RequestFailed, match="2 failed, 0 lost; the last: no"):
        ticket.result(5.0)


def test_each_message_of_a_batch_may_have_options_of_its_own(client: Any, queue: str) -> None:
    tickets = client.submit_many(queue, ["low", With("high", priority=9), With("same", unique="k"),
                                         With("same", unique="k")], priority=1)
    assert [ticket.duplicate for ticket in tickets] == [False, False, False, True]
    assert tickets[2] == tickets[3]
    assert {message.payload: message.priority for message in client.lease(queue, max=9, wait=5.0)} == {
        "low": 1, "high": 9, "same": 1}


def test_an_id_may_be_drawn_for_a_group(client: Any, queue: str) -> None:
    token = client.new_id(queue, group="g")
    assert client.submit(queue, "x", id=token, group="g").token == token
    assert client.submit(queue, "x", id=token, group="g").token == token
    assert len(client.lease(queue, max=5, wait=5.0)) == 1
    with pytest.raises(ValueError, match="draw it with new_id"):
        client.submit(queue, "x", id=client.new_id(queue, group="h"), group="g")


def test_a_result_is_kept_as_long_as_its_submitter_says(client: Any, queue: str) -> None:
    ticket = client.submit(queue, "x", result_ttl=0.05)
    message, = client.lease(queue, wait=5.0)
    message.ack("result")
    time.sleep(0.1)                                          # its time is over: by definition nothing happens then
    with pytest.raises(zmqueue.ResultGone) as caught:
        ticket.result(5.0)
    assert caught.value.definite


def test_with_says_what_it_cannot_say() -> None:
    with pytest.raises(TypeError, match="no timeout"):
        With("x", timeout=1.0)
    with pytest.raises(TypeError, match="no option 'prio'"):
        With("x", prio=1)  # type: ignore[call-arg]
