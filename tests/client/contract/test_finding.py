"""Finding requests over all buckets; dead letters looked at, requeued, purged, and leased as a queue of their own."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    """A client of this kind, of the common node."""
    with adapter.client(node.endpoint, name="the tests") as client:
        yield client


def kill(client: Any, queue: str, count: int, payload: str = "bad") -> list[str]:
    """Dead letters. -> their tokens."""
    tokens = [ticket.token for ticket in client.submit_many(queue, [f"{payload} {n}" for n in range(count)])]
    left = count
    while left:
        for message in client.lease(queue, max=left, wait=5.0):
            message.reject("no such file")
            left -= 1
    return tokens


def tokens_of(found: Any) -> set[str]:
    return {each.token for each in found}


def test_requests_are_found_by_queue_and_state(client: Any, queue: str) -> None:
    dead = kill(client, queue, 3)
    waiting = [client.submit(queue, b"x").token for _ in range(3)]
    delayed = client.submit(queue, b"x", delay=3_600.0).token
    assert tokens_of(client.find(queue)) == {*dead, *waiting, delayed}
    assert tokens_of(client.find(queue, ["dead"])) == set(dead)
    assert tokens_of(client.find(queue, ["ready", "delayed"])) == {*waiting, delayed}
    assert len(list(client.find(queue, limit=4))) == 4
    message, = client.lease(queue, wait=5.0)
    found, = client.find(queue, ["leased"])
    assert (found.token, found.state, found.worker, found.deliveries) == (message.token, "leased", "the tests", 1)
    assert 0 <= found.held < 10 and 20 < found.until <= 30


def test_requests_are_found_by_header_and_time_with_what_was_submitted(client: Any, queue: str) -> None:
    client.submit(queue, {"a": 1}, headers={"user": "7"}, priority=3)
    middle = datetime.now(UTC)
    time.sleep(0.01)
    client.submit(queue, None, headers={"user": "8"})
    found, = client.find(queue, headers={"user": "7"}, payloads=True)
    assert (found.payload, found.priority, found.headers, found.size) == ({"a": 1}, 3, {"user": "7"}, 7)
    assert abs(found.drawn - middle) < timedelta(seconds=10)
    assert [each.headers["user"] for each in client.find(queue, since=middle)] == ["8"]
    assert [each.headers["user"] for each in client.find(queue, before=middle.timestamp())] == ["7"]


def test_a_search_that_cannot_be_is_refused_at_once(client: Any, queue: str) -> None:
    for wrong in ({"states": ["lost"]}, {"limit": 0}, {"since": -1.0}, {"queue": "no queue"}):
        with pytest.raises(ValueError):
            list(client.find(**{"queue": queue, **wrong}))
    with pytest.raises(TypeError):
        list(client.find(queue, "dead"))
    with pytest.raises(TypeError, match="not both"):
        client.requeue(queue, [client.new_id()], limit=3)
    with pytest.raises(TypeError, match="no option 'headrs'"):
        client.requeue(queue, headrs={})


def test_peek_shows_the_first_dead_letters_with_what_became_of_them_and_leaves_them(client: Any, queue: str) -> None:
    client.submit(queue, "first", attempts=2)
    for _ in range(2):
        message, = client.lease(queue, wait=5.0)
        message.nack(error="ValueError: not this")
    time.sleep(0.01)
    kill(client, queue, 5)
    letters = client.peek(queue, 3)
    assert letters[0].payload == "first" and len(letters) == 3
    letter = letters[0]
    assert (letter.failures, letter.losses, letter.requeued, letter.state) == (2, 0, 0, "dead")
    assert [(each.outcome, each.error) for each in letter.history] == [("failed", "ValueError: not this")] * 2
    assert letter.history[0].ended <= letter.history[1].ended <= datetime.now(UTC)
    assert "given up after 2 deliveries" in letter.error
    assert len(client.peek(queue)) == 6


def test_all_dead_letters_of_a_queue_are_requeued(client: Any, queue: str) -> None:
    tokens = kill(client, queue, 20)
    told: list[int] = []
    swept = client.requeue(queue, progress=lambda so_far: told.append(so_far.done))
    assert (swept.done, swept.not_done, swept.why) == (20, 0, {})
    assert told and told[-1] == 20
    assert tokens_of(client.find(queue, ["ready"])) == set(tokens)
    assert {found.requeued for found in client.find(queue)} == {1}
    assert client.requeue(queue).done == 0


def test_named_letters_are_requeued_and_of_others_it_is_told_why_not(client: Any, queue: str) -> None:
    first, second = kill(client, queue, 2)
    ready, unknown = client.submit(queue, "x").token, client.new_id()
    swept = client.requeue(queue, [first, ready, unknown])
    assert (swept.done, swept.not_done) == (1, 2)
    assert "is ready, not dead" in str(swept.why[ready]) and isinstance(swept.why[unknown], zmqueue.UnknownToken)
    assert client.status(first).state == "ready" and client.status(second).state == "dead"
    assert "not in 'elsewhere'" in str(client.requeue("elsewhere", [second]).why[second])


def test_some_dead_letters_are_requeued_those_that_fit(client: Any, queue: str) -> None:
    kill(client, queue, 6)
    assert client.requeue(queue, limit=2).done == 2
    assert client.requeue(queue, headers={"user": "7"}).done == 0
    assert client.requeue(queue, before=time.time() - 3_600).done == 0
    assert client.requeue(queue, since=time.time() - 3_600).done == 4


def test_purged_letters_are_gone_but_their_tokens_still_tell(client: Any, queue: str) -> None:
    tokens = kill(client, queue, 3)
    assert client.purge(queue, tokens[:1]).done == 1
    assert client.purge(queue).done == 2
    assert list(client.find(queue)) == [] and client.peek(queue) == []
    assert {client.status(token).state for token in tokens} == {"dead"}
    assert isinstance(client.purge(queue, tokens[:1]).why[tokens[0]], zmqueue.UnknownToken)


def test_what_waits_is_cancelled(client: Any, queue: str) -> None:
    waiting, delayed = client.submit(queue, "x").token, client.submit(queue, "x", delay=3_600.0).token
    dead, = kill(client, f"{queue}-dead", 1)
    assert client.cancel_found(queue).done == 2
    assert client.cancel_found(f"{queue}-dead").done == 0
    assert [client.status(token).state for token in (waiting, delayed, dead)] == ["cancelled", "cancelled", "dead"]


def test_dead_letters_are_a_queue_of_their_own(client: Any, queue: str) -> None:
    tokens = kill(client, queue, 2)
    first, second = client.lease(queue, max=2, wait=5.0, dead=True)
    assert {first.token, second.token} == set(tokens)
    assert first.queue == f"{queue}!dead" and first.payload.startswith("bad")
    assert client.status(first.token).state == "dead"
    held, = [worker for worker in client.workers() if f"{queue}!dead" in worker.queues]
    assert held.queues[f"{queue}!dead"] == 2 and held.name == "the tests"
    first.ack("mended")
    second.nack(error="not today")
    assert tokens_of(client.peek(queue)) == {second.token}
    assert client.lease(f"{queue}!dead") == [], "it rests"


def test_a_worker_may_serve_dead_letters(adapter: Adapter, client: Any, queue: str) -> None:
    kill(client, queue, 3)
    mended: list[str] = []
    with adapter.worker(client, {f"{queue}!dead": adapter.handler(lambda message: mended.append(message.payload))}):
        deadline = time.monotonic() + 10.0
        while client.peek(queue) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert sorted(mended) == ["bad 0", "bad 1", "bad 2"] and client.peek(queue) == []


def test_workers_are_seen_by_name_with_what_they_hold_the_longest_held_first(client: Any, queue: str) -> None:
    client.submit_many(queue, ["a", "b", "c"])
    first, = client.lease(queue, wait=5.0)
    client.lease(queue, max=2, wait=5.0)
    worker, = [worker for worker in client.workers() if queue in worker.queues]
    assert worker.name == "the tests" and worker.queues[queue] == 3
    leases = [lease for lease in worker.leases if lease.queue == queue]
    assert leases[0].token == first.token and leases[0].held >= leases[-1].held >= 0 and leases[0].until > 20
