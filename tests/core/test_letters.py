"""Dead letters as a queue of their own, and what keeps a repeated word about one from meaning its next death."""

from __future__ import annotations

from typing import Any

import pytest

from tests.core.fakes import WALL, Node
from tests.core.test_finding import SESSION, a_node, kill, lease, numbers, search, settle, submit
from zmqueue.core import sums
from zmqueue.core.answers import Answer, Code, Confirmed, Grant, Hint, QueuesReply, Refused
from zmqueue.core.machine import Machine
from zmqueue.core.operations import How, Kind, Options, Settle, State
from zmqueue.core.policies import Policy
from zmqueue.core.replication import Role
from zmqueue.core.requests import (
    Ask,
    Cancel,
    EndSession,
    GetQueues,
    GiveBack,
    Keepalive,
    Lease,
    Progress,
    Purge,
    Requeue,
    Settling,
    Watch,
)

DEAD = "jobs!dead"


def an_id(node: Node, number: int = 1) -> bytes:
    return node.an_id(number, drawn=WALL + 1_000 * number)


def dead(count: int = 1, **limits: Any) -> Node:
    node = a_node(**limits)
    submit(node, *range(1, count + 1))
    kill(node, count)
    return node


def take(node: Node, most: int = 1) -> tuple[Grant, ...]:
    return lease(node, most, DEAD)


def state(node: Node, number: int = 1) -> State:
    record = node.replica.machine.find(an_id(node, number))
    assert record is not None
    return record.state


def refused(node: Node, packet: Any) -> tuple[int, ...]:
    answer = node.call(packet)
    assert isinstance(answer, Confirmed)
    return tuple(code for _, code, _ in answer.refused)


def check_rows(node: Node) -> None:
    """The sum that the machine kept is that of the rows, and the counts are those of a machine that reads them."""
    machine = node.replica.machine
    assert sums.sum_of(machine.tables, machine.copy) == machine.sum
    assert Machine(machine.tables, machine.copy).counts == machine.counts


def test_dead_letters_are_leased_in_the_order_of_their_submit() -> None:
    node = dead(5)
    grants = take(node, 3)
    assert numbers_of(grants) == [1, 2, 3]
    assert [(grant.fencing, grant.deliveries, grant.error) for grant in grants] == [(2, 1, "bad")] * 3
    assert numbers_of(take(node, 10)) == [4, 5]
    check_rows(node)


def numbers_of(grants: tuple[Grant, ...]) -> list[int]:
    return [int.from_bytes(grant.submission.id[9:], "big") for grant in grants]


def test_to_its_submitter_a_letter_in_hand_is_dead_and_an_operator_sees_who_has_it() -> None:
    node = dead()
    take(node)
    answer = node.call(Ask(1, 0, an_id(node), 0, True))
    assert isinstance(answer, Answer) and answer.state == State.DEAD
    assert search(node, State.DEAD) == []
    [found] = search(node, State.LEASED)
    assert (found.queue, found.session, found.deliveries) == (DEAD, SESSION, 1)
    depths = node.call(GetQueues(1))
    assert isinstance(depths, QueuesReply) and (depths.queues[0].dead, depths.queues[0].leased) == (1, 0)


def test_an_acknowledged_letter_is_thrown_away_and_the_result_of_its_repair_is_kept() -> None:
    node = dead()
    [grant] = take(node)
    node.call(Settling(1, 0, (Settle(an_id(node), grant.fencing, How.ACK, Kind.TEXT, b"mended"),)))
    answer = node.call(Ask(1, 0, an_id(node), 0, True))
    assert isinstance(answer, Answer)
    assert (answer.state, answer.kind, answer.result, answer.error) == (State.DEAD, Kind.TEXT, b"mended", "bad")
    assert state(node) is State.PURGED and search(node) == []
    check_rows(node)


def test_a_mended_letter_is_remembered_as_long_as_one_that_has_just_ended() -> None:
    node, hour_ms = dead(), 3_600_000
    node.replica.base += 20 * hour_ms
    [grant] = take(node)
    settle(node, grant, How.ACK)
    node.replica.base += 20 * hour_ms
    node.pass_time(3.0)
    assert state(node) is State.PURGED
    node.replica.base += 20 * hour_ms
    node.pass_time(3.0)
    assert node.replica.machine.find(an_id(node)) is None


