"""Dead letters and searches from a shell."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import pytest

from tests.cli.running import zmqueue
from zmqueue import Client, Node


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """One node."""
    with Node(tmp_path_factory.mktemp("node") / "data", listen="tcp://127.0.0.1:0", found=True) as node:
        yield node


@pytest.fixture(scope="module")
def client(node: Node) -> Iterator[Client]:
    """A client called "the mender"."""
    with Client(node.endpoint, name="the mender") as client:
        yield client


def kill(client: Client, queue: str, *payloads: object) -> list[str]:
    """Dead letters. -> their tokens."""
    tokens = [client.submit(queue, payload, headers={"user": "7"}).token for payload in payloads]
    for _ in payloads:
        message, = client.lease(queue, wait=5.0)
        message.reject("OSError: no such file\nand more")
    return tokens


def test_peek_shows_letters_with_payload_and_history(node: Node, client: Client) -> None:
    first, second = kill(client, "peeked", "a.png", b"\xff")
    shown = zmqueue("peek", "peeked", seeds=[node.endpoint])
    assert shown.status == 0 and first in shown.text and "OSError: no such file" in shown.text
    letters = {letter["token"]: letter for letter in
               zmqueue("peek", "peeked", "--json", seeds=[node.endpoint]).document["letters"]}
    assert letters[first]["payload"] == "a.png" and letters[second]["payload_base64"] == "/w=="
    assert letters[first]["history"][0]["outcome"] == "rejected" and letters[first]["headers"] == {"user": "7"}
    assert datetime.fromisoformat(letters[first]["ended"]) >= datetime.fromisoformat(letters[first]["drawn"])


def test_one_letter_is_requeued_and_then_all(node: Node, client: Client) -> None:
    first, *others = kill(client, "again", "a", "b", "c")
    one = zmqueue("requeue", "again", first, "--json", seeds=[node.endpoint])
    assert (one.status, one.document) == (0, {"done": 1, "not_done": 0, "why": {}})
    assert client.status(first).state == "ready"
    failed = zmqueue("requeue", "again", first, seeds=[node.endpoint])
    assert failed.status == 1 and "0 requeued, 1 not" in failed.text and f"{first}: the request is ready" in failed.err
    assert zmqueue("requeue", "again", "--yes", "--since", "1h", seeds=[node.endpoint]).text == "2 requeued"
    assert {client.status(token).state for token in others} == {"ready"}


def test_all_is_requeued_or_purged_only_by_a_word(node: Node, client: Client) -> None:
    letter, = kill(client, "careful", "a")
    for command in (["requeue", "careful"], ["purge", "careful"], ["purge", "careful", "--waiting", "--json"]):
        ran = zmqueue(*command, seeds=[node.endpoint])
        assert ran.status == 2 and "--yes" in ran.err
    assert client.peek("careful")[0].token == letter


def test_purge_throws_away_the_dead_or_cancels_what_waits_or_both(node: Node, client: Client) -> None:
    dead, = kill(client, "full", "a")
    waiting = client.submit("full", "b").token
    assert zmqueue("purge", "full", "--waiting", "--yes", seeds=[node.endpoint]).text == "1 purged or cancelled"
    assert (client.status(waiting).state, len(client.peek("full"))) == ("cancelled", 1)
    client.submit("full", "c", delay=3_600.0)
    both = zmqueue("purge", "full", "--dead", "--waiting", "--yes", "--json", seeds=[node.endpoint])
    assert both.document["done"] == 2 and client.peek("full") == []
    assert client.status(dead).state == "dead"


def test_find_and_workers_show_what_is_where_and_who_has_it(node: Node, client: Client) -> None:
    token = client.submit("sought", "x", headers={"user": "9"}).token
    message, = client.lease("sought", wait=5.0)
    found, = zmqueue("find", "--header", "user=9", "--since", "1h", "--json", seeds=[node.endpoint]).document["found"]
    assert (found["token"], found["state"], found["worker"]) == (token, "leased", "the mender")
    assert found["held_s"] >= 0 and found["until_s"] > 10 and found["due"] is None
    assert token in zmqueue("find", "sought", "--state", "leased", seeds=[node.endpoint]).text
    assert zmqueue("find", "sought", "--before", "1h", "--json", seeds=[node.endpoint]).document["found"] == []
    workers = zmqueue("workers", "--json", seeds=[node.endpoint]).document["workers"]
    worker, = [worker for worker in workers if "sought" in worker["queues"]]
    assert worker["name"] == "the mender" and worker["leases"][0]["token"] == token
    assert "the mender" in zmqueue("workers", seeds=[node.endpoint]).text
    message.ack()


@pytest.mark.parametrize(("arguments", "word"), [
    (["find", "--since", "yesterday"], "no point in time"), (["find", "--header", "user"], "NAME=VALUE"),
    (["find", "--state", "lost"], "lost"), (["peek"], "QUEUE"), (["requeue", "q", "token"], "32 characters"),
    (["requeue", "q", "x" * 32, "--limit", "3"], "not both"), (["purge", "q", "x" * 32, "--waiting"], "tokens")])
def test_what_cannot_be_asked_for_is_wrong_usage(node: Node, arguments: list[str], word: str) -> None:
    ran = zmqueue(*arguments, seeds=[node.endpoint])
    assert (ran.status, ran.out) == (2, b"") and word in ran.err
