"""Searches of one bucket: what is found, page by page, and when it may be said."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from tests.core.fakes import WALL, Node
from zmqueue.core.answers import Code, Confirmed, Found, FoundMessage, Grant, Granted, NotPrimary, Refused
from zmqueue.core.limits import DEFAULT
from zmqueue.core.operations import How, Options, Settle, State, Submission
from zmqueue.core.replication import Role
from zmqueue.core.requests import Cancel, Find, Lease, Purge, Settling, Submit

SESSION = b"s" * 16
ALL = State.DELAYED, State.READY, State.LEASED, State.DONE, State.DEAD, State.CANCELLED, State.EXPIRED


def a_node(**limits: Any) -> Node:
    return Node(limits=replace(DEFAULT, **limits), generation=3)


def submit(node: Node, *numbers: int, queue: str = "jobs", payload: bytes = b"x", due: int = 0,
           headers: tuple[tuple[str, str], ...] = (), options: Options | None = None) -> None:
    """Each drawn one second after the one before."""
    messages = tuple(Submission(node.an_id(number, drawn=WALL + 1_000 * number), payload, due=due, headers=headers)
                     for number in numbers)
    chosen = tuple((index, options) for index in range(len(messages))) if options else ()
    assert node.call(Submit(1, 0, queue, messages, chosen)) == Confirmed(1)


def lease(node: Node, most: int = 1, queue: str = "jobs", name: str = "") -> tuple[Grant, ...]:
    granted = node.call(Lease(1, queue, most, SESSION, node.request(), 0, name))
    assert isinstance(granted, Granted)
    return granted.grants


def settle(node: Node, grant: Grant, how: How, error: str = "") -> None:
    assert node.call(Settling(1, 0, (Settle(grant.submission.id, grant.fencing, how, error=error),))) == Confirmed(1)


def kill(node: Node, count: int = 1, error: str = "bad") -> None:
    """Dead letters: the first ones that are ready."""
    for grant in lease(node, count):
        settle(node, grant, How.REJECT, error)


def question(*states: int, queue: str = "", limit: int = 100, payload: bool = False, **more: Any) -> Find:
    given = {"since": 0, "before": 0, "headers": (), "after": b"", **more}
    return Find(1, 0, queue, states, limit=limit, payload=payload, **given)


def page(node: Node, find: Find) -> Found:
    found = node.call(find)
    assert isinstance(found, Found), found
    return found


def search(node: Node, *states: int, **more: Any) -> list[FoundMessage]:
    """All pages."""
    messages: list[FoundMessage] = []
    after = b""
    while True:
        found = page(node, question(*states, after=after, **more))
        messages += found.messages
        after = found.next
        if not after:
            return messages


def numbers(messages: list[FoundMessage]) -> list[int]:
    return [int.from_bytes(message.id[9:], "big") for message in messages]


def one_in_each_state(node: Node) -> None:
    submit(node, 1, 2, 3, 4, 5, 6)
    done, dead, _, _ = lease(node, 4)          # 3 and 4 stay leased
    settle(node, done, How.ACK)
    settle(node, dead, How.REJECT, "broken")
    node.call(Cancel(1, 0, (node.an_id(5, drawn=WALL + 5_000),)))
    submit(node, 7, due=WALL + 10**9)
    submit(node, 8, options=Options(group="g"))
    submit(node, 9, options=Options(group="g"))


def test_messages_are_found_by_state_in_the_order_in_which_their_ids_were_drawn() -> None:
    node = a_node()
    one_in_each_state(node)
    found = {state: numbers(search(node, state)) for state in ALL}
    assert found == {State.DELAYED: [7], State.READY: [6, 8, 9], State.LEASED: [3, 4], State.DONE: [1],
                     State.DEAD: [2], State.CANCELLED: [5], State.EXPIRED: []}
    assert numbers(search(node)) == [1, 2, 3, 4, 5, 6, 7, 8, 9]
    assert numbers(search(node, State.DONE, State.DEAD)) == [1, 2]


@pytest.mark.parametrize("states", [(), (State.DEAD,), (State.LEASED,)])
@pytest.mark.parametrize("limit", [1, 2, 3, 100])
def test_pages_put_together_are_the_whole_and_nothing_twice(states: tuple[State, ...], limit: int) -> None:
    node = a_node()
    submit(node, *range(1, 60))
    kill(node, 20)
    lease(node, 20)
    whole = numbers(search(node, *states, limit=1_000))
    assert len(whole) == (20 if states else 59)
    assert numbers(search(node, *states, limit=limit)) == whole


def test_what_has_no_body_any_more_and_what_has_no_record_yet_are_found_once_each() -> None:
    node = a_node()
    submit(node, *range(1, 80))
    for index, grant in enumerate(lease(node, 50)):
        if index % 3:
            settle(node, grant, How.ACK)
    assert numbers(search(node)) == numbers(search(node, limit=7)) == list(range(1, 80))


def test_a_page_looks_at_no_more_rows_than_it_may_and_goes_on_where_it_ended() -> None:
    node = a_node(find_rows_max=10)
    submit(node, *range(1, 100))
    submit(node, 100, queue="other")
    first = page(node, question(queue="other"))
    assert first.messages == () and first.next
    assert numbers(search(node, queue="other")) == [100]


def test_a_page_reads_and_carries_no_more_bytes_than_it_may_but_at_least_one_message() -> None:
    node = a_node(found_bytes_max=250)
    submit(node, *range(1, 8), payload=b"x" * 100)
    submit(node, 9, payload=b"x" * 1_000)
    assert len(page(node, question(payload=True)).messages) == 2
    whole = search(node, payload=True)
    assert numbers(whole) == [1, 2, 3, 4, 5, 6, 7, 9] and len(whole[-1].payload) == 1_000
    assert len(page(a_node_with_large_bodies(), question()).messages) == 1


def a_node_with_large_bodies() -> Node:
    node = a_node(find_bytes_max=1_000)
    submit(node, 1, 2, payload=b"x" * 2_000)
    return node


def test_a_span_of_time_is_found_from_its_first_moment_and_up_to_its_last() -> None:
    node = a_node()
    submit(node, *range(1, 10))
    kill(node, 4)
    assert numbers(search(node, since=WALL + 3_000, before=WALL + 6_000)) == [3, 4, 5]
    assert numbers(search(node, State.DEAD, since=WALL + 2_000, before=WALL + 4_000)) == [2, 3]


def test_headers_are_found_all_of_them_together() -> None:
    node = a_node()
    submit(node, 1, headers=(("user", "7"), ("kind", "a")))
    submit(node, 2, headers=(("user", "7"), ("kind", "b")))
    submit(node, 3)
    assert numbers(search(node, headers=(("user", "7"),))) == [1, 2]
    assert numbers(search(node, headers=(("kind", "b"), ("user", "7")))) == [2]
    assert numbers(search(node, headers=(("kind", "c"),))) == []


def test_named_messages_are_found_as_they_are_and_unknown_ones_are_not() -> None:
    node = a_node()
    one_in_each_state(node)
    ids = tuple(node.an_id(number, drawn=WALL + 1_000 * number) for number in (6, 2, 77, 1))
    assert numbers(search(node, ids=ids, limit=2)) == [6, 2, 1]


def test_a_message_whose_place_changes_between_two_pages_is_found_once() -> None:
    node = a_node()
    submit(node, *range(1, 40))
    first = page(node, question(limit=10))
    kill(node, 20)                             # some in front of the place, some behind
    rest = search_from(node, first.next)
    assert numbers(list(first.messages) + rest) == list(range(1, 40))


def search_from(node: Node, after: bytes) -> list[FoundMessage]:
    messages: list[FoundMessage] = []
    while after:
        found = page(node, question(after=after))
        messages += found.messages
        after = found.next
    return messages


def test_a_dead_letter_tells_its_origin_and_what_became_of_its_deliveries() -> None:
    node = a_node(letter_rest_s=1.0)
    submit(node, 1, payload=b"body", headers=(("user", "7"),), options=Options(group="g"))
    [grant] = lease(node)
    settle(node, grant, How.NACK, "no luck")
    node.pass_time(2.0)
    lease(node)
    node.pass_time(40.0)                       # nobody settles, and no session lives
    [grant] = lease(node)
    settle(node, grant, How.REJECT, "hopeless")
    node.pass_time(3.0)
    [letter] = search(node, State.DEAD, payload=True)
    assert (letter.queue, letter.state, letter.error, letter.group) == ("jobs", State.DEAD, "hopeless", "g")
    assert (letter.deliveries, letter.failures, letter.losses) == (3, 2, 1)
    assert (letter.headers, letter.payload, letter.size) == ((("user", "7"),), b"body", 4)
    assert letter.ended == 3_000 and letter.requeued == 0
    (first, *nacked), (lost, *_), rejected = letter.history
    assert nacked == [0, "no luck"] and first > lost > 3_000
    assert rejected == (3_000, 1, "hopeless")


def test_a_leased_message_tells_who_has_it_since_when_and_until_when() -> None:
    node = a_node()
    submit(node, 1)
    lease(node, name="mailer@host")
    node.now += 2.0
    [found] = search(node, State.LEASED)
    assert (found.session, found.worker, found.held, found.until) == (SESSION, "mailer@host", 2_000, 28_000)
    assert found.ended == -1


def test_a_new_primary_does_not_pretend_to_know_since_when() -> None:
    node = a_node()
    submit(node, 1)
    lease(node)
    node.replica.enter(Role.PRIMARY, node.now)
    [found] = search(node, State.LEASED)
    assert found.held == -1 and found.session == SESSION


def test_what_was_purged_is_not_found() -> None:
    node = a_node()
    submit(node, 1, 2)
    kill(node, 2)
    node.call(Purge(1, 0, (node.an_id(1, drawn=WALL + 1_000),)))
    assert numbers(search(node, State.DEAD)) == numbers(search(node)) == [2]


def test_a_page_is_not_given_before_a_barrier_is_passed() -> None:
    node = a_node()
    submit(node, 1)
    node.send(question())
    node.replica.commit_to(node.replica.end, node.now)
    assert node.replies() == []
    node.settle_down()
    [found] = node.replies()
    assert isinstance(found, Found) and len(found.messages) == 1


def test_a_search_whose_term_ends_is_sent_on_to_the_new_primary() -> None:
    node = a_node()
    node.send(question())
    node.replica.enter(Role.BACKUP, node.now)
    assert node.replies() == [NotPrimary(1, 1, False)]


@pytest.mark.parametrize("wrong", [
    question(limit=0), question(limit=1_001), question(9), question(since=-1), question(before=1 << 48),
    question(queue="no queue"), question(after=b"x" * 600), question(ids=(b"short",)),
    question(headers=(("a", "b"),) * 65)])
def test_a_search_that_is_none_is_refused(wrong: Find) -> None:
    refused = a_node().call(wrong)
    assert isinstance(refused, Refused) and refused.code == Code.BAD_REQUEST
