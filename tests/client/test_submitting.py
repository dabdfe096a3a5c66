"""Submits: where they go, how they merge, what is told when nobody answers (Q2, DESIGN 8)."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.client.fakes import without
from tests.client.rig import NODES, Rig
from zmqueue.client import limits
from zmqueue.core.answers import Code, Confirmed, NotPrimary, Reply
from zmqueue.core.ids import bucket_of, drawn_at, make_id
from zmqueue.core.requests import GetState, Submit
from zmqueue.core.state import Agreed
from zmqueue.errors import (
    BodyTooLarge,
    Closed,
    ClusterUnreachable,
    NotEnoughReplicas,
    QueueFull,
    SubmitManyFailed,
    SubmitTimeout,
)


def test_a_submit_goes_straight_to_the_primary_of_its_bucket() -> None:
    rig = Rig().ready()
    call = rig.submit()
    rig.until_done(call)
    (node, packet), = rig.cluster.submits
    assert rig.cluster.primary(packet.bucket) == node
    assert call.items[0].id in rig.cluster.stored


def test_a_lone_submit_waits_for_nothing() -> None:
    rig = Rig().ready()
    began = rig.now
    rig.until_done(rig.submit())
    assert rig.now - began == pytest.approx(0.002)           # one round trip


def test_a_submit_before_the_state_is_known_is_sent_once_it_is() -> None:
    rig = Rig(seeds=NODES[:1])
    call = rig.submit()
    rig.until_done(call)
    assert call.error is None and len(rig.cluster.submits) == 1


def test_a_thousand_single_submits_that_wait_together_become_few_packets_over_all_primaries() -> None:
    rig = Rig().ready()
    calls = [rig.submit() for _ in range(1000)]
    rig.until_done(*calls)
    assert len(rig.cluster.submits) == 3
    assert {node for node, _ in rig.cluster.submits} == set(NODES)
    assert sorted(len(packet.messages) for _, packet in rig.cluster.submits) == [332, 334, 334]
    assert len(rig.cluster.stored) == 1000


def test_a_batch_is_split_into_chunks_of_a_thousand_and_no_more_than_four_are_on_their_way_to_a_primary() -> None:
    rig = Rig().ready()
    call = rig.submit(20_000)
    rig.turn()
    on_their_way = Counter(endpoint for _, endpoint, packets in rig.sent for _ in packets)
    assert on_their_way == dict.fromkeys(NODES, limits.SUBMITS_IN_FLIGHT)
    assert max(len(packet.messages) for packet in rig.packets(Submit)) == 1000
    rig.until_done(call)
    assert len(rig.cluster.stored) == 20_000 and len(rig.cluster.submits) == 20


def test_a_chunk_holds_a_mebibyte_of_bodies_and_a_larger_body_goes_alone() -> None:
    rig = Rig(settings=Agreed(body_bytes_max=3 << 20)).ready()
    rig.until_done(rig.submit(10, body=bytes(400_000)), rig.submit(2, body=bytes(2 << 20)))
    assert sorted(len(packet.messages) for _, packet in rig.cluster.submits) == [1, 1, 2, 2, 2, 2, 2]


def test_consecutive_packets_rotate_over_the_primaries_and_over_the_buckets_of_each() -> None:
    rig = Rig().ready()
    for _ in range(30):
        rig.until_done(rig.submit())
    nodes = [node for node, _ in rig.cluster.submits]
    assert nodes[:6] == nodes[:3] * 2 and set(nodes[:3]) == set(NODES)
    assert len({packet.bucket for _, packet in rig.cluster.submits}) > 20


def test_queues_do_not_share_a_packet() -> None:
    rig = Rig().ready()
    rig.until_done(*(rig.submit(queue=queue) for queue in "abab"))
    assert sorted((packet.queue, len(packet.messages)) for _, packet in rig.cluster.submits) == [("a", 2), ("b", 2)]


def test_a_lost_answer_is_asked_for_again_with_the_same_id() -> None:
    rig = Rig().ready()
    lost: list[object] = []

    def mute(node: str, reply: Reply) -> bool:
        if lost or not isinstance(reply, Confirmed):
            return False
        lost.append(reply)
        return True

    rig.mute = mute
    call = rig.submit()
    rig.until_done(call)
    (_, first), (_, second) = rig.cluster.submits
    assert first.messages == second.messages and len(rig.cluster.stored) == 1
    assert call.error is None
    assert rig.packets(GetState), "silence is a reason to ask the state"


def test_not_primary_refreshes_the_state_and_sends_the_same_id_to_the_new_primary() -> None:
    rig = Rig().ready()
    message_id = make_id(1_000_000, 40_000, bytes(15))
    bucket = bucket_of(message_id, 32)
    before = rig.cluster.primary(bucket)
    assert before is not None
    rig.cluster.state = without(rig.cluster.state, before)
    call = rig.submit(message_id=message_id)
    rig.until_done(call)
    assert call.error is None
    (first, one), (second, two) = rig.cluster.submits
    assert (first, second) == (before, rig.cluster.primary(bucket)) and one.messages == two.messages


def test_a_primary_that_dies_delays_only_its_own_and_they_are_confirmed_by_its_heir() -> None:
    rig = Rig().ready()
    rig.dead.add(NODES[0])
    calls = [rig.submit() for _ in range(300)]
    rig.run(0.1)
    assert sum(call.finished for call in calls) == 200
    rig.cluster.state = without(rig.cluster.state, NODES[0])
    rig.heartbeat(NODES[1])
    began = rig.now
    rig.until_done(*calls)
    assert rig.now - began < 0.1, "a newer epoch in a heartbeat is a reason to send again at once"
    assert len(rig.cluster.stored) == 300 and all(call.error is None for call in calls)


def test_while_a_primary_is_silent_new_messages_go_to_the_others() -> None:
    rig = Rig().ready()
    rig.dead.add(NODES[0])
    rig.submit(300)
    rig.run(0.6)
    late = [rig.submit(timeout=0.4) for _ in range(50)]
    rig.until_done(*late)
    assert sum(call.error is None for call in late) >= 49


def test_a_submit_that_nobody_answers_ends_as_unknown_with_its_token() -> None:
    rig = Rig().ready()
    rig.dead.update(NODES)
    call = rig.submit(timeout=3.0)
    began = rig.now
    rig.until_done(call)
    assert 3.0 <= rig.now - began <= 3.1
    error = call.error
    assert isinstance(error, SubmitTimeout) and not error.definite
    assert error.token in str(error)
    submits = rig.packets(Submit)
    assert len({packet.messages for packet in submits}) == 1, "an id of unknown fate is never drawn anew"
    assert 3 <= len(submits) <= 8


def test_without_any_node_nothing_was_sent_and_the_error_is_definite() -> None:
    rig = Rig()
    rig.unreachable.update(NODES)
    call = rig.submit(timeout=2.0)
    rig.until_done(call)
    assert isinstance(call.error, ClusterUnreachable) and call.error.definite
    assert len(rig.sent) == 0


def test_what_could_not_be_written_may_get_another_id_and_goes_to_another_primary() -> None:
    rig = Rig().ready()
    rig.unreachable.add(NODES[0])
    calls = [rig.submit() for _ in range(300)]
    rig.until_done(*calls)
    assert all(call.error is None for call in calls) and len(rig.cluster.stored) == 300
    assert {node for node, _ in rig.cluster.submits} == set(NODES[1:])


def test_not_enough_replicas_is_retried_quietly_and_raised_at_the_deadline() -> None:
    rig = Rig().ready()
    rig.cluster.refuse = dict.fromkeys(NODES, (Code.NOT_ENOUGH_REPLICAS, "1 in-sync, 2 needed"))
    call = rig.submit(timeout=1.0)
    rig.until_done(call)
    assert isinstance(call.error, NotEnoughReplicas) and call.error.definite and "1 in-sync" in str(call.error)
    cured = rig.submit(timeout=5.0)
    rig.run(0.5)
    rig.cluster.refuse.clear()
    rig.until_done(cured)
    assert cured.error is None


def test_a_definite_refusal_after_a_lost_answer_is_not_passed_on_as_definite() -> None:
    rig = Rig().ready()
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    call = rig.submit(timeout=2.0)
    rig.run(0.3)
    rig.cluster.refuse = dict.fromkeys(NODES, (Code.QUEUE_FULL, "full"))
    rig.until_done(call)
    assert isinstance(call.error, SubmitTimeout)


def test_a_final_refusal_ends_at_once() -> None:
    rig = Rig().ready()
    rig.cluster.refuse = dict.fromkeys(NODES, (Code.QUEUE_FULL, "queue q holds 10, the limit is 10"))
    call = rig.submit()
    rig.until_done(call, seconds=0.1)
    assert isinstance(call.error, QueueFull) and "the limit is 10" in str(call.error)


def test_not_primary_of_unknown_fate_makes_the_deadline_indefinite() -> None:
    rig = Rig().ready()
    rig.cluster._submit = lambda node, request: [NotPrimary(request.request, 1, True)]  # type: ignore[method-assign]
    call = rig.submit(timeout=1.0)
    rig.until_done(call)
    assert isinstance(call.error, SubmitTimeout)


def test_a_batch_of_which_some_are_refused_says_which() -> None:
    rig = Rig().ready()

    def partly(node: str, request: Submit) -> list[Confirmed]:
        return [Confirmed(request.request, ((1, int(Code.QUEUE_FULL), "full"),))]

    rig.cluster._submit = partly  # type: ignore[assignment,method-assign]
    call = rig.submit(3)
    rig.until_done(call)
    error = call.error
    assert isinstance(error, SubmitManyFailed) and error.definite
    assert list(error.errors) == [1] and isinstance(error.errors[1], QueueFull)
    assert str(error) == "1 of 3 messages are not confirmed; the first is index 1: full"


def test_a_body_over_the_limit_is_refused_without_asking() -> None:
    rig = Rig().ready()
    call = rig.submit(body=bytes(1_048_577))
    rig.until_done(call)
    assert isinstance(call.error, BodyTooLarge) and not rig.cluster.submits
    assert str(call.error) == "body is 1,048,577 bytes; the limit is 1,048,576 (settings.body_bytes_max)"


def test_ids_are_drawn_by_the_clusters_time() -> None:
    rig = Rig().ready()
    for node, ahead in zip(NODES, (60_000, 61_000, 999_000_000), strict=True):
        rig.turn()
        rig.heartbeat(node, wall=1_000_000 + int(rig.now * 1000) + ahead)
    call = rig.submit()
    rig.until_done(call)
    message_id = call.items[0].id
    assert message_id is not None
    assert abs(drawn_at(message_id) - (1_000_000 + int(rig.now * 1000) + 61_000)) < 10, "the median of the nodes"


def test_closing_tells_definitely_only_what_is() -> None:
    rig = Rig().ready()
    rig.dead.update(NODES)
    sent = rig.submit()
    rig.run(0.1)
    waiting = rig.submit(message_id=make_id(1, 1, bytes(15)))
    rig.core.close(rig.now)
    assert isinstance(sent.error, SubmitTimeout) and isinstance(waiting.error, Closed)
    after = rig.submit()
    assert isinstance(after.error, Closed) and after.error.definite


def test_a_client_whose_cluster_is_gone_does_not_busy_itself() -> None:
    rig = Rig().ready()
    rig.dead.update(NODES)
    for _ in range(100):
        rig.submit(timeout=10.0)
    rig.run(10.0)
    assert sum(len(packets) for _, _, packets in rig.sent) < 150
