"""The decisions of one bucket's primary: every answer waits for what it rests on, and nothing is decided twice."""

from __future__ import annotations

from dataclasses import replace

import pytest

from tests.core.fakes import WALL, Node
from zmqueue.core.answers import Alive, Answer, Code, Confirmed, Grant, Granted, NotPrimary, Refused, Reply
from zmqueue.core.limits import DEFAULT
from zmqueue.core.operations import Extended, Forgotten, How, Kind, Leased, Ripened, Settle, State, Submission
from zmqueue.core.replication import Role
from zmqueue.core.requests import Ask, Extend, GiveBack, Keepalive, Lease, Settling, Submit

SESSION = b"s" * 16


def submit(node: Node, *numbers: int, queue: str = "jobs", request: int = 1, due: int = 0, priority: int = 0,
           attempts: int = 0) -> Submit:
    return Submit(request, 0, queue, tuple(
        Submission(node.an_id(number, drawn=WALL), b"body %d" % number, due=due, priority=priority, attempts=attempts)
        for number in numbers))


def lease(node: Node, number: int = 1, most: int = 10, ms: int = 0, session: bytes = SESSION) -> tuple[Grant, ...]:
    granted = node.call(Lease(node.request(), "jobs", most, session, number, ms))
    assert isinstance(granted, Granted)
    return granted.grants


def settling(grant: Grant, how: How = How.ACK, data: bytes = b"", error: str = "", delay: int = 0) -> Settling:
    return Settling(9, 0, (Settle(grant.submission.id, grant.fencing, how, Kind.BYTES, data, error, delay),))


def ask(node: Node, number: int, wait: int = 0) -> Ask:
    return Ask(5, 0, node.an_id(number, drawn=WALL), wait, True)


def state(node: Node, number: int) -> State | Code:
    answer = node.call(ask(node, number))
    if isinstance(answer, Refused):
        return Code(answer.code)
    assert isinstance(answer, Answer)
    return State(answer.state)


def refusal(reply: Reply) -> Code:
    if isinstance(reply, Refused):
        return Code(reply.code)
    assert isinstance(reply, Confirmed) and len(reply.refused) == 1, reply
    return Code(reply.refused[0][1])


# --- submit -----------------------------------------------------------------------------------------------------------


def test_a_submit_is_confirmed_only_when_its_entry_is_committed() -> None:
    node = Node()
    node.send(submit(node, 1, 2))
    assert node.replies() == [] and node.replica.end == 1
    node.settle_down()
    assert node.replies() == [Confirmed(1)]


def test_a_whole_batch_is_one_entry_of_the_log() -> None:
    node = Node()
    node.call(submit(node, *range(100)))
    assert node.replica.end == 1
    assert [grant.submission.payload for grant in lease(node, most=3)] == [b"body 0", b"body 1", b"body 2"]


def test_a_repeated_submit_is_stored_once_and_confirmed_again() -> None:
    node = Node()
    node.call(submit(node, 1))
    assert node.call(submit(node, 1, request=2)) == Confirmed(2)
    assert node.replica.end == 1


def test_a_repeated_submit_whose_first_is_not_committed_waits_for_that() -> None:
    node = Node()
    node.send(submit(node, 1))
    node.send(submit(node, 1, 2, request=2))
    assert node.replica.end == 2 and node.replies() == []
    node.settle_down()
    assert node.replies() == [Confirmed(1), Confirmed(2)]
    assert len(lease(node)) == 2


def test_a_message_twice_in_one_submit_is_stored_once() -> None:
    node = Node()
    assert node.call(submit(node, 1, 1)) == Confirmed(1)
    assert len(lease(node)) == 1


def test_a_submit_of_a_done_message_is_a_duplicate() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.call(settling(lease(node)[0]))
    assert node.call(submit(node, 1, request=2)) == Confirmed(2)
    assert lease(node, 2) == ()


def test_a_new_primary_finds_duplicates_in_the_tail_that_it_inherits() -> None:
    node = Node()
    node.send(submit(node, 1))
    node.replica.enter(Role.PRIMARY, node.now)
    assert node.replies() == [NotPrimary(1, 1, True)]
    node.send(submit(node, 1, request=2))
    assert node.replica.end == 1 and node.replies() == []
    node.settle_down()
    assert node.replies() == [Confirmed(2)]


def test_without_enough_replicas_a_submit_is_refused_before_anything_is_written() -> None:
    node = Node()
    node.replica.enough = False
    assert refusal(node.call(submit(node, 1))) is Code.NOT_ENOUGH_REPLICAS
    assert node.replica.end == 0


