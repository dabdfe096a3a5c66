"""Operators' words: asked of any node, answered when they are agreed, or with the reason why they cannot be."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.core.test_state_changes import (
    adopted,
    bereft,
    changed,
    cluster,
    down,
    forgotten,
    joined,
    known,
    out,
    up,
)
from zmqueue.core.amending import AMENDS_MAX, PATIENCE, REPEAT_EVERY, Amending, holds, objection
from zmqueue.core.answers import Code, Confirmed, Refused
from zmqueue.core.changes import (
    BucketAdopted,
    Change,
    MemberDown,
    MemberForgotten,
    MemberOut,
    ReplicaSynced,
    apply,
    effective,
)
from zmqueue.core.effects import Effects
from zmqueue.core.requests import Amend
from zmqueue.core.state import ClusterState, Status


def gone(number: int = 3, members: int = 3) -> ClusterState:
    """A member of a whole cluster is out, and in no in-sync set."""
    state = cluster(members, replicas=2, min_in_sync=1)
    state = apply(state, [down(state, number)])
    return apply(state, [out(state, number)])


def only_voter_left() -> ClusterState:
    state = gone()
    return apply(state, [down(state, 2)])


CASES: list[tuple[str, Callable[[], tuple[ClusterState, Change]], str]] = [
    ("a bucket that is held", lambda: (cluster(3), adopted(cluster(3), 0, 1)), "in-sync and up"),
    ("no bucket", lambda: (cluster(3), BucketAdopted(9, 1, 2, 1, 0)), "0 to 3"),
    ("another generation", lambda: (bereft()[0], adopted(*bereft(), generation=7)), "look again"),
    ("another term", lambda: (bereft()[0], adopted(*bereft(), term=1)), "look again"),
    ("nobody", lambda: (bereft()[0], adopted(*bereft()[:2], 9)), "no member 9"),
    ("who is down", lambda: (bereft()[0], adopted(*bereft()[:2], bereft()[0].in_sync[bereft()[1]][0])), "is down"),
    ("who is up", lambda: (cluster(3), forgotten(cluster(3), 2)), "is up"),
    ("the last holder", lambda: (held_by_out(), forgotten(held_by_out(), 2)), "adopted"),
    ("a deciding voter", lambda: (only_voter_left(), forgotten(only_voter_left(), 3)), "no majority"),
    ("out of up", lambda: (cluster(3), MemberOut(2, 1, known(cluster(3), 2).since)), "stop it first"),
    ("a weight", lambda: (cluster(3), changed(cluster(3), 2, 101)), "0 to 100"),
    ("a zone", lambda: (cluster(3), changed(cluster(3), 2, 1, "z" * 65)), "65 characters"),
    ("the last weight", lambda: (cluster(1), changed(cluster(1), 1, 0)), "somebody must hold"),
    ("nodes' own changes", lambda: (cluster(3), MemberDown(1, 1, 1)), "nodes see to it"),
]


def held_by_out() -> ClusterState:
    state = cluster(2, replicas=1, min_in_sync=1)
    state = apply(state, [down(state, 2)])
    return apply(state, [out(state, 2)])


@pytest.mark.parametrize(("make", "words"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_what_cannot_be_agreed_is_refused_with_its_reason(
        make: Callable[[], tuple[ClusterState, Change]], words: str) -> None:
    state, change = make()
    assert words in objection(state, change) and not holds(state, change)
    if not isinstance(change, MemberDown):
        assert effective(state, [change]) is None, "the words follow the rules of the fold"


@pytest.mark.parametrize("make", [
    lambda: (bereft()[0], adopted(*bereft())), lambda: (gone(), forgotten(gone(), 3)),
    lambda: (apply(cluster(3), [joined(4)]), forgotten(apply(cluster(3), [joined(4)]), 4)),
    lambda: (cluster(3), changed(cluster(3), 2, 0)), lambda: (cluster(3), changed(cluster(3), 2, 1, "cellar")),
    lambda: (down_only(), out(down_only(), 3))])
def test_what_can_be_agreed_is_not_objected_to_and_holds_afterwards(
        make: Callable[[], tuple[ClusterState, Change]]) -> None:
    state, change = make()
    assert objection(state, change) == "" and not holds(state, change)
    after = apply(state, [change])
    assert holds(after, change) and effective(state, [change]) is not None


def down_only() -> ClusterState:
    state = cluster(3)
    return apply(state, [down(state, 3)])


def test_a_member_that_moved_on_is_to_be_looked_at_again() -> None:
    state = gone()
    for change in (MemberForgotten(3, 1), MemberOut(3, 1, 1), changed(cluster(3), 3, 5)):
        assert known(state, 3).status is Status.OUT
        assert holds(state, change) or "look again" in objection(state, change)


class Asked:
    """Amending, with what it wants and answers."""

    def __init__(self) -> None:
        self.effects = Effects()
        self.wanted: list[Change] = []
        self.amending = Amending(self.effects, lambda now, *changes: self.wanted.extend(changes))

    def answers(self) -> list[tuple[object, object]]:
        return list(self.effects.take().now)


def test_a_word_is_repeated_until_the_state_on_the_disk_shows_it() -> None:
    asked, state = Asked(), gone()
    change = forgotten(state, 3)
    asked.amending.begin(b"c", Amend(7, change), state, 0.0)
    assert asked.wanted == [change] and asked.answers() == []
    asked.amending.tick(REPEAT_EVERY / 2)
    asked.amending.tick(REPEAT_EVERY)
    assert asked.wanted == [change, change]
    asked.amending.agreed(apply(state, [joined(5)]))
    assert asked.answers() == []
    asked.amending.agreed(apply(state, [change]))
    assert asked.answers() == [(b"c", Confirmed(7))]
    asked.amending.tick(10.0)
    assert len(asked.wanted) == 2, "nothing waits any more"


def test_a_word_that_is_overtaken_is_refused_and_one_that_nobody_agrees_on_is_dropped() -> None:
    asked, state = Asked(), gone()
    change = forgotten(state, 3)
    asked.amending.begin(b"c", Amend(7, change), state, 0.0)
    asked.amending.begin(b"d", Amend(8, change), state, PATIENCE / 2)
    asked.amending.tick(PATIENCE)
    asked.amending.agreed(apply(state, [up(state, 3)]))
    (client, answer), = asked.answers()
    assert client == b"d" and isinstance(answer, Refused) and answer.code == Code.NOT_ALLOWED


def test_the_words_that_wait_are_limited() -> None:
    asked, state = Asked(), gone()
    for request in range(AMENDS_MAX + 1):
        asked.amending.begin(b"c", Amend(request, forgotten(state, 3)), state, 0.0)
    (_, answer), = asked.answers()
    assert isinstance(answer, Refused) and answer.code == Code.BUSY


def test_an_adoption_that_was_made_long_ago_holds() -> None:
    """Whoever got no answer asks again: the mark tells, whoever is in-sync by now."""
    state, bucket, learner = bereft()
    number = next(member.number for member in state.members if member.up and member.number != learner)
    change = adopted(state, bucket, number)
    state = apply(state, [change])
    state = apply(state, [ReplicaSynced(bucket, learner, state.terms[bucket])])
    state = apply(state, [down(state, number)])
    assert number not in state.in_sync[bucket] and holds(state, change)
    assert not holds(state, msgspec.structs.replace(change, number=learner))
