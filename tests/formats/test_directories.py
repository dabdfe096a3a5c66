"""A data directory that a released version left behind, killed, is opened and served by this one."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqueue
from tests.cluster.rig import eventually
from tests.formats.directories import lines_of, load
from tests.formats.files import GENERATIONS, GOLDEN
from zmqueue.core.tables import Table
from zmqueue.store.records import unseal

KEPT = [generation for generation in GENERATIONS if (GOLDEN / generation / "directory.txt.gz").exists()]
Served = tuple[zmqueue.Client, dict[str, Any]]


@pytest.mark.parametrize("generation", KEPT)
def test_every_row_has_the_checksum_that_it_was_given(generation: str) -> None:
    known = {table.value: table for table in Table}
    for line in lines_of(GOLDEN / generation):
        name, key, value = line.split(" ")
        if name in known:
            unseal(known[name], bytes.fromhex(key), bytes.fromhex(value))


@pytest.fixture(params=KEPT)
def served(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Served]:
    """A client of a node of this version that was started on the directory, and what had been promised."""
    folder = GOLDEN / request.param
    data = tmp_path / "node"
    data.mkdir()
    load(lines_of(folder), data / "store")
    with (zmqueue.Node(data=data, listen="tcp://127.0.0.1:0") as node,
          zmqueue.Client(node.endpoint, timeout=20.0) as client):
        yield client, json.loads((folder / "directory.json").read_text())


def test_what_had_a_result_has_it(served: Served) -> None:
    client, promised = served
    assert {token: client.result(token, timeout=10.0) for token in promised["done"]} == {
        token: {"of": text} for token, text in promised["done"].items()}


def test_dead_letters_and_delayed_messages_are_what_they_were(served: Served) -> None:
    client, promised = served
    for token, error in promised["dead"].items():
        status = client.status(token)
        assert (status.state, status.error) == ("dead", error)
    assert client.status(promised["delayed"]).state == ("delayed" if time.time() < promised["due"] else "ready")


def test_what_waited_is_handed_out_in_its_order(served: Served) -> None:
    """By priority, then by its order in its bucket; and with what it came with."""
    client, promised = served
    handed: list[zmqueue.Message] = []
    while len(handed) < len(promised["ready"]):
        handed += client.lease("ready", max=10, wait=10.0)
    assert sorted(message.token for message in handed) == sorted(promised["ready"])
    for message in handed:
        index = promised["ready"].index(message.token)
        assert message.payload == f"ready {index}" and message.headers == {"n": str(index)}
        message.ack(index)
    assert [client.result(token, timeout=10.0) for token in promised["ready"]] == list(range(len(handed)))


def test_what_was_to_be_tried_again_is_its_second_delivery(served: Served) -> None:
    client, promised = served
    (message,) = client.lease("again", max=1, wait=10.0)
    assert (message.token, message.payload, message.deliveries) == (next(iter(promised["again"])), {"try": "again"}, 2)
    message.ack()


def test_what_was_leased_comes_back_when_its_session_does_not(served: Served) -> None:
    """The worker was killed with the node; its lease had an hour to go."""
    client, promised = served
    assert client.status(promised["leased"]).state == "leased"
    found: list[zmqueue.Message] = []

    def came_back() -> bool:
        found.extend(client.lease("leased", max=1, wait=1.0))
        return bool(found)

    eventually(came_back, 20.0, lambda: f"it is {client.status(promised['leased'])}")
    assert (found[0].token, found[0].payload, found[0].deliveries) == (promised["leased"], b"in hand", 2)
    found[0].ack()


def test_the_counts_are_what_the_rows_say(served: Served) -> None:
    client, _ = served
    found = {queue.name: (queue.ready, queue.delayed, queue.leased, queue.dead) for queue in client.queues()}
    leased = found.pop("leased")
    assert leased in ((0, 0, 1, 0), (1, 0, 0, 0)), "in hand, or given back already"
    assert found == {"again": (1, 0, 0, 0), "dead": (0, 0, 0, 1), "delayed": (0, 1, 0, 0), "done": (0, 0, 0, 0),
                     "ready": (6, 0, 0, 0)}


@pytest.mark.parametrize("generation", KEPT)
def test_a_second_start_finds_the_rows_of_both_versions(generation: str, tmp_path: Path) -> None:
    folder, data = GOLDEN / generation, tmp_path / "node"
    promised = json.loads((folder / "directory.json").read_text())
    data.mkdir()
    load(lines_of(folder), data / "store")
    with zmqueue.Node(data=data, listen="tcp://127.0.0.1:0") as node, zmqueue.Client(node.endpoint) as client:
        token = client.submit("new", b"of this version").token
        (message,) = client.lease("new", max=1, wait=10.0)
        message.ack("done by this version")
        assert client.result(token, timeout=10.0) == "done by this version"
    with zmqueue.Node(data=data, listen="tcp://127.0.0.1:0") as node, zmqueue.Client(node.endpoint) as client:
        assert client.result(token, timeout=10.0) == "done by this version"
        assert [client.result(old, timeout=10.0) for old in promised["done"]]
        assert client.status(promised["ready"][0]).state == "ready"
