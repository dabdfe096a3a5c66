"""What `zmqueue members` says in words: what is not as it should be, what still works, and what to do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from msgspec.structs import replace as changed

from tests.core.test_state_changes import cluster
from zmqueue.cli.cluster import sentences
from zmqueue.client.views import MembersView, members_view
from zmqueue.core.answers import MembersReply
from zmqueue.core.state import ClusterState


def view_of(*changes: dict[str, object], silent: int = 0) -> MembersView:
    """Three members, of which the last few are silent; `changes`: what is different in each one's answer."""
    state: ClusterState = cluster(3, buckets=8)
    answers = [MembersReply(1, state.epoch, True, (), (), number=number) for number in range(1, 4 - silent)]
    for number, change in enumerate(changes):
        answers[number] = changed(answers[number], **change)
    return members_view(state, answers)


def said(view: MembersView) -> str:
    return "\n".join(sentences(view))


def test_nothing_is_said_where_all_is_well() -> None:
    assert said(view_of()) == ""


def test_a_lost_majority_names_who_is_missing_and_how_many_buckets_go_on() -> None:
    view = view_of({"majority": False, "missing": (2, 3), "halted": (1, 4)}, silent=2)
    text = said(view)
    assert not view.majority and view.halted == [1, 4]
    for member in view.members[1:]:
        assert member.id in text and member.endpoint in text
    assert view.members[0].id not in text
    assert "nothing can be agreed" in text and "of 8 buckets, 6 may go on" in text and "2 stand still" in text
    assert [member.disk_short for member in view.members] == [False, None, None], "what was not measured is null"


def test_a_voter_is_missing_only_where_nobody_hears_it() -> None:
    assert view_of({"missing": (3,)}, {"missing": (1,)}).missing == []
    view = view_of({"missing": (3,)}, {"missing": (3,)}, silent=1)
    assert view.missing == [view.members[2].id]
    assert said(view) == f"voters that nobody hears: {view.missing[0]} ({view.members[2].endpoint})"


@pytest.mark.parametrize(("change", "words"), [
    ({"disk_short": True}, ("short of disk", "submits to its buckets are refused", "free space")),
    ({"corrupt": 3, "repaired": 2, "damaged": (5,)},
     ("3 damaged copies", "2 were made anew", "anew from other replicas: 5", "replace it")),
])
def test_a_disk_that_is_full_or_bad_is_named_with_its_member(change: dict[str, object], words: tuple[str, ...]) -> None:
    view = view_of({}, change)
    text = said(view)
    assert all(word in text for word in words)
    assert view.members[1].id in text and view.members[0].id not in text
    assert (view.corrupt, view.repaired) == (change.get("corrupt", 0), change.get("repaired", 0))


def test_buckets_without_a_primary_or_with_too_few_replicas_are_counted() -> None:
    text = said(replace(view_of(), buckets_without_primary=2, buckets_short=3))
    assert "2 buckets have no primary" in text and "3 buckets have fewer than 3" in text
