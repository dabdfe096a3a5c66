"""What a handler in a thread and in a process learns of a cancelled request."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqueue


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqueue.Node]:
    folder = tmp_path_factory.mktemp("processes") / "node"
    with zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True, settings=zmqueue.Settings(buckets=4)) as node:
        yield node


@pytest.fixture
def client(node: zmqueue.Node) -> Iterator[zmqueue.Client]:
    with zmqueue.Client(node.endpoint) as client:
        yield client


def asks(work: Any) -> object:
    """Says that it began, works until it is cancelled, and says that it was."""
    folder = Path(work.payload)
    (folder / "begun").touch()
    end = time.monotonic() + 30.0
    while not work.cancelled:
        if time.monotonic() > end:
            return "nobody told it"
        time.sleep(0.01)
    (folder / "told").touch()
    raise RuntimeError("given up")


def knows(work: Any) -> object:
    return work.cancelled


def ended(ticket: zmqueue.Ticket) -> str:
    with pytest.raises(zmqueue.RequestFailed) as caught:
        ticket.result(20.0)
    return caught.value.state


def await_begun(folder: Path) -> None:
    end = time.monotonic() + 20.0
    while not (folder / "begun").exists():
        assert time.monotonic() < end, "it was not begun"
        time.sleep(0.01)


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_handler_learns_that_its_request_is_cancelled(client: zmqueue.Client, tmp_path: Path, executor: Any) -> None:
    with zmqueue.Worker(client, {"asks": asks, "knows": knows}, concurrency=1, executor=executor):
        ticket = client.submit("asks", str(tmp_path))
        await_begun(tmp_path)
        client.cancel(ticket.token)
        assert ended(ticket) == "cancelled"
        assert client.submit("knows", None).result(20.0) is False        # and the next is not told
    assert (tmp_path / "told").exists()
