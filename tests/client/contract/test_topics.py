"""Topics: what is published is copied into every bound queue, whichever client does it."""

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


def test_each_bound_queue_gets_a_copy_and_others_none(client: Any, queue: str) -> None:
    client.bind(f"{queue}-mail", f"{queue}.orders.*")
    client.bind(f"{queue}-audit", f"{queue}.#")
    tickets = client.publish(f"{queue}.orders.paid", {"order": 7}, headers={"trace": "1"}, priority=2)
    audit, mail = one(client, f"{queue}-audit"), one(client, f"{queue}-mail")
    assert [ticket.token for ticket in tickets] == [audit.token, mail.token]
    assert mail.payload == {"order": 7} and mail.headers == {"trace": "1"} and mail.priority == 2
    mail.ack("sent")
    assert tickets[1].result(5.0) == "sent" and tickets[0].status().state == "leased"
    assert client.publish(f"{queue}.bills", "x") != [] and client.publish("elsewhere", "x") == []


def test_published_again_under_its_id_it_is_copied_once(client: Any, queue: str) -> None:
    client.bind(queue, f"{queue}.#")
    token = client.new_id()
    first = client.publish(f"{queue}.a", "x", id=token)
    client.bind(f"{queue}-late", f"{queue}.#")
    assert client.publish(f"{queue}.a", "x", id=token) == first
    assert one(client, queue).payload == "x" and client.lease(f"{queue}-late", wait=0.1) == []


def test_what_is_unbound_gets_nothing_and_keeps_what_it_has(client: Any, queue: str) -> None:
    client.declare(queue, attempts=3)
    client.bind(queue, f"{queue}.a", f"{queue}.b")
    client.publish(f"{queue}.a", 1)
    client.unbind(queue, f"{queue}.a")
    assert client.bindings()[queue] == (f"{queue}.b",)
    client.declare(queue, attempts=4)                  # another policy: bindings stay
    assert client.publish(f"{queue}.a", 2) == [] and len(client.publish(f"{queue}.b", 3)) == 1
    assert sorted(one(client, queue).payload for _ in range(2)) == [1, 3]
    client.unbind(queue, f"{queue}.b")
    assert queue not in client.bindings()


def test_what_cannot_be_bound_or_published_is_refused(client: Any, queue: str) -> None:
    with pytest.raises(ValueError, match="needs a pattern"):
        client.bind(queue)
    with pytest.raises(ValueError, match="a pattern is made of"):
        client.bind(queue, "a..b")
    with pytest.raises(ValueError, match="a topic is made of"):
        client.publish("a.*", "x")
    with pytest.raises(ValueError, match="no group"):
        client.publish("a", "x", group="g")
