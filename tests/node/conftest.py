"""Embedded clusters, and their end."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zmq

import zmqueue

QUICK = zmqueue.Settings(buckets=8, suspicion_ms=400, heartbeat_ms=50)
"""Few buckets and a short patience: the tests' clusters act sooner than users' do."""

Make = Callable[..., zmqueue.Node]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Make nodes in this test's folder; whatever still runs at its end is stopped."""
    made: list[zmqueue.Node] = []

    def make(name: str, **options: object) -> zmqueue.Node:
        options.setdefault("listen", "tcp://127.0.0.1:0")
        options.setdefault("settings", QUICK)
        node = zmqueue.Node(tmp_path / name, **options)      # type: ignore[arg-type]
        made.append(node)
        return node

    yield make
    for node in reversed(made):
        node.stop()


@pytest.fixture
def three(make: Make) -> list[zmqueue.Node]:
    """Three nodes that serve."""
    first = make("a", found=True).start()
    return [first, *(make(name, join=[first.endpoint]).start() for name in "bc")]


@pytest.fixture
def stranger() -> Iterator[zmq.Socket[bytes]]:
    """A bare socket, to say anything with."""
    with zmq.Context() as context, context.socket(zmq.DEALER) as socket:
        socket.setsockopt(zmq.LINGER, 0)
        yield socket
