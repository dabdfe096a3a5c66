"""Questions about a request: short and long polls, through failovers; surveys of queues and members."""

from __future__ import annotations

import pytest

from tests.client.fakes import without
from tests.client.rig import NODES, Rig
from zmqueue.client.surveys import SurveyCall
from zmqueue.client.views import members_view, queues_view
from zmqueue.core.answers import Answer, MembersReply, QueuesReply
from zmqueue.core.ids import make_id
from zmqueue.core.operations import How, State
from zmqueue.core.requests import Ask
from zmqueue.errors import ClusterUnreachable, NoAnswer, RequestFailed, ResultTimeout, UnknownToken


def stored(rig: Rig) -> bytes:
    call = rig.submit()
    rig.until_done(call)
    message_id = call.items[0].id
    assert message_id is not None
    return message_id


def end(rig: Rig, message_id: bytes, how: How = How.ACK) -> None:
    """A worker settles it."""
    lease = rig.lease(1)
    rig.until_done(lease)
    assert lease.value is not None
    assert [holding.id for holding in lease.value] == [message_id]
    rig.until_done(rig.settle(lease.value[0], how))


def test_a_status_is_one_short_poll() -> None:
    rig = Rig().ready()
    call = rig.ask(stored(rig))
    rig.until_done(call, seconds=0.1)
    assert call.value is not None and call.value.state == State.READY and call.value.queue == "q"
    asked, = rig.packets(Ask)
    assert asked.wait == 0


def test_a_result_is_one_long_poll_at_the_node_and_never_a_loop_of_short_ones() -> None:
    rig = Rig().ready()
    call = rig.ask(stored(rig), 15.0, settled=True)
    rig.run(10.0)
    asked, = rig.packets(Ask)
    assert 14_900 <= asked.wait <= 15_000 and asked.result
    rig.run(6.0)
    assert isinstance(call.error, ResultTimeout) and isinstance(call.error, TimeoutError)


def test_a_long_wait_is_asked_in_slices() -> None:
    rig = Rig().ready()
    message_id = stored(rig)
    rig.cluster._ask = lambda request: []  # type: ignore[method-assign]
    call = rig.ask(message_id, 60.0, settled=True)
    rig.run(61.0)
    assert isinstance(call.error, ResultTimeout)
    assert len(rig.packets(Ask)) <= 5 and max(ask.wait for ask in rig.packets(Ask)) <= 20_000


def test_an_answer_that_it_has_not_ended_is_followed_by_another_long_poll_but_not_at_once() -> None:
    rig = Rig().ready()
    message_id = stored(rig)
    rig.cluster._ask = lambda request: [Answer(request.request, State.READY, "q", 0)]  # type: ignore[method-assign]
    call = rig.ask(message_id, 1.0, settled=True)
    rig.until_done(call)
    assert isinstance(call.error, ResultTimeout) and "ready when last heard of" in str(call.error)
    assert len(rig.packets(Ask)) <= 21


def test_a_result_that_is_there_comes_with_the_first_answer() -> None:
    rig = Rig().ready()
    message_id = stored(rig)
    end(rig, message_id)
    call = rig.ask(message_id, settled=True)
    rig.until_done(call, seconds=0.1)
    assert call.value is not None and call.value.result == b"result"


def test_a_dead_letter_is_a_failed_request() -> None:
    rig = Rig().ready()
    message_id = stored(rig)
    end(rig, message_id, How.REJECT)
    call = rig.ask(message_id, settled=True)
    rig.until_done(call)
    assert isinstance(call.error, RequestFailed) and call.error.definite and call.error.state == "dead"


def test_an_unknown_token_is_refused() -> None:
    rig = Rig().ready()
    call = rig.ask(make_id(1, 1, bytes(15)), settled=True)
    rig.until_done(call, seconds=0.1)
    assert isinstance(call.error, UnknownToken)


