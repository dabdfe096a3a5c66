"""What an earlier version cannot read is not proposed while one of its nodes is there."""

from __future__ import annotations

import pytest

from tests.core.consensus_rig import World
from tests.core.test_state_changes import ID, known
from tests.formats.files import GENERATION as WRITTEN
from tests.formats.files import GENERATIONS, read
from zmqueue.core import packets
from zmqueue.core.ballots import Accept, Prepare
from zmqueue.core.changes import Change, MemberChanged, SettingChanged
from zmqueue.core.generations import GENERATION, NEEDED
from zmqueue.core.packets import Heartbeat


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
    world[1].agreement.generations.shown(ID(2), GENERATION)
    world[1].agreement.generations.shown(ID(3), 1)
    assert world[1].agreement.generations.behind(world[1].state, weight(world)) == [ID(3)]
    assert not proposed(world, weight(world))
    world[1].agreement.generations.shown(ID(3), GENERATION)
    assert proposed(world, weight(world))


def test_what_every_version_understands_does_not_wait(world: World) -> None:
    world[1].agreement.generations.shown(ID(3), 1)
    assert proposed(world, SettingChanged("grace_ms", 40_000, world[1].state.settings.since))


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
