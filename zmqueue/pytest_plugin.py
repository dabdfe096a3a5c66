"""Fixtures for pytest: a cluster of real nodes in the test's own process, a virtual one, and a client.

pytest finds this by itself once zmqueue is installed. Nothing but pytest is imported until a test asks for a fixture.
How large the cluster is and how it is set stands in a mark: `@pytest.mark.zmqueue(nodes=3, buckets=16)`.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import zmqueue
    from zmqueue.testing import VirtualCluster

WHOLE_S = 30.0                             # a cluster that is not whole by then never will be
LOOK_S = 0.02
BUCKETS = 8                                # few: a test's cluster starts faster


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """Nodes that run in this process. A test may stop one: `cluster.nodes[0].stop()`."""

    nodes: list[zmqueue.Node]

    @property
    def seeds(self) -> list[str]:
        """The endpoints of the nodes: `zmqueue.Client(*cluster.seeds)`, `zmqueue.App(*cluster.seeds)`."""
        return [node.endpoint for node in self.nodes]


def pytest_configure(config: pytest.Config) -> None:
    """Make the mark known."""
    config.addinivalue_line("markers", "zmqueue(nodes=..., **settings): how zmqueue_cluster and zmqueue_virtual are"
                                       " made: nodes (default 1, virtual 3), seed (virtual, default 0), and settings of"
                                       " the cluster by name")


@pytest.fixture
def zmqueue_cluster(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    """A cluster of real nodes, on free ports and in temporary folders, for one test: whole when the test begins."""
    import zmqueue
    marks = _marks(request)
    count = marks.pop("nodes", 1)
    settings = zmqueue.Settings(**{"buckets": BUCKETS, **({} if count > 1 else {"min_in_sync": 1}), **marks})
    folder = tmp_path_factory.mktemp("zmqueue")
    with contextlib.ExitStack() as stack:
        nodes: list[zmqueue.Node] = []
        for number in range(count):
            node = zmqueue.Node(folder / str(number), listen="tcp://127.0.0.1:0", found=not nodes,
                                join=[nodes[0].endpoint] if nodes else [], settings=settings)
            nodes.append(stack.enter_context(node))
        cluster = LocalCluster(nodes)
        _await_whole(cluster, settings.replicas)
        yield cluster


@pytest.fixture
def zmqueue_client(zmqueue_cluster: LocalCluster) -> Iterator[zmqueue.Client]:
    """A client of `zmqueue_cluster`."""
    import zmqueue
    with zmqueue.Client(*zmqueue_cluster.seeds) as client:
        yield client


@pytest.fixture
def zmqueue_virtual(request: pytest.FixtureRequest) -> VirtualCluster:
    """A cluster in virtual time (`zmqueue.testing`): no sockets, no threads, no waiting, the same run for one seed."""
    from zmqueue.core.state import Agreed
    from zmqueue.testing import VirtualCluster
    marks = _marks(request)
    count, seed = marks.pop("nodes", 3), marks.pop("seed", 0)
    return VirtualCluster(seed, count, settings=Agreed(**{"buckets": 4, "vnodes": 16, **marks}))


def _marks(request: pytest.FixtureRequest) -> dict[str, Any]:
    """What the marks say, the nearest last."""
    found: dict[str, Any] = {}
    for mark in reversed(list(request.node.iter_markers("zmqueue"))):
        if mark.args:
            raise TypeError(f"@pytest.mark.zmqueue takes names only, as in zmqueue(nodes=3); found {mark.args}")
        found.update(mark.kwargs)
    return found


def _await_whole(cluster: LocalCluster, replicas: int) -> None:
    import zmqueue
    end = time.monotonic() + WHOLE_S
    with zmqueue.Client(*cluster.seeds) as client:
        while True:
            view = client.members()
            short = view.buckets_short and len(cluster.nodes) >= replicas
            if not short and not view.buckets_without_primary:
                return
            if time.monotonic() > end:
                raise TimeoutError(f"the test's cluster of {len(cluster.nodes)} nodes is not whole after {WHOLE_S:g} s:"
                                   f" {view}")
            threading.Event().wait(LOOK_S)
