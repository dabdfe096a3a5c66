"""The node's sockets: a ROUTER that hears everybody, a DEALER to each peer, a SUB for the peers' heartbeats.

All of them are used by the loop's thread only, and never block it: what cannot be sent at once is dropped and counted,
since the protocol sends everything again that matters. Options are set on purpose: nothing is queued for a peer that
is not connected (IMMEDIATE), a full queue refuses instead of dropping silently (ROUTER_MANDATORY with NOBLOCK), and a
frame has a limit (MAXMSGSIZE). ZMTP's own heartbeats stay off (they have an open assertion bug); ours do the work.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import zmq

from zmqueue.core.effects import Address
from zmqueue.core.endpoints import Endpoint
from zmqueue.core.packets import Envelope, Packet, encode
from zmqueue.errors import ZmqueueError

log = logging.getLogger("zmqueue.node")

FRAME_BYTES_MAX = 64 << 20             # the largest Submit or Granted is a quarter of it
PEER_HWM = 10_000                      # multipart messages towards one peer: a turn sends one
CLIENT_HWM = 10_000                    # likewise towards one client
RECEIVE_MAX = 500                      # messages taken in one turn, so that a tick is never far away
FRAMES_MAX = 1_000                     # packets in one multipart message
CALLERS_MAX = 100                      # strangers among the nodes that are answered
LINGER_MS = 300                        # closing waits this long for the last answers to leave
RECONNECT_MS, RECONNECT_MS_MAX = 50, 500


class AddressInUse(ZmqueueError):
    """The address to listen on is taken, or is not this machine's. Nothing was started."""

    definite = True


@dataclass(slots=True)
class Counts:
    """What went in and out, and what did not."""

    received: int = 0                  # multipart messages
    sent: int = 0
    packets_sent: int = 0
    dropped: dict[str, int] = field(default_factory=dict)     # by reason


class Link:
    """A DEALER towards one peer."""

    __slots__ = ("endpoint", "monitor", "socket")

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], endpoint: str) -> None:
        self.endpoint = endpoint
        self.socket = context.socket(zmq.DEALER)
        common(self.socket)
        self.socket.setsockopt(zmq.SNDHWM, PEER_HWM)
        self.socket.setsockopt(zmq.IMMEDIATE, 1)
        self.socket.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.socket.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        self.monitor = self.socket.get_monitor_socket(zmq.EVENT_DISCONNECTED)
        self.monitor.setsockopt(zmq.LINGER, 0)
        self.socket.connect(endpoint)

    def close(self, linger: int) -> None:
        self.socket.disable_monitor()
        self.monitor.close(0)
        self.socket.close(linger)


def common(socket: zmq.Socket[bytes]) -> None:
    """Options that all sockets share."""
    socket.setsockopt(zmq.LINGER, LINGER_MS)
    socket.setsockopt(zmq.MAXMSGSIZE, FRAME_BYTES_MAX)
    socket.setsockopt(zmq.IPV6, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE, 1)
    socket.setsockopt(zmq.TCP_KEEPALIVE_IDLE, 30)


def bind(socket: zmq.Socket[bytes], listen: Endpoint, preferred: int) -> int:
    """Bind and return the port. A listen port of 0 tries `preferred` (the last one) and then any free one."""
    ports = [listen.port] if listen.port else [*([preferred] if preferred else []), 0]
    for port in ports:
        try:
            socket.bind(f"tcp://{listen.host}:{port or '*'}")
        except zmq.ZMQError as error:
            if port == ports[-1]:
                raise AddressInUse(_bind_text(listen.at(port), error)) from None
            continue
        last = socket.getsockopt(zmq.LAST_ENDPOINT)
        assert isinstance(last, bytes)
        return int(last.rstrip(b"\0").rsplit(b":", 1)[1])
    raise AssertionError("the last port either binds or raises")


