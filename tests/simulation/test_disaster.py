"""Holders and majorities that are gone for good, in a virtual cluster: what the operator's tools leave is consistent
and whole, and what is lost is what they named, and nothing else."""

from __future__ import annotations

import random

import msgspec
import pytest

from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.branches import BranchingLogs, RecoverableStates
from tests.simulation.checkers.ending import Ending
from zmqueue.client.amending import AmendCall
from zmqueue.client.surveys import CopiesCall
from zmqueue.core.answers import CopyReply
from zmqueue.core.changes import BucketAdopted, Change, MemberChanged, MemberForgotten, MemberOut
from zmqueue.core.disaster import Plan, Survivor, plan
from zmqueue.core.host import BRANCH
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import How, decode
from zmqueue.core.salvage import apply, collect
from zmqueue.core.state import Agreed, ClusterState, Member, Status
from zmqueue.testing import VirtualClient, VirtualCluster, VirtualNode, Weather

LIMIT = 60.0
STORM = Weather(delay_max=0.01, loss=0.1, duplication=0.2, overtaking=0.2)


class Scene:
    """A cluster with its books."""

    def __init__(self, seed: int, nodes: int, **settings: int) -> None:
        agreed = Agreed(**{"buckets": 4, "vnodes": 16, "grace_ms": 20_000, **settings})
        self.states = RecoverableStates()
        self.logs = BranchingLogs(self.states, agreed.buckets)
        self.answers = Answers(self.logs, agreed.buckets)
        self.cluster = VirtualCluster(seed, nodes, settings=agreed, observers=(self.states, self.logs, self.answers))
        self.client = self.cluster.client()

    @property
    def state(self) -> ClusterState:
        state = self.cluster.state
        assert state is not None
        return state

    def until(self, what: object, limit: float = LIMIT) -> None:
        assert callable(what)
        assert self.cluster.run_until(what, limit, every=0.05), "it does not come about"

    def confirm(self, count: int, client: VirtualClient | None = None) -> list[bytes]:
        """Submit so many, one by one so that they go to all buckets, and have them confirmed."""
        client = client or self.client
        found = []
        for number in range(count):
            call = client.submit("q", [b"%d" % number], timeout=LIMIT)
            assert self.cluster.run_until(lambda call=call: call.finished, LIMIT) and call.error is None  # type: ignore[misc]
            found += [item.id for item in call.items if item.id is not None]
        return found

    def number(self, node: VirtualNode) -> int:
        return number_in(self.state, node)

    def amend(self, change: Change) -> None:
        """Have an operator's word agreed."""
        call = AmendCall(change, self.client.now + LIMIT)
        self.client.core.amend(call, self.client.now)
        self.until(lambda: call.finished)
        assert call.error is None, call.error

    def copies(self, bucket: int) -> dict[str, CopyReply]:
        """What the nodes' copies hold, by endpoint."""
        self.until(lambda: self.client.core.routing.epoch == self.state.epoch)
        call = CopiesCall(bucket, self.client.now + LIMIT)
        self.client.core.survey(call, self.client.now)
        self.until(lambda: call.finished)
        _, replies = call.outcome()
        return {endpoint: reply for endpoint, reply in replies.items() if isinstance(reply, CopyReply)}

    def adopt(self, bucket: int, node: VirtualNode) -> CopyReply:
        """As the command does: look, and have it adopted. -> What the copy was said to hold."""
        said = self.copies(bucket)[node.endpoint]
        state = self.state
        self.amend(BucketAdopted(bucket, self.number(node), state.generations[bucket] + 1, state.terms[bucket], 7))
        return said

    def forgive(self) -> set[bytes]:
        """Whom it was confirmed to knows from the operator what is lost; the books do as well from here on."""
        lost = self.logs.lost(self.answers.confirmed)
        for message_id in lost:
            del self.answers.confirmed[message_id]
        return lost

    def check(self) -> None:
        """All is whole, equal and found."""
        for node in self.cluster.running:
            assert not node.ended
        drain(self)
        Ending(self.cluster, self.states, self.logs, self.answers, lambda: 0).check(100.0, list)

    def branches(self, node: VirtualNode) -> int:
        return sum(1 for name, note in self.cluster.notes if name == node.name and note.kind.startswith(BRANCH))


def drain(scene: Scene) -> None:
    """Have everything that waits worked off."""
    worker = scene.cluster.client()

    def work(holding: object) -> None:
        worker.settle(holding, How.ACK, b"done", notify=lambda call: worker.freed(slots))  # type: ignore[arg-type]
    slots = worker.work(["q"], 8, work)[1]
    scene.until(lambda: all(life.state.terminal for model in scene.logs.models for life in model.lives.values()), 100.0)
    worker.close()


