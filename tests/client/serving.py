"""The fake cluster behind real sockets: one ROUTER a node, in one thread, with heartbeats."""

from __future__ import annotations

import threading
import time
from types import TracebackType

import msgspec
import zmq

from tests.client.fakes import FakeCluster
from zmqueue.core.answers import Hint, Reply
from zmqueue.core.packets import Heartbeat, decode, decode_envelope, encode
from zmqueue.core.requests import Ask, Lease, Request, Watch
from zmqueue.core.state import Agreed


class Served:
    """As many nodes as you like, on 127.0.0.1. `drop`: node indices that hear nothing."""

    def __init__(self, nodes: int = 1, settings: Agreed | None = None) -> None:
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._routers = [self._bound(zmq.ROUTER) for _ in range(nodes)]
        self._pubs = [self._bound(zmq.PUB) for _ in range(nodes)]
        self.endpoints = [_endpoint(router) for router in self._routers]
        self.cluster = FakeCluster(self.endpoints, settings)
        members = tuple(msgspec.structs.replace(member, heartbeats=_endpoint(pub))
                        for member, pub in zip(self.cluster.state.members, self._pubs, strict=True))
        self.cluster.state = msgspec.structs.replace(self.cluster.state, members=members)
        self.drop: set[int] = set()
        self.envelopes: list[object] = []
        self._stop = False
        self._parked: list[tuple[int, bytes, Ask]] = []
        self._watching: dict[int, set[bytes]] = {}
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _bound(self, kind: int) -> zmq.Socket[bytes]:
        socket = self._context.socket(kind)
        socket.setsockopt(zmq.LINGER, 0)
        socket.bind("tcp://127.0.0.1:0")
        return socket

    def __enter__(self) -> Served:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self._stop = True
        self._thread.join()
        for socket in (*self._routers, *self._pubs):
            socket.close(0)
        self._context.term()

    def _run(self) -> None:
        poller = zmq.Poller()
        for router in self._routers:
            poller.register(router, zmq.POLLIN)
        beat = 0.0
        while not self._stop:
            ready = dict(poller.poll(20))
            for index, router in enumerate(self._routers):
                if router in ready:
                    self._receive(index, router.recv_multipart())
            self._unpark()
            if time.monotonic() >= beat:
                beat = time.monotonic() + 0.1
                self._publish()

    def _receive(self, index: int, frames: list[bytes]) -> None:
        client, envelope, *packets = frames
        if index in self.drop:
            return
        self.envelopes.append(decode_envelope(envelope))
        for frame in packets:
            request: Request = decode(frame)  # type: ignore[assignment]  # clients send requests
            if isinstance(request, Watch | Lease):
                self._watching.setdefault(index, set()).add(client)
            self._reply(index, client, request)

    def _reply(self, index: int, client: bytes, request: Request) -> None:
        replies = self.cluster.handle(self.endpoints[index], request)
        if not replies and isinstance(request, Ask):
            self._parked.append((index, client, request))
        hints = [reply for reply in replies if isinstance(reply, Hint)]
        self._send(index, client, [reply for reply in replies if not isinstance(reply, Hint)])
        for watching in self._watching.get(index, ()):
            self._send(index, watching, list(hints))

    def _send(self, index: int, client: bytes, replies: list[Reply]) -> None:
        if replies:
            self._routers[index].send_multipart([client, encode(self.cluster.envelope()), *map(encode, replies)])

    def _unpark(self) -> None:
        parked, self._parked = self._parked, []
        for index, client, request in parked:
            self._reply(index, client, request)

    def _publish(self) -> None:
        state = self.cluster.state
        for member, pub in zip(state.members, self._pubs, strict=True):
            pub.send(encode(Heartbeat(state.cluster_id, state.lineage, member.id, member.number, 1, state.epoch, 0, (),
                                      time.time_ns() // 1_000_000)))


def _endpoint(socket: zmq.Socket[bytes]) -> str:
    endpoint = socket.getsockopt(zmq.LAST_ENDPOINT)
    assert isinstance(endpoint, bytes)
    return endpoint.decode().rstrip("\x00")