def test_what_was_written_is_withheld_while_the_replicas_are_not_enough_and_never_refused() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.send(submit(node, 2, request=2))
    node.replica.enough = False
    node.send(submit(node, 1, request=3))
    node.settle_down()
    assert node.replies() == []
    node.replica.enough = True
    node.replica.listener.progressed(node.now)
    assert node.replies() == [Confirmed(3), Confirmed(2)]


def test_without_enough_replicas_a_mixed_submit_refuses_what_is_new_and_withholds_the_rest() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.replica.enough = False
    node.send(submit(node, 1, 2, request=2))
    node.settle_down()
    assert node.replies() == [] and node.replica.end == 1
    node.replica.enough = True
    node.replica.listener.progressed(node.now)
    [reply] = node.replies()
    assert isinstance(reply, Confirmed) and [(index, code) for index, code, _ in reply.refused] == [
        (1, Code.NOT_ENOUGH_REPLICAS)]


def test_an_unknown_id_older_than_the_window_is_refused_and_the_others_are_taken() -> None:
    node = Node(dedup_window_ms=10_000)
    old = Submission(node.an_id(1, drawn=WALL - 10_001), b"")
    young = Submission(node.an_id(2, drawn=WALL - 10_000), b"")
    reply = node.call(Submit(1, 0, "jobs", (old, young)))
    assert isinstance(reply, Confirmed)
    assert [(index, code) for index, code, _ in reply.refused] == [(0, Code.ID_TOO_OLD)]
    assert [grant.submission.id for grant in lease(node)] == [young.id]


def test_a_known_id_is_a_duplicate_however_old_it_is() -> None:
    node = Node(dedup_window_ms=10_000)
    node.call(submit(node, 1))
    node.pass_time(11.0)
    assert node.call(submit(node, 1, request=2)) == Confirmed(2)


def test_that_an_id_is_not_known_is_said_only_after_a_barrier() -> None:
    node = Node(dedup_window_ms=10_000)
    node.send(Submit(1, 0, "jobs", (Submission(node.an_id(1, drawn=WALL - 60_000), b""),)))
    assert node.replies() == []
    node.replica.pass_barriers(node.now)
    assert refusal(node.replies()[0]) is Code.ID_TOO_OLD


def test_an_id_that_would_outlive_its_row_is_refused() -> None:
    node = Node(dedup_window_ms=10_000)
    reply = node.call(Submit(1, 0, "jobs", (Submission(node.an_id(1, drawn=WALL + 5_001), b""),)))
    assert refusal(reply) is Code.BAD_REQUEST


# --- leases and their ends --------------------------------------------------------------------------------------------


def test_a_lease_is_granted_when_it_is_committed() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.send(Lease(2, "jobs", 10, SESSION, 1, 0))
    assert node.replies() == []
    node.settle_down()
    [granted] = node.replies()
    assert isinstance(granted, Granted)
    assert [(grant.submission.payload, grant.fencing, grant.deliveries) for grant in granted.grants] == [
        (b"body 1", 1, 1)]
    assert (granted.number, granted.lease, granted.more) == (1, 30_000, False)


def test_a_message_in_an_uncommitted_lease_is_not_leased_again() -> None:
    node = Node()
    node.call(submit(node, 1, 2, 3))
    for number in (1, 2, 3, 4):
        node.send(Lease(number, "jobs", 1, SESSION, number, 0))
    node.settle_down()
    grants = [grant for reply in node.replies() if isinstance(reply, Granted) for grant in reply.grants]
    assert [grant.submission.payload for grant in grants] == [b"body 1", b"body 2", b"body 3"]


def test_a_new_primary_does_not_lease_what_its_tail_leases() -> None:
    node = Node()
    node.call(submit(node, 1, 2))
    node.send(Lease(2, "jobs", 1, SESSION, 1, 0))
    node.replica.enter(Role.PRIMARY, node.now)
    node.replies()
    assert [grant.submission.payload for grant in lease(node, 1, session=b"t" * 16)] == [b"body 2"]
    assert node.replica.listener.ledger.holdings.sessions() == [(SESSION, 1), (b"t" * 16, 1)]


def test_an_ack_is_confirmed_when_committed_and_its_result_can_be_asked_for() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node)
    node.send(settling(grant, data=b"done"))
    assert node.replies() == []
    node.settle_down()
    assert node.replies() == [Confirmed(9)]
    assert node.call(ask(node, 1)) == Answer(5, State.DONE, "jobs", 1, "", Kind.BYTES, b"done")


