"""Two lineages of one cluster (C12): who stops, who is refused, and what clients of the older one are told."""

from __future__ import annotations

import msgspec
import pytest

from tests.simulation.bench import BUCKET, Bench, BenchNode
from zmqueue.core.agreement import MustStop, Superseded
from zmqueue.core.answers import Code, NotPrimary, Refused, StateReply
from zmqueue.core.ballots import Hello, StateIs
from zmqueue.core.packets import Envelope, Heartbeat, Packet
from zmqueue.core.requests import GetQueues, GetState, Watch
from zmqueue.core.state import ClusterState


@pytest.fixture
def bench() -> Bench:
    return Bench(3, 3)


def envelope(bench: Bench, lineage: int, cluster: str = "", node: str = "f" * 16) -> Envelope:
    return Envelope(cluster or bench.state.cluster_id, lineage, node, 1, 0)


def heartbeat(bench: Bench, lineage: int, cluster: str = "") -> Heartbeat:
    member = bench.member(2)
    return Heartbeat(cluster or bench.state.cluster_id, lineage, member.id, 2, 9, 99, 0, (), 0)


def later(bench: Bench) -> ClusterState:
    return msgspec.structs.replace(bench.state, lineage=2, epoch=1)


def test_a_node_that_meets_a_newer_lineage_of_its_cluster_stops_with_the_reason(bench: Bench) -> None:
    engine = bench.nodes[1].engine
    for packet in (Hello(1), StateIs(later(bench).to_bytes())):
        with pytest.raises(Superseded, match=r"recovered as lineage 2.*lineage 1.*empty directory"):
            engine.on_peer(envelope(bench, 2), [packet], bench.now, 0)
    with pytest.raises(Superseded):
        engine.on_heartbeat(heartbeat(bench, 3), bench.now)
    assert issubclass(Superseded, MustStop), "so the shell and the simulation end it alike"
    assert engine.state == bench.state, "and nothing of it was taken"


def test_a_node_that_meets_an_older_lineage_refuses_it_and_says_so_once() -> None:
    bench = Bench(3, 3)
    bench.state = msgspec.structs.replace(bench.state, lineage=2)
    node = BenchNode(bench, bench.member(1))
    node.engine.take()
    before = node.engine.strangers
    for _ in range(3):
        node.engine.on_peer(envelope(bench, 1), [Hello(99)], bench.now, 0)
        node.engine.on_heartbeat(heartbeat(bench, 1), bench.now)
    effects = node.engine.take()
    assert node.engine.strangers == before + 6 and effects.now == []
    assert [note.facts["node"] for note in effects.notes] == ["f" * 16, bench.member(2).id]


def test_other_clusters_are_strangers_whatever_their_lineage(bench: Bench) -> None:
    engine = bench.nodes[1].engine
    engine.take()
    engine.on_peer(envelope(bench, 9, "other"), [Hello(99)], bench.now, 0)
    engine.on_heartbeat(heartbeat(bench, 9, "other"), bench.now)
    assert engine.strangers == 2 and engine.take().notes == []


# --- clients ------------------------------------------------------------------------------------------------------


def recovered() -> tuple[Bench, BenchNode]:
    bench = Bench(3, 3)
    bench.state = msgspec.structs.replace(bench.state, lineage=2)
    node = BenchNode(bench, bench.member(1))
    node.engine.take()
    return bench, node


def answers(node: BenchNode, sender: Envelope, *packets: Packet) -> list[Packet]:
    node.engine.on_client(b"c", node.engine.admit(sender, b"c", packets), 0.0, 5)
    return [packet for _, packet in node.engine.take().now]


def test_a_client_of_an_older_lineage_gets_the_whole_state_and_its_requests_back() -> None:
    bench, node = recovered()
    sender = Envelope(bench.state.cluster_id, 1, "", 0, 99)
    refused, state = answers(node, sender, GetState(3, 99), GetQueues(4))
    assert isinstance(state, StateReply) and state.request == 3
    assert ClusterState.from_bytes(state.state) == bench.state, "though the client knows a higher epoch"
    assert refused == NotPrimary(4, bench.state.epoch, unknown=False)
    assert answers(node, sender, Watch(b"s", ("q",))) == [NotPrimary(0, bench.state.epoch, unknown=False)]


def test_a_client_of_this_lineage_or_of_none_is_served(bench: Bench) -> None:
    node = bench.nodes[1]
    for sender in (Envelope(), Envelope(bench.state.cluster_id, 1)):
        assert node.engine.admit(sender, b"c", [GetQueues(4)]) == [GetQueues(4)]
    assert node.engine.replicas[BUCKET].state == bench.state


@pytest.mark.parametrize(("cluster", "lineage"), [("other", 1), ("other", 2), ("", 3)])
def test_a_client_of_another_cluster_or_of_a_later_lineage_is_refused(cluster: str, lineage: int) -> None:
    bench, node = recovered()
    sender = Envelope(cluster or bench.state.cluster_id, lineage)
    refused, = answers(node, sender, GetState(3, 0))
    assert isinstance(refused, Refused) and refused.code == Code.NOT_ALLOWED and "check the seeds" in refused.text
