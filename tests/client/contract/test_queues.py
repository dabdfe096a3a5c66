"""Queues: declared, looked at, paused, resumed, undeclared."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import ValidationError

import zmqueue
from tests.client.contract.faces import Adapter, beside


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    """A client of this kind, of the common node."""
    with adapter.client(node.endpoint) as client:
        yield client


def view_of(client: Any, queue: str) -> zmqueue.QueueView:
    view: zmqueue.QueueView = next(view for view in client.queues() if view.name == queue)
    return view


def test_a_declared_queue_shows_its_policy(client: Any, queue: str) -> None:
    backoff = zmqueue.Backoff.exponential(1.0, most=60.0, jitter=0.2)
    client.declare(queue, attempts=5, backoff=backoff, expires=30.0)
    view = view_of(client, queue)
    assert view.policy == zmqueue.QueuePolicy(attempts=5, backoff=backoff, expires=30.0)
    assert (view.ready, view.paused) == (0, False), "it is listed, although nothing ever stood in it"


def test_a_declaration_replaces_the_one_before_and_an_undeclared_queue_has_none(client: Any, queue: str) -> None:
    client.submit(queue, "x")
    client.declare(queue, zmqueue.QueuePolicy(attempts=5))
    client.declare(queue, halt=True)
    assert view_of(client, queue).policy == zmqueue.QueuePolicy(halt=True)
    client.undeclare(queue)
    view = view_of(client, queue)
    assert view.policy is None and view.ready == 1, "its messages stay"


def test_a_paused_queue_hands_out_nothing_and_takes_submits(client: Any, queue: str) -> None:
    client.submit_many(queue, ["a", "b"])
    message, = client.lease(queue, wait=5.0)
    client.pause(queue)
    client.submit(queue, "c")
    assert client.lease(queue, max=5, wait=0.3) == []
    message.ack("done")
    assert client.result(message.token) == "done", "what was leased is settled as ever"
    assert view_of(client, queue).paused and view_of(client, queue).ready == 2


def test_resumed_a_queue_wakes_whoever_waits(client: Any, queue: str) -> None:
    client.submit(queue, "x")
    client.pause(queue)
    waiting = beside(lambda: client.lease(queue, wait=30.0))
    client.resume(queue)
    assert [message.payload for message in waiting.result(10.0)] == ["x"]


def test_a_declaration_does_not_resume_what_an_operator_paused(client: Any, queue: str) -> None:
    """Programs declare their queues at each start."""
    client.declare(queue, attempts=5)
    client.pause(queue)
    client.declare(queue, attempts=6)
    view = view_of(client, queue)
    assert view.paused and view.policy == zmqueue.QueuePolicy(attempts=6)
    client.resume(queue)
    assert view_of(client, queue).policy == zmqueue.QueuePolicy(attempts=6)


def test_what_cannot_be_declared_is_refused_before_anybody_is_asked(client: Any, queue: str) -> None:
    with pytest.raises(ValidationError):
        client.declare(queue, attempts=0)
    with pytest.raises(TypeError, match="no option 'atempts'"):
        client.declare(queue, atempts=3)
    with pytest.raises(TypeError, match="not both"):
        client.declare(queue, zmqueue.QueuePolicy(), attempts=3)
    with pytest.raises(ValueError, match="begins with a letter"):
        client.pause("no spaces")


def test_a_full_queue_refuses_with_a_hint_when_to_try_again(client: Any, queue: str) -> None:
    client.declare(queue, messages_max=2)
    client.submit_many(queue, ["a", "b"])
    with pytest.raises(zmqueue.QueueFull, match="messages_max") as caught:
        client.submit(queue, "c")
    assert caught.value.definite and caught.value.retry_after is not None and caught.value.retry_after > 0
    with pytest.raises(zmqueue.SubmitManyFailed) as several:
        client.submit_many(queue, ["c", "d"])
    assert {type(error) for error in several.value.errors.values()} == {zmqueue.QueueFull}


def test_where_the_queue_says_so_a_submit_waits_until_there_is_room(client: Any, queue: str) -> None:
    client.declare(queue, messages_max=1, overflow="block")
    client.submit(queue, "first")
    with pytest.raises(zmqueue.QueueFull):
        client.submit(queue, "late", timeout=0.2)
    waiting = beside(lambda: client.submit(queue, "second", timeout=30.0))
    message, = client.lease(queue, wait=5.0)
    message.ack()
    assert waiting.result(15.0).status().state == "ready"