@pytest.mark.parametrize("how", How)
def test_a_repeated_settle_is_confirmed_and_changes_nothing(how: How) -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node)
    node.send(settling(grant, how))
    node.send(settling(grant, how))
    node.settle_down()
    assert node.replies() == [Confirmed(9), Confirmed(9)]
    assert node.call(settling(grant, how)) == Confirmed(9)
    assert node.replica.end == 3


def test_a_settled_result_never_changes() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node)
    node.call(settling(grant, data=b"first"))
    node.call(settling(grant, data=b"second"))
    assert refusal(node.call(settling(grant, How.REJECT))) is Code.LEASE_LOST
    answer = node.call(ask(node, 1))
    assert isinstance(answer, Answer) and answer.result == b"first"


def test_a_settle_from_an_older_lease_is_refused_after_a_barrier() -> None:
    node = Node()
    node.call(submit(node, 1))
    [first] = lease(node)
    node.call(settling(first, How.NACK))
    [second] = lease(node, 2)
    assert (second.fencing, second.deliveries) == (2, 2)
    node.send(settling(first))
    assert node.replies() == []
    node.replica.pass_barriers(node.now)
    assert refusal(node.replies()[0]) is Code.LEASE_LOST
    assert node.call(settling(second)) == Confirmed(9)


def test_a_batch_of_settles_goes_through_but_for_the_late_ones() -> None:
    node = Node()
    node.call(submit(node, 1, 2))
    one, two = lease(node)
    node.call(settling(one, How.REJECT))
    reply = node.call(Settling(3, 0, (Settle(one.submission.id, 1), Settle(two.submission.id, 1))))
    assert isinstance(reply, Confirmed) and [fault[:2] for fault in reply.refused] == [(0, Code.LEASE_LOST)]
    assert state(node, 2) is State.DONE


def test_a_settle_of_an_unknown_message_is_refused() -> None:
    node = Node()
    assert refusal(node.call(Settling(3, 0, (Settle(node.an_id(1), 1),)))) is Code.UNKNOWN_TOKEN


def test_a_nack_with_delay_makes_the_message_rest_and_tells_the_next_worker_why() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.call(settling(lease(node)[0], How.NACK, error="no disk", delay=500))
    assert state(node, 1) is State.DELAYED
    node.pass_time(0.45)
    assert lease(node, 2) == ()
    node.pass_time(0.1)
    [grant] = lease(node, 3)
    assert (grant.error, grant.deliveries, grant.fencing) == ("no disk", 2, 2)


def test_the_limit_of_deliveries_ends_in_the_dead_letters() -> None:
    node = Node(deliveries_max=2)
    node.call(submit(node, 1))
    for number in (1, 2):
        node.call(settling(lease(node, number)[0], How.NACK, error="boom"))
    answer = node.call(ask(node, 1))
    assert isinstance(answer, Answer) and answer.state == State.DEAD
    assert answer.error == "given up after 2 deliveries, 2 are allowed: 2 failed, 0 lost; the last: boom"


def test_an_expired_lease_returns_within_a_tick() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node, ms=1_000)
    node.pass_time(0.95)
    assert state(node, 1) is State.LEASED
    node.pass_time(0.1)
    assert state(node, 1) is State.READY
    assert refusal(node.call(settling(grant))) is Code.LEASE_LOST


def test_an_extended_lease_expires_later() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node, ms=1_000)
    node.pass_time(0.5)
    assert node.call(Extend(4, 0, ((grant.submission.id, 1),), 2_000)) == Confirmed(4)
    node.pass_time(1.95)
    assert state(node, 1) is State.LEASED
    node.pass_time(0.1)
    assert state(node, 1) is State.READY
    assert refusal(node.call(Extend(4, 0, ((grant.submission.id, 1),), 2_000))) is Code.LEASE_LOST


def test_what_is_given_back_is_ready_and_was_no_delivery() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node)
    back = GiveBack(4, 0, ((grant.submission.id, 1),))
    assert node.call(back) == Confirmed(4) == node.call(back)
    [again] = lease(node, 2)
    assert (again.deliveries, again.fencing) == (1, 2)


def test_a_settle_that_meets_a_locked_message_waits_and_is_judged_then() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node)
    node.send(Extend(4, 0, ((grant.submission.id, 1),), 9_000))
    node.send(settling(grant))
    assert node.replica.end == 3
    node.settle_down()
    assert node.replies() == [Confirmed(4), Confirmed(9)]
    assert state(node, 1) is State.DONE


def test_leases_stand_over_a_failover_and_are_settled_at_the_new_primary() -> None:
    node = Node()
    node.call(submit(node, 1, 2))
    one, two = lease(node)
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.enter(Role.PRIMARY, node.now)
    assert node.call(settling(one)) == Confirmed(9)
    assert node.call(Extend(4, 0, ((two.submission.id, 1),), 9_000)) == Confirmed(4)


