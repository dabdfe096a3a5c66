"""The node: the only place where the clock, the network and the disk are touched."""
from __future__ import annotations

from zmqueue.node.node import DirectoryInUse, Node, NodeFailed
from zmqueue.node.sockets import AddressInUse

__all__ = ["AddressInUse", "DirectoryInUse", "Node", "NodeFailed"]
