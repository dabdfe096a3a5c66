"""The node: the only place where the clock, the network and the disk are touched."""

from zmqueue.node.node import Node

__all__ = ["Node"]
