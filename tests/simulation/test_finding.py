"""Searches in a whole cluster in virtual time."""

from __future__ import annotations

from typing import Any

import pytest

from zmqueue.client import finding
from zmqueue.core.answers import FoundMessage
from zmqueue.errors import ClusterUnreachable, NoAnswer
from zmqueue.testing import VirtualClient, VirtualCluster, Weather

MESSAGES = 400
STORM = Weather(delay_max=0.01, loss=0.1, duplication=0.2, overtaking=0.2)


def filled(seed: int, weather: Weather | None = None) -> tuple[VirtualCluster, set[bytes]]:
    """A cluster with messages. -> their ids."""
    cluster = VirtualCluster(seed, weather=weather)
    call = cluster.client().submit("jobs", [b"x"] * MESSAGES, timeout=60.0)
    assert cluster.run_until(lambda: call.finished, 60.0) and call.error is None
    return cluster, {item.id for item in call.items if item.id is not None}


def look(cluster: VirtualCluster, client: VirtualClient, search: finding.Search, timeout: float) -> list[FoundMessage]:
    """The next pages. Raises their error."""
    call = finding.FindCall(search, client.now + timeout)
    client.core.find(call, client.now)
    client.run(_nothing(), lambda _: None)               # a turn
    assert cluster.run_until(lambda: call.finished, timeout + 1.0)
    return search.took(call.outcome())


def _nothing() -> Any:
    return
    yield


@pytest.mark.parametrize("seed", range(3))
def test_while_nodes_die_each_message_is_found_once(seed: int) -> None:
    cluster, ids = filled(seed, STORM)
    client, found = cluster.client(), list[bytes]()
    search = finding.search("jobs")
    search.page = 20
    nodes = iter(list(cluster.nodes.values()))
    while not search.over:
        found += [message.id for message in look(cluster, client, search, 60.0)]
        if len(found) % 3 == 0 and (node := next(nodes, None)) is not None:
            assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
            node.crash()
            cluster.time.after(1.0, node.start)
    assert len(found) == len(ids) and set(found) == ids


def test_a_search_goes_on_where_it_was_when_its_cluster_was_away() -> None:
    cluster, ids = filled(7)
    client, search = cluster.client(), finding.search("jobs")
    search.page = 20
    found = [message.id for message in look(cluster, client, search, 10.0)]
    for node in cluster.nodes.values():
        node.crash()
    for _ in range(2):
        with pytest.raises((NoAnswer, ClusterUnreachable)):
            look(cluster, client, search, 2.0)
    for node in cluster.nodes.values():
        node.start()
    while not search.over:
        found += [message.id for message in look(cluster, client, search, 60.0)]
    assert sorted(found) == sorted(ids)