def ids_of(scene: Scene, buckets: set[int]) -> set[bytes]:
    """The ids in committed entries that an adopted copy had not applied, of these buckets."""
    found: set[bytes] = set()
    for bucket in buckets:
        for _, data in scene.logs.given_up.get(bucket, []):
            found.update(message.id for message in getattr(decode(data), "messages", ()))
    return found


class Bereft:
    """Five nodes, two replicas: the backup of some buckets was away while their primary confirmed more, and then that
    one died."""

    def __init__(self, seed: int) -> None:
        self.scene = scene = Scene(seed, 5, replicas=2, min_in_sync=1)
        self.before = set(scene.confirm(40))
        state = scene.state
        self.holder, self.older = max(
            ((holder, older) for holder in scene.cluster.running for older in scene.cluster.running
             if holder is not older), key=lambda pair: len(self._shared(state, *pair)))
        self.buckets = self._shared(state, self.holder, self.older)
        assert self.buckets
        scene.cluster.run(1.0)
        self.older.crash()
        scene.until(lambda: not scene.state.up(scene.number(self.older)))
        scene.until(lambda: all(scene.state.primary(bucket) is not None for bucket in range(4)))
        self.after = set(scene.confirm(40))

    def _shared(self, state: ClusterState, holder: VirtualNode, older: VirtualNode) -> set[int]:
        first, second = self.scene.number(holder), self.scene.number(older)
        return {bucket for bucket in range(4) if set(state.in_sync[bucket]) == {first, second}}

    def bereave(self) -> None:
        """The holder is taken down, and the older copy's node is back."""
        scene = self.scene
        scene.until(lambda: not scene.state.up(scene.number(self.holder)))
        self.older.start()
        scene.until(lambda: scene.state.up(scene.number(self.older)))
        assert all(scene.state.primary(bucket) is None for bucket in self.buckets)

    def adopt(self) -> None:
        """Adopt the older copies, one after another, and check what was said of each."""
        for bucket in sorted(self.buckets):
            said = self.scene.adopt(bucket, self.older)
            assert said.generation == 1
            assert said.commit <= said.end < len(self.scene.logs.committed[bucket]) + len(
                self.scene.logs.given_up.get(bucket, []))


@pytest.mark.parametrize("seed", range(3))
def test_a_bucket_is_adopted_and_its_dead_holder_returns(seed: int) -> None:
    bereft = Bereft(seed)
    scene = bereft.scene
    bereft.holder.crash()
    bereft.bereave()
    bereft.adopt()
    scene.until(lambda: all(scene.state.primary(bucket) is not None for bucket in range(4)))
    lost = scene.forgive()
    named = {message_id for message_id in bereft.after if bucket_of(message_id, 4) in bereft.buckets}
    assert lost and lost <= named, "the lost ones are in the buckets that were named, and were confirmed after"
    assert lost == ids_of(scene, bereft.buckets) - ids_of_known(scene)
    more = set(scene.confirm(20))
    bereft.holder.start()
    scene.until(scene.cluster.is_whole)
    assert scene.branches(bereft.holder) == len(bereft.buckets)
    scene.check()
    assert not scene.logs.lost(bereft.before | more), "what the older copy had is there"


def ids_of_known(scene: Scene) -> set[bytes]:
    return {message_id for model in scene.logs.models for message_id in model.lives}


def test_a_holder_that_only_seemed_dead_comes_back_to_a_decision_that_stands() -> None:
    bereft = Bereft(7)
    scene, holder = bereft.scene, bereft.holder
    others = [node.name for node in scene.cluster.nodes.values() if node is not holder]
    scene.cluster.network.part([holder.name], [*others, scene.client.name])
    bereft.bereave()
    bereft.adopt()
    assert holder.running and scene.number(holder) not in scene.state.in_sync[min(bereft.buckets)]
    scene.cluster.run(2.0)
    scene.forgive()
    scene.cluster.network.heal()
    scene.until(scene.cluster.is_whole)
    assert scene.branches(holder) == len(bereft.buckets)
    scene.check()
    assert not scene.logs.lost(bereft.before)


def test_a_holder_that_never_returns_can_be_forgotten() -> None:
    bereft = Bereft(11)
    scene = bereft.scene
    bereft.holder.crash()
    bereft.bereave()
    bereft.adopt()
    scene.forgive()
    member = scene.state.by_id(bereft.holder.id)
    assert member is not None
    scene.amend(MemberOut(member.number, member.incarnation, member.since))
    member = scene.state.member(member.number)
    assert member is not None
    scene.until(lambda: not any(member.number in in_sync for in_sync in scene.state.in_sync))
    scene.amend(MemberForgotten(member.number, member.since))
    assert scene.state.member(member.number) is None
    scene.check()


