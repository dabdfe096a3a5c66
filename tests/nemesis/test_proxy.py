"""The proxy drops and repeats whole messages, never parts of them."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
import zmq

from tests.nemesis.hosts import ROOT

ARRIVES_MS = 5_000
NOTHING_MS = 300
PARTS = [b"one", b"", b"x" * 70_000]

Socket = zmq.Socket[bytes]


class Proxied:
    """A DEALER that reaches a ROUTER through the proxy."""

    def __init__(self, dealer: Socket, router: Socket, orders: subprocess.Popen[str]) -> None:
        self.dealer, self.router, self._orders = dealer, router, orders

    def order(self, delay: float, drop: float, repeat: float) -> None:
        assert self._orders.stdin is not None and self._orders.stdout is not None
        print(delay, drop, repeat, file=self._orders.stdin, flush=True)
        assert self._orders.stdout.readline() == "done\n"

    def passed(self, wait_ms: int) -> list[list[bytes]]:
        """What has come, until nothing comes for a while."""
        found = []
        while self.router.poll(wait_ms):
            found.append(self.router.recv_multipart()[1:])
            wait_ms = NOTHING_MS
        return found


@pytest.fixture
def proxied() -> Iterator[Proxied]:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as router, context.socket(zmq.DEALER) as dealer:
        for socket in (router, dealer):
            socket.setsockopt(zmq.LINGER, 0)
        port = router.bind_to_random_port("tcp://127.0.0.1")
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.nemesis.proxy", "127.0.0.1:0", f"127.0.0.1:{port}"], text=True, bufsize=1,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
        try:
            assert process.stdout is not None
            dealer.connect(f"tcp://127.0.0.1:{process.stdout.readline().split()[-1]}")
            yield Proxied(dealer, router, process)
        finally:
            process.kill()
            process.communicate()


def test_messages_pass_whole(proxied: Proxied) -> None:
    proxied.dealer.send_multipart(PARTS)
    assert proxied.passed(ARRIVES_MS) == [PARTS]


def test_messages_are_dropped_or_repeated_whole_and_the_connection_lives(proxied: Proxied) -> None:
    proxied.dealer.send_multipart([b"first"])
    assert proxied.passed(ARRIVES_MS) == [[b"first"]]
    proxied.order(0.0, 1.0, 0.0)
    proxied.dealer.send_multipart(PARTS)
    assert proxied.passed(NOTHING_MS) == []
    proxied.order(0.0, 0.0, 1.0)
    proxied.dealer.send_multipart(PARTS)
    assert proxied.passed(ARRIVES_MS) == [PARTS, PARTS]
    proxied.order(0.0, 0.0, 0.0)
    proxied.dealer.send_multipart([b"last"])
    assert proxied.passed(ARRIVES_MS) == [[b"last"]]