def test_everything_pending_has_an_unknown_fate_when_the_term_ends() -> None:
    node = Node()
    node.call(submit(node, 1, 2))
    one, _ = lease(node)
    node.send(submit(node, 3, request=11))
    node.send(settling(one))
    node.send(Ask(12, 0, node.an_id(2), 60_000, True))
    node.send(settling(one))
    node.replica.enter(Role.BACKUP, node.now)
    replies = node.replies()
    assert all(isinstance(reply, NotPrimary) and reply.unknown for reply in replies)
    assert sorted(reply.request for reply in replies if isinstance(reply, NotPrimary)) == [9, 9, 11, 12]
    assert (node.front.office.pending, node.front.office.asks, node.front.office.pending_bytes) == (0, 0, 0)
    node.send(submit(node, 3, request=13))
    assert node.replies() == [NotPrimary(13, 1, False)]


# --- questions --------------------------------------------------------------------------------------------------------


def test_a_question_after_an_unsettled_message_is_answered_after_the_barrier() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.send(ask(node, 1))
    assert node.replies() == []
    node.replica.pass_barriers(node.now)
    assert node.replies() == [Answer(5, State.READY, "jobs", 0)]


def test_a_settled_result_needs_no_barrier() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.call(settling(lease(node)[0], data=b"r"))
    node.send(ask(node, 1))
    [answer] = node.replies()
    assert isinstance(answer, Answer) and answer.result == b"r"


def test_an_unknown_message_is_unknown_after_the_barrier_and_not_after_the_wait() -> None:
    node = Node()
    node.send(ask(node, 1, wait=60_000))
    assert node.replies() == []
    node.replica.pass_barriers(node.now)
    assert refusal(node.replies()[0]) is Code.UNKNOWN_TOKEN


def test_a_question_after_a_message_whose_submit_is_in_the_log_waits_for_it() -> None:
    node = Node()
    node.send(submit(node, 1))
    node.send(ask(node, 1))
    node.replica.pass_barriers(node.now)
    assert node.replies() == []
    node.replica.commit_to(1, node.now)
    assert node.replies() == [Confirmed(1), Answer(5, State.READY, "jobs", 0)]


def test_a_long_poll_is_answered_when_the_message_ends() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.send(ask(node, 1, wait=10_000))
    node.send(ask(node, 1, wait=10_000), b"other")
    node.settle_down()
    node.pass_time(1.0)
    [grant] = lease(node)
    node.send(settling(grant, data=b"r"), b"worker")
    node.settle_down()
    for client in (b"c", b"other"):
        assert node.replies(client) == [Answer(5, State.DONE, "jobs", 1, "", Kind.BYTES, b"r")]
    assert node.front.office.asks == 0


def test_a_long_poll_ends_at_its_deadline_with_how_the_message_is() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.send(ask(node, 1, wait=1_000))
    node.pass_time(0.95)
    assert node.replies() == []
    node.pass_time(0.1)
    assert node.replies() == [Answer(5, State.READY, "jobs", 0)]


def test_a_long_poll_whose_barrier_does_not_pass_is_not_answered_at_its_deadline() -> None:
    node = Node()
    node.call(submit(node, 1))
    node.send(ask(node, 1, wait=1_000))
    node.now += 2.0
    node.front.tick(node.now, node.wall)
    assert node.replies() == []
    node.replica.pass_barriers(node.now)
    assert node.replies() == [Answer(5, State.READY, "jobs", 0)]


def test_a_message_that_dies_answers_its_long_polls() -> None:
    node = Node(deliveries_max=1)
    node.call(submit(node, 1))
    lease(node, ms=1_000)
    node.send(ask(node, 1, wait=50_000))
    node.pass_time(1.1)
    [answer] = node.replies()
    assert isinstance(answer, Answer) and answer.state == State.DEAD


# --- by itself --------------------------------------------------------------------------------------------------------


def test_a_delayed_message_is_ready_within_a_tick_of_its_time() -> None:
    node = Node()
    node.call(submit(node, 1, due=WALL + 1_000))
    node.pass_time(0.95)
    assert state(node, 1) is State.DELAYED
    node.pass_time(0.1)
    assert state(node, 1) is State.READY


def test_a_due_time_that_has_passed_is_no_delay() -> None:
    node = Node()
    node.call(submit(node, 1, due=WALL))
    assert len(lease(node)) == 1