def _bind_text(endpoint: Endpoint, error: zmq.ZMQError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"{endpoint} is in use by another process; stop it, or listen on another port"
    if error.errno in (errno.EADDRNOTAVAIL, errno.ENODEV):
        return f"{endpoint} is no address of this machine; listen on one, and give the reachable one as advertise"
    return f"cannot listen on {endpoint}: {error}"


class Sockets:
    """All that the loop's thread reads and writes."""

    def __init__(self, context: zmq.Context[zmq.Socket[bytes]], listen: Endpoint, preferred: int) -> None:
        self.counts = Counts()
        self._context = context
        self._links: dict[str, Link] = {}
        self._callers: dict[str, bytes] = {}             # nodes that speak to us and are no members: their way back
        self.router = context.socket(zmq.ROUTER)
        common(self.router)
        self.router.setsockopt(zmq.ROUTER_MANDATORY, 1)
        self.router.setsockopt(zmq.SNDHWM, CLIENT_HWM)
        self.router.setsockopt(zmq.RCVHWM, CLIENT_HWM)
        try:
            self.port = bind(self.router, listen, preferred)
        except AddressInUse:
            self.router.close(0)
            raise
        self.heartbeats = context.socket(zmq.SUB)
        common(self.heartbeats)
        self.heartbeats.setsockopt(zmq.RCVHWM, 1_000)
        self.heartbeats.setsockopt(zmq.RECONNECT_IVL, RECONNECT_MS)
        self.heartbeats.setsockopt(zmq.RECONNECT_IVL_MAX, RECONNECT_MS_MAX)
        self.heartbeats.setsockopt(zmq.SUBSCRIBE, b"")
        self._published: set[str] = set()                # endpoints that the SUB is connected to

    # --- who is there ---

    def connect(self, peers: dict[str, tuple[str, str]]) -> None:
        """Be connected to these peers and no others; one whose address changed is connected anew.

        libzmq resolves a name again at each attempt to connect."""
        for address in [address for address in self._links if address not in peers]:    # seeds are not needed any more
            self._links.pop(address).close(0)
        for node_id, (endpoint, _) in peers.items():
            link = self._links.get(node_id)
            if link is not None and link.endpoint != endpoint:
                self._links.pop(node_id).close(0)
            self._link(node_id, endpoint)
        for node_id in peers:
            self._callers.pop(node_id, None)
        # By endpoint, not by node: a node that takes the place of a lost one has the same, and `disconnect` ends both.
        wanted = {heartbeats for _, heartbeats in peers.values()}
        for endpoint in self._published - wanted:
            self.heartbeats.disconnect(endpoint)
        for endpoint in wanted - self._published:
            self.heartbeats.connect(endpoint)
        self._published = wanted

    def _link(self, address: str, endpoint: str) -> Link:
        link = self._links.get(address)
        if link is None:
            link = self._links[address] = Link(self._context, endpoint)
        return link

    def endpoints(self) -> dict[str, str]:
        """node id -> the endpoint of its ROUTER."""
        return {node_id: link.endpoint for node_id, link in self._links.items() if "://" not in node_id}

    def answers(self) -> list[zmq.Socket[bytes]]:
        """The sockets on which a peer answers that does not know this node as a member (any more)."""
        return [link.socket for link in self._links.values()]

    def called(self, node_id: str, identity: bytes) -> None:
        """A node spoke to us: where it is no member, it can only be answered on the line that it opened."""
        if node_id not in self._links and (node_id in self._callers or len(self._callers) < CALLERS_MAX):
            self._callers[node_id] = identity

    def monitors(self) -> dict[zmq.Socket[bytes], str]:
        """The sockets that tell of lost connections, and whose they are."""
        return {link.monitor: node_id for node_id, link in self._links.items() if "://" not in node_id}

    # --- in and out ---

    def receive(self, socket: zmq.Socket[bytes]) -> Iterable[list[bytes]]:
        """What waits in a socket, up to a turn's share."""
        for _ in range(RECEIVE_MAX):
            try:
                message = socket.recv_multipart(zmq.NOBLOCK)
            except zmq.Again:
                return
            self.counts.received += 1
            yield message

    def send(self, envelope: Envelope, sends: Sequence[tuple[Address, Packet]]) -> None:
        """One multipart message to each: all that is for it, in order."""
        if not sends:
            return
        by_address: dict[Address, list[bytes]] = {}
        encoded: dict[int, bytes] = {}                   # an Append for several peers is encoded once
        for address, packet in sends:
            frame = encoded.get(id(packet))
            if frame is None:
                frame = encoded[id(packet)] = encode(packet)
            by_address.setdefault(address, []).append(frame)
        first = encode(envelope)
        for address, frames in by_address.items():
            for start in range(0, len(frames), FRAMES_MAX):
                self._send(address, [first, *frames[start:start + FRAMES_MAX]])

    def _send(self, address: Address, frames: list[bytes]) -> None:
        try:
            if isinstance(address, bytes):
                self.router.send_multipart([address, *frames], zmq.NOBLOCK)
            else:
                link = self._links.get(address)
                if link is None and "://" in address:
                    link = self._link(address, address)      # a seed, as yet without a name
                if link is not None:
                    link.socket.send_multipart(frames, zmq.NOBLOCK)
                elif address in self._callers:
                    self.router.send_multipart([self._callers[address], *frames], zmq.NOBLOCK)
                else:
                    self._drop("no address")
                    return
        except zmq.Again:
            self._drop("not connected or queue full")
        except zmq.ZMQError as error:
            if error.errno != zmq.EHOSTUNREACH:
                raise
            self._drop("client gone")
            if isinstance(address, str):
                self._callers.pop(address, None)
        else:
            self.counts.sent += 1
            self.counts.packets_sent += len(frames) - 1

    def _drop(self, reason: str) -> None:
        self.counts.dropped[reason] = self.counts.dropped.get(reason, 0) + 1

    def close(self) -> None:
        """Close all sockets; what was sent last has LINGER_MS."""
        for link in self._links.values():
            link.close(LINGER_MS)
        self._links.clear()
        self.heartbeats.close(0)
        self.router.close(LINGER_MS)
