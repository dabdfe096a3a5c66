"""What `zmqueue members` says in words: what is not as it should be, and what to do."""

from __future__ import annotations

from zmqueue import MembersView, MemberView
from zmqueue.cli.cluster import sentences


def member(name: str, status: str = "up", *, voter: bool = True, disk_short: bool = False) -> MemberView:
    return MemberView(name, f"tcp://{name}:7400", status, voter, 1, 1, "", 0, 0, 0, disk_short, 0, 0, [])


def view(*members: MemberView, majority: bool = True, missing: tuple[str, ...] = ()) -> MembersView:
    return MembersView(
        epoch=5, cluster_id="c", buckets=4, replicas=3, min_in_sync=2, members=list(members), majority=majority,
        buckets_without_primary=0, buckets_short=0, corrupt=0, repaired=0, primaries=["a"] * 4, missing=list(missing),
        halted=[], lineage=1, disasters=[])


def test_where_all_is_well_nothing_is_said() -> None:
    assert list(sentences(view(member("a"), member("b"), member("c")))) == []


def test_a_member_that_is_out_and_keeps_its_vote_is_to_be_forgotten() -> None:
    said = list(sentences(view(member("a"), member("b"), member("c"), member("d", "out"))))
    assert len(said) == 1 and "zmqueue forget d" in said[0]


def test_a_member_that_is_out_without_a_vote_is_nothing_to_speak_of() -> None:
    assert list(sentences(view(member("a"), member("b", "out", voter=False)))) == []


def test_without_a_majority_it_says_who_is_missing_and_what_goes_on() -> None:
    said = " ".join(sentences(view(member("a"), member("b"), member("c"), majority=False, missing=("b", "c"))))
    assert "b (tcp://b:7400), c (tcp://c:7400)" in said and "4 may go on" in said


def test_a_member_that_is_short_of_disk_is_named() -> None:
    said = list(sentences(view(member("a", disk_short=True))))
    assert len(said) == 1 and "a (tcp://a:7400) is short of disk" in said[0]
