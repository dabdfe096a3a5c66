"""A cluster in virtual time, for tests: everything but the sockets, the threads and the disk is what runs for real."""
from __future__ import annotations

from zmqueue.testing.client import VirtualClient
from zmqueue.testing.clock import LocalClock, RanAway, VirtualTime
from zmqueue.testing.cluster import VirtualCluster
from zmqueue.testing.disk import Disk, DiskSpeed, Image
from zmqueue.testing.failpoints import Failpoint, Fuse
from zmqueue.testing.journal import Trace
from zmqueue.testing.media import InMemory, Medium, OnLmdb
from zmqueue.testing.network import Network, Traffic, Weather
from zmqueue.testing.node import Pace, VirtualNode
from zmqueue.testing.observer import Observer

__all__ = [
    "Disk",
    "DiskSpeed",
    "Failpoint",
    "Fuse",
    "Image",
    "InMemory",
    "LocalClock",
    "Medium",
    "Network",
    "Observer",
    "OnLmdb",
    "Pace",
    "RanAway",
    "Trace",
    "Traffic",
    "VirtualClient",
    "VirtualCluster",
    "VirtualNode",
    "VirtualTime",
    "Weather",
]
