"""Each fault does what its name says, on a cluster in calm weather."""

from __future__ import annotations

import random

from tests.simulation.faults.network import NetworkFaults
from tests.simulation.faults.processes import ProcessFaults
from tests.simulation.faults.scene import Scene
from tests.simulation.workload import Load, Workload
from zmqueue.testing import VirtualCluster


def scene(nodes: int, seed: int = 1) -> Scene:
    """A whole cluster with some programs, and chance."""
    cluster = VirtualCluster(seed, nodes)
    workload = Workload(cluster, Load.draw(random.Random(seed)), random.Random(seed))
    cluster.run(1.0)
    return Scene(cluster, workload, random.Random(seed))


def test_in_a_ring_of_majorities_each_node_sees_another_majority() -> None:
    for nodes in (5, 7):
        here = scene(nodes)
        assert NetworkFaults(here).kinds()["ring of majorities"]()
        network = here.cluster.network
        seen = {frozenset(other for other in here.nodes if not network.is_cut(name, other)) for name in here.nodes}
        assert len(seen) == nodes
        assert all(nodes // 2 < len(majority) < nodes for majority in seen)
    assert not NetworkFaults(scene(3)).kinds()["ring of majorities"]()


def test_a_zombie_primary_wakes_after_its_leases_and_its_clients_are_set_free_again() -> None:
    here = scene(3)
    assert ProcessFaults(here).kinds()["zombie primary"]()
    zombie, = (node for node in here.nodes.values() if node.paused)
    network, settings = here.cluster.network, here.cluster.settings
    alone = [client for client in here.cluster.clients
             if any(network.is_cut(client, other) for other in here.nodes)]
    assert alone and not any(network.is_cut(client, zombie.name) for client in alone)
    here.cluster.run(settings.lease_ms / 1_000)
    assert [node for node in here.nodes.values() if node.paused] == [zombie]
    here.cluster.run(settings.lease_ms / 1_000 + settings.suspicion_ms / 1_000 + 1.5)
    assert not any(node.paused for node in here.nodes.values())
    assert not any(network.is_cut(client, other) for client in here.cluster.clients for other in here.nodes)


def test_a_crash_of_a_minority_leaves_a_majority() -> None:
    for nodes, left in ((3, 2), (4, 3), (5, 3)):
        here = scene(nodes)
        assert ProcessFaults(here).kinds()["crash of a minority"]()
        assert len(here.cluster.running) == left
    assert not ProcessFaults(scene(2)).kinds()["crash of a minority"]()
