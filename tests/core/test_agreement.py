"""Agreement: rules C1 to C11 one by one, and a small random explorer of packets, crashes and disks."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from tests.core.consensus_rig import Violation, World
from tests.core.test_state_changes import ID, cluster, down, forgotten, joined, known, out, random_change
from zmqueue.core.acceptor import Acceptor, Record
from zmqueue.core.agreement import STAGGER, Agreement, Cloned, Forked
from zmqueue.core.ballots import (
    NO_BALLOT,
    Accept,
    Accepted,
    Ballot,
    Hello,
    Join,
    Nack,
    Prepare,
    Promise,
    StateIs,
    Want,
)
from zmqueue.core.changes import (
    MemberDown,
    MemberJoined,
    MemberUp,
    ReplicaDropped,
    SettingChanged,
    Value,
    apply,
)
from zmqueue.core.proposer import BACK_OFF, PROPOSAL_TIMEOUT, Proposer, _Proposal
from zmqueue.core.state import Agreed, ClusterState, Status, digest
from zmqueue.core.wants import WANT_LIFE


def setting(state: ClusterState, value: int = 40_000) -> SettingChanged:
    return SettingChanged("grace_ms", value, state.settings.since)


def valued(state: ClusterState, *changes: SettingChanged | MemberDown) -> Value:
    return Value(changes, digest(apply(state, changes)))


@pytest.fixture
def world() -> World:
    return World(3)


# --- the course of things -----------------------------------------------------------------------------------


def test_a_want_is_agreed_by_all(world: World) -> None:
    world[3].agreement.want(world.now, setting(world[3].state))
    world[3].flush()
    world.settle(0.2)
    assert all(node.state.settings.grace_ms == 40_000 for node in world.nodes.values())


def test_the_natural_proposer_skips_phase_one(world: World) -> None:
    world[1].agreement.want(world.now, setting(world[1].state))
    world.now += 0.03
    world[1].tick()
    world.sync(1)
    assert len(world.packets(Accept, 1)) == 2 and not world.packets(Prepare)


def test_wants_are_gathered_into_one_proposal(world: World) -> None:
    """C10: 20 ms."""
    state = world[1].state
    for bucket in range(2):
        world[1].agreement.want(world.now, ReplicaDropped(bucket, 3, state.terms[bucket]))
        world[1].tick()
        world.now += 0.009
    assert not world[1].tables.batch
    world.settle(0.1)
    assert world.newest.epoch == state.epoch + 1
    assert world.newest.in_sync == ((1, 2), (1, 2))


def test_a_single_node_founds_a_cluster_and_agrees_with_itself() -> None:
    world = World(1)
    node = world[1]
    node.crash()
    node.tables.rows.clear()
    node.incarnation = 0
    node.boot()
    world.chosen.clear()
    node.agreement.on_install.clear()
    node.agreement.found("new", Agreed(buckets=2), world.now)
    node.sync()
    node.agreement.want(world.now, setting(node.state))
    world.settle(0.1)
    assert node.state.epoch == 2 and node.state.settings.grace_ms == 40_000


def test_a_node_with_a_cluster_founds_none(world: World) -> None:
    with pytest.raises(AssertionError):
        world[1].agreement.found("another", Agreed(), world.now)


def test_a_joiner_becomes_a_member_through_any_seed() -> None:
    world = World(3, joiners=1)
    joiner = world[4]
    for _ in range(3):
        world.send(joiner.id, world[2].id, joiner.agreement.identity.join())
        world.settle(0.5)
    assert world.status(4) is Status.UP
    assert joiner.agreement.number == 4 and 4 in joiner.state.voters


def test_a_joiner_installs_no_state_that_does_not_list_it() -> None:
    world = World(3, joiners=1)
    world[4].take(world[1].id, StateIs(world[1].state.to_bytes()))
    assert world[4].agreement.state is None


def test_a_join_in_anothers_name_is_ignored(world: World) -> None:
    world[1].take(ID(8), Join(ID(9), 1, 1, "", ""))
    world.settle(0.3)
    assert world.newest.by_id(ID(9)) is None


# --- C1: the own acceptor -----------------------------------------------------------------------------------


def test_nothing_is_proposed_before_the_own_acceptance_is_on_disk(world: World) -> None:
    world[1].agreement.want(world.now, setting(world[1].state))
    world.now += 0.03
    world[1].tick()
    assert world[1].tables.batch and not world.bag and world[1].effects.must_commit
    world.sync(1)
    assert world.packets(Accept)


def test_the_own_acceptance_counts_only_when_it_is_on_disk(world: World) -> None:
    proposer = world[1].agreement._proposer
    proposer.propose(world[1].state, 1, valued(world[1].state, setting(world[1].state)), world.now)
    e1, epoch = world[1].state.epoch + 1, world[1].state.epoch
    world[1].take(world[2].id, Accepted(e1, (0, 1)))
    assert world[1].state.epoch == epoch                # one of two: the own one is not there yet


def test_round_0_is_used_only_while_the_acceptor_record_is_blank(world: World) -> None:
    state = world[1].state
    world[1].agreement._proposer.propose(state, 1, valued(state, setting(state)), world.now)
    world[1].sync()
    world[1].crash()
    world[1].boot()
    world[1].agreement._proposer.propose(world[1].state, 1, valued(state, setting(state, 50_000)), world.now)
    world.lose()
    world[1].sync()
    assert not world.packets(Accept)
    prepare = world.packets(Prepare)[0]
    assert isinstance(prepare, Prepare) and prepare.ballot == (1, 1)


# --- C2, C3: who may do what in which instance --------------------------------------------------------------


def test_round_0_is_taken_from_the_natural_proposer_only(world: World) -> None:
    state = world[3].state
    world[3].take(world[2].id, Accept(state.epoch + 1, (0, 2), valued(state, setting(state))))
    assert not world[3].tables.batch
    world[3].take(world[1].id, Accept(state.epoch + 1, (0, 1), valued(state, setting(state))))
    assert world[3].tables.batch


def test_round_0_is_refused_after_a_promise(world: World) -> None:
    state = world[3].state
    world[3].take(world[2].id, Prepare(state.epoch + 1, (1, 2)))
    world[3].take(world[1].id, Accept(state.epoch + 1, (0, 1), valued(state, setting(state))))
    assert world.packets(Nack, 3, 1) == [Nack(state.epoch + 1, (1, 2))]


@pytest.mark.parametrize("kind", [Prepare, Accept])
def test_who_is_behind_asks_for_the_state_and_gives_no_answer(world: World, kind: type) -> None:
    state = world[3].state
    e1 = state.epoch + 2
    packet = Prepare(e1, (1, 1)) if kind is Prepare else Accept(e1, (1, 1), valued(state, setting(state)))
    world[3].take(world[1].id, packet)
    world[3].sync()
    assert world.packets(object) == [Hello(state.epoch)]


@pytest.mark.parametrize("kind", [Prepare, Accept])
def test_who_is_ahead_answers_with_its_state(world: World, kind: type) -> None:
    state = world[3].state
    packet = (Prepare(state.epoch, (1, 1)) if kind is Prepare
              else Accept(state.epoch, (1, 1), valued(state, setting(state))))
    world[3].take(world[1].id, packet)
    world[3].sync()
    assert world.packets(object) == [StateIs(state.to_bytes())]


def test_a_node_without_a_vote_neither_answers_nor_counts() -> None:
    world = World(3, joiners=1)
    first = world[1].state
    second = apply(first, [joined(4)])
    world.chosen[second.epoch] = second
    for node in world.nodes.values():
        node.agreement.install(second, world.now)
        node.sync()
    world.lose()
    e1 = second.epoch + 1
    world[4].take(world[1].id, Prepare(e1, (1, 1)))
    world[1].take(world[4].id, Prepare(e1, (9, 4)))
    assert not world.bag and not world[1].tables.batch and not world[4].tables.batch
    world[1].agreement._proposer.propose(second, 1, valued(second, setting(second)), world.now)
    world[1].sync()
    world[1].take(world[4].id, Accepted(e1, (0, 1)))
    assert world[1].state == second


def test_the_acceptor_record_is_blank_in_the_batch_that_holds_the_newer_state(world: World) -> None:
    state = world[3].state
    value = valued(state, setting(state))
    world[3].take(world[1].id, Accept(state.epoch + 1, (0, 1), value))
    world[3].sync()
    newer = apply(state, value.changes)
    world.chosen[newer.epoch] = newer
    world[3].take(world[1].id, StateIs(newer.to_bytes()))
    keys = [key for _, key, _ in world[3].tables.batch]
    assert sorted(keys) == [b"acceptor", b"state"]
    assert Acceptor(world[3].tables).record(newer.epoch + 1).blank  # type: ignore[arg-type]


# --- C4: the disk first -------------------------------------------------------------------------------------


def test_nothing_leaves_under_a_state_that_is_not_on_disk(world: World) -> None:
    newer = apply(world[3].state, [setting(world[3].state)])
    world.chosen[newer.epoch] = newer
    world[3].take(world[1].id, StateIs(newer.to_bytes()))
    world[3].take(world[2].id, Hello(newer.epoch - 1))
    world[3].agreement.want(world.now, setting(newer, 1))
    world[3].flush()
    assert world[3].effects.hold and world[3].effects.must_commit and not world.bag
    world[3].sync()
    assert world.packets(StateIs, 3, 2) and world.packets(Want, 3, 1)


def test_a_promise_leaves_only_when_it_is_on_disk(world: World) -> None:
    world[3].take(world[2].id, Prepare(world[3].state.epoch + 1, (1, 2)))
    assert not world.bag
    world[3].sync()
    assert world.packets(Promise, 3, 2)


# --- C6: the digest -----------------------------------------------------------------------------------------


def test_who_cannot_compute_the_chosen_state_asks_for_it(world: World) -> None:
    state = world[1].state
    foreign = Value((setting(state),), b"made by another versio")
    world[1].agreement._proposer.propose(state, 1, foreign, world.now)
    world[1].sync()
    for other in (2, 3):
        world[1].take(world[other].id, Accepted(state.epoch + 1, (0, 1)))
    assert world[1].state == state
    assert world.packets(Hello, 1, 2) == [Hello(state.epoch)]
    assert [note.kind for note in world[1].effects.notes] == ["cannot compute a chosen state, asking for it"]


def test_a_whole_state_is_taken_whatever_it_was_made_by(world: World) -> None:
    newer = msgspec.structs.replace(world[1].state, epoch=world[1].state.epoch + 5)
    world.chosen[newer.epoch] = newer
    world[1].take(world[2].id, StateIs(newer.to_bytes()))
    assert world[1].state == newer


# --- C8, C9: wants ------------------------------------------------------------------------------------------


def test_a_member_is_taken_down_only_while_a_majority_suspects_it(world: World) -> None:
    want = down(world[1].state, 3)
    for _ in range(5):
        world[2].agreement.want(world.now, want)
        world.settle(0.2)
    assert world.status(3) is Status.UP
    world.opinion.suspected = {3}
    world.settle(0.5, (1, 2))
    assert world.status(3) is Status.DOWN


def test_a_silent_natural_proposer_is_replaced_by_the_next(world: World) -> None:
    world[1].crash()
    world.opinion.suspected = {1}
    world.settle(0.5, (2, 3))
    assert world.status(1) is Status.DOWN and world.newest.natural == 2


def test_a_member_that_leaves_by_plan_is_suspected_by_nobody(world: World) -> None:
    world[2].agreement.leave()
    world.settle(1.0)
    assert world.status(2) is Status.DOWN


def test_a_member_that_drains_goes_out(world: World) -> None:
    world[2].agreement.drain()
    world.settle(1.0)
    assert world.status(2) is Status.OUT


def test_a_planned_leave_is_no_leave_in_another_members_mouth(world: World) -> None:
    world[3].agreement.want(world.now, down(world[3].state, 2))
    world[3].flush()
    world.settle(0.5)
    assert world.status(2) is Status.UP


def test_a_want_that_is_not_repeated_is_dropped(world: World) -> None:
    world[1].agreement.want(world.now, down(world[1].state, 3))
    world.settle(WANT_LIFE + 0.1)
    assert not world[1].agreement._wants._asked


def test_a_want_is_sent_on_no_more_often_than_needed(world: World) -> None:
    for _ in range(100):
        world.now += 0.01
        world[2].agreement.want(world.now, setting(world[2].state))
        world[2].flush()
    assert 4 <= len(world.packets(Want, 2, 1)) <= 6


def test_a_restarted_member_is_up_as_its_new_incarnation(world: World) -> None:
    world[2].crash()
    world[2].boot()
    world.settle(0.5)
    assert known(world.newest, 2).incarnation == 2 and known(world.newest, 2).nonce == world[2].nonce


def test_a_whole_cluster_restart_comes_up_again(world: World) -> None:
    for node in world.nodes.values():
        node.crash()
        node.boot()
    world.settle(1.0)
    assert [member.incarnation for member in world.newest.members] == [2, 2, 2]
    assert world.newest.epoch <= cluster(3, buckets=2).epoch + 3


def test_a_half_deaf_member_stays_down(world: World) -> None:
    """C9: nobody hears its heartbeats, though its packets arrive."""
    world.opinion.suspected = {3}
    world.settle(2.0)
    epoch = world.newest.epoch
    world.settle(3.0)
    assert world.status(3) is Status.DOWN and world.newest.epoch == epoch
    world.opinion.suspected = set()
    world.opinion.held_back = {3}
    world.settle(2.0)
    assert world.status(3) is Status.DOWN
    world.opinion.held_back = set()
    world.settle(0.5)
    assert world.status(3) is Status.UP


def test_a_down_member_goes_out_after_its_grace(world: World) -> None:
    world[3].crash()
    world.opinion.suspected = {3}
    world.settle(1.0)
    assert world.status(3) is Status.DOWN
    world.now += 28.5
    world.settle(0.3)
    assert world.status(3) is Status.DOWN
    world.settle(1.5)
    assert world.status(3) is Status.OUT


def test_a_joiner_that_vanished_is_forgotten_after_the_grace() -> None:
    world = World(3, joiners=1)
    world.opinion.held_back = {4}
    world.send(ID(4), ID(1), world[4].agreement.identity.join())
    world.settle(1.0)
    assert world.status(4) is Status.JOINING
    world[4].crash()
    world.now += 31.0
    world.settle(1.0)
    assert world.status(4) is Status.JOINING, "nobody suspects it: it may be about to be taken up"
    world.opinion.suspected = {4}
    world.settle(1.0)
    assert world.newest.member(4) is None and world.newest.voters == (1, 2, 3)


def test_a_joiner_that_was_silent_for_less_than_the_grace_is_kept() -> None:
    world = World(3, joiners=1)
    world.opinion.held_back = {4}
    world.send(ID(4), ID(1), world[4].agreement.identity.join())
    world.settle(1.0)
    world[4].crash()
    world.opinion.suspected = {4}
    world.now += 28.0
    world.settle(1.0)
    assert world.status(4) is Status.JOINING


# --- C10: whose turn it is ----------------------------------------------------------------------------------


def first_proposal(world: World, number: int) -> float:
    """The time until the node proposes, being alone with a want."""
    began = world.now
    while not world[number].tables.batch:
        world[number].agreement.want(world.now, setting(world[number].state))
        world[number].tick()
        world.now += 0.005
        assert world.now - began < 5
    return world.now - began


def test_each_voter_leaves_time_to_those_before_it(world: World) -> None:
    assert first_proposal(world, 1) < 0.05
    assert STAGGER <= first_proposal(world, 2) <= STAGGER + 0.15
    assert 2 * STAGGER <= first_proposal(world, 3) <= 2 * STAGGER + 0.15


def test_suspected_voters_are_not_waited_for(world: World) -> None:
    world.opinion.suspected = {1, 2}
    assert first_proposal(world, 3) <= 0.15


def test_a_proposer_waits_after_a_nack(world: World) -> None:
    state = world[1].state
    world[1].agreement.want(world.now, setting(state))
    world.settle(0.03, (1,))
    world[1].take(world[2].id, Nack(state.epoch + 1, (4, 2)))
    world.lose()
    began = world.now
    while not world.packets(Prepare):
        world[1].agreement.want(world.now, setting(state))
        world.now += 0.005
        world[1].tick()
        world[1].sync()
    assert BACK_OFF[0] <= world.now - began <= BACK_OFF[1] + 0.05
    assert world.packets(Prepare)[0] == Prepare(state.epoch + 1, (5, 1))


def test_one_proposal_is_in_flight_and_is_given_up_in_time(world: World) -> None:
    state = world[1].state
    began = world.now
    while world.now < began + PROPOSAL_TIMEOUT + 1:
        world[1].agreement.want(world.now, setting(state))
        world.now += 0.01
        world[1].tick()
        world[1].sync()
        if world.now < began + PROPOSAL_TIMEOUT:
            assert len(world.packets(Accept)) in (0, 2) and not world.packets(Prepare)
    assert world.packets(Prepare)


def test_what_a_dead_proposer_left_is_finished_without_anybody_wanting_it(world: World) -> None:
    state = world[1].state
    world[1].agreement.want(world.now, setting(state))
    world.settle(0.03, (1,))
    value = valued(state, setting(state))
    world[1].crash()
    world[3].take(world[1].id, Accept(state.epoch + 1, (0, 1), value))
    world.settle(2.0, (2, 3))
    assert world[2].state == world[3].state == apply(state, value.changes)


def test_an_idle_cluster_writes_nothing(world: World) -> None:
    world[3].take(world[2].id, Prepare(world[3].state.epoch + 1, (1, 2)))     # a promise that led to nothing
    world[3].sync()
    world.lose()
    for _ in range(300):
        world.now += 0.02
        for node in world.nodes.values():
            node.tick()
            assert not node.tables.batch and not world.bag


# --- C11, C12 -----------------------------------------------------------------------------------------------


def test_a_node_that_finds_its_incarnation_agreed_for_another_start_stops(world: World) -> None:
    state = world[3].state
    member = known(state, 2)
    foreign = apply(state, [MemberUp(2, 2, member.since, 999, "tcp://clone", "tcp://clone")])
    world.chosen[foreign.epoch] = foreign
    world[2].crash()
    world[2].boot()
    with pytest.raises(Cloned, match="copied"):
        world[2].take(world[3].id, StateIs(foreign.to_bytes()))
    assert not world[2].tables.batch and world[2].state == state


def test_a_node_whose_disk_is_older_than_what_is_agreed_stops(world: World) -> None:
    state = world[3].state
    newer = apply(state, [MemberUp(2, 7, known(state, 2).since, 999, "", "")])
    with pytest.raises(Cloned):
        world[2].take(world[3].id, StateIs(newer.to_bytes()))


def test_a_member_that_comes_back_with_less_is_refused_and_said_once(world: World) -> None:
    agreement = world[1].agreement
    assert agreement.seen(ID(2), 3, 20)
    assert agreement.seen(ID(2), 3, 19)                 # a slow packet
    assert not agreement.seen(ID(2), 4, 19)             # an old disk
    assert not agreement.seen(ID(2), 4, 19)
    assert not agreement.seen(ID(2), 2, 20)
    assert agreement.seen(ID(2), 4, 20)
    assert [note.facts["incarnation"] for note in world[1].effects.notes] == [4, 2]


def test_two_states_of_one_epoch_halt_the_node(world: World) -> None:
    other = msgspec.structs.replace(world[1].state, next_number=99)
    with pytest.raises(Forked):
        world[1].take(world[2].id, StateIs(other.to_bytes()))


def test_a_state_of_another_cluster_or_lineage_is_refused(world: World) -> None:
    state = world[1].state
    for changed in ({"cluster_id": "other"}, {"lineage": 2}):
        foreign = msgspec.structs.replace(state, epoch=state.epoch + 1, **changed)
        world[1].take(world[2].id, StateIs(foreign.to_bytes()))
        assert world[1].state == state
    assert len(world[1].effects.notes) == 2


def test_a_state_that_cannot_be_read_is_refused(world: World) -> None:
    world[1].take(world[2].id, StateIs(b"\x93\x01"))
    assert [note.kind for note in world[1].effects.notes] == ["refused a state that cannot be read"]


def test_a_forgotten_member_learns_it_from_any_answer(world: World) -> None:
    world[3].crash()
    state = world.newest
    for make in (down, out, forgotten):
        state = apply(state, [make(state, 3)])
        world.chosen[state.epoch] = state
    for number in (1, 2):
        world[number].agreement.install(state, world.now)
        world[number].sync()
    world[3].boot()
    assert world[3].state.member(3)
    world.settle(1.0)
    assert world[3].agreement.forgotten and world[3].agreement.number is None
    assert any("no member any more" in note.kind for note in world[3].effects.notes)


def test_who_shows_a_newer_epoch_is_asked_for_it(world: World) -> None:
    world[1].agreement.shown(world[2].id, world[1].state.epoch + 1, world.now)
    world[1].agreement.shown(world[3].id, world[1].state.epoch + 1, world.now)
    world[1].flush()
    assert world.packets(object) == [Hello(world[1].state.epoch)]


# --- the acceptor -------------------------------------------------------------------------------------------


def test_an_acceptor_promises_a_ballot_again_until_it_has_accepted_it(world: World) -> None:
    acceptor = Acceptor(world[1].tables)  # type: ignore[arg-type]
    state = world[1].state
    value = valued(state, setting(state))
    assert acceptor.prepare(9, (1, 2)) == acceptor.prepare(9, (1, 2)) == Promise(9, (1, 2), NO_BALLOT, None)
    assert acceptor.accept(9, (1, 2), value) == acceptor.accept(9, (1, 2), value) == Accepted(9, (1, 2))
    assert acceptor.prepare(9, (1, 2)) == Nack(9, (1, 2))
    assert acceptor.prepare(9, (2, 1)) == Promise(9, (2, 1), (1, 2), value)
    assert acceptor.accept(9, (1, 2), value) == Nack(9, (2, 1))
    assert acceptor.record(10) == Record(10)


# --- the explorer -------------------------------------------------------------------------------------------


class Explorer:
    """Delivers, loses and repeats packets, crashes nodes and disks, lies about who is dead; then heals all."""

    def __init__(self, seed: int, prepare: Callable[[Agreement], None] = lambda agreement: None) -> None:
        self.dice = random.Random(seed)
        self.world = World(self.dice.randint(1, 5), joiners=self.dice.randint(0, 1), seed=seed, prepare=prepare)
        self.loss = self.dice.choice([0.0, 0.05, 0.3])
        self.repeats = self.dice.choice([0.0, 0.1])
        self.crashes = self.dice.choice([0.0, 0.01, 0.05])

    def run(self, steps: int) -> World:
        for _ in range(steps):
            self.step()
        self.heal()
        return self.world

    def step(self) -> None:
        world, dice = self.world, self.dice
        node = dice.choice(list(world.nodes.values()))
        chance = dice.random()
        if not node.running:
            if chance < 0.2:
                node.boot()
        elif chance < self.crashes:
            node.crash(disk_kept_batch=dice.random() < 0.5)
        elif chance < 0.55 and world.bag:
            self.packet()
        elif chance < 0.75:
            node.sync()
        elif chance < 0.95:
            world.now += dice.choice([0.0, 0.01, 0.1])
            node.tick()
        elif node.agreement.state is None:
            world.send(node.id, dice.choice(list(world.nodes.values())).id, node.agreement.identity.join())
        else:
            world.opinion.suspected = {dice.randint(1, 6) for _ in range(dice.choice([0, 0, 1, 2]))}
            change = random_change(node.state, dice)
            if not isinstance(change, MemberUp | MemberJoined):     # only the node itself knows what it runs as
                node.agreement.want(world.now, change)
            node.flush()

    def packet(self) -> None:
        world, dice = self.world, self.dice
        index = dice.randrange(len(world.bag))
        if dice.random() < self.repeats:
            world.bag.append(world.bag[index])
        if dice.random() < self.loss:
            del world.bag[index]
        else:
            world.deliver(index)

    def heal(self) -> None:
        """With all nodes running and all packets arriving, the members agree and are up, as what they run as."""
        world = self.world
        world.opinion.suspected = set()
        for node in world.nodes.values():
            if not node.running:
                node.boot()
        for _ in range(40):
            for node in world.nodes.values():          # what an engine does: heartbeats show epochs, joiners repeat
                if node.agreement.state is None:
                    world.send(node.id, ID(1), node.agreement.identity.join())
                    continue
                for other in world.nodes.values():
                    if other.agreement.state is not None:
                        node.agreement.shown(other.id, other.state.epoch, world.now)
                node.flush()
            world.settle(0.5)
            if self.is_whole():
                return
        raise Violation("no progress after the end of all faults")

    def is_whole(self) -> bool:
        newest = self.world.newest
        for node in self.world.nodes.values():
            member = newest.by_id(node.id)
            if member is not None and (node.agreement.state != newest or not member.up
                                       or member.incarnation != node.incarnation):
                return False
        return True


@pytest.mark.parametrize("batch", range(10))
def test_random_schedules_choose_one_state_per_epoch_and_heal(batch: int) -> None:
    epochs = 0
    for seed in range(batch * 30, batch * 30 + 30):
        try:
            epochs += max(Explorer(seed).run(250).chosen)
        except AssertionError as error:
            raise AssertionError(f"seed {seed}") from error
    assert epochs > 300


class Yielding(Acceptor):
    """Accepts below its promise."""

    __slots__ = ()

    def accept(self, e1: int, ballot: Ballot, value: Value) -> Accepted | Nack:
        self._write(Record(e1, max(ballot, self.record(e1).promised), ballot, value))
        return Accepted(e1, ballot)


class Stubborn(Proposer):
    """Proposes its own value whatever was accepted before."""

    def _begin_accepting(self, state: ClusterState, proposal: _Proposal, value: Value, now: float) -> None:
        super()._begin_accepting(state, proposal, proposal.value or value, now)


def forget(agreement: Agreement) -> None:
    agreement._acceptor._record = Record(0)


def accept_below(agreement: Agreement) -> None:
    agreement._acceptor.__class__ = Yielding


def adopt_nothing(agreement: Agreement) -> None:
    agreement._proposer.__class__ = Stubborn


@pytest.mark.parametrize("plant", [forget, accept_below, adopt_nothing])
def test_the_explorer_finds_a_planted_fault(plant: Callable[[Agreement], None]) -> None:
    for seed in range(1_000):
        try:
            Explorer(seed, plant).run(250)
        except (AssertionError, Forked):
            return
    pytest.fail("1,000 seeds did not find it")
