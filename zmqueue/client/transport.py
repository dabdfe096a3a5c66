"""The transport: one background thread with the sockets, which drives a ClientCore for the threads that call.

One DEALER for each endpoint, one SUB for the heartbeats of all nodes, all non-blocking: what cannot be written at once
is handed back to the core, which sends it again later. Callers put what they want into an inbox and wake the thread
only when it sleeps, so that under load a submit costs no system call.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Any

import zmq
from zmq.utils.monitor import parse_monitor_message

from zmqueue.client.core import ClientCore
from zmqueue.core.packets import BadFrame, Heartbeat, decode, decode_all, decode_envelope, encode
from zmqueue.core.requests import Request

log = logging.getLogger("zmqueue.client")

LINGER_MS = 500                        # closing waits this long for farewells that are on their way
HIGH_WATER = 10_000                    # multipart messages; the core keeps far fewer on their way
FRAME_BYTES_MAX = 64 << 20             # an answer to one lease request may hold many bodies
RECONNECT_MS, RECONNECT_MS_MAX = 50, 1_000
RECEIVE_MAX = 500                      # multipart messages from one socket in one turn: others have their turn too
JOIN_S = 3.0                           # close() waits this long for the thread
SLEEP_S_MAX = 1.0                      # the thread looks around at least this often

WATCHED_EVENTS = zmq.EVENT_CONNECTED | zmq.EVENT_DISCONNECTED

Job = tuple[Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Link:
    """One DEALER and what it reports about its connection."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.endpoint = endpoint
        self.socket = context.socket(zmq.DEALER)
        set_options(self.socket)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)         # nothing is queued for a peer that is not there
        self.monitor = self.socket.get_monitor_socket(WATCHED_EVENTS)
        self.monitor.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def close(self) -> None:
        """Close both sockets; what is on its way has LINGER_MS."""
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close()


def set_options(socket_: zmq.Socket[bytes]) -> None:
    """What every socket of a client has."""
    for option, value in (
            (zmq.LINGER, LINGER_MS), (zmq.SNDHWM, HIGH_WATER), (zmq.RCVHWM, HIGH_WATER),
            (zmq.MAXMSGSIZE, FRAME_BYTES_MAX), (zmq.IPV6, 1), (zmq.RECONNECT_IVL, RECONNECT_MS),
            (zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX), (zmq.TCP_KEEPALIVE, 1), (zmq.TCP_KEEPALIVE_IDLE, 30),
            (zmq.TCP_KEEPALIVE_INTVL, 10), (zmq.TCP_KEEPALIVE_CNT, 3)):
        socket_.setsockopt(option, value)