def test_a_repeated_ack_of_a_letter_is_confirmed_again() -> None:
    node = dead()
    [grant] = take(node)
    settle(node, grant, How.ACK)
    settle(node, grant, How.ACK)


@pytest.mark.parametrize("how", [How.NACK, How.REJECT])
def test_a_letter_that_is_given_up_lies_where_it_lay_with_the_error_that_it_died_of(how: How) -> None:
    node = dead(2)
    [grant] = take(node)
    settle(node, grant, how, "not this time")
    [first, _] = search(node, State.DEAD)
    assert (first.error, first.deliveries, first.failures) == ("bad", 1, 1)
    assert [text for _, _, text in first.history] == ["bad", "not this time"]
    check_rows(node)


def test_a_letter_that_is_laid_down_did_not_die_anew() -> None:
    node = dead(2)
    [grant] = take(node)
    settle(node, grant, How.NACK)
    depths = node.call(GetQueues(1))
    assert isinstance(depths, QueuesReply)
    assert (depths.queues[0].died, depths.queues[0].settled) == (2, 0)


def test_a_requeued_letter_rests_no_longer() -> None:
    node = dead(1)
    [grant] = take(node)
    settle(node, grant, How.NACK)
    node.call(Requeue(1, 0, (an_id(node),)))
    kill(node)
    assert numbers_of(take(node)) == [1]


def test_a_letter_in_hand_in_vain_rests_and_is_then_handed_out_again() -> None:
    node = dead(2, letter_rest_s=10.0)
    [grant] = take(node)
    settle(node, grant, How.NACK)
    assert numbers_of(take(node, 10)) == [2]
    node.pass_time(9.0)
    assert take(node, 10) == ()
    node.pass_time(1.5)
    assert numbers_of(take(node, 10)) == [1]


def test_whoever_waits_for_dead_letters_is_told_of_a_new_one_and_of_one_that_has_rested() -> None:
    node = a_node(letter_rest_s=1.0)
    submit(node, 1)
    node.send(Watch(SESSION, (DEAD,)))
    assert node.replies() == []
    [grant] = lease(node)
    node.replies()
    node.send(Settling(1, 0, (Settle(an_id(node), grant.fencing, How.REJECT),)))
    node.settle_down()
    assert Hint(DEAD) in node.replies()
    [grant] = take(node)
    settle(node, grant, How.NACK)
    node.send(Watch(SESSION, (DEAD,)))
    node.pass_time(0.5)
    node.send(Keepalive(9, SESSION, 0, ()))
    assert Hint(DEAD) not in node.replies()
    node.pass_time(1.0)
    assert Hint(DEAD) in node.replies()


def test_a_letter_that_nobody_began_on_is_there_for_others_at_once() -> None:
    node = dead()
    [grant] = take(node)
    node.call(GiveBack(1, 0, ((an_id(node), grant.fencing),)))
    assert numbers_of(take(node)) == [1]
    check_rows(node)


def test_a_letter_whose_holder_ends_lies_where_it_lay() -> None:
    node = dead(letter_rest_s=1.0)
    take(node)
    node.call(EndSession(1, SESSION))
    assert state(node) is State.DEAD
    node.pass_time(2.0)
    granted = node.call(Lease(1, DEAD, 1, b"t" * 16, 1, 0))
    assert numbers_of(granted.grants) == [1]  # type: ignore[union-attr]
    check_rows(node)


def test_a_new_primary_knows_the_letters_in_hand() -> None:
    node = dead(letter_rest_s=1.0)
    [grant] = take(node)
    node.replica.enter(Role.PRIMARY, node.now)
    assert take(node) == ()
    settle(node, grant, How.NACK)
    assert take(node) == (), "it rests"
    check_rows(node)


def test_a_new_primary_knows_the_letters_that_the_tail_hands_out() -> None:
    node = dead(letter_rest_s=1.0)
    node.send(Lease(1, DEAD, 1, SESSION, node.request(), 0))
    node.replica.enter(Role.PRIMARY, node.now)
    node.settle_down()
    node.replies()
    assert state(node) is State.MENDING
    settle(node, Grant(node.replica.machine.body(an_id(node))[0], 2, 1), How.NACK)
    assert take(node) == (), "it rests"


def test_a_letter_in_hand_can_be_neither_requeued_nor_purged_nor_cancelled() -> None:
    node = dead()
    take(node)
    ids = an_id(node),
    for packet in (Requeue(1, 0, ids), Purge(1, 0, ids), Cancel(1, 0, ids)):
        assert refused(node, packet) == (Code.ENDED,)
    assert state(node) is State.MENDING