@pytest.mark.parametrize("seed", range(4))
def test_an_adoption_in_bad_weather_while_nodes_fall_and_return(seed: int) -> None:
    dice, bereft = random.Random(seed), Bereft(100 + seed)
    scene, holder, older = bereft.scene, bereft.holder, bereft.older
    holder.crash()
    bereft.bereave()
    bereft.adopt()
    scene.cluster.network.weather = STORM
    scene.cluster.run(dice.random())
    older.crash()                          # perhaps before it knows that its copy is the bucket now
    scene.cluster.run(3.0 * dice.random())
    holder.start()
    scene.cluster.run(dice.random())
    older.start()
    scene.confirm(5)
    scene.forgive()
    scene.cluster.network.weather = Weather()
    scene.until(scene.cluster.is_whole, 100.0)
    scene.check()
    assert not scene.logs.lost(bereft.before)


# --- other places -------------------------------------------------------------------------------------------------


def known(scene: Scene, number: int) -> Member:
    member = scene.state.member(number)
    assert member is not None
    return member


def weigh(scene: Scene, node: VirtualNode, weight: int, zone: str = "") -> None:
    member = scene.state.by_id(node.id)
    assert member is not None
    scene.amend(MemberChanged(member.number, member.since, weight, zone))


@pytest.mark.parametrize("replicas", [1, 2])
def test_a_member_is_drained_while_submits_flow(replicas: int) -> None:
    """Of some buckets it has the only copy: it serves them until another member has them whole."""
    scene = Scene(21 + replicas, 3, replicas=replicas, min_in_sync=1)
    leaver = next(iter(scene.cluster.nodes.values()))
    number = scene.number(leaver)
    before = set(scene.confirm(40))
    held = {bucket for bucket in range(4) if number in scene.state.in_sync[bucket]}
    assert held
    weigh(scene, leaver, 0)
    assert all(scene.state.primary(bucket) is not None for bucket in held)
    during = set(scene.confirm(40))
    scene.until(lambda: not any(number in in_sync for in_sync in scene.state.in_sync))
    leaver.leave(for_good=True)
    scene.until(lambda: not scene.state.up(number))
    leaver.crash()
    scene.until(lambda: known(scene, number).status is Status.OUT)
    member = known(scene, number)
    scene.amend(MemberForgotten(number, member.since))
    scene.check()
    assert not scene.logs.lost(before | during)


def test_weights_and_zones_change_in_bad_weather_and_nothing_is_lost() -> None:
    dice = random.Random(8)
    scene = Scene(8, 4, replicas=2)
    scene.cluster.network.weather = STORM
    confirmed: set[bytes] = set()
    for _ in range(8):
        weigh(scene, dice.choice(list(scene.cluster.nodes.values())), dice.choice((1, 2, 5)), dice.choice("abc"))
        confirmed |= set(scene.confirm(5))
        node = dice.choice(list(scene.cluster.nodes.values()))
        node.crash()
        scene.cluster.run(dice.random())
        node.start()
    scene.cluster.network.weather = Weather()
    scene.until(scene.cluster.is_whole, 100.0)
    scene.check()
    assert not scene.logs.lost(confirmed)


# --- the majority is lost -----------------------------------------------------------------------------------------


def collected(node: VirtualNode) -> Survivor:
    """As `zmqueue recover collect` prints it."""
    found = collect(node.disk.store, node.id, node.incarnation)
    return msgspec.json.decode(msgspec.json.encode(found), type=Survivor)


def recover(scene: Scene, *survivors: VirtualNode) -> Plan:
    """Plan for the stopped survivors, and write it onto their disks."""
    made = plan([collected(node) for node in survivors], 7)
    scene.states.recovered(ClusterState.from_bytes(made.state))
    for node in survivors:
        apply(node.disk.store, node.id, made)
        node.disk.store.commit()
    return made


def test_one_of_three_recovers_alone_and_nothing_that_all_three_held_is_lost() -> None:
    scene = Scene(1, 3)
    confirmed = set(scene.confirm(60))
    scene.cluster.run(1.0)
    survivor, second, third = scene.cluster.nodes.values()
    for node in (survivor, second, third):
        node.crash()
    made = recover(scene, survivor)
    assert not made.adopted
    survivor.start()
    call = scene.client.submit("q", [b"after"], timeout=LIMIT)
    scene.until(lambda: call.finished)
    assert call.error is None and scene.client.core.routing.lineage == 2, "a client of the old lineage follows"
    fresh = [scene.cluster.add_node(), scene.cluster.add_node()]
    for node in fresh:
        node.start()
    scene.until(lambda: scene.cluster.is_whole() and len(scene.state.members) == 3)
    second.start()
    scene.until(lambda: not second.running)
    assert "recovered as lineage 2" in second.ended and "empty directory" in second.ended
    scene.check()
    assert not scene.logs.lost(confirmed)