def test_a_long_poll_moves_to_the_new_primary_when_the_old_one_dies() -> None:
    rig = Rig().ready()
    message_id = stored(rig)
    call = rig.ask(message_id, settled=True)
    rig.run(1.0)
    (_, first, _), = [sent for sent in rig.sent if any(isinstance(packet, Ask) for packet in sent[2])]
    rig.dead.add(first)
    rig.cluster.state = without(rig.cluster.state, first)
    rig.heartbeat(next(node for node in NODES if node != first))
    rig.run(0.1)
    assert len(rig.packets(Ask)) == 2
    rig.cluster.stored[message_id].state = State.DEAD
    rig.cluster.state = without(rig.cluster.state, "tcp://a:1" if first != "tcp://a:1" else "tcp://b:1")
    rig.heartbeat(NODES[2] if first != NODES[2] else NODES[1])
    rig.until_done(call)
    assert isinstance(call.error, RequestFailed)


def test_a_long_poll_is_renewed_when_the_connection_breaks() -> None:
    rig = Rig().ready()
    rig.ask(stored(rig), settled=True)
    rig.run(1.0)
    (_, node, _), = [sent for sent in rig.sent if any(isinstance(packet, Ask) for packet in sent[2])]
    rig.core.on_lost(node, rig.now)
    rig.run(0.1)
    assert len(rig.packets(Ask, node)) == 2


@pytest.mark.parametrize("settled", [False, True])
def test_without_any_node_a_question_ends_by_its_deadline(settled: bool) -> None:
    rig = Rig()
    rig.unreachable.update(NODES)
    call = rig.ask(make_id(1, 1, bytes(15)), 2.0, settled=settled)
    rig.until_done(call, seconds=3.0)
    assert isinstance(call.error, ClusterUnreachable)


def test_a_status_that_nobody_answers_is_no_answer() -> None:
    rig = Rig().ready()
    rig.dead.update(NODES)
    call = rig.ask(make_id(1, 1, bytes(15)), 2.0)
    rig.until_done(call, seconds=3.0)
    assert isinstance(call.error, NoAnswer) and isinstance(call.error, TimeoutError)


def test_queues_are_summed_up_over_all_primaries() -> None:
    rig = Rig().ready()
    for queue in ("a", "b", "b"):
        rig.until_done(rig.submit(50, queue=queue))
    call = SurveyCall(rig.now + 10, members=False)
    rig.core.survey(call, rig.now)
    rig.until_done(call, seconds=0.1)
    assert call.value is not None
    state, replies = call.value
    view = queues_view(state, (reply for reply in replies.values() if isinstance(reply, QueuesReply)))
    assert [(queue.name, queue.ready, queue.oldest_s) for queue in view] == [("a", 50, None), ("b", 100, None)]


def test_queues_wait_for_a_dead_primarys_heirs() -> None:
    rig = Rig().ready()
    rig.dead.add(NODES[0])
    call = SurveyCall(rig.now + 10, members=False)
    rig.core.survey(call, rig.now)
    rig.run(1.0)
    assert not call.finished
    rig.cluster.state = without(rig.cluster.state, NODES[0])
    rig.until_done(call, seconds=1.0)
    assert call.value is not None and set(call.value[1]) == set(NODES[1:])


def test_members_are_shown_by_those_that_answer_within_a_second() -> None:
    rig = Rig().ready()
    rig.dead.add(NODES[0])
    call = SurveyCall(rig.now + 10, members=True)
    rig.core.survey(call, rig.now)
    rig.until_done(call, seconds=1.1)
    assert call.value is not None
    state, replies = call.value
    view = members_view(state, (reply for reply in replies.values() if isinstance(reply, MembersReply)))
    assert view.majority and view.epoch == 1 and view.buckets_without_primary == view.buckets_short == 0
    assert [member.status for member in view.members] == ["up", "up", "up"]
    assert sum(member.primary for member in view.members) == 32
    assert all(member.primary + member.backup == 32 for member in view.members)


def test_without_any_node_members_are_not_known() -> None:
    rig = Rig()
    rig.unreachable.update(NODES)
    call = SurveyCall(rig.now + 2, members=True)
    rig.core.survey(call, rig.now)
    rig.until_done(call, seconds=3.0)
    assert isinstance(call.error, ClusterUnreachable)
