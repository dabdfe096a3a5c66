"""The ring: golden vectors, balance, and how little moves when members come and go."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from zmqueue.core.hashing import hash64
from zmqueue.core.ring import Place, Ring, Shape, ring
from zmqueue.core.state import Agreed, ClusterState, Member, Status

GOLDEN = Path(__file__).parent.parent / "golden" / "ring.json"
IDS = [f"{hash64('test', '', index):016x}" for index in range(1, 12)]


def places(count: int, **changed: Place) -> tuple[Place, ...]:
    plain = (Place(number, IDS[number - 1], 1, "", True) for number in range(1, count + 1))
    return tuple(changed.get(f"m{place.number}", place) for place in plain)


def place(number: int, weight: int = 1, zone: str = "", placeable: bool = True) -> Place:
    return Place(number, IDS[number - 1], weight, zone, placeable)


def firsts(placed: Ring) -> Counter[int]:
    return Counter(desired[0] for desired in placed.desired)


def state(statuses: list[Status], *, buckets: int = 32, replicas: int = 3, min_in_sync: int = 2,
          in_sync: tuple[int, ...] | None = None) -> ClusterState:
    members = tuple(Member(number, IDS[number - 1], 1, 1, "", "", status, True, since=1)
                    for number, status in enumerate(statuses, 1))
    everyone = tuple(member.number for member in members) if in_sync is None else in_sync
    return ClusterState(1, "c", 1, Agreed(buckets=buckets, replicas=replicas, min_in_sync=min_in_sync), members,
                        len(members) + 1, (everyone,) * buckets, (1,) * buckets, (1,) * buckets)


def golden_cases() -> dict[str, tuple[tuple[Place, ...], Shape]]:
    return {
        "one": (places(1), Shape(8, 3, 128)),
        "three": (places(3), Shape(32, 3, 128)),
        "five": (places(5), Shape(32, 3, 128)),
        "zones": (places(5, m1=place(1, zone="a"), m2=place(2, zone="a"), m3=place(3, zone="a"),
                         m4=place(4, zone="b"), m5=place(5, zone="b")), Shape(32, 3, 128)),
        "weights": (places(4, m1=place(1, weight=0), m2=place(2, weight=3)), Shape(32, 2, 128)),
        "one out": (places(5, m4=place(4, placeable=False)), Shape(32, 3, 128)),
    }


@pytest.mark.parametrize("name", golden_cases())
def test_the_ring_is_the_golden_one(name: str) -> None:
    placed = ring(*golden_cases()[name])
    found = {"walks": [list(walk) for walk in placed.walks], "desired": [list(walk) for walk in placed.desired]}
    assert found == json.loads(GOLDEN.read_text())[name]


def test_the_hash_is_the_golden_one() -> None:
    assert hash64("bucket", "", 0) == int(json.loads(GOLDEN.read_text())["hash64"]["bucket 0"])
    assert hash64("member", "0123456789abcdef", 7) == int(json.loads(GOLDEN.read_text())["hash64"]["member 7"])


def test_every_walk_meets_every_member_of_weight_once() -> None:
    placed = ring(places(5, m2=place(2, weight=0), m3=place(3, placeable=False)), Shape(32, 3, 128))
    assert all(sorted(walk) == [1, 3, 4, 5] for walk in placed.walks)
    assert all(set(desired) == {1, 4, 5} for desired in placed.desired)


def test_desired_members_stand_in_the_order_of_the_walk() -> None:
    placed = ring(places(7), Shape(64, 3, 128))
    assert all(desired == walk[:3] for desired, walk in zip(placed.desired, placed.walks, strict=True))


@pytest.mark.parametrize("members", [2, 3, 5, 9])
@pytest.mark.parametrize("buckets", [8, 32, 256])
def test_nobody_is_first_for_more_than_a_tenth_above_its_share(members: int, buckets: int) -> None:
    counted = firsts(ring(places(members), Shape(buckets, 3, 128)))
    assert sum(counted.values()) == buckets
    assert max(counted.values()) <= -(-11 * buckets // (10 * members))


def test_a_member_of_three_times_the_weight_is_first_about_three_times_as_often() -> None:
    counted = firsts(ring(places(4, m2=place(2, weight=3)), Shape(600, 3, 128)))
    assert counted[2] <= 330
    assert counted[2] >= 240


def test_replicas_stand_in_different_zones_where_there_are_enough() -> None:
    zones = {1: "a", 2: "a", 3: "a", 4: "b", 5: "c"}
    placed = ring(tuple(place(number, zone=zone) for number, zone in zones.items()), Shape(64, 3, 128))
    assert all({zones[number] for number in desired} == {"a", "b", "c"} for desired in placed.desired)


def test_two_zones_hold_three_replicas_between_them() -> None:
    zones = {1: "a", 2: "a", 3: "a", 4: "b", 5: "b"}
    placed = ring(tuple(place(number, zone=zone) for number, zone in zones.items()), Shape(64, 3, 128))
    assert all(len(desired) == 3 and {zones[number] for number in desired} == {"a", "b"}
               for desired in placed.desired)


def test_a_sixth_member_takes_about_a_sixth_and_leaves_the_rest_alone() -> None:
    shape = Shape(600, 1, 128)
    before, after = ring(places(5), shape), ring(places(6), shape)
    moved = [new[0] for old, new in zip(before.desired, after.desired, strict=True) if old != new]
    needed = sum(1 for number in moved if number == 6)
    assert 60 <= needed <= 110
    assert len(moved) - needed <= 0.15 * shape.buckets       # what bounded loads cost on top


def test_a_member_that_goes_out_gives_up_its_buckets_and_few_others_move() -> None:
    shape = Shape(600, 1, 128)
    before, after = ring(places(5), shape), ring(places(5, m3=place(3, placeable=False)), shape)
    moved = [old[0] for old, new in zip(before.desired, after.desired, strict=True) if old != new]
    assert len([number for number in moved if number != 3]) <= 0.15 * shape.buckets


def test_a_crash_moves_the_primaries_of_the_dead_and_no_others() -> None:
    """P1: bounded loads look at who is placeable, which a crash does not change."""
    up = state([Status.UP] * 5)
    crashed = state([Status.UP, Status.UP, Status.DOWN, Status.UP, Status.UP])
    for bucket in range(32):
        assert crashed.walk(bucket) == up.walk(bucket)
        if up.primary(bucket) != 3:
            assert crashed.primary(bucket) == up.primary(bucket)
        assert set(up.desired(bucket)) <= set(crashed.desired(bucket))


def test_the_primary_is_the_first_in_sync_up_member_of_the_full_walk() -> None:
    """P1: also where nobody that is in-sync is desired."""
    for lone in range(1, 6):
        some = state([Status.UP] * 5, in_sync=(lone,))
        assert all(some.primary(bucket) == lone for bucket in range(32))
    out = state([Status.OUT, Status.UP, Status.UP], in_sync=(1,))
    assert all(out.primary(bucket) is None for bucket in range(32))
    assert all(out.config(bucket).primary is None for bucket in range(32))


def test_stand_ins_are_desired_while_too_few_of_the_desired_are_up() -> None:
    """P2: two of four are down, so some buckets with two replicas have one left or none."""
    some = state([Status.UP, Status.DOWN, Status.UP, Status.DOWN], replicas=2)
    for bucket in range(32):
        desired = some.desired(bucket)
        assert desired[:2] == some.walk(bucket)[:2]
        assert sum(1 for number in desired if some.up(number)) == 2
        assert len(desired) == 2 + sum(1 for number in desired[:2] if not some.up(number))


def test_no_stand_in_is_desired_where_enough_are_up() -> None:
    some = state([Status.UP, Status.UP, Status.UP, Status.DOWN], replicas=3)
    assert all(len(some.desired(bucket)) == 3 for bucket in range(32))


def test_a_submit_needs_as_many_replicas_as_there_are_holders_but_at_most_the_setting() -> None:
    """R11: joining and out members do not count."""
    assert state([Status.UP]).min_in_sync_now == 1
    assert state([Status.UP, Status.JOINING, Status.OUT]).min_in_sync_now == 1
    assert state([Status.UP, Status.DOWN]).min_in_sync_now == 2
    assert state([Status.UP] * 5).min_in_sync_now == 2
    assert not state([Status.UP] * 3, in_sync=(2,)).enough(0)


def _write_golden() -> None:
    """Run this module as a program, once, when the placement function gets another version."""
    vectors: dict[str, object] = {
        name: {"walks": [list(walk) for walk in ring(*case).walks],
               "desired": [list(walk) for walk in ring(*case).desired]}
        for name, case in golden_cases().items()}
    vectors["hash64"] = {"bucket 0": str(hash64("bucket", "", 0)),
                         "member 7": str(hash64("member", "0123456789abcdef", 7))}
    GOLDEN.write_text(json.dumps(vectors) + "\n")


if __name__ == "__main__":
    _write_golden()
