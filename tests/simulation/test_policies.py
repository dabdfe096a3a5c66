"""What is agreed for queues, in a whole cluster in virtual time."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from zmqueue.client.declaring import Decide, PolicyCall
from zmqueue.client.leasing import Holding
from zmqueue.core.operations import How
from zmqueue.core.replication import Role
from zmqueue.testing import VirtualClient, VirtualCluster


def agree(cluster: VirtualCluster, client: VirtualClient, decide: Decide) -> PolicyCall:
    """Have it agreed, and known to every primary."""
    call = client.agree("jobs", decide)
    assert cluster.run_until(lambda: call.finished, 15.0)
    return call


def primaries(cluster: VirtualCluster) -> set[str]:
    """The names of the nodes that are primary of any bucket."""
    return {node.name for node in cluster.running if node.engine is not None
            and any(replica.role is Role.PRIMARY for replica in node.engine.replicas.values())}


def test_a_pause_holds_over_the_crash_and_the_restart_of_every_node() -> None:
    cluster = VirtualCluster(seed=1)
    client, worker = cluster.client(), cluster.client()
    call = client.submit("jobs", [b"%d" % number for number in range(20)])
    assert cluster.run_until(lambda: call.finished, 10.0) and call.error is None
    assert agree(cluster, client, lambda policy: replace(policy, paused=True)).error is None
    handed_out: list[Holding] = []

    def work(holding: Holding) -> None:
        handed_out.append(holding)
        worker.settle(holding, How.ACK)
        worker.freed(slots)

    _, slots = worker.work(["jobs"], 5, work)
    for node in list(cluster.nodes.values()):
        node.crash()
        cluster.run(4.0)
        assert handed_out == [], f"after the crash of {node.name}"
        node.start()
        assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    assert handed_out == []
    resumed_at = cluster.time.now
    assert agree(cluster, client, lambda policy: replace(policy, paused=False)).error is None
    assert cluster.run_until(lambda: len(handed_out) == 20, 5.0)
    assert cluster.time.now - resumed_at < 1.0


@pytest.mark.parametrize("seed", range(4))
def test_when_a_pause_is_confirmed_nothing_is_handed_out_any_more(seed: int) -> None:
    """Each primary has shown that it knows, also the one that stood still while it was agreed."""
    cluster = VirtualCluster(seed=seed)
    client, worker = cluster.client(), cluster.client()
    granted_at: list[float] = []
    call = client.submit("jobs", [b"x"] * 200)
    assert cluster.run_until(lambda: call.finished, 10.0)
    _, slots = worker.work(["jobs"], 2, lambda holding: granted_at.append(cluster.time.now))
    node = list(cluster.nodes.values())[seed % 3]
    assert node.name in primaries(cluster)
    node.pause()                           # it stands still, and hears of the pause when it goes on
    pause = client.agree("jobs", lambda policy: replace(policy, paused=True))
    cluster.run(0.6)                       # less than it takes to be suspected
    assert not pause.finished, "it stands still, and may hand out when it goes on"
    node.resume()
    assert cluster.run_until(lambda: pause.finished, 15.0) and pause.error is None
    cluster.run(0.05)                      # what was on its way has arrived
    confirmed_at = cluster.time.now
    worker.freed(slots, 50)
    cluster.run(3.0)
    assert [when for when in granted_at if when > confirmed_at] == []


def test_a_cluster_without_a_majority_declares_nothing_and_says_so() -> None:
    cluster = VirtualCluster(seed=2)
    client = cluster.client()
    assert agree(cluster, client, lambda policy: replace(policy, attempts=3)).error is None
    for node in list(cluster.nodes.values())[1:]:
        node.crash()
    call = agree(cluster, client, lambda policy: replace(policy, attempts=4))
    assert call.error is not None and not call.error.definite and "majority" in str(call.error)
