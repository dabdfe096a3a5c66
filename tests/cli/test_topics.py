"""Topics from a shell."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import zmqueue
from zmqueue import Client, Node


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    with Node(tmp_path / "data", listen="tcp://127.0.0.1:0", found=True) as node:
        yield node


def test_what_is_published_is_copied_into_bound_queues(node: Node) -> None:
    seeds = [node.endpoint]
    assert zmqueue("bind", "mail", "orders.*", "bills.#", seeds=seeds).text.split() == ["orders.*", "bills.#"]
    ran = zmqueue("publish", "orders.paid", "7", "--header", "trace=1", "--json", seeds=seeds)
    assert ran.status == 0 and ran.document["topic"] == "orders.paid" and len(ran.document["copies"]) == 1
    with Client(node.endpoint) as client:
        message, = client.lease("mail", wait=5.0)
        assert (message.token, message.payload, message.headers) == (ran.document["copies"][0], "7", {"trace": "1"})
    assert zmqueue("unbind", "mail", "orders.*", "--json", seeds=seeds).document["patterns"] == ["bills.#"]
    assert zmqueue("publish", "orders.paid", "8", seeds=seeds).text == ""
    assert zmqueue("bind", "mail", "--json", seeds=seeds).document == {"queue": "mail", "patterns": ["bills.#"]}
