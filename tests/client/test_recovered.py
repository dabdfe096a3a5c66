"""A cluster that was recovered under a newer lineage (C12): its clients follow it, and nobody else."""

from __future__ import annotations

import msgspec
import pytest

from tests.client.rig import NODES, Rig
from zmqueue.core.answers import NotPrimary, StateReply
from zmqueue.core.packets import Envelope
from zmqueue.core.requests import GetState, Submit
from zmqueue.core.state import ClusterState


def known(epoch: int) -> Rig:
    """A client that knows a state of that epoch."""
    rig = Rig()
    rig.cluster.state = msgspec.structs.replace(rig.cluster.state, epoch=epoch)
    return rig.ready()


def recovered(rig: Rig, epoch: int, node: str = NODES[2]) -> ClusterState:
    """The state after a recovery of which one node is the only survivor."""
    state = rig.cluster.state
    survivor = next(member for member in state.members if member.endpoint == node)
    return msgspec.structs.replace(state, lineage=2, epoch=epoch, members=(survivor,),
                                   in_sync=((survivor.number,),) * state.buckets, terms=(epoch,) * state.buckets)


def say(rig: Rig, state: ClusterState, node: str = NODES[2]) -> None:
    """The survivor answers the client's last question for the state, as it does to one of an older lineage."""
    envelope = Envelope(state.cluster_id, state.lineage, "survivor", 2, state.epoch)
    request = rig.packets(GetState, node)[-1].request
    rig.core.on_packets(node, envelope, [StateReply(request, state.epoch, state.to_bytes(), 0)], rig.now)


@pytest.mark.parametrize("epoch", [19, 20, 21])
def test_a_client_follows_the_newer_lineage_whatever_its_epoch(epoch: int) -> None:
    rig = known(20)
    state = recovered(rig, epoch)
    rig.dead = set(NODES)
    call = rig.submit()
    rig.run(0.1)
    rig.cluster.state = state
    rig.heartbeat(NODES[2])
    rig.run(0.01)
    assert rig.packets(GetState, NODES[2]), "whoever showed it is asked at once"
    say(rig, state)
    rig.dead = set(NODES[:2])
    rig.until_done(call, seconds=5.0)
    assert call.error is None and rig.core.routing.lineage == 2 and rig.core.routing.epoch == epoch
    assert {node for node, _ in rig.cluster.submits} == {NODES[2]}
    ids = {packet.messages[0].id for packet in rig.packets(Submit)}
    assert len(ids) == 1, "what may have been stored is only ever repeated with its id (Q2)"


def test_what_is_on_its_way_is_sent_again_at_once_though_the_terms_are_equal() -> None:
    """A recovery sets all terms to its epoch: the lost majority may have come as far."""
    rig = known(20)
    rig.cluster.state = msgspec.structs.replace(rig.cluster.state, epoch=21, terms=(21,) * rig.cluster.state.buckets)
    rig.heartbeat(NODES[0])
    rig.run(0.5, lambda: rig.core.routing.epoch == 21)
    rig.dead = set(NODES)
    call = rig.submit()
    rig.run(0.05)
    rig.cluster.state = state = recovered(rig, 21)
    assert state.terms == (21,) * state.buckets
    rig.heartbeat(NODES[2])
    rig.run(0.01)
    say(rig, state)
    rig.dead = set(NODES[:2])
    rig.until_done(call, seconds=0.1)
    assert call.error is None


def test_what_the_newer_lineage_says_before_its_state_is_known_is_no_answer() -> None:
    rig = known(20)
    rig.dead = set(NODES)
    call = rig.submit()
    rig.run(0.0)
    state = recovered(rig, 21)
    request, = rig.packets(Submit)
    envelope = Envelope(state.cluster_id, 2, "survivor", 2, 21)
    rig.core.on_packets(NODES[2], envelope, [NotPrimary(request.request, 21, False)], rig.now)
    assert call.items[0].open == 1, "it is not known what became of it in the old lineage"
    rig.run(0.01)
    assert rig.packets(GetState, NODES[2])


def test_an_older_lineage_and_another_cluster_are_strangers() -> None:
    rig = known(20)
    rig.cluster.state = recovered(rig, 21)
    rig.heartbeat(NODES[2])
    rig.run(0.01)
    say(rig, rig.cluster.state)
    before = rig.core.strangers
    for cluster, lineage in ((rig.cluster.state.cluster_id, 1), ("other", 3)):
        rig.core.on_packets(NODES[0], Envelope(cluster, lineage, "x", 1, 99), [], rig.now)
    assert rig.core.strangers == before + 2 and rig.core.routing.epoch == 21
    assert rig.core.routing.lineage == 2