class Transport:
    """Runs a core in a thread of its own, until stopped. Holds no reference to its Client."""

    def __init__(self, core: ClientCore) -> None:
        self._core = core
        self._inbox: deque[Job] = deque()
        self._asleep = False
        self._stopping = False
        self._ended = False                              # the core is closed: all that it does is to fail calls
        self.over: Future[None] = Future()               # done when the thread has closed everything
        self._owner = os.getpid()
        self._ears, self._bell = socket.socketpair()
        self._ears.setblocking(False)
        self._bell.setblocking(False)
        self._links: dict[str, Link] = {}
        self._heard: frozenset[str] = frozenset()
        self._installed = 0
        self.bad_frames = 0
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._poller = zmq.Poller()
        self._thread = threading.Thread(target=self._run, name="zmqueue-client", daemon=True)
        self._thread.start()

    # --- called from any thread ---

    def post(self, action: Callable[..., Any], *arguments: Any, **named: Any) -> None:
        """Have the thread call action(*arguments, now=now, **named)."""
        self._inbox.append((action, arguments, named))
        if self._asleep:
            self._ring()
        if self._ended:                                  # the thread may have looked for the last time
            self._work(time.monotonic())

    @property
    def running(self) -> bool:
        """False once stopped, or after the thread died."""
        return self._thread.is_alive() and not self._stopping

    @property
    def in_thread(self) -> bool:
        """True in the transport's own thread, which must never wait for itself."""
        return threading.current_thread() is self._thread

    def stop(self) -> None:
        """Fail who waits, say farewell, close everything; returns within `JOIN_S`. Does nothing in a forked child."""
        if os.getpid() != self._owner:
            return
        self.stop_soon()
        if not self.in_thread:
            self._thread.join(JOIN_S)

    def stop_soon(self) -> None:
        """As `stop`, without waiting: `over` is done when all is."""
        self._stopping = True
        self._ring()

    def _ring(self) -> None:
        self._asleep = False
        with contextlib.suppress(OSError):               # full: it is awake by then; closed: it needs no waking
            self._bell.send(b"!")

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._open()
            while not self._stopping:
                self._turn()
        except Exception:
            log.exception("the client's thread died")
            raise
        finally:
            self._stopping = True
            try:
                self._end()
            finally:
                self.over.set_result(None)

    def _open(self) -> None:
        self._sub = self._context.socket(zmq.SUB)
        set_options(self._sub)
        self._sub.setsockopt(zmq.SUBSCRIBE, b"")
        self._poller.register(self._sub, zmq.POLLIN)
        self._poller.register(self._ears, zmq.POLLIN)

    def _turn(self) -> None:
        core = self._core
        events = self._sleep()
        now = time.monotonic()
        if self._ears.fileno() in events:
            with contextlib.suppress(BlockingIOError):
                self._ears.recv(4096)
        for link in list(self._links.values()):
            if link.socket in events:
                self._receive(link, now)
            if link.monitor in events:
                self._watch(link, now)
        if self._sub in events:
            self._listen(now)
        core.tick(now, time.time_ns() // 1_000_000)
        self._work(now)
        self._send(core.take(now), now)
        self._follow()

    def _sleep(self) -> dict[Any, int]:
        self._asleep = True
        due = self._core.next_tick()
        sleep = SLEEP_S_MAX if due is None else min(max(due - time.monotonic(), 0.0), SLEEP_S_MAX)
        if self._inbox or self._stopping:
            sleep = 0.0
        events = dict(self._poller.poll(math.ceil(sleep * 1000)))
        self._asleep = False
        return events

    def _work(self, now: float) -> None:
        inbox = self._inbox
        for _ in range(len(inbox)):
            try:
                action, arguments, named = inbox.popleft()
            except IndexError:                           # at the end, several threads may be here
                return
            action(*arguments, now=now, **named)

    def _receive(self, link: Link, now: float) -> None:
        for _ in range(RECEIVE_MAX):
            try:
                frames = link.socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                envelope = decode_envelope(frames[0])
            except BadFrame:
                self.bad_frames += 1
                continue
            packets, bad = decode_all(frames[1:])
            self.bad_frames += len(bad)
            self._core.on_packets(link.endpoint, envelope, packets, now)

    def _watch(self, link: Link, now: float) -> None:
        while True:
            try:
                event = parse_monitor_message(link.monitor.recv_multipart(zmq.NOBLOCK))
            except zmq.Again:
                return
            if event["event"] == zmq.EVENT_CONNECTED:
                self._core.on_connected(link.endpoint, now)
            elif event["event"] == zmq.EVENT_DISCONNECTED:
                self._core.on_lost(link.endpoint, now)

    def _listen(self, now: float) -> None:
        for _ in range(RECEIVE_MAX):
            try:
                frames = self._sub.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            try:
                packet = decode(frames[-1])
            except BadFrame:
                self.bad_frames += 1
                continue
            if isinstance(packet, Heartbeat):
                self._core.on_heartbeat(packet, now)

    def _send(self, outgoing: Sequence[tuple[str, list[Request]]], now: float) -> None:
        if not outgoing:
            return
        envelope = encode(self._core.envelope())
        for endpoint, packets in outgoing:
            if not self._write(endpoint, [envelope, *map(encode, packets)]):
                self._core.on_unsent(endpoint, packets, now)

    def _write(self, endpoint: str, frames: list[bytes]) -> bool:
        link = self._links.get(endpoint)
        if link is None:
            try:
                link = Link(self._context, endpoint)
            except zmq.ZMQError as error:
                log.warning("cannot connect to %s: %s", endpoint, error)
                return False
            self._links[endpoint] = link
            self._poller.register(link.socket, zmq.POLLIN)
            self._poller.register(link.monitor, zmq.POLLIN)
        try:
            link.socket.send_multipart(frames, zmq.NOBLOCK)
        except zmq.Again:
            return False
        return True

    def _follow(self) -> None:
        """After a new cluster state: listen to its nodes, and to no others; close links to who has gone."""
        if self._installed == self._core.routing.installed:
            return
        self._installed = self._core.routing.installed
        wanted = self._core.heartbeats()
        for endpoint in self._heard - wanted:
            with contextlib.suppress(zmq.ZMQError):
                self._sub.disconnect(endpoint)
        for endpoint in wanted - self._heard:
            with contextlib.suppress(zmq.ZMQError):
                self._sub.connect(endpoint)
        self._heard = wanted
        for endpoint in self._links.keys() - self._core.routing.endpoints:
            self._drop(self._links.pop(endpoint))

    def _drop(self, link: Link) -> None:
        self._poller.unregister(link.socket)
        self._poller.unregister(link.monitor)
        link.close()

    def _end(self) -> None:
        """Nobody may wait for a thread that is gone; nobody's exit may wait for the sockets."""
        now = time.monotonic()
        try:
            self._work(now)
            self._send(self._core.close(now), now)
            self._ended = True
            self._work(now)
        finally:
            for link in list(self._links.values()):
                self._drop(link)
            self._sub.close(0)
            self._ears.close()
            self._bell.close()
            self._context.term()                         # waits LINGER_MS at most
