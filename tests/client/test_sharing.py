"""Credit on a whole cluster in virtual time: idle consumers share evenly, and nothing is parked in a busy one."""

from __future__ import annotations

from collections import Counter

from zmqueue.client.leasing import Holding, Slots
from zmqueue.core.operations import How
from zmqueue.testing import VirtualCluster
from zmqueue.testing.client import VirtualClient


class Consumer:
    """Works on what it is handed for so long, a given number at a time."""

    def __init__(self, cluster: VirtualCluster, seconds: float, slots: int = 1) -> None:
        self.client: VirtualClient = cluster.client()
        self.got: list[Holding] = []
        self._cluster, self._seconds = cluster, seconds
        self.session, self.slots = self.client.work(["q"], slots, self._deliver)
        self._shared: Slots = self.slots

    def _deliver(self, holding: Holding) -> None:
        self.got.append(holding)
        self._cluster.time.at(self._cluster.time.now + self._seconds, lambda: self._done(holding))

    def _done(self, holding: Holding) -> None:
        self.client.settle(holding, How.ACK)
        self.client.freed(self._shared)


def test_idle_consumers_share_what_comes_evenly() -> None:
    cluster = VirtualCluster(seed=11, nodes=3)
    assert cluster.run_until(cluster.is_whole)
    producer = cluster.client()
    consumers = [Consumer(cluster, 0.05) for _ in range(5)]
    cluster.run(2.0)
    for _ in range(100):
        producer.submit("q", [b"work"])
        cluster.run(0.1)
    shares = [len(consumer.got) for consumer in consumers]
    assert sum(shares) == 100 and min(shares) >= 10 and max(shares) <= 30, shares


def test_a_busy_consumer_holds_nothing_that_an_idle_one_could_begin() -> None:
    cluster = VirtualCluster(seed=12, nodes=3)
    assert cluster.run_until(cluster.is_whole)
    producer = cluster.client()
    slow, quick = Consumer(cluster, 30.0, slots=2), Consumer(cluster, 0.01)
    cluster.run(2.0)
    call = producer.submit("q", [b"work"] * 40)
    assert cluster.run_until(lambda: len(slow.got) + len(quick.got) == 40, limit=10.0)
    assert call.error is None and len(slow.got) == 2
    assert Counter(holding.id for consumer in (slow, quick) for holding in consumer.got).most_common(1)[0][1] == 1
