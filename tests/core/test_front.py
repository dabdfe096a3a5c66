"""The node's face to clients: leases over all its buckets, sessions, watches, and what is refused at the door."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.fakes import WALL, Node
from zmqueue.core.answers import (
    Alive,
    Answer,
    Code,
    Confirmed,
    Grant,
    Granted,
    Hint,
    NotPrimary,
    QueueDepth,
    QueuesReply,
    Refused,
)
from zmqueue.core.ids import bucket_of, places_of
from zmqueue.core.limits import DEFAULT
from zmqueue.core.machine import Machine
from zmqueue.core.operations import Held, How, Leased, Returned, Settle, State, Submission, Why
from zmqueue.core.replication import Role
from zmqueue.core.requests import (
    Ask,
    EndSession,
    Extend,
    GetQueues,
    GiveBack,
    Keepalive,
    Lease,
    Settling,
    Submit,
    Watch,
)
from zmqueue.core.watchers import Watchers

A, B = b"a" * 16, b"b" * 16


def message(node: Node, number: int, bucket: int = 0, payload: bytes = b"x", due: int = 0) -> Submission:
    place = places_of(bucket, len(node.replicas))[0]
    return Submission(node.an_id(number, place, WALL), payload, due=due)


def fill(node: Node, *numbers: int, bucket: int = 0, queue: str = "jobs") -> None:
    reply = node.call(Submit(1, bucket, queue, tuple(message(node, number, bucket) for number in numbers)))
    assert reply == Confirmed(1)


def lease(node: Node, session: bytes = A, number: int = 1, most: int = 100, queue: str = "jobs") -> Granted:
    granted = node.call(Lease(node.request(), queue, most, session, number, 0))
    assert isinstance(granted, Granted)
    return granted


def held(grants: tuple[Grant, ...]) -> tuple[Held, ...]:
    return tuple((grant.submission.id, grant.fencing) for grant in grants)


def keep(node: Node, grants: tuple[Grant, ...], session: bytes = A, upto: int = 0, renew: int = 0) -> Alive:
    alive = node.call(Keepalive(7, session, upto, tuple((*lease, renew) for lease in held(grants))))
    assert isinstance(alive, Alive)
    return alive


def returned(node: Node) -> list[Why]:
    return [Why(operation.why) for replica in node.replicas for operation in replica.log
            if isinstance(operation, Returned)]


def watch(node: Node, session: bytes, *queues: str) -> None:
    node.send(Watch(session, queues), session)


def hinted(node: Node, *sessions: bytes) -> list[bool]:
    return [Hint("jobs") in node.replies(session) for session in sessions]


# --- routing ----------------------------------------------------------------------------------------------------------


def test_a_request_for_a_bucket_of_another_primary_is_definitely_not_done() -> None:
    node = Node(buckets=2)
    node.replicas[1].enter(Role.BACKUP, node.now)
    assert node.call(Submit(1, 1, "jobs", (message(node, 1, 1),))) == NotPrimary(1, 1, False)
    assert node.call(Ask(2, 1, message(node, 1, 1).id, 0, True)) == NotPrimary(2, 1, False)
    fill(node, 1, bucket=0)


def test_a_bucket_without_a_copy_here_is_not_primary_either() -> None:
    node = Node(buckets=2)
    node.replicas[1].enter(Role.NONE, node.now)
    node.front.close(1)
    node.replicas.pop()
    assert node.call(Submit(1, 1, "jobs", ())) == NotPrimary(1, 1, False)


# --- leases over buckets ----------------------------------------------------------------------------------------------


def test_a_lease_spans_the_buckets_of_the_node() -> None:
    node = Node(buckets=4)
    for bucket in range(4):
        fill(node, bucket * 10, bucket * 10 + 1, bucket=bucket)
    granted = lease(node, most=5)
    assert len(granted.grants) == 5 and granted.more
    rest = lease(node, number=2)
    assert len(rest.grants) == 3 and not rest.more
    assert len({grant.submission.id for grant in granted.grants + rest.grants}) == 8


def test_no_bucket_starves() -> None:
    node = Node(buckets=4)
    for bucket in range(4):
        fill(node, *range(bucket * 10, bucket * 10 + 4), bucket=bucket)
    buckets = {bucket_of(lease(node, number=number, most=1).grants[0].submission.id, 4) for number in range(1, 5)}
    assert buckets == {0, 1, 2, 3}


def test_an_empty_queue_is_answered_at_once() -> None:
    node = Node(buckets=2)
    node.send(Lease(3, "jobs", 10, A, 1, 0))
    assert node.replies() == [Granted(3, 1, 30_000, (), False)]


def test_one_answer_holds_only_so_many_bytes_but_at_least_one_message() -> None:
    node = Node(limits=replace(DEFAULT, granted_bytes_max=250))
    node.call(Submit(1, 0, "jobs", tuple(message(node, number, payload=b"x" * 100) for number in range(4))))
    node.call(Submit(1, 0, "jobs", (message(node, 9, payload=b"x" * 1_000),)))
    sizes = [len(lease(node, number=number).grants) for number in (1, 2, 3)]
    assert sizes == [2, 2, 1]
    assert node.front.office.granting_bytes == 0


def test_a_repeated_lease_request_is_granted_the_same_again() -> None:
    node = Node(buckets=2)
    fill(node, 1, 2, bucket=0)
    fill(node, 3, bucket=1)
    first = lease(node, most=2)
    second = lease(node, number=2)
    again = lease(node, most=2)
    assert sorted(held(again.grants)) == sorted(held(first.grants))
    assert {grant.submission.payload for grant in again.grants} == {b"x"}
    assert again.lease <= 30_000 and len(second.grants) == 1


def test_a_repeat_while_the_first_is_pending_leases_nothing_more_and_is_answered_once() -> None:
    node = Node()
    fill(node, 1, 2)
    node.send(Lease(5, "jobs", 1, A, 1, 0), b"old")
    node.send(Lease(6, "jobs", 1, A, 1, 0), b"new")
    node.settle_down()
    assert node.replies(b"old") == []
    [granted] = node.replies(b"new")
    assert isinstance(granted, Granted) and granted.request == 6 and len(granted.grants) == 1


def test_a_new_primary_answers_a_repeated_lease_request_with_what_was_granted_before() -> None:
    node = Node()
    fill(node, 1, 2, 3)
    first = lease(node, most=2)
    fresh = Node()                             # it has the same rows, and never heard of the session
    fresh.replica.machine = Machine(node.tables, 1)
    fresh.replica.log, fresh.replica.commit = node.replica.log, node.replica.commit
    fresh.replica.enter(Role.PRIMARY, fresh.now)
    assert held(lease(fresh, most=2).grants) == held(first.grants)
    assert len(lease(fresh, number=2).grants) == 1


def test_a_new_primary_grants_nothing_anew_for_a_request_that_stands_in_its_inherited_tail() -> None:
    node = Node()
    fill(node, 1, 2)
    node.send(Lease(3, "jobs", 1, A, 1, 0))    # in the log, and not committed
    fresh = Node()                             # it has the same rows and log, and never heard of the session
    fresh.replica.machine = Machine(node.tables, 1)
    fresh.replica.log, fresh.replica.commit = node.replica.log, node.replica.commit
    fresh.replica.enter(Role.PRIMARY, fresh.now)
    assert fresh.call(Lease(4, "jobs", 1, A, 1, 0)) == Granted(4, 1, 0, (), False)
    leased = [operation for operation in fresh.replica.log if isinstance(operation, Leased)]
    assert [operation.request for operation in leased] == [1]
    assert held(lease(fresh, number=1, most=1).grants) == leased[0].grants


def test_a_bucket_that_stands_still_refuses_with_the_reason_and_others_send_on_to_the_primary() -> None:
    node = Node(buckets=2)
    for replica in node.replicas:
        replica.enter(Role.DAMAGED, node.now)
    node.replicas[0].halted = "bucket 0 stands still"
    for bucket, answer in enumerate((Refused(5, Code.NOT_SERVING, "bucket 0 stands still"), NotPrimary(5, 1, False))):
        assert node.call(Ask(5, bucket, message(node, 1, bucket).id, 0, False)) == answer


def test_settled_messages_are_not_granted_to_a_repeat() -> None:
    node = Node()
    fill(node, 1, 2)
    one, two = lease(node).grants
    node.call(Settling(1, 0, (Settle(one.submission.id, one.fencing),)))
    assert held(lease(node).grants) == held((two,))


def test_when_one_bucket_leaves_a_pending_lease_is_answered_with_the_others() -> None:
    node = Node(buckets=2)
    fill(node, 1, bucket=0)
    fill(node, 2, bucket=1)
    node.send(Lease(5, "jobs", 10, A, 1, 0))
    node.replicas[1].enter(Role.BACKUP, node.now)
    node.settle_down()
    [granted] = node.replies()
    assert isinstance(granted, Granted)
    assert [bucket_of(grant.submission.id, 2) for grant in granted.grants] == [0]
    assert (node.front.office.granting_bytes, node.front.office.pending) == (0, 0)


# --- sessions ---------------------------------------------------------------------------------------------------------


def test_a_session_that_falls_silent_loses_its_leases() -> None:
    node = Node(session_ms=2_000)
    fill(node, 1)
    lease(node)
    node.pass_time(1.9)
    assert returned(node) == []
    node.pass_time(0.3)
    assert returned(node) == [Why.SESSION_LOST]
    [again] = lease(node, B).grants
    assert again.error == "the session of the worker was lost"


def test_a_session_that_is_heard_keeps_its_leases_and_renews_those_that_it_flags() -> None:
    node = Node(session_ms=2_000, lease_ms=3_000)
    fill(node, 1, 2)
    one, two = lease(node).grants
    for _ in range(4):
        node.pass_time(1.0)
        node.send(Keepalive(7, A, 1, ((one.submission.id, 1, 3_000), (two.submission.id, 1, 0))))
        node.settle_down()
    node.pass_time(0.1)
    node.replies()
    assert returned(node) == [Why.EXPIRED]
    assert keep(node, (one, two), upto=1).lost == held((two,))


def test_a_lease_is_renewed_only_when_half_of_it_is_over() -> None:
    node = Node(lease_ms=4_000)
    fill(node, 1)
    grants = lease(node).grants
    end = node.replica.end
    node.pass_time(1.9)
    keep(node, grants, renew=4_000)
    assert node.replica.end == end
    node.pass_time(0.2)
    keep(node, grants, renew=4_000)
    keep(node, grants, renew=4_000)
    assert node.replica.end == end + 1


def test_a_lease_whose_answer_was_lost_is_given_back_and_was_no_delivery() -> None:
    node = Node(buckets=2)
    fill(node, 1, bucket=0)
    fill(node, 2, bucket=1)
    lease(node, number=1)
    keep(node, (), upto=0)
    assert returned(node) == []
    keep(node, (), upto=1)
    assert returned(node) == [Why.UNCLAIMED] * 2
    assert [(grant.deliveries, grant.fencing) for grant in lease(node, B).grants] == [(1, 2)] * 2


def test_a_listed_lease_is_not_given_back() -> None:
    node = Node()
    fill(node, 1, 2)
    one, _ = lease(node).grants
    assert keep(node, (one,), upto=5).lost == ()
    assert [operation.leases for operation in node.replica.log if isinstance(operation, Returned)] != [held((one,))]
    assert len(lease(node, B).grants) == 1


def test_what_a_session_lost_is_told_only_after_a_barrier() -> None:
    node = Node()
    fill(node, 1)
    [grant] = lease(node).grants
    node.call(Settling(1, 0, (Settle(grant.submission.id, 1, How.NACK),)))
    node.send(Keepalive(7, A, 1, ((grant.submission.id, 1, 0),)))
    assert node.replies() == []
    node.settle_down()
    assert node.replies() == [Alive(7, held((grant,)))]


def test_a_lease_with_an_entry_under_way_is_neither_lost_nor_returned() -> None:
    node = Node()
    fill(node, 1)
    [grant] = lease(node).grants
    node.send(Settling(1, 0, (Settle(grant.submission.id, 1),)))
    node.send(Keepalive(7, A, 1, ()))
    node.send(Keepalive(8, A, 1, ((grant.submission.id, 1, 9_000),)))
    assert node.replies() == [Alive(7, ()), Alive(8, ())]
    node.settle_down()
    assert returned(node) == []


def test_the_lease_of_another_session_is_not_ones_own() -> None:
    node = Node()
    fill(node, 1)
    grants = lease(node, A).grants
    assert keep(node, grants, session=B).lost == held(grants)


def test_leases_of_buckets_that_are_not_here_are_for_others_to_judge() -> None:
    node = Node(buckets=2)
    fill(node, 1, bucket=1)
    grants = lease(node).grants
    node.replicas[1].enter(Role.BACKUP, node.now)
    assert keep(node, grants).lost == ()


def test_the_end_of_a_session_returns_its_leases_at_once() -> None:
    node = Node(buckets=2)
    fill(node, 1, bucket=0)
    fill(node, 2, bucket=1)
    lease(node)
    assert node.call(EndSession(4, A)) == Confirmed(4)
    assert returned(node) == [Why.SESSION_LOST] * 2
    node.pass_time(0.2)
    assert node.front.statistics()["sessions"] == 0


def test_a_lease_that_commits_after_its_session_ended_returns_too() -> None:
    node = Node()
    fill(node, 1)
    node.send(Lease(3, "jobs", 1, A, 1, 0))
    node.send(EndSession(4, A))
    node.settle_down()
    node.pass_time(0.3)
    assert returned(node) == [Why.SESSION_LOST]


def test_an_unknown_session_ends_without_more() -> None:
    assert Node().call(EndSession(4, A)) == Confirmed(4)


def test_after_a_takeover_every_session_counts_as_just_heard() -> None:
    node = Node(session_ms=2_000)
    fill(node, 1)
    lease(node)
    node.now += 1.9
    node.replica.enter(Role.PRIMARY, node.now)
    node.pass_time(1.9)
    assert returned(node) == []
    node.pass_time(0.3)
    assert returned(node) == [Why.SESSION_LOST]


def test_a_lease_that_commits_from_an_inherited_tail_makes_its_session_just_heard() -> None:
    node = Node(session_ms=2_000)
    fill(node, 1)
    node.send(Lease(3, "jobs", 1, A, 1, 0))
    node.now += 10
    node.replica.enter(Role.PRIMARY, node.now)
    node.settle_down()
    node.replies()
    node.pass_time(1.9)
    assert returned(node) == []
    assert held(lease(node, number=1).grants) == ((message(node, 1).id, 1),)


def test_a_lease_request_whose_grant_waits_in_an_inherited_tail_is_not_granted_again() -> None:
    """Not by a new term, and not by one in which its session was silent for long: the request came late, and twice."""
    for pause in (0.0, 30.0):
        node = Node(session_ms=2_000)
        fill(node, 1, 2)
        node.send(Lease(3, "jobs", 1, A, 1, 0))
        node.replica.enter(Role.PRIMARY, node.now)
        node.replies()
        for _ in range(int(pause * 4)):        # nothing is committed meanwhile
            node.now += 0.25
            node.front.tick(node.now, node.wall)
        node.send(Lease(4, "jobs", 1, A, 1, 0))
        assert node.replies() == [Granted(4, 1, 0, (), False)]
        node.settle_down()
        assert held(lease(node, number=1).grants) == ((message(node, 1).id, 1),)


def test_a_node_that_did_not_run_for_a_while_blames_no_session() -> None:
    node = Node(session_ms=2_000)
    fill(node, 1)
    lease(node)
    node.pass_time(0.2)
    node.now += 10.0
    node.pass_time(0.1)
    assert returned(node) == []
    node.pass_time(2.2)
    assert returned(node) == [Why.SESSION_LOST]


def test_silent_sessions_without_leases_are_forgotten_with_their_watches() -> None:
    node = Node(session_ms=1_000)
    watch(node, A, "jobs")
    node.pass_time(3.3)
    assert (node.front.statistics()["sessions"], node.front.statistics()["watchers"]) == (0, 0)


# --- watches ----------------------------------------------------------------------------------------------------------


def test_as_many_watchers_are_hinted_as_there_are_messages_the_first_ones_first() -> None:
    node = Node()
    for session in (A, B, b"c" * 16):
        watch(node, session, "jobs", "others")
    fill(node, 1, 2)
    assert hinted(node, A, B, b"c" * 16) == [True, True, False]


def test_a_hint_ends_the_watch() -> None:
    node = Node()
    watch(node, A, "jobs", "others")
    fill(node, 1)
    fill(node, 2, queue="others")
    assert node.replies(A) == [Hint("jobs")]
    assert node.front.statistics()["watchers"] == 0


def test_a_watch_for_a_queue_that_has_something_is_hinted_at_once() -> None:
    node = Node()
    fill(node, 1)
    watch(node, A, "jobs")
    assert node.replies(A) == [Hint("jobs")]


def test_a_dead_watcher_that_was_hinted_does_not_block_the_others() -> None:
    node = Node()
    watch(node, A, "jobs")
    watch(node, B, "jobs")
    fill(node, 1)
    assert hinted(node, A, B) == [True, False]
    node.pass_time(0.2)
    assert hinted(node, B) == [True]


def test_what_is_leased_hints_nobody() -> None:
    node = Node()
    fill(node, 1)
    lease(node, A)
    watch(node, B, "jobs")
    node.pass_time(0.3)
    assert node.replies(B) == []
    node.pass_time(5.0)
    assert Hint("jobs") in node.replies(B)


def test_an_empty_watch_ends_watching() -> None:
    node = Node()
    watch(node, A, "jobs")
    watch(node, A)
    fill(node, 1)
    assert node.replies(A) == []


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.sampled_from((A, B, b"c" * 16)), st.sets(st.sampled_from("xyz"))) |
                st.tuples(st.just(b""), st.sampled_from("xyz"))))
def test_watchers_agree_with_a_plain_list(steps: list[tuple[bytes, set[str] | str]]) -> None:
    watchers, plain = Watchers(), dict[bytes, set[str]]()
    for session, what in steps:
        if isinstance(what, set):
            watchers.watch(session, sorted(what))
            plain[session] = set(what)
        else:
            for taken in watchers.take(what, 1):
                assert what in plain.pop(taken)
        plain = {name: queues for name, queues in plain.items() if queues}
        assert set(watchers.queues()) == set().union(*plain.values())
        assert len(watchers) == len(plain)


# --- facts ------------------------------------------------------------------------------------------------------------


def test_queues_are_summed_over_the_buckets_of_the_node() -> None:
    node = Node(buckets=2)
    fill(node, 1, 2, bucket=0)
    fill(node, 3, bucket=1)
    node.call(Submit(1, 0, "later", (message(node, 4, due=WALL + 60_000),)))
    first = lease(node, most=2).grants
    node.call(Settling(1, bucket_of(first[0].submission.id, 2), (Settle(first[0].submission.id, 1, How.REJECT),)))
    node.now += 1.0
    assert node.call(GetQueues(3)) == QueuesReply(3, (QueueDepth("jobs", 1, 0, 1, 1, 1_000, 3, 2, 0, 1),
                                                      QueueDepth("later", 0, 1, 0, 0, -1, 1)), epoch=1)


# --- at the door ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", " ", "-a", "a b", "ä", "a\x00", "a" * 129, "a\n", "."])
def test_a_bad_queue_name_is_refused_wherever_it_stands(name: str) -> None:
    node = Node()
    for packet in (Submit(1, 0, name, (message(node, 1),)), Lease(1, name, 1, A, 1, 0), Watch(A, (name,))):
        reply = node.call(packet)
        assert isinstance(reply, Refused) and reply.code == Code.BAD_REQUEST


@pytest.mark.parametrize("name", ["a", "A9._:/-", "0", "a" * 128])
def test_good_queue_names_are_taken(name: str) -> None:
    node = Node()
    assert node.call(Submit(1, 0, name, (message(node, 1),))) == Confirmed(1)
    assert len(lease(node, queue=name).grants) == 1


@pytest.mark.parametrize(("bad", "code", "words"), [
    (Submission(b"short", b""), Code.BAD_REQUEST, "an id has 24 bytes"),
    (Submission(b"\x02" + b"x" * 23, b""), Code.BAD_REQUEST, "version"),
    (Submission(Node(buckets=2).an_id(1, 65_535), b""), Code.BAD_REQUEST, "place 65535 is not in bucket 0"),
    (Submission(Node().an_id(1), b"x" * 1_001), Code.BODY_TOO_LARGE, "body is 1,001 bytes; the limit is 1,000"),
    (Submission(Node().an_id(1), b"", priority=256), Code.BAD_REQUEST, "priority 256"),
    (Submission(Node().an_id(1), b"", priority=-1), Code.BAD_REQUEST, "priority -1"),
    (Submission(Node().an_id(1), b"", due=-1), Code.BAD_REQUEST, "due at -1"),
    (Submission(Node().an_id(1), b"", due=1 << 62), Code.BAD_REQUEST, "3,660 days"),
    (Submission(Node().an_id(1), b"", attempts=65_536), Code.BAD_REQUEST, "attempts"),
    (Submission(Node().an_id(1), b"", kind=256), Code.BAD_REQUEST, "kind"),
    (Submission(Node().an_id(1), b"", headers=(("a", "b"),) * 65), Code.BAD_REQUEST, "65 headers"),
    (Submission(Node().an_id(1), b"", headers=(("a", "ä" * 8_192),)), Code.BAD_REQUEST, "headers have 16,385 bytes"),
])
def test_a_faulty_message_is_refused_by_its_index_and_the_others_are_taken(bad: Submission, code: Code,
                                                                            words: str) -> None:
    node = Node(buckets=2, body_bytes_max=1_000)
    good = message(node, 5), message(node, 6)
    reply = node.call(Submit(1, 0, "jobs", (good[0], bad, good[1])))
    assert isinstance(reply, Confirmed)
    [(index, found, text)] = reply.refused
    assert (index, found) == (1, code) and words in text
    assert len(lease(node).grants) == 2


def test_headers_within_the_limits_arrive() -> None:
    node = Node()
    node.call(Submit(1, 0, "jobs", (Submission(node.an_id(1), b"", headers=(("a", "b"),)),)))
    assert lease(node).grants[0].submission.headers == (("a", "b"),)


def test_requests_that_are_wrong_as_a_whole_are_refused_as_a_whole() -> None:
    node = Node(limits=replace(DEFAULT, submit_messages_max=2, submit_bytes_max=10, settles_max=2,
                               settle_bytes_max=10, watched_queues_max=1))
    known, other = node.an_id(1), node.an_id(2)
    three = (message(node, 1), message(node, 2), message(node, 3))
    for packet, words in (
            (Submit(1, 0, "jobs", ()), "0 messages in one request; 1 to 2"),
            (Submit(1, 0, "jobs", three), "3 messages in one request; 1 to 2"),
            (Submit(1, 0, "jobs", (message(node, 1, payload=b"x" * 11),)), "11 bytes together; the limit"),
            (Submit(1, 1, "jobs", three), "bucket 1; this cluster has buckets 0 to 0"),
            (Settling(1, 0, ()), "0 settles"),
            (Settling(1, 0, (Settle(known, 1), Settle(known, 1))), "names a message twice"),
            (Settling(1, 0, (Settle(known, 1, 3),)), "how is 3"),
            (Settling(1, 0, (Settle(known, 1, 1, delay=-2),)), "a delay of -2 ms"),
            (Settling(1, 0, (Settle(known, 1, kind=-1),)), "kind is -1"),
            (Settling(1, 0, (Settle(known, 1, data=b"x" * 11),)), "11 bytes together"),
            (Settling(1, 0, (Settle(b"x", 1),)), "this has 1"),
            (Settling(1, 0, (Settle(known, 1, 1, error="ä" * 40_000),)), "the error has 80,000 bytes"),
            (Extend(1, 0, ((known, 1),), 99), "a lease of 99 ms"),
            (Extend(1, 0, ((known, 1), (known, 1)), 1_000), "names a message twice"),
            (Extend(1, 0, ((known, 1), (other, 1), (node.an_id(3), 1)), 1_000), "3 leases"),
            (GiveBack(1, 0, ((b"", 1),)), "an id has 24 bytes"),
            (Lease(1, "jobs", 0, A, 1, 0), "at most 0 messages"),
            (Lease(1, "jobs", 1, b"a", 1, 0), "a session is named by 16 random bytes, this has 1"),
            (Lease(1, "jobs", 1, A, 1, 90_000_000), "a lease of 90,000,000 ms"),
            (Keepalive(1, b"", 0, ()), "a session is named by 16"),
            (Keepalive(1, A, 0, ((b"x", 1, 0),)), "an id has 24 bytes"),
            (Watch(A, ("a", "b")), "2 queues in one watch"),
            (Ask(1, 0, b"x" * 24, 0, True), "begins with its version")):
        reply = node.call(packet)
        assert isinstance(reply, Refused) and reply.code == Code.BAD_REQUEST, reply
        assert words in reply.text
    assert node.replica.end == 0


def test_a_result_that_is_too_large_is_refused() -> None:
    node = Node(body_bytes_max=10)
    reply = node.call(Settling(1, 0, (Settle(node.an_id(1), 1, data=b"x" * 11),)))
    assert isinstance(reply, Refused) and reply.code == Code.BODY_TOO_LARGE


def test_a_question_at_the_wrong_bucket_is_not_answered_with_unknown() -> None:
    node = Node(buckets=2)
    reply = node.call(Ask(1, 0, message(node, 1, 1).id, 0, True))
    assert isinstance(reply, Refused) and "lies in bucket 1, not in 0" in reply.text


def test_what_would_have_to_wait_where_too_much_waits_is_refused() -> None:
    node = Node(limits=replace(DEFAULT, requests_pending_max=2, asks_parked_max=1, sessions_max=1))
    node.send(Submit(1, 0, "jobs", (message(node, 1),)))
    node.send(Submit(2, 0, "jobs", (message(node, 2),)))
    for packet in (Submit(3, 0, "jobs", (message(node, 3),)), Settling(3, 0, (Settle(node.an_id(1), 1),)),
                   Keepalive(3, A, 0, ())):
        node.send(packet)
        [reply] = node.replies()
        assert isinstance(reply, Refused) and reply.code == Code.BUSY and "2 requests wait" in reply.text
    node.settle_down()
    node.replies()
    node.send(Ask(4, 0, message(node, 1).id, 50_000, True))
    node.send(Ask(5, 0, message(node, 1).id, 50_000, True))
    [reply] = node.replies()
    assert isinstance(reply, Refused) and reply.code == Code.BUSY and "1 long polls wait" in reply.text
    node.call(Keepalive(3, A, 0, ()))
    reply = node.call(Keepalive(3, B, 0, ()))
    assert isinstance(reply, Refused) and reply.code == Code.BUSY and "1 sessions" in reply.text


def test_bodies_that_wait_for_their_commit_are_limited() -> None:
    node = Node(limits=replace(DEFAULT, pending_bytes_max=100, granting_bytes_max=50))
    node.send(Submit(1, 0, "jobs", (message(node, 1, payload=b"x" * 60),)))
    node.send(Submit(2, 0, "jobs", (message(node, 2, payload=b"x" * 60),)))
    [reply] = node.replies()
    assert isinstance(reply, Refused) and reply.code == Code.BUSY
    node.settle_down()
    assert node.call(Submit(2, 0, "jobs", (message(node, 2, payload=b"x" * 60),)), b"d") == Confirmed(2)
    node.replies()
    node.send(Lease(3, "jobs", 1, A, 1, 0))
    node.send(Lease(4, "jobs", 1, A, 2, 0))
    [reply] = node.replies()
    assert isinstance(reply, Refused) and reply.code == Code.BUSY
    node.settle_down()
    node.replies()
    assert len(lease(node, number=2).grants) == 1


def test_results_that_wait_for_their_commit_are_limited() -> None:
    node = Node(limits=replace(DEFAULT, pending_bytes_max=100))
    fill(node, 1, 2)
    one, two = held(lease(node).grants)
    node.send(Settling(1, 0, (Settle(*one, data=b"x" * 60),)))
    node.send(Settling(2, 0, (Settle(*two, data=b"x" * 60),)))
    [reply] = node.replies()
    assert isinstance(reply, Refused) and reply.code == Code.BUSY
    node.settle_down()
    assert node.front.statistics()["pending_bytes"] == 0


def test_a_session_whose_keepalive_is_refused_for_want_of_room_is_heard_all_the_same() -> None:
    node = Node(limits=replace(DEFAULT, requests_pending_max=0), session_ms=1_000)
    node.send(Keepalive(1, A, 0, ()))
    node.pass_time(2.9)
    assert node.front.statistics()["sessions"] == 1


def test_a_bucket_has_only_so_many_queues() -> None:
    node = Node(limits=replace(DEFAULT, queues_max=1))
    fill(node, 1)
    reply = node.call(Submit(1, 0, "other", (message(node, 2),)))
    assert isinstance(reply, Refused) and reply.code == Code.QUEUE_FULL
    fill(node, 3)


# --- random work ------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_in_random_work_every_confirmed_message_ends_once_and_no_lease_overlaps_another(draw: st.DataObject) -> None:
    node = Node(buckets=2, session_ms=1_000, lease_ms=2_000, deliveries_max=3)
    confirmed: set[bytes] = set()
    submits: dict[int, tuple[Submission, ...]] = {}
    holds: dict[bytes, dict[bytes, int]] = {A: {}, B: {}}
    numbers, drawn = {A: 0, B: 0}, 0
    for _ in range(draw.draw(st.integers(5, 40))):
        match draw.draw(st.sampled_from(["submit", "lease", "settle", "commit", "tick", "takeover", "keep", "repeat"])):
            case "submit":
                drawn += 1
                bucket = drawn % 2
                batch = tuple(message(node, drawn * 10 + index, bucket) for index in range(3))
                submits[drawn] = batch
                node.send(Submit(drawn, bucket, "jobs", batch))
            case "repeat" if submits:
                number = draw.draw(st.sampled_from(sorted(submits)))
                node.send(Submit(number, number % 2, "jobs", submits[number]))
            case "lease":
                session = draw.draw(st.sampled_from((A, B)))
                numbers[session] += 1
                node.send(Lease(0, "jobs", draw.draw(st.integers(1, 4)), session, numbers[session], 0), session)
            case "settle":
                session = draw.draw(st.sampled_from((A, B)))
                for message_id, fencing in sorted(holds[session].items())[:2]:
                    how = draw.draw(st.sampled_from(How))
                    node.send(Settling(0, bucket_of(message_id, 2), (Settle(message_id, fencing, how),)), b"w")
                    del holds[session][message_id]
            case "keep":
                session = draw.draw(st.sampled_from((A, B)))
                node.send(Keepalive(0, session, numbers[session] - 1, tuple(
                    (message_id, fencing, 2_000) for message_id, fencing in holds[session].items())), session)
            case "commit":
                replica = draw.draw(st.sampled_from(node.replicas))
                replica.commit_to(draw.draw(st.integers(replica.commit, replica.end)), node.now)
            case "takeover":
                draw.draw(st.sampled_from(node.replicas)).enter(Role.PRIMARY, node.now)
            case "tick":
                node.pass_time(draw.draw(st.sampled_from((0.05, 0.4, 1.2))), step=0.2)
        for reply in node.replies():
            if isinstance(reply, Confirmed):
                confirmed.update(sent.id for sent in submits[reply.request])
        for session in (A, B):
            for reply in node.replies(session):
                if isinstance(reply, Granted):
                    holds[session].update(held(reply.grants))
                elif isinstance(reply, Alive):
                    for message_id, _ in reply.lost:
                        holds[session].pop(message_id, None)
    node.settle_down()
    node.replies()
    for round_number in range(1_000, 1_100):       # C takes over all the work, and everything comes to its end
        node.pass_time(0.5, step=0.25)
        grants = lease(node, b"c" * 16, round_number).grants
        for grant in grants:
            settle = Settle(grant.submission.id, grant.fencing)
            assert node.call(Settling(1, bucket_of(settle.id, 2), (settle,))) == Confirmed(1)
        left = node.call(GetQueues(1))
        assert isinstance(left, QueuesReply)
        if not any(depth.ready or depth.leased for depth in left.queues):
            break
    for message_id in confirmed:
        answer = node.call(Ask(1, bucket_of(message_id, 2), message_id, 0, True))
        assert isinstance(answer, Answer) and State(answer.state) in (State.DONE, State.DEAD)
    assert all(fencings == sorted(set(fencings)) for fencings in _fencings(node).values())
    assert not any(replica.listener.ledger.locks for replica in node.replicas)


def _fencings(node: Node) -> dict[bytes, list[int]]:
    """The numbers under which each message was leased, in the order of its log."""
    found: dict[bytes, list[int]] = {}
    for replica in node.replicas:
        for operation in replica.log:
            for message_id, fencing in getattr(operation, "grants", ()):
                found.setdefault(message_id, []).append(fencing)
    return found