def test_progress_may_be_told_of_a_repair() -> None:
    node = dead()
    [grant] = take(node)
    assert refused(node, Progress(1, 0, an_id(node), grant.fencing, 1, ((0, b"half"),))) == ()
    check_rows(node)


def test_a_group_that_a_letter_halted_goes_on_when_that_is_mended() -> None:
    node = a_node()
    node.front.office.policies = {"jobs": halting()}
    submit(node, 1, 2, options=Options(group="g"))
    kill(node)
    assert lease(node) == ()
    [grant] = take(node)
    assert lease(node) == ()
    settle(node, grant, How.ACK)
    assert numbers_of(lease(node)) == [2]
    check_rows(node)


def halting() -> Policy:
    return Policy(halt=True)


def test_dead_letters_of_a_paused_queue_are_handed_out() -> None:
    node = dead()
    node.front.office.policies = {"jobs": Policy(paused=True)}
    assert numbers_of(take(node)) == [1]


def test_a_cluster_with_members_of_an_earlier_version_hands_out_none() -> None:
    node = Node(generation=2)
    answer = node.call(Lease(1, DEAD, 1, SESSION, 1, 0))
    assert isinstance(answer, Refused) and answer.code == Code.NOT_ALLOWED


def test_a_letter_that_died_long_ago_is_forgotten_when_it_is_laid_down_again_and_not_before() -> None:
    node = dead()
    take(node)
    node.replica.base += 400 * 86_400_000
    node.send(Keepalive(9, SESSION, 0, ((an_id(node), 2, 30_000),)))
    node.pass_time(2.0)
    assert state(node) is State.MENDING
    node.send(EndSession(1, SESSION))
    node.pass_time(2.0)
    assert node.replica.machine.find(an_id(node)) is None
    assert node.replica.machine.sum == sums.NO_ROWS


# --- a word that comes twice ------------------------------------------------------------------------------------------


def test_a_requeued_letter_has_nothing_against_it_but_remembers() -> None:
    node = dead()
    assert refused(node, Requeue(1, 0, (an_id(node),), (0,))) == ()
    [found] = search(node, State.READY)
    assert (found.deliveries, found.failures, found.requeued) == (0, 0, 1)
    assert [text for _, _, text in found.history] == ["bad"]
    check_rows(node)


def test_a_repeated_requeue_does_not_bring_a_letter_back_that_died_again_meanwhile() -> None:
    node = dead()
    packet = Requeue(1, 0, (an_id(node),), (0,))
    assert refused(node, packet) == ()
    kill(node)
    assert refused(node, packet) == (), "it was done"
    assert numbers(search(node, State.DEAD)) == [1]
    assert refused(node, Requeue(1, 0, (an_id(node),), (1,))) == ()
    assert numbers(search(node, State.READY)) == [1]


def test_a_letter_that_was_only_looked_at_meanwhile_is_requeued() -> None:
    node = dead()
    [grant] = take(node)
    settle(node, grant, How.NACK)
    assert refused(node, Requeue(1, 0, (an_id(node),), (0,))) == ()
    assert state(node) is State.READY


def test_a_late_purge_does_not_mean_the_next_death() -> None:
    node = dead()
    node.call(Requeue(1, 0, (an_id(node),), (0,)))
    kill(node)
    assert refused(node, Purge(1, 0, (an_id(node),), (0,))) == (Code.ENDED,)
    assert state(node) is State.DEAD
    assert refused(node, Purge(1, 0, (an_id(node),), (-1,))) == ()
    assert state(node) is State.PURGED


def test_guards_are_given_for_all_letters_or_for_none() -> None:
    answer = dead().call(Requeue(1, 0, (an_id(dead()),), (0, 0)))
    assert isinstance(answer, Refused) and answer.code == Code.BAD_REQUEST


def test_the_outcomes_that_are_kept_are_the_last_ones_and_short() -> None:
    node = a_node()
    submit(node, 1)
    for number in range(9):
        [grant] = lease(node)
        settle(node, grant, How.REJECT, f"{number}" * 1_000)
        node.call(Requeue(1, 0, (an_id(node),)))
    [found] = search(node)
    assert [text for _, _, text in found.history] == [f"{number}" * 200 for number in range(4, 9)]
