"""What a submitter and a consumer can rely on, whichever client they use."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from pydantic import BaseModel

import zmqueue
from tests.client.contract.faces import Adapter, beside

LONG_S = 60.0          # a lease that no test waits for


class Thumbnail(BaseModel):
    path: str
    width: int


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def test_a_request_goes_around(client: Any, queue: str) -> None:
    ticket = client.submit(queue, {"path": "a.png"}, headers={"trace": "1"}, priority=3)
    assert len(ticket.token) == 32 and ticket.status().state == "ready"
    message, = client.lease(queue, wait=5.0)
    assert message.payload == {"path": "a.png"} and message.headers == {"trace": "1"} and message.priority == 3
    assert (message.token, message.queue, message.deliveries, message.fencing) == (ticket.token, queue, 1, 1)
    assert ticket.status() == zmqueue.Status(ticket.token, queue, "leased", 1, None)
    assert not message.lost and message.deadline > time.monotonic()
    message.ack(Thumbnail(path="a.png", width=64))
    assert ticket.result(5.0) == {"path": "a.png", "width": 64}
    assert ticket.result(5.0, type=Thumbnail) == Thumbnail(path="a.png", width=64)
    assert client.ticket(ticket.token) == ticket and client.status(ticket.token).ended


@pytest.mark.parametrize("payload", [b"\x00\xff", "text", None, [1, {"a": None}], 1.5])
def test_payloads_and_results_come_back_as_they_went(client: Any, queue: str, payload: object) -> None:
    ticket = client.submit(queue, payload)
    message, = client.lease(queue, wait=5.0)
    assert message.payload == payload
    message.ack(message.payload)
    result: object = ticket.result(5.0)
    assert result == payload and type(result) is type(payload)


def test_a_waiting_result_comes_when_it_is_settled(client: Any, queue: str) -> None:
    ticket = client.submit(queue, b"x")
    result = beside(lambda: ticket.result(20.0))
    message, = client.lease(queue, wait=5.0)
    assert not result.done()
    message.ack("done")
    assert result.result(5.0) == "done"


def test_a_rejected_request_has_failed(client: Any, queue: str) -> None:
    ticket = client.submit(queue, "x")
    client.lease(queue, wait=5.0)[0].reject("no such picture")
    with pytest.raises(zmqueue.RequestFailed, match="dead after 1 deliveries: no such picture"):
        ticket.result(5.0)
    status = ticket.status()
    assert (status.state, status.error, status.result) == ("dead", "no such picture", None)


def test_a_message_is_tried_again_extended_or_given_back(client: Any, queue: str) -> None:
    client.submit(queue, "x")
    message, = client.lease(queue, wait=5.0, lease=5.0)
    before = message.deadline
    message.extend(LONG_S)
    assert message.deadline > before + 30
    message.nack(error="try again")
    again, = client.lease(queue, wait=5.0)
    assert again.deliveries == 2 and again.error == "try again"
    again.give_back()
    last, = client.lease(queue, wait=5.0)
    assert last.deliveries == 2, "what was given back unbegun does not count"


def test_a_lease_that_was_settled_is_lost(client: Any, queue: str) -> None:
    client.submit(queue, "x")
    message, = client.lease(queue, wait=5.0)
    message.nack()
    again, = client.lease(queue, wait=5.0)
    with pytest.raises(zmqueue.LeaseLost):
        message.ack("too late")
    again.ack("in time")
    assert client.result(message.token) == "in time"


def test_many_are_submitted_at_once_and_their_tickets_come_in_order(client: Any, queue: str) -> None:
    tickets = client.submit_many(queue, list(range(500)))
    view = next(view for view in client.queues() if view.name == queue)
    assert (view.ready, view.leased) == (500, 0)
    got: dict[str, Any] = {}
    while len(got) < 500:
        for message in client.lease(queue, max=200, wait=5.0):
            got[message.token] = message.payload
            message.ack(message.payload)
    assert [got[ticket.token] for ticket in tickets] == list(range(500))
    assert client.submit_many(queue, []) == []


def test_the_highest_priority_of_a_bucket_is_served_first(client: Any, queue: str) -> None:
    client.submit_many(queue, ["low"] * 3, priority=1)
    time.sleep(0.01)                                         # the batches lie in buckets of their own
    client.submit_many(queue, ["high"] * 3, priority=9)
    payloads = [message.payload for message in client.lease(queue, max=6, wait=5.0)]
    assert sorted(payloads) == ["high"] * 3 + ["low"] * 3


def test_a_delayed_message_is_not_handed_out_before_its_time(client: Any, queue: str) -> None:
    began = time.monotonic()
    ticket = client.submit(queue, "x", delay=0.5)
    assert ticket.status().state == "delayed" and client.lease(queue) == []
    assert len(client.lease(queue, wait=10.0)) == 1
    assert time.monotonic() - began >= 0.4


def test_a_retry_with_the_same_id_is_the_same_request(client: Any, queue: str) -> None:
    token = client.new_id()
    assert client.submit(queue, "x", id=token) == client.submit(queue, "x", id=token)
    assert len(client.lease(queue, max=10, wait=5.0)) == 1 and client.lease(queue) == []


def test_attempts_end_in_the_dead_letters(client: Any, queue: str) -> None:
    ticket = client.submit(queue, "x", attempts=2)
    for _ in range(2):
        client.lease(queue, wait=5.0)[0].nack(error="no")
    with pytest.raises(zmqueue.RequestFailed) as caught:
        ticket.result(5.0)
    assert caught.value.state == "dead" and caught.value.deliveries == 2


def test_members_and_statistics_are_shown(client: Any, node: zmqueue.Node) -> None:
    view = client.members()
    assert [member.id for member in view.members] == [node.id] and view.majority and view.buckets == 8
    statistics = client.statistics()
    assert statistics.epoch == view.epoch and statistics.bad_frames == 0
    assert repr(client) == f"<Client of {node.endpoint}>"


def test_an_empty_lease_waits_as_long_as_it_was_told(client: Any, queue: str) -> None:
    began = time.monotonic()
    assert client.lease(queue) == []
    assert time.monotonic() - began < 0.5
    began = time.monotonic()
    assert client.lease(queue, wait=0.5) == []
    assert 0.5 <= time.monotonic() - began < 2.0


def test_results_that_do_not_come_and_tokens_that_nobody_knows_are_errors_in_time(client: Any, queue: str) -> None:
    ticket = client.submit(queue, "x")
    began = time.monotonic()
    with pytest.raises(zmqueue.ResultTimeout) as caught:
        ticket.result(0.3)
    assert issubclass(caught.type, TimeoutError)
    assert not caught.value.definite
    assert 0.25 <= time.monotonic() - began < 2.0
    for ask in (client.status, client.result):
        with pytest.raises(zmqueue.UnknownToken):
            ask(client.new_id())


def test_what_a_closed_client_held_goes_back_at_once(adapter: Adapter, client: Any, node: zmqueue.Node,
                                                     queue: str) -> None:
    client.submit_many(queue, range(5))
    with adapter.client(node.endpoint) as other:
        assert len(other.lease(queue, max=5, wait=5.0, lease=LONG_S)) == 5
    began = time.monotonic()
    assert len(client.lease(queue, max=5, wait=5.0)) == 5
    assert time.monotonic() - began < 2.0


def test_closing_frees_those_who_wait_and_may_be_repeated(adapter: Adapter, node: zmqueue.Node, queue: str) -> None:
    client = adapter.client(node.endpoint)
    ticket = client.submit(queue, "x", delay=LONG_S)
    waiting = [beside(lambda: ticket.result(60.0)), beside(lambda: client.lease(queue, 1, 60.0))]
    time.sleep(0.2)                                          # let them get going; nothing depends on how far
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 2.0
    for future in waiting:
        with pytest.raises(zmqueue.Closed):
            future.result(5.0)
    client.close()
    assert client.closed and "closed" in repr(client)
    for use in (lambda: client.submit(queue, "x"), lambda: client.lease(queue), ticket.status):
        with pytest.raises(zmqueue.Closed):
            use()


def test_without_any_node_every_call_ends_in_time_and_closing_does_not_hang(adapter: Adapter) -> None:
    client = adapter.client("tcp://127.0.0.1:9", timeout=0.4)
    calls: list[Callable[[], object]] = [
        lambda: client.submit("q", "x"), lambda: client.status(client.new_id()), lambda: client.lease("q"),
        client.queues, client.members, lambda: client.result(client.new_id(), 0.4)]
    began = time.monotonic()
    for future in [beside(call) for call in calls]:
        with pytest.raises(zmqueue.ClusterUnreachable):
            future.result(10.0)
    with pytest.raises(zmqueue.SubmitManyFailed) as failed:
        client.submit_many("q", ["x", "y"])
    assert failed.value.definite and set(failed.value.errors) == {0, 1}
    client.close()
    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize(("arguments", "error", "text"), [
    ({"queue": ""}, ValueError, "a queue's name has 1 to 128 characters, this has 0"),
    ({"queue": b"q"}, TypeError, "a queue's name is a text, got bytes"),
    ({"queue": "two words"}, ValueError, "begins with a letter or digit and is made of .* this is not: 'two words'"),
    ({"payload": object()}, TypeError, "this object is not"),
    ({"payload": "\ud800"}, ValueError, "not valid Unicode"),
    ({"priority": 256}, ValueError, "priority is 256; allowed is 0 to 255"),
    ({"priority": "1"}, TypeError, "priority is a whole number, got str"),
    ({"delay": -1}, ValueError, "delay is -1 seconds; allowed is 0 to"),
    ({"delay": float("inf")}, ValueError, "delay is inf seconds"),
    ({"headers": {"a": 1}}, TypeError, "headers are texts by name, got 'a': 1"),
    ({"headers": ["a"]}, TypeError, "headers are a mapping of texts, got list"),
    ({"headers": {"a": "x" * 20_000}}, ValueError, "1 headers of 20,001 bytes; the limits are 64 headers and 16,384"),
    ({"attempts": 0}, ValueError, "attempts is 0; allowed is 1 to 65535"),
    ({"id": "mine"}, zmqueue.BadToken, "a token has 32 characters, this has 4"),
    ({"timeout": -1}, ValueError, "timeout is -1 seconds"),
    ({"prio": 1}, TypeError, r"submit\(\) has no option 'prio'; allowed are attempts, backoff, deadline, delay"),
    ({"payload": bytes(1_048_577)}, zmqueue.BodyTooLarge, "body is 1,048,577 bytes; the limit is 1,048,576"),
])
def test_what_is_wrong_with_an_argument_is_said_at_once(client: Any, arguments: dict[str, object],
                                                        error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        client.submit(**{"queue": "q", "payload": "x"} | arguments)


def test_lease_and_settle_arguments_are_checked(client: Any, queue: str) -> None:
    for arguments, text in (({"max": 0}, "max is 0"), ({"lease": 0}, "lease is 0 seconds"), ({"wait": -1}, "wait")):
        with pytest.raises(ValueError, match=text):
            client.lease(queue, **arguments)
    client.submit(queue, "x")
    message, = client.lease(queue, wait=5.0)
    with pytest.raises(TypeError, match="error is a text, got int"):
        message.nack(error=1)
    with pytest.raises(zmqueue.BodyTooLarge, match="result is 1,048,577 bytes"):
        message.ack(bytes(1_048_577))
    with pytest.raises(zmqueue.BadToken):
        client.ticket("mine")
