"""Policies as users write them: in seconds, checked at once, and the same on the wire and back."""

from __future__ import annotations

import typing

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from zmqueue.client.queues import Backoff, PolicyOptions, QueuePolicy
from zmqueue.core import policies
from zmqueue.core.policies import Policy, Shape

SECONDS = st.integers(1, 10_000_000).map(lambda ms: ms / 1000)
BACKOFFS = st.one_of(
    st.builds(Backoff.constant, SECONDS, jitter=st.integers(0, 100).map(lambda percent: percent / 100)),
    st.builds(Backoff.exponential, SECONDS, most=st.none() | SECONDS), st.builds(Backoff.linear, SECONDS),
    st.builds(Backoff.listed, st.lists(SECONDS, min_size=1, max_size=5)))
POLICIES = st.builds(
    QueuePolicy, attempts=st.none() | st.integers(1, 65_535), backoff=st.none() | BACKOFFS,
    ageing=st.none() | SECONDS, expires=st.none() | SECONDS, deadline=st.none() | SECONDS,
    result_ttl=st.none() | SECONDS, result_bytes_max=st.none() | st.integers(1, 1 << 26),
    dead_ttl=st.none() | SECONDS, messages_max=st.none() | st.integers(1, 1 << 53 - 1), age_max=st.none() | SECONDS,
    overflow=st.sampled_from(("reject", "block")), halt=st.booleans(), losses=st.none() | st.integers(1, 65_535))


@given(POLICIES)
def test_a_policy_is_the_same_after_its_way_through_the_cluster(policy: QueuePolicy) -> None:
    declared = policies.encode(policy.core())
    assert policies.objection(declared) == ""
    assert QueuePolicy.of(policies.decode(declared)) == policy


def test_seconds_become_milliseconds() -> None:
    policy = QueuePolicy(attempts=5, backoff=Backoff.exponential(1.0, most=60.0, jitter=0.2), expires=1.5)
    assert policy.core(paused=True) == Policy(
        attempts=5, backoff=policies.Backoff(Shape.EXPONENTIAL, (1_000,), 60_000, 20), expires_ms=1_500, paused=True)


def test_a_time_that_is_too_short_for_a_millisecond_is_one() -> None:
    """And not 0, which would mean that there is no limit."""
    assert QueuePolicy(deadline=0.0001).core().deadline_ms == 1


@pytest.mark.parametrize("wrong", [
    {"attempts": 0}, {"attempts": 70_000}, {"expires": 0.0}, {"expires": -1.0}, {"expires": float("inf")},
    {"deadline": float("nan")}, {"result_bytes_max": 0}, {"attempt": 5}, {"backoff": 3}, {"paused": True},
    {"backoff": {"shape": "linear", "delays": (1.0, 2.0)}}, {"backoff": {"shape": "list", "delays": ()}},
    {"messages_max": 0}, {"overflow": "drop"}, {"backoff": {"shape": "sideways", "delays": (1.0,)}}])
def test_what_cannot_be_is_refused_where_it_is_written(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        QueuePolicy.model_validate(wrong)


def test_declare_takes_the_fields_of_a_policy() -> None:
    assert typing.get_type_hints(PolicyOptions).keys() == QueuePolicy.model_fields.keys()


@given(POLICIES)
def test_json_has_every_field_and_the_units_of_times_in_their_names(policy: QueuePolicy) -> None:
    facts = policy.facts()
    assert {name.removesuffix("_s") for name in facts} == QueuePolicy.model_fields.keys()
    for name, value in policy.model_dump(exclude={"backoff"}).items():
        assert facts.get(name, facts.get(f"{name}_s")) == value
