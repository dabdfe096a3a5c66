"""What the simulation has found, in the shortest runs that show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from zmqueue.client.leasing import Holding
from zmqueue.core.operations import How
from zmqueue.core.packets import Packet
from zmqueue.testing import Observer, VirtualClient, VirtualCluster


def test_a_founder_comes_back_to_a_quiet_cluster() -> None:
    """It showed epoch 0 until its first commit, and was refused as an old disk (C11): nothing ever made it commit."""
    cluster = VirtualCluster(seed=1, nodes=2)
    founder = cluster.nodes["n1"]
    for _ in range(2):
        founder.crash()
        founder.start()
        cluster.run(0.01)
    assert cluster.run_until(cluster.is_whole, 30.0, every=0.1)


class Watches(Observer):
    """Counts what clients send."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        self.sent.update([type(packet).__name__ for packet in packets])


def test_a_worker_with_free_slots_does_not_watch_without_end() -> None:
    """A hint from a node that was being asked made it watch again, and brought the next hint at once."""
    watches = Watches()
    cluster = VirtualCluster(seed=1, nodes=3, observers=[watches])
    client = cluster.client()
    slots = client.work(["q"], 16, lambda holding: cluster.time.after(0.01, lambda: client.freed(slots)))[1]
    producer = cluster.client()
    for _ in range(100):
        producer.submit("q", [b"x"])
        cluster.run(0.01)
    assert watches.sent["Watch"] < 1_000


def test_a_message_whose_settle_failed_goes_to_others() -> None:
    """The session went on renewing a lease of which nobody had anything more to say."""
    cluster = VirtualCluster(seed=1, nodes=3)
    client = cluster.client()
    held: list[Holding] = []
    slots = client.work(["q"], 1, held.append)[1]
    submitted = client.submit("q", [b"x"])
    assert cluster.run_until(lambda: bool(held) and submitted.finished)
    cluster.network.part([client.name], list(cluster.nodes))
    call = client.settle(held[0], How.ACK, b"lost", timeout=1.0)
    assert cluster.run_until(lambda: call.finished) and call.error is not None
    client.freed(slots)
    cluster.network.heal()
    assert cluster.run_until(lambda: len(held) > 1 or settled(cluster, held[0].id), 60.0)


def settled(cluster: VirtualCluster, message_id: bytes) -> bool:
    """True where some replica says that the message has ended: the settle got through after all."""
    for node in cluster.running:
        assert node.engine is not None
        for replica in node.engine.replicas.values():
            record = replica.machine.find(message_id)
            if record is not None and record.state.terminal:
                return True
    return False
