"""What an earlier version cannot read is not proposed, and not agreed, while one of its nodes is there."""

from __future__ import annotations

import pytest

from tests.core.consensus_rig import World
from tests.core.test_state_changes import ID, known
from tests.formats.files import GENERATION as WRITTEN
from tests.formats.files import GENERATIONS, read
from zmqueue.core import packets
from zmqueue.core.agreement import Outgrown
from zmqueue.core.ballots import Accept, Prepare, StateIs
from zmqueue.core.changes import (
    Change,
    MemberChanged,
    MemberDown,
    MemberOut,
    MemberUp,
    QueueDeclared,
    SettingChanged,
    apply,
    effective,
)
from zmqueue.core.engine import Engine, EngineConfig
from zmqueue.core.generations import GENERATION, NEEDED
from zmqueue.core.packets import Heartbeat
from zmqueue.core.state import Agreed
from zmqueue.core.tables import Table
from zmqueue.store.memory import MemoryStore


@pytest.fixture
def world() -> World:
    """Three members; node 1 is the natural proposer."""
    return World(3)


def weight(world: World) -> MemberChanged:
    return MemberChanged(3, known(world[1].state, 3).since, 5, "")


def proposed(world: World, change: Change) -> bool:
    """True where node 1 proposes something within a second of wanting it."""
    for _ in range(50):
        world.now += 0.02
        world[1].agreement.want(world.now, change)
        world[1].tick()
        world[1].sync()
    return bool(world.packets(Prepare, 1) or world.packets(Accept, 1))


def test_a_change_of_a_new_kind_waits_until_every_member_that_is_up_understands_it(world: World) -> None:
    world[1].agreement.generations.shown(ID(2), 1, GENERATION)
    world[1].agreement.generations.shown(ID(3), 1, 1)
    assert world[1].agreement.generations.behind(world[1].state, weight(world)) == [ID(3)]
    assert not proposed(world, weight(world))
    world[1].agreement.generations.shown(ID(3), 1, GENERATION)
    assert proposed(world, weight(world))


def test_what_every_version_understands_does_not_wait(world: World) -> None:
    world[1].agreement.generations.shown(ID(3), 1, 1)
    assert proposed(world, SettingChanged("grace_ms", 40_000, world[1].state.settings.since))


def show(world: World, generations: dict[int, int]) -> None:
    """What every node hears of every member; `cluster()` runs each as incarnation 1."""
    for node in world.nodes.values():
        for number, generation in generations.items():
            node.agreement.generations.shown(ID(number), known(node.state, number).incarnation, generation)


def agreed_on(world: World) -> set[int]:
    """The generations that the nodes hold for agreed, two seconds later."""
    world.settle(2.0)
    return {node.state.settings.generation for node in world.nodes.values()}


def test_the_generation_is_raised_when_every_member_shows_a_higher_one_and_not_before(world: World) -> None:
    assert agreed_on(world) == {2}, "nobody was heard yet"
    show(world, {1: GENERATION, 2: GENERATION, 3: 2})
    assert agreed_on(world) == {2}
    epoch = world.newest.epoch
    show(world, {3: GENERATION})
    assert agreed_on(world) == {GENERATION}
    assert world.newest.epoch == epoch + 1, "asked for once, and agreed once"


def test_what_needs_the_agreed_generation_waits_for_it_and_names_who_is_behind(world: World) -> None:
    """A queue's declaration: unlike with earlier changes, nobody is trusted to understand it."""
    declaration = QueueDeclared("jobs", 0, b"\x90")
    generations = world[1].agreement.generations
    show(world, {1: GENERATION, 2: GENERATION, 3: 2})
    assert generations.behind(world[1].state, declaration) == [ID(3)]
    assert not generations.understood(world[1].state, declaration) and not proposed(world, declaration)
    show(world, {3: GENERATION})
    assert agreed_on(world) == {GENERATION}
    assert generations.behind(world[1].state, declaration) == []
    world[1].agreement.want(world.now, declaration)
    world.settle(1.0)
    assert {node.state.declared("jobs") for node in world.nodes.values()} == {("jobs", world.newest.epoch, b"\x90")}


def test_the_generation_waits_for_a_member_that_is_away_until_it_is_out(world: World) -> None:
    """It may come back as the version that it was."""
    show(world, {1: GENERATION, 2: GENERATION, 3: GENERATION})
    world[3].running = False
    world.opinion.suspected.add(3)
    state = world[1].state
    waiting = apply(state, [MemberDown(3, 1, known(state, 3).since)])
    assert waiting.settings.generation == 2 and not world[1].agreement.generations.raising(waiting)
    gone = apply(waiting, [MemberOut(3, 1, known(waiting, 3).since)])
    assert world[1].agreement.generations.raising(gone)


def test_what_an_earlier_run_of_a_member_showed_says_nothing_of_this_one(world: World) -> None:
    show(world, {1: GENERATION, 2: GENERATION, 3: GENERATION})
    state, member = world[1].state, known(world[1].state, 3)
    again = apply(state, [MemberUp(3, 2, member.since, 7, member.endpoint, member.heartbeats)])
    assert world[1].agreement.generations.raising(state)
    assert not world[1].agreement.generations.raising(again)


def test_a_generation_is_never_lowered(world: World) -> None:
    higher = apply(world.newest, [SettingChanged("generation", GENERATION, world.newest.settings.since)])
    assert higher.settings.generation == GENERATION
    assert effective(higher, [SettingChanged("generation", 2, higher.settings.since)]) is None


def test_a_cluster_is_founded_with_the_generation_of_its_founder() -> None:
    config = EngineConfig("f" * 16, 1, 1, "tcp://f", "tcp://hf", lambda: 0.5, found=Agreed())
    engine = Engine(MemoryStore(), config, 0.0)
    assert engine.state is not None and engine.state.settings.generation == GENERATION


def test_a_node_does_not_run_in_a_cluster_whose_formats_it_cannot_read(world: World) -> None:
    """It was away while the others were upgraded twice; or it was put back to an earlier version."""
    state = world.newest
    later = apply(state, [SettingChanged("generation", GENERATION + 1, state.settings.since)])
    world.chosen[later.epoch] = later
    with pytest.raises(Outgrown, match=f"generation {GENERATION + 1}"):
        world[3].take(ID(1), StateIs(later.to_bytes()))
    world[3].tables.rows[Table.META, b"state"] = later.to_bytes()
    with pytest.raises(Outgrown):
        world[3].boot()


def test_the_generation_of_the_golden_files_is_the_one_that_nodes_show() -> None:
    assert int(WRITTEN) == GENERATION
    assert max(NEEDED.values()) <= GENERATION


def test_a_heartbeat_of_the_first_version_shows_the_first_generation() -> None:
    for generation in GENERATIONS:
        (sample,) = [sample for sample in read(generation, "packets.txt") if sample.name == "Heartbeat"]
        heartbeat = packets.decode(sample.data)
        assert isinstance(heartbeat, Heartbeat)
        assert (heartbeat.generation == 1) == (generation == "0001")


def test_changes_that_the_first_version_lacks_are_held_back_from_it() -> None:
    """Every kind of change without a sample in generation 1 says which generation it needs."""
    old = {name for sample in read("0001", "packets.txt") if sample.name.startswith("Want,")
           for name in kinds(sample.says)}
    new = {name for sample in read(WRITTEN, "packets.txt") if sample.name.startswith("Want,")
           for name in kinds(sample.says)}
    assert {kind.__name__ for kind in NEEDED} == new - old


def kinds(said: object) -> set[str]:
    assert isinstance(said, dict)
    return {change["is"] for change in said["changes"]}
