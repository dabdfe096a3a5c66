"""What the simulation has found, in the shortest runs that show it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.simulation.bench import BUCKET, Bench
from zmqueue.client.leasing import Holding
from zmqueue.client.limits import BEAT_S_MIN
from zmqueue.core.answers import Code, Refused
from zmqueue.core.ballots import Prepare, StateIs
from zmqueue.core.changes import MemberDown, MemberForgotten, MemberJoined, MemberOut, MemberUp, apply
from zmqueue.core.engine import ANSWER_ON
from zmqueue.core.operations import How
from zmqueue.core.packets import Packet
from zmqueue.core.replication import Role
from zmqueue.core.requests import GetQueues
from zmqueue.core.state import ClusterState, Member
from zmqueue.testing import DiskSpeed, Observer, VirtualClient, VirtualCluster, Weather


def test_a_founder_that_starts_again_is_heard_at_once() -> None:
    """It showed epoch 0 until its first commit, and was refused as an old disk (C11): in a quiet cluster for ever."""
    cluster = VirtualCluster(seed=1, nodes=2)
    founder = cluster.nodes["n1"]
    founder.crash()
    founder.start()
    engine = founder.engine
    assert engine is not None and engine.state is not None
    assert engine.envelope().epoch == engine.state.epoch
    assert engine.heartbeat(0.0, 0, 0) is not None


class Watches(Observer):
    """Counts what clients send."""

    def __init__(self) -> None:
        self.sent: Counter[str] = Counter()

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        self.sent.update([type(packet).__name__ for packet in packets])


def test_a_worker_with_free_slots_does_not_watch_without_end() -> None:
    """A hint from a node that was being asked made it watch again, and brought the next hint at once."""
    watches = Watches()
    slow = DiskSpeed(sync_min=0.02, sync_max=0.03)
    cluster = VirtualCluster(seed=1, nodes=3, observers=[watches], speed=slow)
    client = cluster.client()
    producer = cluster.client()
    submitted = producer.submit("q", [b"x"] * 300)
    assert cluster.run_until(lambda: submitted.finished)
    taken: list[Holding] = []

    def work(holding: Holding) -> None:
        taken.append(holding)
        cluster.time.after(0.001 * (1 + len(taken) % 7), lambda: client.freed(slots))
    slots = client.work(["q"], 4, work)[1]
    cluster.run(2.0)
    assert watches.sent["Watch"] < 300


def test_a_grant_that_is_told_again_when_its_time_is_over_does_not_make_its_session_beat_without_end() -> None:
    """A repeated lease request is answered with what is left of the lease: that was nothing, and so was the pause until
    the next keepalive."""
    watches = Watches()
    cluster = VirtualCluster(seed=1, nodes=3, observers=[watches])
    client, held = cluster.client(), list[Holding]()
    client.work(["q"], 1, held.append)
    client.submit("q", [b"x"])
    assert cluster.run_until(lambda: bool(held))
    held[0].lease_ms = 0
    watches.sent.clear()
    cluster.run(1.0)
    assert 0 < watches.sent["Keepalive"] <= 3 * (1.0 / BEAT_S_MIN + 1)


def test_a_message_whose_settle_failed_goes_to_others() -> None:
    """The session went on renewing a lease of which nobody had anything more to say."""
    cluster = VirtualCluster(seed=1, nodes=3, weather=Weather(held=0.0))
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
    assert cluster.run_until(lambda: len(held) > 1, 60.0)
    assert held[1].id == held[0].id and held[1].fencing > held[0].fencing


def test_a_member_that_was_forgotten_and_joined_anew_is_known_by_its_new_number() -> None:
    """It went on as the member that it had been, and so had no role in any bucket."""
    bench = Bench(4, 3)
    number = next(number for number in bench.state.desired(BUCKET) if number != bench.state.primary(BUCKET))
    old, state = bench.member(number), bench.state
    state = apply(state, [MemberDown(number, 1, old.since)])
    state = apply(state, [MemberOut(number, 1, member(state, number).since)])
    state = apply(state, [MemberForgotten(number, member(state, number).since)])
    state = apply(state, [MemberJoined(old.id, 1, old.nonce, old.endpoint, old.heartbeats)])
    state = apply(state, [MemberUp(5, 1, member(state, 5).since, old.nonce, old.endpoint, old.heartbeats)])
    node = bench.nodes[number]
    node.turn((bench.member(number % 4 + 1), StateIs(state.to_bytes())))
    assert node.engine.replicas[BUCKET].role is (Role.BACKUP if 5 in state.desired(BUCKET) else Role.NONE)
    assert node.engine.host is not None and node.engine.host.number == 5


def test_a_forgotten_node_tells_who_waits_for_its_vote_and_then_is_over() -> None:
    """It stopped at once: where only it knew the decision, the other voter waited for its vote for ever (C7)."""
    bench = Bench(2, 2)
    state = apply(bench.state, [MemberDown(2, 1, bench.member(2).since)])
    out = apply(state, [MemberOut(2, 1, member(state, 2).since)])
    without = apply(out, [MemberForgotten(2, member(out, 2).since)])
    assert out.quorum == 2 and without.voters == (1,)
    node = bench.nodes[2]
    node.turn((bench.member(1), StateIs(without.to_bytes())))
    node.sync()
    node.left.clear()
    node.turn((bench.member(1), Prepare(without.epoch, (1, 1))), ticks=3)
    assert (bench.member(1).id, StateIs(without.to_bytes())) in node.left
    node.engine.on_client(b"client", [GetQueues(7)], bench.now, 0)
    refused = [packet for _, packet in node.engine.take().now if isinstance(packet, Refused)]
    assert [(packet.request, packet.code) for packet in refused] == [(7, Code.NOT_SERVING)]
    assert not node.engine.over and not node.engine.serving
    bench.now += ANSWER_ON
    node.turn(ticks=1)
    assert node.engine.over


def member(state: ClusterState, number: int) -> Member:
    """The member of that number, which there is."""
    found = state.member(number)
    assert found is not None
    return found
