"""One ring per epoch: every peer that knows a state, node or client, places each bucket alike (P1, P2).

Compared is what a peer goes by: the desired replicas of each bucket, and where it believes the primary to be. A client
that is wrong about that does no harm that any other checker sees: it is told `NotPrimary`, and asks again, for ever.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence

from tests.simulation.checkers import Violation
from zmqueue.core.packets import Packet
from zmqueue.core.state import ClusterState
from zmqueue.testing import Observer, VirtualClient, VirtualNode

Epoch = tuple[int, int]                    # lineage, epoch: of a recovered cluster, epochs begin anew


def digest_of(state: ClusterState, primary: Callable[[int], str | None]) -> str:
    """What a peer of that state has computed; `primary(bucket)`: the endpoint at which it looks for the primary."""
    told = hashlib.sha256()
    for bucket in range(state.buckets):
        told.update(f"{bucket} {state.desired(bucket)} {primary(bucket)}\n".encode())
    return told.hexdigest()


def digest_of_node(state: ClusterState) -> str:
    """The same of a node, which looks up its own state."""
    def primary(bucket: int) -> str | None:
        number = state.primary(bucket)
        member = None if number is None else state.member(number)
        return None if member is None else member.endpoint
    return digest_of(state, primary)


class RingBook:
    """Who computed what: the first peer of an epoch is what the others are held against."""

    NAME = "one ring per epoch"

    def __init__(self) -> None:
        self.compared = 0
        self._first: dict[Epoch, tuple[str, str]] = {}         # (digest, peer)

    def add(self, epoch: Epoch, peer: str, digest: str) -> None:
        """Raises Violation where that peer's ring is another than the first one's."""
        known, first = self._first.setdefault(epoch, (digest, peer))
        self.compared += peer != first
        if known != digest:
            raise Violation(self.NAME, f"{peer} and {first} place buckets differently in epoch {epoch[1]} of lineage "
                                       f"{epoch[0]}")


class Rings(Observer):
    """The rings of all peers of a virtual cluster, looked at when a node installs a state and before a client sends."""

    def __init__(self) -> None:
        self.book = RingBook()
        self._looked: dict[str, Epoch] = {}                    # by peer

    def started(self, node: VirtualNode) -> None:
        self._look_at_node(node)

    def turned(self, node: VirtualNode) -> None:
        self._look_at_node(node)

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        routing = client.core.routing
        if routing.state is not None and self._new(client.name, routing.state):
            self.book.add(self._looked[client.name], client.name, digest_of(routing.state, routing.primary))

    def _look_at_node(self, node: VirtualNode) -> None:
        state = None if node.engine is None else node.engine.state
        if state is not None and self._new(node.name, state):
            self.book.add(self._looked[node.name], node.name, digest_of_node(state))

    def _new(self, peer: str, state: ClusterState) -> bool:
        """True where this state of the peer was not looked at yet; from now on it was."""
        epoch = state.lineage, state.epoch
        if self._looked.get(peer) == epoch:
            return False
        self._looked[peer] = epoch
        return True