def test_survivors_of_five_keep_what_is_in_sync_adopt_the_best_of_the_rest_and_agree_again() -> None:
    scene = Scene(3, 5, replicas=2, min_in_sync=1, buckets=8)
    confirmed = set(scene.confirm(80))
    scene.cluster.run(1.0)
    nodes = list(scene.cluster.nodes.values())
    away = nodes[4]
    away.crash()
    scene.until(lambda: not scene.state.up(scene.number(away)))
    scene.until(lambda: all(scene.state.primary(bucket) is not None for bucket in range(8)))
    late = set(scene.confirm(80))
    scene.cluster.run(1.0)
    for node in nodes[:4]:
        node.crash()
    survivors = (nodes[3], away)
    base = ClusterState.from_bytes(collected(nodes[3]).state)
    numbers = {number_in(base, node) for node in survivors}
    held = {bucket for bucket in range(8) if numbers & set(base.in_sync[bucket])}
    made = recover(scene, *survivors)
    assert {one.bucket for one in made.adopted} == set(range(8)) - held
    for node in survivors:
        node.start()
    scene.until(scene.cluster.is_whole)
    lost = scene.forgive()
    assert lost and {bucket_of(message_id, 8) for message_id in lost} <= {one.bucket for one in made.adopted}
    kept = {message_id for message_id in confirmed | late if bucket_of(message_id, 8) in held}
    assert kept and not scene.logs.lost(kept)
    scene.confirm(20)
    scene.check()


def number_in(state: ClusterState, node: VirtualNode) -> int:
    member = state.by_id(node.id)
    assert member is not None
    return member.number


def test_a_recovered_survivor_on_which_the_plan_was_not_written_stops_and_can_still_get_it() -> None:
    scene = Scene(5, 5, replicas=5)
    confirmed = set(scene.confirm(40))
    scene.cluster.run(1.0)
    first, second, *rest = scene.cluster.nodes.values()
    for node in (first, second, *rest):
        node.crash()
    made = plan([collected(first), collected(second)], 7)
    scene.states.recovered(ClusterState.from_bytes(made.state))
    apply(first.disk.store, first.id, made)
    first.disk.store.commit()
    first.start()
    second.start()
    scene.until(lambda: not second.running)
    assert "apply the plan" in second.ended
    apply(second.disk.store, second.id, made)
    second.disk.store.commit()
    second.start()
    scene.until(scene.cluster.is_whole)
    scene.check()
    assert not scene.logs.lost(confirmed)


def live(scene: Scene, dice: random.Random) -> None:
    """Submits flow while nodes fall and return, so that copies and states are of different ages; a majority lives."""
    nodes = list(scene.cluster.nodes.values())
    scene.cluster.network.weather = STORM
    for number in range(30):
        scene.client.submit("q", [b"%d" % number], timeout=20.0)
        scene.cluster.run(0.2 * dice.random())
        chosen = dice.choice(nodes)
        if dice.random() < 0.3 and (not chosen.running or len(scene.cluster.running) > len(nodes) // 2 + 1):
            chosen.crash() if chosen.running else chosen.start()


@pytest.mark.parametrize("seed", range(12))
def test_a_random_minority_recovers_and_only_adopted_buckets_lose_anything(seed: int) -> None:
    dice = random.Random(seed)
    scene = Scene(seed, dice.choice((3, 5)), replicas=dice.choice((2, 3)), min_in_sync=dice.choice((1, 2)))
    live(scene, dice)
    nodes = list(scene.cluster.nodes.values())
    for node in nodes:
        node.crash()
    newest = scene.states.latest
    assert newest is not None
    knowing = [node for node in nodes if collected(node).epoch == newest.epoch]
    others = dice.sample(nodes, dice.randrange(len(nodes) // 2))
    survivors = list(dict.fromkeys((dice.choice(knowing), *others)))
    made = recover(scene, *survivors)      # who knows the newest state is among them: nothing but disks is lost
    scene.client.close()
    scene.client = scene.cluster.client()
    for node in (*survivors, scene.cluster.add_node(), scene.cluster.add_node()):
        node.start()
    scene.cluster.network.weather = Weather()
    scene.until(scene.cluster.is_whole, 100.0)
    assert {bucket_of(message_id, 4) for message_id in scene.forgive()} <= {one.bucket for one in made.adopted}
    scene.confirm(10)
    scene.check()
    old = next(node for node in nodes if node not in survivors)
    old.start()
    scene.until(lambda: not old.running)
    assert "recovered as lineage 2" in old.ended
