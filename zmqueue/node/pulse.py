"""The pulse: a thread of its own that publishes heartbeats and tries the doors of peers that fell silent.

It publishes what the loop last said of itself, with the age of whatever the loop is busy with: while a disk
transaction hangs, the heartbeats go on and tell how long (C9). A peer that has fallen silent, or whose connection
broke, is tried by a plain TCP connect: "connection refused" means that no process listens there, and it is suspected
at once instead of after the timeout.
"""

from __future__ import annotations

import errno
import logging
import select
import socket
import threading
import time
from collections.abc import Callable

import msgspec
import zmq

from zmqueue.core.endpoints import parse_endpoint
from zmqueue.core.packets import Heartbeat, encode

log = logging.getLogger("zmqueue.node")

TRY_S = 0.05                           # how long one door is tried; a refusal comes at once


class Pulse:
    """The thread. `busy_since()` is when the loop's unfinished work began (monotonic), or None."""

    def __init__(self, publisher: zmq.Socket[bytes], busy_since: Callable[[], float | None],
                 refused: Callable[[str], None]) -> None:
        self._publisher = publisher
        self._busy_since = busy_since
        self._refused = refused
        self._said: Heartbeat | None = None
        self._doors: dict[str, str] = {}
        self._interval = 0.1
        self._wake = threading.Event()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name="zmqueue-pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def say(self, heartbeat: Heartbeat | None, interval: float) -> None:
        """What to publish from now on, every `interval` seconds. Called by the loop."""
        self._said = heartbeat
        self._interval = interval

    def try_door(self, node_id: str, endpoint: str) -> None:
        """Find out, soon, whether anything listens there. Called by the loop."""
        self._doors[node_id] = endpoint
        self._wake.set()

    def stop(self) -> None:
        """End the thread and close its socket."""
        self._ended = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(2.0)

    def _run(self) -> None:
        due = time.monotonic()
        try:
            while not self._ended:
                now = time.monotonic()
                if now >= due:
                    self._publish(now)
                    due = max(due + self._interval, now)
                while self._doors and not self._ended:
                    node_id, endpoint = self._doors.popitem()
                    if is_refused(endpoint):
                        self._refused(node_id)
                self._wake.wait(max(0.0, due - time.monotonic()))
                self._wake.clear()
        finally:
            self._publisher.close(0)

    def _publish(self, now: float) -> None:
        said = self._said
        if said is None:
            return
        since = self._busy_since()
        age = 0 if since is None else int((now - since) * 1000)
        heartbeat = msgspec.structs.replace(said, disk_age=age, wall=int(time.time() * 1000))
        try:
            self._publisher.send(encode(heartbeat), zmq.NOBLOCK)
        except zmq.Again:
            log.debug("a heartbeat could not be published")


def is_refused(endpoint: str) -> bool:
    """True where the other machine says that nothing listens there; False in all other cases, silence included."""
    target = parse_endpoint(endpoint, "a peer's endpoint")
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(target.bare_host, target.port,
                                                                type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, protocol) as door:
            door.setblocking(False)
            code = door.connect_ex(address)
            if code == errno.EINPROGRESS:
                select.select([], [door], [], TRY_S)
                code = door.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            return code == errno.ECONNREFUSED
    except OSError:
        return False
