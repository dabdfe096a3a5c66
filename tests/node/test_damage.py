"""A disk that returns something else than was written, under one of three nodes: nothing wrong is ever answered, the
node makes the copies concerned anew from the others, and it tells."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import zmqueue
from tests.cluster.rig import eventually
from tests.node.conftest import Make
from tests.simulation.tuning import Sizes, tuned
from tests.store.damaging import BRANCH, LEAF, StoreFile
from zmqueue.core.tables import Table
from zmqueue.node.doctor import examine

COUNT = 1_200
TEXT = b"a body that can be found in the file, number "


@pytest.fixture(autouse=True)
def a_scrub_that_begins_at_once() -> Iterator[None]:
    with tuned(Sizes(scrub_rest=0.5, scrub_rows=2_000)):
        yield


Trio = tuple[list[zmqueue.Node], zmqueue.Client, dict[str, int], StoreFile]


@pytest.fixture
def trio(three: list[zmqueue.Node], tmp_path: Path) -> Iterator[Trio]:
    """Three nodes with messages, of which the last is stopped, so that its file can be damaged."""
    with zmqueue.Client(*[node.endpoint for node in three]) as client:
        eventually(lambda: client.members().buckets_short == 0, 20.0, lambda: str(client.members()))
        tickets = client.submit_many("jobs", [TEXT + b"%05d" % number for number in range(COUNT)])
        three[2].stop()
        file = StoreFile(tmp_path / "c" / "store" / "data.mdb")
        assert examine(tmp_path / "c").sound
        yield three, client, {ticket.token: number for number, ticket in enumerate(tickets)}, file


def flip_a_body(file: StoreFile) -> None:
    file.flip(file.row(Table.BODIES, TEXT)[1] + 3)


def flip_a_key(file: StoreFile) -> None:
    file.flip(file.row(Table.BODIES, TEXT)[0] + 20)


def flip_an_entry_of_the_log(file: StoreFile) -> None:
    file.flip(file.row(Table.LOG, TEXT)[1] + 3)


def lose_bodies(file: StoreFile) -> None:
    file.lose_half(next(file.pages(Table.BODIES, LEAF)))


def lose_what_is_ready(file: StoreFile) -> None:
    file.lose_half(next(file.pages(Table.READY, LEAF)))


def lose_a_branch(file: StoreFile) -> None:
    file.lose_half(next(file.pages(Table.BODIES, BRANCH)))


Damage = Callable[[StoreFile], None]


@pytest.mark.parametrize("damage", [flip_a_body, flip_a_key, flip_an_entry_of_the_log, lose_bodies, lose_what_is_ready,
                                    lose_a_branch])
def test_the_damaged_copies_are_made_anew_and_nothing_wrong_is_answered(
        trio: Trio, make: Make, tmp_path: Path, damage: Damage) -> None:
    three, client, numbers, file = trio
    damage(file)
    before = examine(tmp_path / "c")
    assert not before.sound and before.damaged
    again = make("c").start()
    found: dict[str, int] = {}
    while len(found) < COUNT:
        for message in client.lease("jobs", max=200, wait=5.0):
            payload = message.payload
            assert isinstance(payload, bytes) and payload.startswith(TEXT)
            found[message.token] = int(payload[len(TEXT):])
            message.ack(found[message.token])
    assert found == numbers
    assert {token: client.result(token, timeout=5.0) for token in numbers} == numbers

    def mended() -> bool:
        view = client.members()
        me = next(member for member in view.members if member.id == again.id)
        return bool(me.corrupt and me.corrupt == me.repaired and not me.damaged and view.buckets_short == 0)

    eventually(mended, 30.0, lambda: f"{again.statistics()} {client.members()}")
    view = client.members()
    assert view.corrupt == view.repaired >= 1
    assert [member.corrupt for member in view.members if member.id != again.id] == [0, 0], "the others are sound"
    assert {token: client.result(token, timeout=5.0) for token in numbers} == numbers
    eventually(lambda: int(again.statistics()["scrub_rounds"]) >= 2, 30.0, lambda: str(again.statistics()))
    for node in three[:2]:
        node.stop()
    again.stop()
    after = examine(tmp_path / "c")
    assert after.sound, after
    assert (after.corrupt, after.repaired) == (view.corrupt, view.repaired)


def test_a_row_that_is_met_in_the_middle_of_a_turn_is_not_answered_and_the_node_begins_anew(
        trio: Trio, make: Make, tmp_path: Path) -> None:
    """Without the scrub: what is asked for finds the damage, at the primary of its bucket."""
    _, client, numbers, file = trio
    for number in range(0, COUNT, 60):     # some in each bucket, or nearly
        file.flip(file.row(Table.BODIES, TEXT + b"%05d" % number)[1] + 3)
    with tuned(Sizes(scrub_rest=1e9)):
        again = make("c").start()
        eventually(lambda: client.members().buckets_short == 0, 20.0, lambda: str(client.members()))
        found: dict[str, int] = {}
        while len(found) < COUNT:
            for message in client.lease("jobs", max=200, wait=10.0):
                payload = message.payload
                assert isinstance(payload, bytes) and payload.startswith(TEXT)
                found[message.token] = int(payload[len(TEXT):])
                message.ack(found[message.token])
        assert found == numbers
        facts = again.statistics()
        assert again.error is None and int(facts["restarts"]) >= 1 and int(facts["corrupt"]) >= 1
        assert facts["scrubbed_rows"] == 0
    assert {token: client.result(token, timeout=5.0) for token in numbers} == numbers


def test_a_damaged_structure_stops_the_node_with_a_word_that_helps(trio: Trio, make: Make, tmp_path: Path) -> None:
    _, client, numbers, file = trio
    file.misdirect(next(file.pages(Table.BODIES, BRANCH)))
    again = make("c").start(wait=0)        # it may stop before it serves
    while again.error is None and not again.wait(0.05):
        assert client.status(next(iter(numbers))).state == "ready"
    assert "structure is damaged" in str(again.error) and "doctor" in str(again.error) and "--join" in str(again.error)
    again.stop()
    assert not examine(tmp_path / "c").sound
    assert all(client.status(token).state == "ready" for token in list(numbers)[::50])


@pytest.mark.parametrize("key", [b"identity", b"state"])
def test_a_damaged_row_of_the_node_itself_stops_it_with_a_word_that_helps(trio: Trio, make: Make, key: bytes) -> None:
    _, client, numbers, file = trio
    file.flip(file.row(Table.META, key)[0] + len(key) + 8)
    with pytest.raises(zmqueue.NodeFailed, match=r"table 'meta'.*does not fit its checksum.*doctor.*--join"):
        make("c").start()
    assert all(client.status(token).state == "ready" for token in list(numbers)[::50])


def test_a_file_that_was_cut_off_is_refused_and_an_emptied_directory_is_filled(trio: Trio, make: Make,
                                                                               tmp_path: Path) -> None:
    three, client, numbers, file = trio
    file.cut(0.5)
    with pytest.raises(zmqueue.NodeFailed, match=r"was cut off.*--join"):
        make("c").start()
    shutil.rmtree(tmp_path / "c")
    new = make("c", join=[three[0].endpoint]).start()
    assert new.id != three[2].id
    assert all(client.status(token).state == "ready" for token in list(numbers)[::50])
