"""Policies: what may be declared, how a rest grows, and how a declaration is agreed."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.core.test_state_changes import cluster
from zmqueue.core import policies
from zmqueue.core.amending import holds, objection
from zmqueue.core.changes import Change, QueueDeclared, QueueRemoved, apply, effective
from zmqueue.core.policies import DEFAULT, LONG_MS, Backoff, Overflow, Policy, Shape, delay_ms
from zmqueue.core.state import ClusterState

PAUSED = policies.encode(Policy(paused=True))
FIVE = policies.encode(Policy(attempts=5))


def declared(state: ClusterState, name: str = "thumbnails", policy: bytes = FIVE) -> ClusterState:
    return apply(state, [QueueDeclared(name, state.declared_since(name), policy)])


# --- rests -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("backoff", "rests"), [
    (Backoff(), [0, 0, 0, 0]),
    (Backoff(Shape.CONSTANT, (500,)), [500, 500, 500, 500]),
    (Backoff(Shape.LINEAR, (500,)), [500, 1_000, 1_500, 2_000]),
    (Backoff(Shape.EXPONENTIAL, (500,)), [500, 1_000, 2_000, 4_000]),
    (Backoff(Shape.EXPONENTIAL, (500,), most=1_500), [500, 1_000, 1_500, 1_500]),
    (Backoff(Shape.LIST, (10, 70, 30)), [10, 70, 30, 30]),
])
def test_a_rest_grows_as_its_shape_says(backoff: Backoff, rests: list[int]) -> None:
    assert [delay_ms(backoff, failures, b"id") for failures in (1, 2, 3, 4)] == rests


@given(st.integers(1, 10_000), st.binary(min_size=24, max_size=24), st.integers(0, 100))
def test_jitter_shortens_a_rest_by_its_percentage_at_most(failures: int, seed: bytes, jitter: int) -> None:
    backoff = Backoff(Shape.CONSTANT, (10_000,), jitter=jitter)
    rest = delay_ms(backoff, failures, seed)
    assert 10_000 - 100 * jitter <= rest <= 10_000
    assert rest == delay_ms(backoff, failures, seed), "a decision that is made again is the same"


def test_jitter_spreads_what_failed_together() -> None:
    rests = [delay_ms(Backoff(Shape.CONSTANT, (10_000,), jitter=50), 1, number.to_bytes(24, "big"))
             for number in range(1_000)]
    tenths = [sum(5_000 + 500 * part <= rest <= 5_500 + 500 * part for rest in rests) for part in range(10)]
    assert min(tenths) > 60, "about a hundred in each tenth of the range"


def test_a_rest_is_the_same_on_every_machine() -> None:
    """A golden vector: the hash is part of what nodes of all versions decide by."""
    assert delay_ms(Backoff(Shape.EXPONENTIAL, (1_000,), jitter=100), 3, bytes(24)) == 184


def test_a_message_that_failed_ten_thousand_times_rests_no_longer_than_ten_years() -> None:
    assert delay_ms(Backoff(Shape.EXPONENTIAL, (1_000,)), 10_000, b"id") == LONG_MS
    assert delay_ms(Backoff(Shape.LINEAR, (LONG_MS,)), 10_000, b"id") == LONG_MS


# --- what may be declared ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(("policy", "words"), [
    (Policy(attempts=70_000), "attempts is 70,000; allowed is 0 to 65,535"),
    (Policy(losses=-1), "losses is -1"),
    (Policy(messages_max=-1), "messages_max"),
    (Policy(backoff=Backoff(Shape.LIST)), "list has 0 delays; allowed is 1 to 64"),
    (Policy(backoff=Backoff(Shape.LINEAR, (1, 2))), "linear has 2 delays; allowed is 1"),
    (Policy(backoff=Backoff(Shape.CONSTANT, (-1,))), "-1 ms"),
    (Policy(backoff=Backoff(Shape.CONSTANT, (1,), jitter=101)), "101 percent"),
])
def test_what_cannot_work_is_refused_with_what_was_found_and_what_is_allowed(policy: Policy, words: str) -> None:
    assert words in policies.problem(policy)
    assert words in policies.objection(policies.encode(policy))


def test_what_is_no_policy_is_refused() -> None:
    assert "no policy" in policies.objection(b"\xff")
    assert "no policy" in policies.objection(msgspec.msgpack.encode([0] * 14 + [9])), "an overflow that is not known"
    assert "limit is 4,096" in policies.objection(msgspec.msgpack.encode([0] * 5_000))


NUMBERS = st.integers(0, 1_000)
POLICIES = st.builds(
    Policy, attempts=NUMBERS, losses=NUMBERS, ageing_ms=NUMBERS, halt=st.booleans(), paused=st.booleans(),
    backoff=st.builds(Backoff, st.just(Shape.LIST), st.lists(NUMBERS, min_size=1, max_size=5).map(tuple), NUMBERS),
    overflow=st.sampled_from(Overflow), messages_max=NUMBERS, age_ms_max=NUMBERS)


@given(POLICIES)
def test_a_declaration_is_read_as_it_was_written(policy: Policy) -> None:
    assert policies.decode(policies.encode(policy)) == policy
    assert policies.objection(policies.encode(policy)) == ""


def test_a_declaration_leaves_out_what_it_does_not_say() -> None:
    """So a policy has the same bytes in all versions, and declaring it again changes nothing."""
    assert policies.encode(DEFAULT) == msgspec.msgpack.encode([])
    assert policies.encode(Policy(losses=3)) == msgspec.msgpack.encode([0, 3])


def test_what_a_later_version_declared_is_read_as_far_as_it_is_known() -> None:
    fields = [*msgspec.structs.astuple(Policy(attempts=4, overflow=Overflow.BLOCK)), "later", 7]
    assert policies.decode(msgspec.msgpack.encode(fields)) == Policy(attempts=4, overflow=Overflow.BLOCK)


# --- agreed ------------------------------------------------------------------------------------------------------


def test_a_declared_queue_has_its_policy_and_every_other_the_default() -> None:
    state = declared(cluster(3))
    assert state.policy("thumbnails") == Policy(attempts=5)
    assert state.policy("mails") is DEFAULT
    assert ClusterState.from_bytes(state.to_bytes()).policy("thumbnails").attempts == 5


def test_declarations_stand_by_name_whatever_the_order_in_which_they_came() -> None:
    names = ["b", "c", "a"]
    state = cluster(3)
    for name in names:
        state = declared(state, name)
    assert [name for name, _, _ in state.queues] == sorted(names)
    assert ClusterState.from_bytes(state.to_bytes()) == state
    swapped = replace(state, queues=state.queues[::-1])
    with pytest.raises(msgspec.ValidationError, match="order of their names"):
        ClusterState.from_bytes(msgspec.msgpack.encode(swapped))


def test_what_was_declared_meanwhile_is_not_overwritten() -> None:
    """Two operators looked at the same state: the second one looks again."""
    state = declared(cluster(3))
    late = QueueDeclared("thumbnails", 0, PAUSED)
    assert effective(state, [late]) is None and "look again" in objection(state, late)
    gone = QueueRemoved("thumbnails", state.epoch - 1)
    assert effective(state, [gone]) is None and "look again" in objection(state, gone)


def test_the_policy_that_is_there_is_not_agreed_again() -> None:
    state = declared(cluster(3))
    same = QueueDeclared("thumbnails", state.epoch, FIVE)
    assert effective(state, [same]) is None and holds(state, same)


def test_a_withdrawn_declaration_is_gone() -> None:
    state = declared(cluster(3))
    removed = apply(state, [QueueRemoved("thumbnails", state.epoch)])
    assert removed.queues == () and removed.policy("thumbnails") is DEFAULT
    assert holds(removed, QueueRemoved("thumbnails", state.epoch))


def test_what_was_declared_before_a_withdrawal_does_not_come_again() -> None:
    """The change is repeated while it is wanted (C8), and two nodes may have been asked for it."""
    before = cluster(3)
    late = QueueDeclared("thumbnails", before.declared_since("thumbnails"), FIVE)
    state = apply(before, [late])
    removed = apply(state, [QueueRemoved("thumbnails", state.epoch)])
    assert effective(removed, [late]) is None and "look again" in objection(removed, late)
    assert declared(removed).policy("thumbnails").attempts == 5


def full() -> ClusterState:
    state = cluster(3)
    return apply(state, [QueueDeclared(f"q{number}", 0, b"\x90") for number in range(policies.DECLARED_MAX)])


@pytest.mark.parametrize(("make", "change", "words"), [
    (lambda: cluster(3), QueueDeclared("no spaces", 0, FIVE), "begins with a letter"),
    (lambda: cluster(3), QueueDeclared("q" * 129, 0, FIVE), "at most 128"),
    (lambda: cluster(3), QueueDeclared("thumbnails", 0, policies.encode(Policy(attempts=70_000))), "65,535"),
    (lambda: cluster(3), QueueDeclared("thumbnails", 0, b"\xff"), "no policy"),
    (full, QueueDeclared("one-more", 0, FIVE), "1,000 queues"),
])
def test_what_cannot_be_declared_is_told_and_not_agreed(make: Callable[[], ClusterState], change: Change,
                                                        words: str) -> None:
    state = make()
    assert words in objection(state, change) and not holds(state, change)
    assert effective(state, [change]) is None, "the words follow the rules of the fold"


def test_a_full_list_of_declarations_can_be_changed() -> None:
    state = declared(full(), "q7")
    assert state.policy("q7").attempts == 5 and len(state.queues) == policies.DECLARED_MAX


def test_a_change_of_a_policy_ends_no_term() -> None:
    state = cluster(3)
    assert declared(state).terms == state.terms
