"""What nodes say of themselves and of the cluster, once for each time it happens, in virtual time."""

from __future__ import annotations

from zmqueue.core.ballots import Hello
from zmqueue.core.effects import Note
from zmqueue.core.ids import make_id, places_of
from zmqueue.core.packets import Envelope, Outdated, encode
from zmqueue.core.state import Agreed
from zmqueue.testing import VirtualCluster
from zmqueue.testing.node import VirtualNode


def notes(cluster: VirtualCluster, node: VirtualNode, words: str) -> list[Note]:
    return [note for name, note in cluster.notes if name == node.name and words in note.kind]


def id_of(cluster: VirtualCluster, node: VirtualNode) -> int:
    assert cluster.state is not None
    member = cluster.state.by_id(node.id)
    assert member is not None
    return member.number


def takes_a_submit(cluster: VirtualCluster, bucket: int, node: VirtualNode) -> bool:
    """A bucket of 16 confirms a message within 5 s."""
    message = make_id(node.clock.wall(), places_of(bucket, 16)[0], b"i" * 15)
    call = cluster.client().submit("jobs", [b"x"], 5.0, message_id=message)
    assert cluster.run_until(lambda: call.finished, 10.0)
    return call.error is None


# --- standing still ---


def test_a_pause_above_the_suspicion_timeout_is_told_once_with_its_length() -> None:
    cluster = VirtualCluster(seed=1)
    node, other, _ = cluster.nodes.values()
    for seconds in (0.6, 3.0):             # the timeout is 1 s
        node.pause()
        cluster.run(seconds)
        node.resume()
        cluster.run(3.0)
    told, = notes(cluster, node, "stood still")
    assert told.warning
    assert 2.9 < float(str(told.facts["seconds"])) < 3.2
    assert told.facts["listens_s"] == cluster.settings.suspicion_ms / 1_000
    assert notes(cluster, other, "stood still") == []
    assert notes(cluster, node, "no majority") == [], "who stood still has heard too little to say that"


# --- the majority ---


def test_a_lost_majority_is_told_once_and_so_is_its_return() -> None:
    cluster = VirtualCluster(seed=2)
    left, *gone = cluster.nodes.values()
    for node in gone:
        node.crash()
    cluster.run(10.0)
    told, = notes(cluster, left, "no majority")
    assert told.warning and told.facts["voters"] == 3
    assert all(node.id in str(told.facts["missing"]) and node.endpoint in str(told.facts["missing"]) for node in gone)
    assert left.id not in str(told.facts["missing"])
    for node in gone:
        node.start()
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    cluster.run(5.0)
    back, = notes(cluster, left, "is heard again")
    assert 5.0 < float(str(back.facts["seconds"])) < 20.0
    assert len(notes(cluster, left, "no majority")) == 1


def test_one_node_of_three_that_is_lost_is_no_lost_majority() -> None:
    cluster = VirtualCluster(seed=3)
    *left, gone = cluster.nodes.values()
    gone.crash()
    cluster.run(10.0)
    assert all(notes(cluster, node, "majority") == [] for node in left)


def test_without_a_majority_it_is_told_which_buckets_go_on_and_these_do() -> None:
    cluster = VirtualCluster(seed=5, nodes=5, settings=Agreed(buckets=16, vnodes=16, replicas=2, min_in_sync=1))
    state = cluster.state
    assert state is not None
    pairs = [frozenset(in_sync) for in_sync in state.in_sync]
    kept = max(set(pairs), key=pairs.count)                        # two nodes that share a bucket
    for node in list(cluster.nodes.values()):
        if id_of(cluster, node) not in kept:
            node.crash()
    cluster.run(10.0)
    left = [node for node in cluster.nodes.values() if node.running]
    going_on: set[int] = set()
    halted: set[int] = set()
    for node in left:
        told, = notes(cluster, node, "no majority")
        for found, name in ((going_on, "buckets_that_go_on"), (halted, "buckets_that_stand_still")):
            found.update(int(bucket) for bucket in str(told.facts[name]).split(",") if bucket.isdigit())
    assert going_on == {bucket for bucket, pair in enumerate(pairs) if pair == kept}
    assert halted and not halted & going_on
    assert halted == {bucket for bucket in range(16) if state.primary(bucket) in kept and pairs[bucket] != kept}
    assert takes_a_submit(cluster, min(going_on), left[0])
    assert not takes_a_submit(cluster, min(halted), left[0])


# --- old disks ---


def test_a_node_on_an_old_disk_is_told_so_and_stops_with_the_reason() -> None:
    cluster = VirtualCluster(seed=6)
    node = list(cluster.nodes.values())[2]
    image = node.disk.image()
    for _ in range(2):
        node.crash()
        cluster.run(4.0)
        node.start()
        assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    node.crash()
    node.restore(image)
    node.start()
    assert cluster.run_until(lambda: not node.running, 5.0)
    assert "older than what node" in node.ended and "--join" in node.ended
    cluster.run(10.0)
    assert all(other.running for other in cluster.nodes.values() if other is not node)


def test_a_late_answer_about_an_earlier_run_stops_nobody() -> None:
    cluster = VirtualCluster(seed=7)
    node, peer, _ = cluster.nodes.values()
    node.crash()
    cluster.run(3.0)
    node.start()
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    assert peer.engine is not None
    envelope = encode(peer.engine.envelope())
    node.receive((envelope, encode(Outdated(node.incarnation - 1, 1, node.incarnation, 99))), None)
    cluster.run(1.0)
    assert node.running
    node.receive((envelope, encode(Outdated(node.incarnation, 1, node.incarnation + 1, 99))), None)
    cluster.run(1.0)
    assert not node.running, "about this run it does"


def test_two_nodes_that_refuse_each_other_do_not_go_on_telling() -> None:
    cluster = VirtualCluster(seed=8)
    node, peer, _ = cluster.nodes.values()
    assert node.engine is not None and cluster.state is not None
    engine, state, now = node.engine, cluster.state, node.clock.monotonic()
    older = Envelope(state.cluster_id, state.lineage, peer.id, peer.incarnation - 1, 1)
    engine.on_peer(older, [Hello(1)], now, 0)
    sent = [packet for to, packet in engine.take().now if to == peer.id and isinstance(packet, Outdated)]
    assert [(packet.incarnation, packet.had_incarnation) for packet in sent] == [
        (peer.incarnation - 1, peer.incarnation)]
    engine.on_peer(older, [Outdated(1, 1, 2, 2)], now, 0)
    assert not any(isinstance(packet, Outdated) for _, packet in engine.take().now)
