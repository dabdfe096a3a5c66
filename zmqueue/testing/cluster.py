"""A whole cluster in one process, without sockets, threads, files and sleeping: real engines and real clients.

Everything that a real cluster leaves to chance is drawn from one seed, so the same seed gives the same run, to the
byte. Users test their own programs on it too:

>>> cluster = VirtualCluster(seed=1, nodes=3)
>>> client = cluster.client()
>>> call = client.submit("thumbnails", [b"a.png"])
>>> cluster.run_until(lambda: call.finished)
True
>>> call.error is None
True
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from zmqueue.core.effects import Address, Note
from zmqueue.core.engine import Engine, EngineConfig
from zmqueue.core.packets import Packet
from zmqueue.core.state import Agreed, ClusterState, Status
from zmqueue.core.tables import Tables
from zmqueue.testing.client import VirtualClient
from zmqueue.testing.clock import VirtualTime
from zmqueue.testing.disk import DiskSpeed
from zmqueue.testing.journal import Trace
from zmqueue.testing.media import InMemory, Medium
from zmqueue.testing.network import Network, Traffic, Weather
from zmqueue.testing.node import Frames, Pace, VirtualNode
from zmqueue.testing.observer import Observer

MakeEngine = Callable[[Tables, EngineConfig, float], Engine]
MakeClient = Callable[["VirtualCluster", str, random.Random, Sequence[str]], VirtualClient]

NOTICE_MAX = 0.01
"""Seconds until a peer notices that a connection broke, where it is told at all."""

FOUNDED_WITHIN = 60.0
"""Seconds in which a cluster in calm weather is whole."""


class VirtualCluster:
    """Nodes, clients, and the time and network that they share."""

    def __init__(self, seed: int = 0, nodes: int = 3, *, settings: Agreed | None = None,
                 weather: Weather | None = None, speed: DiskSpeed | None = None, pace: Pace | None = None,
                 refusals: bool = True, make_engine: MakeEngine = Engine, make_client: MakeClient = VirtualClient,
                 observers: Iterable[Observer] = (), whole: bool = True, trace_keep: int = 400,
                 make_medium: Callable[[], Medium] = InMemory) -> None:
        """`nodes` are founded and joined, and with `whole` this returns when all are `up` and every in-sync set is
        whole. `refusals`: a dead process's port refuses connections (a dead machine's says nothing).
        `make_medium`: what each new node's disk is made of."""
        self.random = random.Random(seed)
        self.time = VirtualTime()
        self.trace = Trace(self.time, trace_keep)
        self.network = Network(self.time, self._dice(), weather)
        self.settings = Agreed(buckets=4, vnodes=16) if settings is None else settings
        self.speed, self.pace, self.refusals = speed, pace, refusals
        self.make_engine, self.make_client, self.make_medium = make_engine, make_client, make_medium
        self.observers: list[Observer] = list(observers)
        self.nodes: dict[str, VirtualNode] = {}
        self.clients: dict[str, VirtualClient] = {}
        self.notes: list[tuple[str, Note]] = []
        self._by_id: dict[str, VirtualNode] = {}
        self._by_endpoint: dict[str, VirtualNode] = {}
        self._clients_made = 0
        for _ in range(nodes):
            self.add_node().start()
        if whole and nodes:
            assert self.run_until(self.is_whole, FOUNDED_WITHIN, every=0.05), "in calm weather a cluster becomes whole"

    def _dice(self) -> random.Random:
        """Chance of one's own: what one part of the cluster draws does not change what the others draw."""
        return random.Random(self.random.getrandbits(64))

    @property
    def heartbeat_s(self) -> float:
        """Seconds between two heartbeats of a node."""
        return self.settings.heartbeat_ms / 1_000

    # --- who is there ---

    def add_node(self, *, weight: int = 1, zone: str = "") -> VirtualNode:
        """Make a node with an empty disk; `start` it. The first one founds the cluster, the others join it."""
        name = f"n{len(self.nodes) + 1}"
        node = VirtualNode(self, name, self._dice(), seeds=[node.endpoint for node in self.nodes.values()],
                           found=None if self.nodes else self.settings, weight=weight, zone=zone, speed=self.speed,
                           pace=self.pace, medium=self.make_medium())
        self.nodes[name] = self._by_id[node.id] = self._by_endpoint[node.endpoint] = node
        return node

    def renamed(self, node: VirtualNode) -> None:
        """Another disk is in the node's machine. What is sent to the old name still arrives at the old address."""
        self._by_id[node.id] = node

    def endpoints_beside(self, node: VirtualNode) -> list[str]:
        """Where the other nodes are."""
        return [other.endpoint for other in self.nodes.values() if other is not node]

    def client(self, name: str = "") -> VirtualClient:
        """Make a client that knows all nodes as seeds."""
        self._clients_made += 1
        name = name or f"c{self._clients_made}"
        client = self.make_client(self, name, self._dice(), list(self._by_endpoint))
        self.clients[name] = client
        return client

    @property
    def running(self) -> list[VirtualNode]:
        """The nodes whose processes live, paused ones included."""
        return [node for node in self.nodes.values() if node.running]

    def node_of(self, number: int) -> VirtualNode | None:
        """The node that is the member with this number, in the newest state that any node knows."""
        state = self.state
        member = None if state is None else state.member(number)
        return None if member is None else self._by_id.get(member.id)

    # --- time ---

    def run(self, seconds: float) -> None:
        """Let time pass."""
        self.time.run(seconds)

    def run_until(self, condition: Callable[[], bool], limit: float = 60.0, every: float = 0.0) -> bool:
        """Let time pass until the condition holds; False where it does not within `limit` seconds."""
        return self.time.run_until(condition, limit, every)

    # --- how it is ---

    @property
    def state(self) -> ClusterState | None:
        """The newest cluster state that a running node knows."""
        known = [node.engine.state for node in self.nodes.values() if node.engine is not None]
        return max((state for state in known if state is not None), key=lambda state: state.epoch, default=None)

    def is_whole(self) -> bool:
        """True while all running nodes know one state, in which all of them are `up` as what they run as, and every
        in-sync set is exactly the replicas that are desired."""
        state = self.state
        if state is None:
            return False
        for node in self.running:
            member = state.by_id(node.id)
            known = None if node.engine is None else node.engine.state
            if known is None or known.epoch != state.epoch or member is None:
                return False
            if member.status is not Status.UP or member.incarnation != node.incarnation:
                return False
        return all(set(state.in_sync[bucket]) == {number for number in state.desired(bucket) if state.up(number)}
                   and len(state.in_sync[bucket]) >= state.min_in_sync_now for bucket in range(state.buckets))

    # --- what nodes and clients send ---

    def deliver(self, sender: VirtualNode, to: Address, frames: Frames, packets: Sequence[Packet]) -> None:
        """A node's multipart message leaves."""
        if isinstance(to, bytes):
            client = self.clients.get(to.decode())
            if client is not None:
                self.trace.add(sender.name, f"-> {client.name}", *packets, data=b"".join(frames))
                self.network.send(sender.name, client.name, Traffic.DATA,
                                  partial(client.receive, sender.endpoint, frames))
            return
        node = self._by_id.get(to) or self._by_endpoint.get(to)
        if node is None:
            return
        self.trace.add(sender.name, f"-> {node.name}", *packets, data=b"".join(frames))
        self.network.send(sender.name, node.name, Traffic.DATA, partial(self._arrive, sender, node, frames))

    def _arrive(self, sender: VirtualNode, node: VirtualNode, frames: Frames) -> None:
        if node.running:
            node.receive(frames, None)
        elif self.refusals:
            self.time.after(NOTICE_MAX * self.random.random(), partial(sender.refused, node.id))

    def request(self, client: VirtualClient, endpoint: str, frames: Frames, packets: Sequence[Packet]) -> None:
        """A client's multipart message leaves."""
        node = self._by_endpoint.get(endpoint)
        if node is None:
            return
        self.trace.add(client.name, f"-> {node.name}", *packets, data=b"".join(frames))
        self.network.send(client.name, node.name, Traffic.DATA, partial(node.receive, frames, client.identity))

    def publish(self, sender: VirtualNode, frame: bytes) -> None:
        """A node's heartbeat leaves, for everybody who listens."""
        for node in self.nodes.values():
            if node is not sender and node.running:
                self.network.send(sender.name, node.name, Traffic.HEARTBEATS, partial(node.hear, frame))
        for client in self.clients.values():
            if client.running:
                self.network.send(sender.name, client.name, Traffic.HEARTBEATS, partial(client.hear, frame))

    # --- connections ---

    def unreachable(self, client: VirtualClient, endpoint: str) -> bool:
        """True where the client's socket has no connection to write to."""
        node = self._by_endpoint.get(endpoint)
        return self.refusals and node is not None and not node.running

    def connected(self, node: VirtualNode) -> None:
        """A node's ports are open (again)."""
        self._tell_clients(node, stands=True)

    def disconnected(self, node: VirtualNode) -> None:
        """A node's process died: where its machine still runs, peers are told that nothing listens there."""
        if not self.refusals:
            return
        self._tell_clients(node, stands=False)
        for other in self.running:
            if not self.network.is_cut(node.name, other.name):
                self.time.after(NOTICE_MAX * self.random.random(), partial(self._refuse, other, node))

    def _refuse(self, teller: VirtualNode, node: VirtualNode) -> None:
        if not node.running:
            teller.refused(node.id)

    def _tell_clients(self, node: VirtualNode, *, stands: bool) -> None:
        for client in self.clients.values():
            if client.running and not self.network.is_cut(node.name, client.name):
                self.time.after(NOTICE_MAX * self.random.random(),
                                partial(client.connection, node.endpoint, stands))
