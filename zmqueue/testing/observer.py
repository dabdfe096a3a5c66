"""What may be watched in a virtual cluster: every step of every node and client, as it happens."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from zmqueue.core.effects import Address, Note
from zmqueue.core.packets import Packet

if TYPE_CHECKING:
    from zmqueue.testing.client import VirtualClient
    from zmqueue.testing.node import VirtualNode


class Observer:
    """Override what you want to see. Nothing here may change the run."""

    def started(self, node: VirtualNode) -> None:
        """The node's engine was made, from what its disk holds."""

    def turned(self, node: VirtualNode) -> None:
        """The node has taken what came; nothing of what follows from it has left yet."""

    def left(self, node: VirtualNode, to: Address, packets: Sequence[Packet]) -> None:
        """These packets leave the node."""

    def noted(self, node: VirtualNode, note: Note) -> None:
        """The node tells its operator something."""

    def synced(self, node: VirtualNode) -> None:
        """The node's batch is durable; nothing that waited for this has left yet."""

    def stopped(self, node: VirtualNode) -> None:
        """The node's process has ended; its disk is what a restart finds."""

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        """These packets leave a client."""

    def told(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        """These packets reached a client."""
