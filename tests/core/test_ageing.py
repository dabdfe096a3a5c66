"""Queues that age: each `ageing_ms` of waiting outweighs one priority, decided once at the submit."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.fakes import Node
from tests.core.test_front import lease
from zmqueue.core.ageing import place_of
from zmqueue.core.answers import Confirmed
from zmqueue.core.operations import NO_OPTIONS, How, Options, Settle, Submission
from zmqueue.core.policies import LONG_MS, Policy
from zmqueue.core.records import Special
from zmqueue.core.requests import Settling, Submit
from zmqueue.core.tables import Table

AGEING = Policy(ageing_ms=1_000)


@pytest.fixture
def node() -> Node:
    made = Node(generation=3)
    made.front.office.policies["jobs"] = AGEING
    return made


def submit(node: Node, number: int, priority: int = 0, due: int = 0, options: Options = NO_OPTIONS) -> None:
    message = Submission(node.an_id(number), b"%d" % number, priority=priority, due=due)
    chosen = ((0, options),) if options != NO_OPTIONS else ()
    assert node.call(Submit(node.request(), 0, "jobs", (message,), chosen)) == Confirmed(node._requests)


def served(node: Node, most: int = 100) -> list[int]:
    """In which order they are handed out."""
    node.request()
    return [int(grant.submission.payload) for grant in lease(node, number=node._requests, most=most).grants]


@given(st.lists(st.tuples(st.integers(0, 255), st.integers(0, 100_000), st.integers(0, 100_000)), min_size=2),
       st.integers(1, LONG_MS), st.integers(200_000, 10_000_000))
def test_the_lowest_place_has_the_highest_priority_when_waiting_is_counted(
        messages: list[tuple[int, int, int]], ageing: int, moment: int) -> None:
    """At any moment: a message's worth is its priority and one more for each `ageing` that it has waited since it
    could run."""
    wall = 1_700_000_000_000
    made = [(place_of(Submission(b"", b"", priority=priority, due=wall + delay), ageing, wall + submitted),
             priority * ageing + moment - max(submitted, delay)) for priority, submitted, delay in messages]
    assert all(0 < place < 1 << 63 for place, _ in made)
    for place, worth in made:
        for other, others_worth in made:
            assert (place < other) == (worth > others_worth)


def test_waiting_outweighs_priority_and_equals_keep_their_order(node: Node) -> None:
    submit(node, 1)
    submit(node, 2, priority=2)
    node.pass_time(1.5)
    submit(node, 3, priority=1)             # 1 has waited for one and a half
    submit(node, 4, priority=2)
    submit(node, 5, priority=2)
    assert served(node) == [2, 4, 5, 1, 3]


def test_without_ageing_the_highest_priority_is_served_first_however_long_others_wait(node: Node) -> None:
    node.front.office.policies.clear()
    submit(node, 1)
    node.pass_time(60.0)
    submit(node, 2, priority=1)
    assert served(node) == [2, 1]
    assert not any(isinstance(node.replica.machine.record(row[4:]), Special)
                   for row in node.tables.rows[Table.MESSAGES]), "it is written as it always was"


def test_what_waits_is_never_written_again(node: Node) -> None:
    submit(node, 1)
    submit(node, 2, priority=200)
    before = {table: dict(found) for table, found in node.tables.rows.items()}
    node.pass_time(600.0, step=60.0)
    assert node.tables.rows == before


def test_a_message_that_comes_back_stands_where_it_stood(node: Node) -> None:
    submit(node, 1)
    (grant,) = lease(node).grants
    node.pass_time(3.0)
    submit(node, 2, priority=1)
    submit(node, 3, priority=9)
    settle = Settle(grant.submission.id, 1, How.NACK, error="again")
    assert node.call(Settling(99, 0, (settle,))) == Confirmed(99)
    assert [int(grant.submission.payload) for grant in lease(node, number=2).grants] == [3, 1, 2]


def test_a_delayed_message_waits_from_its_due_time_on(node: Node) -> None:
    submit(node, 1, due=node.wall + 5_000)
    node.pass_time(5.5)
    submit(node, 2, priority=1)
    assert served(node) == [2, 1], "it has waited for half a second only"


def test_where_a_queue_begins_to_age_what_stands_there_is_served_first(node: Node) -> None:
    node.front.office.policies.clear()
    submit(node, 1)
    submit(node, 2, priority=1)
    node.front.office.policies["jobs"] = AGEING
    submit(node, 3, priority=255)
    assert served(node) == [2, 1, 3]


def test_where_it_ceases_to_those_that_aged_are_served_last_in_their_order(node: Node) -> None:
    submit(node, 1)
    submit(node, 2, priority=255)
    node.front.office.policies.clear()
    submit(node, 3)
    assert served(node) == [3, 2, 1]


def test_a_submitter_cannot_choose_its_place(node: Node) -> None:
    submit(node, 1)
    submit(node, 2, options=Options(place=1))
    assert served(node) == [1, 2]
    node.front.office.policies.clear()
    submit(node, 3)
    submit(node, 4, options=Options(place=1, keep=5))
    assert served(node, 2) == [3, 4]
    assert node.tables.rows[Table.MESSAGES]


def test_messages_of_a_group_run_in_their_order_all_the_same(node: Node) -> None:
    submit(node, 1, options=Options(group="g"))
    submit(node, 2, priority=255, options=Options(group="g"))
    submit(node, 3)
    assert served(node) == [1, 3]


def test_in_a_cluster_of_generation_2_nothing_ages() -> None:
    """Nobody could declare it there; a node that knows of it all the same writes what others can read."""
    node = Node(generation=2)
    node.front.office.policies["jobs"] = AGEING
    submit(node, 1)
    node.pass_time(5.0)
    submit(node, 2, priority=1)
    assert served(node) == [2, 1]
