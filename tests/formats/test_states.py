"""Cluster states between versions (C6): a field that one version does not know is neither lost nor a fork."""

from __future__ import annotations

import msgspec
import pytest

from tests.core.consensus_rig import World
from tests.core.test_state_changes import cluster
from zmqueue.core.ballots import Accept, Accepted, Prepare, Promise, StateIs, Want
from zmqueue.core.changes import SettingChanged, Value, apply
from zmqueue.core.hashing import digest as digest_of
from zmqueue.core.state import ClusterState, digest
from zmqueue.core.tables import Table

FIRST_FIELDS = 11
"""epoch to keys: what every version has written. A later field at its default is left out."""


def with_more(state: ClusterState, *more: object) -> bytes:
    """The state as a later version writes it, which has appended fields and uses them."""
    fields = msgspec.msgpack.decode(state.to_bytes())
    missing = len(ClusterState.__struct_fields__) - len(fields)
    defaults = ClusterState.__struct_defaults__[len(ClusterState.__struct_defaults__) - missing:]
    return msgspec.msgpack.encode([*fields, *defaults, *more])


def test_a_state_in_which_nothing_new_is_used_has_the_bytes_of_the_first_version() -> None:
    """See `_trimmed` in state.py, where you have appended a field to one of these records."""
    fields = msgspec.msgpack.decode(cluster(3).to_bytes())
    assert len(fields) == FIRST_FIELDS
    assert len(fields[3]) == 16 and all(len(member) == 11 for member in fields[4])


def test_what_a_later_version_put_into_a_state_is_kept_and_passed_on() -> None:
    later = with_more(cluster(3), {"unheard": "of"}, 7)
    state = ClusterState.from_bytes(later)
    assert state.to_bytes() == later and digest(state) == digest_of(later)
    assert not state.computable and cluster(3).computable
    assert ClusterState.from_bytes(state.to_bytes()).to_bytes() == later


@pytest.mark.parametrize("place", ["the state", "its settings", "a member"])
def test_more_in_any_record_of_a_state_is_noticed(place: str) -> None:
    fields = msgspec.msgpack.decode(with_more(cluster(3)))
    fields[3].append(cluster(3).settings.generation)             # a known field at its default: left out so far
    {"the state": fields, "its settings": fields[3], "a member": fields[4][1]}[place].append("added later")
    assert not ClusterState.from_bytes(msgspec.msgpack.encode(fields)).computable


def test_a_state_that_another_version_wrote_shorter_or_longer_but_says_the_same_can_be_computed_on() -> None:
    """Fields with defaults may be missing at the end, or be written out; the bytes are kept as they came."""
    fields = msgspec.msgpack.decode(cluster(3).to_bytes())
    for data in (msgspec.msgpack.encode(fields[:9]), with_more(cluster(3))):
        state = ClusterState.from_bytes(data)
        assert state == cluster(3) and state.to_bytes() == data and state.computable


@pytest.fixture
def world() -> World:
    """Three members under a state that a later version made, and node 3 speaks for that version."""
    made = World(3)
    later = with_more(made.newest, "added later")
    for node in made.nodes.values():
        node.tables.rows[Table.META, b"state"] = later
        node.boot(nonce=node.number * 100)
    return made


def setting(state: ClusterState) -> SettingChanged:
    return SettingChanged("grace_ms", 40_000, state.settings.since)


def test_who_cannot_compute_the_next_state_proposes_nothing(world: World) -> None:
    for _ in range(100):
        world.now += 0.02
        world[1].agreement.want(world.now, setting(world[1].state))
        world[1].tick()
        world[1].sync()
    assert not world.packets(Prepare) and not world.packets(Accept)


def test_who_cannot_compute_the_next_state_votes_for_it_and_takes_it_whole(world: World) -> None:
    """It accepts a value that it cannot judge, and the state comes with the word that it is decided."""
    before = world[1].state
    after = with_more(apply(before, [setting(before)]), "added later")
    value = Value((setting(before),), digest_of(after))
    world[1].take(world[3].id, Prepare(before.epoch + 1, (1, 3)))
    world[1].take(world[3].id, Accept(before.epoch + 1, (1, 3), value))
    world[1].sync()
    assert world.packets(Promise, 1, 3) and world.packets(Accepted, 1, 3)
    world.chosen[before.epoch + 1] = ClusterState.from_bytes(after)
    world[1].take(world[3].id, StateIs(after))
    world[1].sync()
    assert world[1].state.settings.grace_ms == 40_000
    assert world[1].tables.rows[Table.META, b"state"] == after


def test_a_natural_proposer_that_cannot_compute_does_not_stop_the_others() -> None:
    """Node 1 alone is of an earlier version. What it wants is proposed by who can, and it says once why."""
    world = World(3)
    world[1].tables.rows[Table.META, b"state"] = with_more(world.newest, "added later")
    world[1].boot(nonce=100)
    assert world[1].state.natural == 1
    world[1].agreement.want(world.now, setting(world[1].state))
    world[1].flush()
    world.settle(2.0)
    assert all(node.state.settings.grace_ms == 40_000 for node in world.nodes.values())
    said = [note for note in world[1].effects.notes if "does not know" in note.kind]
    assert len(said) == 1


def test_a_peer_that_dropped_what_it_does_not_know_shows_no_other_state(world: World) -> None:
    """It is no fork (C11): the first release wrote only the fields that it knew."""
    before = world[1].state.to_bytes()
    dropped = msgspec.msgpack.decode(before)[:FIRST_FIELDS]
    world[1].take(world[2].id, StateIs(msgspec.msgpack.encode(dropped)))
    world[1].sync()
    assert world[1].state.to_bytes() == world[1].tables.rows[Table.META, b"state"] == before


def test_who_cannot_propose_asks_every_voter(world: World) -> None:
    """Node 1 is the natural proposer: what it wanted, nobody else would hear of."""
    world[1].agreement.want(world.now, setting(world[1].state))
    world[1].flush()
    assert len(world.packets(Want, 1, 2)) == len(world.packets(Want, 1, 3)) == 1


def test_who_can_propose_asks_the_natural_proposer_alone() -> None:
    world = World(3)
    world[2].agreement.want(world.now, setting(world[2].state))
    world[2].flush()
    assert len(world.packets(Want, 2, 1)) == 1 and not world.packets(Want, 2, 3)