def test_many_delayed_messages_ripen_in_bounded_batches_one_at_a_time() -> None:
    node = Node(limits=replace(DEFAULT, ripened_batch_max=3))
    node.call(submit(node, *range(8), due=WALL + 10))
    node.now += 0.05
    for _ in range(3):
        node.front.tick(node.now, node.wall)
    assert [type(operation) for operation in node.replica.log[1:]] == [Ripened]
    node.pass_time(0.2)
    sizes = [len(operation.ids) for operation in node.replica.log if isinstance(operation, Ripened)]
    assert sizes == [3, 3, 2]
    assert len(lease(node)) == 8


def test_ended_messages_are_forgotten_after_twice_the_window_and_the_ttl() -> None:
    node = Node(dedup_window_ms=1_000, result_ttl_ms=1_500)
    node.call(submit(node, 1))
    node.call(settling(lease(node)[0]))
    node.pass_time(1.9, step=0.4)
    assert state(node, 1) is State.DONE
    node.pass_time(1.5, step=0.4)
    assert state(node, 1) is Code.UNKNOWN_TOKEN
    assert refusal(node.call(submit(node, 1, request=2))) is Code.ID_TOO_OLD
    assert not any(node.tables.rows.values())
    assert [len(operation.ids) for operation in node.replica.log if isinstance(operation, Forgotten)] == [1]


def test_no_message_stands_in_two_uncommitted_entries() -> None:
    node = Node()
    node.call(submit(node, 1))
    [grant] = lease(node, ms=1_000)
    node.send(Extend(4, 0, ((grant.submission.id, 1),), 60_000))
    node.now += 2.0
    node.front.tick(node.now, node.wall)
    assert isinstance(node.replica.log[-1], Extended)
    node.settle_down()
    assert node.replies() == [Confirmed(4)]
    node.pass_time(0.1)
    assert state(node, 1) is State.LEASED


def test_memory_holds_only_what_is_in_flight() -> None:
    node = Node()
    for batch in range(5):
        node.call(submit(node, *range(batch * 100, batch * 100 + 100)))
    grants = lease(node, most=200)
    ledger = node.replica.listener.ledger
    assert (len(ledger.locks), len(ledger.holdings)) == (0, 200)
    node.call(Settling(4, 0, tuple(Settle(grant.submission.id, grant.fencing) for grant in grants)))
    assert (len(ledger.locks), len(ledger.holdings), ledger.holdings.sessions()) == (0, 0, [])


def test_a_resting_desk_follows_nothing() -> None:
    node = Node()
    desk = node.replica.listener
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.log.append(Leased(1, SESSION, 1, (), 5))
    node.replica.commit_to(1, node.now)
    assert not desk.serving and not desk.ledger.locks and not node.replica.machine.risen


def behind(node: Node, commit: int) -> Node:
    """A new primary that has the whole log, and knows only entries up to `commit` as committed."""
    other = Node()
    other.replica.log = list(node.replica.log)
    other.replica.role = Role.BACKUP
    other.replica.listener.entered(node.now)
    other.replica.commit_to(commit, node.now)
    other.replica.enter(Role.PRIMARY, node.now)
    return other


def test_a_lease_that_only_the_tail_knows_is_neither_lost_nor_late() -> None:
    old = Node()
    old.call(submit(old, 1))
    [grant] = lease(old)
    node = behind(old, commit=1)
    node.send(Keepalive(7, SESSION, 1, ((grant.submission.id, 1, 0),)))
    node.send(settling(grant))
    assert node.replies() == [Alive(7, ())]
    node.settle_down()
    assert node.replies() == [Confirmed(9)]


def test_a_message_that_the_tail_names_twice_stays_locked_until_the_second_entry_is_committed() -> None:
    old = Node()
    old.call(submit(old, 1))
    [grant] = lease(old)
    old.call(settling(grant, data=b"first"))
    node = behind(old, commit=1)
    node.replica.commit_to(2, node.now)
    node.send(Settling(8, 0, (Settle(grant.submission.id, 1, How.REJECT),)))
    assert node.replica.end == 3
    node.settle_down()
    assert refusal(node.replies()[0]) is Code.LEASE_LOST
    answer = node.call(ask(node, 1))
    assert isinstance(answer, Answer) and answer.result == b"first"


def test_a_new_primary_serves_while_its_inherited_tail_waits_but_says_nothing_negative() -> None:
    old = Node()
    old.call(submit(old, 1))
    node = behind(old, commit=0)
    node.send(ask(node, 1))
    node.send(submit(node, 2, request=2))
    node.replica.pass_barriers(node.now)
    assert node.replies() == [] and node.replica.end == 2
    node.settle_down()
    assert node.replies() == [Answer(5, State.READY, "jobs", 0), Confirmed(2)]
