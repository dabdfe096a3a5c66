"""A program that embeds a node, and a worker whose handler holds the interpreter's lock: `... node --data DIR ...`.

It takes what `zmqueue node` takes of what the rig says, and prints the same line.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import signal
import sys
import threading
import time
import tomllib
from pathlib import Path

import zmqueue

QUEUE = "hold"

_LIBC = ctypes.PyDLL(None)             # calls through it keep the lock, as a careless extension module does


_held: dict[str, list[float]] = {}


def hold(message: zmqueue.Message) -> list[float]:
    """Sleep in C with the lock held, for as many ms as the payload says; when it began and when it ended.

    Longer than a session lasts, the lease is lost by it, and the message comes again: then it is over.
    """
    if message.token not in _held:
        began = time.monotonic()
        _LIBC.usleep(message.payload * 1000)
        _held[message.token] = [began, time.monotonic()]
    return _held[message.token]


def main(arguments: list[str]) -> int:
    """Run until SIGTERM, or until the node ends by itself."""
    parser = argparse.ArgumentParser()
    parser.add_argument("command", choices=["node"])
    parser.add_argument("--data", required=True)
    parser.add_argument("--listen", required=True)
    parser.add_argument("--advertise")
    parser.add_argument("--found", action="store_true")
    parser.add_argument("--join", action="append", default=[])
    parser.add_argument("--heartbeat-port", type=int, default=0)
    parser.add_argument("--config", type=Path, required=True)
    parser.add_argument("--log-level", default="info")
    given = parser.parse_args(arguments)
    logging.basicConfig(level=given.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    node = zmqueue.Node(given.data, given.listen, advertise=given.advertise, found=given.found, join=given.join,
                        settings=zmqueue.Settings(**tomllib.loads(given.config.read_text("utf-8"))),
                        heartbeat_port=given.heartbeat_port)
    node.start(wait=0)
    try:
        while not node.serving and not stop.is_set() and not node.wait(0.02):
            pass
        if node.serving:
            print(f"node {node.id} serves at {node.endpoint}", flush=True)
            _work(node, stop)
        error = node.error
    finally:
        node.stop()
    if error is not None:
        print(f"the node stopped: {error}", file=sys.stderr)
    return 1 if error is not None else 0


def _work(node: zmqueue.Node, stop: threading.Event) -> None:
    with zmqueue.Client(node.endpoint) as client:
        worker = zmqueue.Worker(client, {QUEUE: hold}, concurrency=1)
        worker.start()
        while not stop.is_set() and not node.wait(0.2):
            pass
        worker.stop(drain=False)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
