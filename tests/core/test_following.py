"""Progress and who follows it: committed, in order, the same for everybody, and told once."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from tests.core.fakes import WALL, Node
from zmqueue.core.answers import Code, Confirmed, Events, Grant, Granted, NotPrimary, Refused
from zmqueue.core.limits import DEFAULT
from zmqueue.core.operations import How, Kind, Settle, State, Submission
from zmqueue.core.replication import Role
from zmqueue.core.requests import Erase, Follow, Lease, Progress, Settling, Submit
from zmqueue.core.tables import RowMissing, Table

SESSION = b"s" * 16


def serving(**limits: Any) -> Node:
    return Node(limits=dataclasses.replace(DEFAULT, **limits), generation=3)


def leased(node: Node, number: int = 1) -> Grant:
    """A new message that somebody works on."""
    message = Submission(node.an_id(number, drawn=WALL), b"body")
    assert node.call(Submit(node.request(), 0, "jobs", (message,))) == Confirmed(node._requests)
    return again(node, number)


def again(node: Node, number: int = 1) -> Grant:
    granted = node.call(Lease(node.request(), "jobs", 1, SESSION, node._requests, 60_000))
    assert isinstance(granted, Granted)
    grant, = granted.grants
    assert grant.submission.id == node.an_id(number, drawn=WALL)
    return grant


def tell(node: Node, grant: Grant, index: int, *data: bytes) -> Progress:
    return Progress(node.request(), 0, grant.submission.id, grant.fencing, index,
                    tuple((Kind.BYTES, each) for each in data))


def follow(node: Node, grant: Grant, after: int = 0, wait: int = 0) -> Follow:
    return Follow(node.request(), 0, grant.submission.id, after, wait)


def settling(node: Node, grant: Grant, how: How = How.ACK, data: bytes = b"result") -> Settling:
    error = "" if how is How.ACK else "broke"
    return Settling(node.request(), 0, (Settle(grant.submission.id, grant.fencing, how, Kind.BYTES, data, error),))


def read(node: Node, grant: Grant, after: int = 0) -> Events:
    found = node.call(follow(node, grant, after))
    assert isinstance(found, Events)
    return found


def told(events: Events) -> list[tuple[int, bytes]]:
    return [(index, data) for index, _, data, _ in events.events]


def refusal(reply: object) -> Code:
    assert isinstance(reply, Refused), reply
    return Code(reply.code)


def refused(reply: object) -> Code:
    assert isinstance(reply, Confirmed), reply
    (_, code, _), = reply.refused
    return Code(code)


# --- telling ----------------------------------------------------------------------------------------------------------


def test_progress_is_confirmed_when_it_is_committed_and_not_before() -> None:
    node = serving()
    grant = leased(node)
    packet = tell(node, grant, 1, b"a", b"b")
    node.send(packet)
    assert node.replies() == []
    node.settle_down()
    assert node.replies() == [Confirmed(packet.request)]
    assert told(read(node, grant)) == [(1, b"a"), (2, b"b")]


def test_a_repeated_progress_is_confirmed_and_stored_once() -> None:
    node = serving()
    grant = leased(node)
    for _ in range(2):
        packet = tell(node, grant, 1, b"a", b"b")
        assert node.call(packet) == Confirmed(packet.request)
    longer = tell(node, grant, 2, b"b", b"c")
    assert node.call(longer) == Confirmed(longer.request)
    assert told(read(node, grant)) == [(1, b"a"), (2, b"b"), (3, b"c")]


def test_a_repeat_whose_first_is_not_committed_waits_for_it() -> None:
    node = serving()
    grant = leased(node)
    first, second = tell(node, grant, 1, b"a"), tell(node, grant, 1, b"a")
    node.send(first)
    node.send(second)
    assert node.replies() == []
    node.settle_down()
    assert node.replies() == [Confirmed(first.request), Confirmed(second.request)]
    assert told(read(node, grant)) == [(1, b"a")]


def test_progress_out_of_order_is_refused() -> None:
    node = serving()
    grant = leased(node)
    assert refused(node.call(tell(node, grant, 2, b"b"))) is Code.BAD_REQUEST
    assert read(node, grant).count == 0


def test_progress_of_an_ended_lease_is_refused() -> None:
    node = serving()
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a"))
    node.call(settling(node, grant, How.NACK))
    late = node.call(tell(node, grant, 2, b"late"))
    assert isinstance(late, Confirmed) and late.refused[0][1] == Code.LEASE_LOST
    assert told(read(node, grant)) == [(1, b"a")]


def test_events_of_an_earlier_delivery_stay_and_are_told_apart() -> None:
    node = serving()
    first = leased(node)
    node.call(tell(node, first, 1, b"10 %"))
    node.call(settling(node, first, How.NACK))
    second = again(node)
    node.call(tell(node, second, 1, b"5 %", b"10 %"))
    assert [(index, data, fencing) for index, _, data, fencing in read(node, second).events] == [
        (1, b"10 %", first.fencing), (2, b"5 %", second.fencing), (3, b"10 %", second.fencing)]
    assert second.fencing > first.fencing


def test_a_message_has_a_limited_number_of_events() -> None:
    node = serving(events_max=3)
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a", b"b"))
    assert refused(node.call(tell(node, grant, 3, b"c", b"d"))) is Code.BAD_REQUEST
    node.call(tell(node, grant, 3, b"c"))
    assert [index for index, _ in told(read(node, grant))] == [1, 2, 3]


def test_an_event_of_unusual_size_or_kind_is_refused() -> None:
    node = serving(event_bytes_max=4)
    grant = leased(node)
    assert refusal(node.call(tell(node, grant, 1, b"12345"))) is Code.BODY_TOO_LARGE
    strange = Progress(9, 0, grant.submission.id, grant.fencing, 1, ((256, b""),))
    assert refusal(node.call(strange)) is Code.BAD_REQUEST


# --- following --------------------------------------------------------------------------------------------------------


def test_who_follows_is_told_of_an_event_when_it_is_committed() -> None:
    node = serving()
    grant = leased(node)
    question = follow(node, grant, wait=20_000)
    node.send(question, b"reader")
    node.settle_down()
    assert node.replies(b"reader") == []
    node.send(tell(node, grant, 1, b"a"))
    assert node.replies(b"reader") == []
    node.settle_down()
    assert node.replies(b"reader") == [
        Events(question.request, State.LEASED, ((1, Kind.BYTES, b"a", grant.fencing),), False, 1, count=1)]
    assert node.front.office.asks == 0


def test_who_has_seen_all_waits_for_more() -> None:
    node = serving()
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a"))
    node.send(follow(node, grant, after=2, wait=20_000), b"ahead")
    node.send(follow(node, grant, after=1, wait=20_000), b"reader")
    node.settle_down()
    assert node.replies(b"reader") == node.replies(b"ahead") == []
    node.call(tell(node, grant, 2, b"b"))
    found, = node.replies(b"reader")
    assert isinstance(found, Events) and told(found) == [(2, b"b")]
    assert node.replies(b"ahead") == []


@pytest.mark.parametrize("how", [How.ACK, How.REJECT])
def test_the_end_comes_with_the_last_event(how: How) -> None:
    node = serving()
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a"))
    question = follow(node, grant, after=1, wait=20_000)
    node.send(question, b"reader")
    node.settle_down()
    node.call(settling(node, grant, how, b"result" if how is How.ACK else b""))
    end, = node.replies(b"reader")
    assert isinstance(end, Events) and end.events == () and not end.more and end.count == 1
    if how is How.ACK:
        assert (end.state, end.kind, end.result) == (State.DONE, Kind.BYTES, b"result")
    else:
        assert (end.state, end.error, end.result) == (State.DEAD, "broke", b"")
    whole = read(node, grant)
    assert told(whole) == [(1, b"a")] and (whole.state, whole.result) == (end.state, end.result)


def test_a_wait_that_is_over_is_answered_with_how_it_is() -> None:
    node = serving()
    grant = leased(node)
    node.send(follow(node, grant, wait=1_000), b"reader")
    node.pass_time(0.9)
    assert node.replies(b"reader") == []
    node.pass_time(0.2)
    found, = node.replies(b"reader")
    assert isinstance(found, Events) and (found.state, found.events, found.more) == (State.LEASED, (), False)


def test_not_yet_and_unknown_need_a_read_barrier() -> None:
    node = serving()
    grant = leased(node)
    stranger = Follow(7, 0, node.an_id(99, drawn=WALL), 0, 0)
    node.send(stranger, b"reader")
    node.send(follow(node, grant), b"reader")
    node.front.tick(node.now, node.wall)
    assert node.replies(b"reader") == []
    node.settle_down()
    unknown, not_yet = node.replies(b"reader")
    assert refusal(unknown) is Code.UNKNOWN_TOKEN
    assert isinstance(not_yet, Events) and not_yet.events == ()


def test_many_events_come_in_several_answers_and_the_end_with_the_last() -> None:
    node = serving(events_told_max=100)
    grant = leased(node)
    node.call(tell(node, grant, 1, *(b"%d" % number for number in range(1, 251))))
    node.call(settling(node, grant))
    after, seen, sizes = 0, [], []
    while True:
        found = read(node, grant, after)
        seen += told(found)
        sizes.append(len(found.events))
        after = found.events[-1][0]
        assert bool(found.result) != found.more
        if not found.more:
            break
    assert seen == [(number, b"%d" % number) for number in range(1, 251)]
    assert sizes == [100, 100, 50]


def test_an_answer_is_limited_in_bytes_and_holds_one_event_at_least() -> None:
    node = serving(events_told_bytes_max=1_000)
    grant = leased(node)
    node.call(tell(node, grant, 1, b"x" * 600, b"y" * 600, b"z" * 5_000))
    sizes = []
    for after in range(3):
        found = read(node, grant, after)
        sizes.append(len(found.events))
        assert found.more == (after < 2)
    assert sizes == [1, 1, 1]


def test_events_are_told_though_the_result_is_gone_and_then_that_it_is() -> None:
    node = serving()
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a"))
    node.call(settling(node, grant))
    node.call(Erase(node.request(), 0, (grant.submission.id,)))
    found = read(node, grant)
    assert told(found) == [(1, b"a")] and found.more and found.result == b""
    assert refusal(node.call(follow(node, grant, after=1))) is Code.RESULT_GONE


def test_followers_are_counted_and_limited() -> None:
    node = serving(asks_parked_max=1)
    grant = leased(node)
    node.send(follow(node, grant, wait=1_000), b"first")
    assert node.front.office.asks == 1
    assert refusal(node.call(follow(node, grant, wait=1_000), b"second")) is Code.BUSY
    node.pass_time(1.1)
    assert node.front.office.asks == 0


def test_an_index_that_is_none_is_refused() -> None:
    node = serving()
    grant = leased(node)
    for after in (-1, 1 << 32):
        assert refusal(node.call(follow(node, grant, after))) is Code.BAD_REQUEST


# --- failover ---------------------------------------------------------------------------------------------------------


def test_a_new_term_sends_followers_to_the_next_primary() -> None:
    node = serving()
    grant = leased(node)
    question = follow(node, grant, wait=20_000)
    node.send(question, b"reader")
    node.replica.enter(Role.BACKUP, node.now)
    assert node.replies(b"reader") == [NotPrimary(question.request, node.state.epoch, True)]
    assert node.front.office.asks == 0


def test_a_repeat_at_the_next_primary_is_known_though_the_first_lay_in_the_tail() -> None:
    node = serving()
    grant = leased(node)
    node.send(tell(node, grant, 1, b"a"))
    node.replica.enter(Role.PRIMARY, node.now)
    node.replies()
    repeated = tell(node, grant, 1, b"a", b"b")
    node.send(repeated)
    assert node.replies() == [], "the tail names the message: it is locked (R9)"
    node.settle_down()
    assert node.replies() == [Confirmed(repeated.request)]
    assert told(read(node, grant)) == [(1, b"a"), (2, b"b")]


# --- the rows ---------------------------------------------------------------------------------------------------------


def test_a_row_that_vanished_is_damage_and_no_gap() -> None:
    node = serving()
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a", b"b", b"c"))
    second = sorted(node.tables.rows[Table.EVENTS])[1]
    node.tables.delete(Table.EVENTS, second)
    with pytest.raises(RowMissing):
        node.call(follow(node, grant))


def test_events_are_forgotten_with_their_message() -> None:
    node = serving(forget_s=0.05)
    grant = leased(node)
    node.call(tell(node, grant, 1, b"a", b"b"))
    node.call(settling(node, grant))
    settings = node.state.settings
    node.now += max(settings.result_ttl_ms, 2 * settings.dedup_window_ms) / 1_000 + 1
    node.pass_time(0.2)
    assert node.tables.rows[Table.EVENTS] == {}
    assert refusal(node.call(follow(node, grant))) is Code.UNKNOWN_TOKEN
