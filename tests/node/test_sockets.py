"""The node's sockets: who is connected to whom, as members come and go."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import zmq

from zmqueue.core.endpoints import parse_endpoint
from zmqueue.node.sockets import Sockets

HEARD_MS = 5_000


@pytest.fixture
def context() -> Iterator[zmq.Context[zmq.Socket[bytes]]]:
    with zmq.Context() as context:
        yield context


def test_a_node_in_the_place_of_a_lost_one_is_heard_when_that_is_forgotten(
        context: zmq.Context[zmq.Socket[bytes]]) -> None:
    sockets = Sockets(context, parse_endpoint("tcp://127.0.0.1:0", "listen", zero=True), 0)
    publisher = context.socket(zmq.XPUB)                         # tells who subscribes, so that nothing waits blindly
    port = publisher.bind_to_random_port("tcp://127.0.0.1")
    ends = ("tcp://127.0.0.1:1", f"tcp://127.0.0.1:{port}")      # the new member's are the old one's
    try:
        sockets.connect({"old": ends})
        sockets.connect({"old": ends, "new": ends})
        sockets.connect({"new": ends})
        assert publisher.poll(HEARD_MS), "nobody subscribes"
        for _ in range(HEARD_MS // 50):
            publisher.send(b"heartbeat")
            if sockets.heartbeats.poll(50):
                break
        assert list(sockets.receive(sockets.heartbeats))[:1] == [[b"heartbeat"]]
    finally:
        publisher.close(0)
        sockets.close()
