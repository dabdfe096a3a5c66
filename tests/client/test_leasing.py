"""Leases: nobody hoards, nothing is polled for, what a session holds is what its keepalives say (Q1, Q5)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import pytest

from tests.client.fakes import without
from tests.client.rig import NODES, Rig
from zmqueue.client.calls import LeaseSayCall
from zmqueue.client.leasing import Holding, LeaseCall, Slots, Subscription
from zmqueue.core.answers import Alive, Confirmed, Granted, Reply
from zmqueue.core.operations import How, State
from zmqueue.core.requests import EndSession, GiveBack, Keepalive, Lease, Settling, Watch
from zmqueue.errors import ClusterUnreachable, LeaseLost, SettleTimeout, ZmqueueError


def filled(count: int) -> Rig:
    rig = Rig().ready()
    for _ in range(count):
        rig.until_done(rig.submit())
    rig.sent.clear()
    rig.cluster.log.clear()
    return rig


def held(call: LeaseCall) -> list[Holding]:
    assert call.value is not None
    return call.value


class Worker:
    """Takes messages and keeps them."""

    def __init__(self, rig: Rig, slots: int, *more_queues: str, lease_ms: int = 0, strict: bool = False,
                 weights: Mapping[str, float] | None = None) -> None:
        self.got: list[Holding] = []
        self.errors: list[ZmqueueError] = []
        self.session = rig.core.open_session()
        self.total = slots
        self.slots = Slots(slots)
        for place, queue in enumerate(("q", *more_queues)):
            subscription = Subscription(self.slots, self.got.append, self.errors.append, place=place if strict else 0,
                                        weight=weights[queue] if weights is not None else None)
            rig.core.subscribe(self.session, subscription, queue, lease_ms, rig.now)


def test_one_free_slot_asks_one_node_at_a_time() -> None:
    rig = filled(0)
    Worker(rig, 1)
    rig.turn()
    assert len(rig.packets(Lease)) == 1
    rig.run(0.1)
    assert [packet.max for packet in rig.packets(Lease)] == [1, 1, 1], "each node once, then they are watched"
    assert len({node for _, node, packets in rig.sent for packet in packets if isinstance(packet, Lease)}) == 3


def test_a_worker_never_holds_more_than_it_has_slots_for() -> None:
    rig = filled(30)
    worker = Worker(rig, 4)
    rig.run(1.0)
    assert len(worker.got) == 4 and worker.slots.free == 0
    assert sum(stored.state is State.LEASED for stored in rig.cluster.stored.values()) == 4


def test_a_worker_of_several_queues_shares_its_slots_and_neglects_none() -> None:
    rig = filled(0)
    rig.until_done(rig.submit(300, queue="q"), rig.submit(300, queue="r"))
    worker = Worker(rig, 4, "r", "s")
    for _ in range(20):
        rig.run(0.05)
        assert sum(stored.state is State.LEASED for stored in rig.cluster.stored.values()) <= 4
        assert worker.slots.free == 0
        rig.until_done(*(rig.settle(holding) for holding in worker.got[-4:]))
        worker.slots.free += 4
    queues = [holding.queue for holding in worker.got]
    assert min(queues.count("q"), queues.count("r")) >= 20 and not worker.errors


def shares(rig: Rig, worker: Worker, rounds: int) -> list[str]:
    """The queues of what the worker was handed in so many rounds, in each of which all it holds is settled."""
    for _ in range(rounds):
        rig.run(0.05)
        taken = worker.total - worker.slots.free
        rig.until_done(*(rig.settle(holding) for holding in worker.got[-taken:]))
        worker.slots.free += taken
    return [holding.queue for holding in worker.got]


@pytest.mark.parametrize("slots", [1, 4])
def test_weighted_queues_share_a_workers_slots_by_their_weights(slots: int) -> None:
    rig = filled(0)
    rig.until_done(*(rig.submit(300, queue=queue) for queue in "qrs"))
    worker = Worker(rig, slots, "r", "s", weights={"q": 6.0, "r": 3.0, "s": 1.0})
    queues = shares(rig, worker, 200 // slots)
    assert len(queues) == 200
    for queue, share in (("q", 120), ("r", 60), ("s", 20)):
        assert abs(queues.count(queue) - share) <= 2 * slots, "what is asked for at once is of one queue"


def test_a_queue_that_was_empty_has_saved_nothing_up() -> None:
    rig = filled(0)
    rig.until_done(rig.submit(300, queue="q"))
    worker = Worker(rig, 1, "r", weights={"q": 1.0, "r": 1.0})
    shares(rig, worker, 50)
    rig.until_done(rig.submit(300, queue="r"))
    shares(rig, worker, 20)                                  # a busy worker looks once a second
    later = shares(rig, worker, 40)[70:]
    assert abs(later.count("q") - later.count("r")) <= 2


def test_in_strict_order_the_later_queue_waits_until_the_earlier_is_empty() -> None:
    rig = filled(0)
    rig.until_done(rig.submit(300, queue="r"), rig.submit(10, queue="q"))
    worker = Worker(rig, 2, "r", strict=True)
    queues = shares(rig, worker, 8)
    assert queues == ["q"] * 10 + ["r"] * 6
    rig.until_done(rig.submit(4, queue="q"))
    later = shares(rig, worker, 30)[16:]                     # within a second
    first = later.index("q")
    assert later[first:first + 4] == ["q"] * 4 and later[first + 4:] == ["r"] * (56 - first) and first <= 40


def test_an_idle_worker_watches_and_does_not_poll() -> None:
    rig = filled(0)
    worker = Worker(rig, 2)
    rig.run(10.0)
    assert len(rig.packets(Lease)) == 3
    assert 27 <= len(rig.packets(Watch)) <= 33, "about every second, to each node"
    rig.until_done(rig.submit())
    rig.run(0.01)
    assert len(worker.got) == 1, "a hint is followed at once"


def test_a_consumer_with_many_free_slots_asks_all_nodes_at_once() -> None:
    rig = filled(90)
    call = rig.lease(90)
    rig.turn()
    assert sorted(packet.max for packet in rig.packets(Lease)) == [30, 30, 30]
    rig.until_done(call)
    assert len(held(call)) == 90


def test_a_lease_call_takes_what_is_there_from_all_nodes_and_does_not_wait_for_more() -> None:
    rig = filled(6)
    began = rig.now
    call = rig.lease(10, wait=5.0)
    rig.until_done(call)
    assert len(held(call)) == 6 and rig.now - began < 0.1


def test_a_lease_call_waits_for_the_first_message() -> None:
    rig = filled(0)
    call = rig.lease(10, wait=5.0)
    rig.run(2.0)
    assert not call.finished
    rig.until_done(rig.submit())
    rig.until_done(call, seconds=0.1)
    assert len(held(call)) == 1


def test_a_lease_call_ends_empty_when_its_wait_is_over() -> None:
    rig = filled(0)
    began = rig.now
    none, soon = rig.lease(1), rig.lease(1, wait=1.0)
    rig.until_done(none, seconds=0.1)
    rig.until_done(soon)
    assert held(none) == held(soon) == [] and 1.0 <= rig.now - began <= 1.1


def test_a_lease_call_without_any_node_says_so() -> None:
    rig = Rig()
    rig.unreachable.update(NODES)
    call = rig.lease(1, timeout=2.0)
    rig.until_done(call, seconds=3.0)
    assert isinstance(call.error, ClusterUnreachable)


def test_a_dead_node_does_not_keep_a_lease_call_from_the_others_messages() -> None:
    rig = filled(30)
    rig.dead.add(NODES[0])
    call = rig.lease(30, wait=1.0)
    rig.until_done(call, seconds=1.0)
    assert len(held(call)) == 20


def test_a_lease_counts_from_before_it_was_asked_for() -> None:
    rig = filled(1)
    asked = rig.now
    call = rig.lease(1)
    rig.until_done(call)
    assert asked <= held(call)[0].deadline - 30.0 <= rig.now - 0.002 + 1e-9


def test_a_lost_grant_is_asked_for_again_under_the_same_number_and_comes_once() -> None:
    rig = filled(1)
    lost: list[object] = []

    def mute(node: str, reply: Reply) -> bool:
        if lost or not isinstance(reply, Granted) or not reply.grants:
            return False
        lost.append(reply)
        return True

    rig.mute = mute
    worker = Worker(rig, 1)
    rig.run(2.0)
    assert len(worker.got) == 1 and worker.got[0].deliveries == 1
    by_number = [packet.number for packet in rig.packets(Lease)]
    assert len(by_number) - len(set(by_number)) == 1


def test_what_was_granted_in_an_answer_that_never_came_is_given_back_by_the_keepalive() -> None:
    rig = filled(1)
    rig.mute = lambda node, reply: isinstance(reply, Granted) and bool(reply.grants)
    worker = Worker(rig, 1)
    rig.run(2.0)
    stored, = rig.cluster.stored.values()
    assert stored.state is State.LEASED
    rig.run(4.0)
    rig.mute = lambda node, reply: False
    rig.run(4.0)
    assert len(worker.got) == 1 and worker.got[0].deliveries >= 2


def test_keepalives_list_what_is_held_to_every_node_and_how_far_that_is_the_truth() -> None:
    rig = filled(3)
    worker = Worker(rig, 3)
    rig.run(3.0)
    rig.sent.clear()
    rig.run(1.0)
    alive = rig.packets(Keepalive)
    assert len(alive) == 3
    for packet in alive:
        assert isinstance(packet, Keepalive)
        assert {message_id for message_id, _, _ in packet.holds} == {holding.id for holding in worker.got}
        assert {renew for _, _, renew in packet.holds} == {30_000}
        assert packet.upto == worker.session._number


def test_a_short_lease_is_renewed_before_half_of_it_is_over() -> None:
    rig = filled(1)
    worker = Worker(rig, 1, lease_ms=400)
    for _ in range(50):
        rig.run(0.1)
        assert worker.got[0].deadline > rig.now + 0.05
    beats = rig.packets(Keepalive, rig.cluster.submits[0][0])
    assert 45 <= len(beats) <= 55 and {renew for beat in beats for _, _, renew in beat.holds} == {400}


def test_a_number_whose_answer_may_yet_come_is_not_in_the_keepalive() -> None:
    rig = filled(0)
    rig.dead.add(NODES[0])
    worker = Worker(rig, 1)
    rig.run(1.05)
    assert worker.session.outstanding
    first = min(worker.session.outstanding)
    assert all(packet.upto < first for packet in rig.packets(Keepalive))


def test_what_a_caller_holds_is_not_renewed_and_is_lost_when_its_time_is_over() -> None:
    rig = filled(1)
    call = rig.lease(1)
    rig.until_done(call)
    rig.run(29.0)
    holding, = held(call)
    lost_before = holding.lost
    assert not lost_before
    assert all(renew == 0 for packet in rig.packets(Keepalive) for _, _, renew in packet.holds)
    rig.run(2.5)
    assert holding.lost
    rig.sent.clear()
    rig.run(10.0)
    assert not rig.packets(Keepalive), "a session that holds nothing and waits for nothing is silent"


def test_a_workers_leases_live_for_as_long_as_its_session() -> None:
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(300.0)
    holding, = worker.got
    assert holding.deadline > rig.now + 10
    rig.dead.update(NODES)
    rig.run(40.0)
    assert holding.deadline < rig.now and not holding.lost, "it may stand: bucket time may have stood still"
    rig.dead.clear()
    rig.run(2.0)
    assert holding.deadline > rig.now + 10
    settle = rig.settle(holding)
    rig.until_done(settle)
    assert settle.error is None


def test_a_lease_that_a_node_calls_lost_is_lost() -> None:
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(0.5)
    rig.cluster.session_lost.add(worker.got[0].id)
    rig.run(1.5)
    assert worker.got[0].lost


def test_whose_message_is_cancelled_is_told_once_with_a_keepalive_or_unasked() -> None:
    for unasked in (True, False):
        rig = filled(2)
        worker = Worker(rig, 2)
        rig.run(0.1)
        told: list[Holding] = []
        for holding in worker.got:
            holding.on_cancelled = partial(told.append, holding)
        first, other = worker.got
        lease = (first.id, first.fencing)
        if unasked:
            rig.core.on_packets(NODES[0], rig.cluster.envelope(), [Alive(0, (), (lease,))], rig.now)
        else:
            rig.cluster.cancelled.add(first.id)
            rig.run(1.5)
        assert told == [first], "by whichever of the two it was"
        older = Alive(0, (), (lease, (other.id, other.fencing - 1)))
        rig.core.on_packets(NODES[0], rig.cluster.envelope(), [older], rig.now)
        assert told == [first] and first.cancelled and not other.cancelled
        assert not first.lost and rig.core.stray == 0


def test_only_the_primary_of_a_bucket_can_call_its_leases_lost() -> None:
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(0.5)
    bucket_primary = next(iter(rig.cluster.submits))[0]
    rig.cluster.session_lost.add(worker.got[0].id)
    rig.dead.add(bucket_primary)
    rig.run(2.0)
    assert not worker.got[0].lost


def test_settles_that_wait_for_one_bucket_go_together() -> None:
    rig = Rig().ready()
    rig.until_done(rig.submit(100))
    call = rig.lease(100)
    rig.until_done(call)
    rig.until_done(*(rig.settle(holding) for holding in held(call)))
    assert len(rig.packets(Settling)) == 1
    assert all(stored.state is State.DONE for stored in rig.cluster.stored.values())


def test_a_settle_goes_to_the_new_primary_after_a_failover() -> None:
    rig = filled(1)
    call = rig.lease(1)
    rig.until_done(call)
    rig.cluster.state = without(rig.cluster.state, rig.cluster.submits[0][0])
    settle = rig.settle(held(call)[0])
    rig.until_done(settle)
    assert settle.error is None and len({node for _, node, _ in rig.sent}) >= 2


def test_a_settle_that_is_refused_is_a_lost_lease() -> None:
    rig = filled(1)
    call = rig.lease(1)
    rig.until_done(call)
    next(iter(rig.cluster.stored.values())).fencing += 1
    settle = rig.settle(held(call)[0], How.NACK)
    rig.until_done(settle)
    assert isinstance(settle.error, LeaseLost) and settle.error.definite


def test_a_settle_that_nobody_confirms_is_of_unknown_fate_and_stays_in_the_keepalive_until_then() -> None:
    rig = filled(1)
    call = rig.lease(1)
    rig.until_done(call)
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    settle = rig.settle(held(call)[0], timeout=3.0)
    rig.sent.clear()
    rig.run(2.5)
    assert all(packet.holds for packet in rig.packets(Keepalive))
    rig.until_done(settle)
    assert isinstance(settle.error, SettleTimeout) and not settle.error.definite


def test_a_lease_is_renewed_no_more_after_a_settle_of_unknown_fate() -> None:
    """Nobody works on it any more: while its worker lives it must not stay leased for ever."""
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(0.5)
    holding, = worker.got
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    settle = rig.settle(holding, timeout=3.0)
    rig.until_done(settle)
    assert isinstance(settle.error, SettleTimeout)
    rig.sent.clear()
    rig.run(5.0)
    beats = rig.packets(Keepalive)
    assert beats and all(beat.holds == ((holding.id, holding.fencing, 0),) for beat in beats), "listed, not renewed"
    rig.run(30.0)
    assert holding.lost
    rig.sent.clear()
    rig.run(5.0)
    assert all(not beat.holds for beat in rig.packets(Keepalive))


def test_a_lease_is_renewed_no_more_after_a_return_that_nobody_confirmed() -> None:
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(0.5)
    holding, = worker.got
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    call = LeaseSayCall("give back", (holding.id, holding.fencing), rig.now + 3.0)
    rig.core.say(holding, call, rig.now)
    rig.until_done(call)
    assert call.error is not None and not call.error.definite and not holding.renew


def test_an_extension_that_nobody_confirmed_leaves_the_lease_to_its_handler() -> None:
    """It still works on it."""
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(0.5)
    holding, = worker.got
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    call = LeaseSayCall("extend", (holding.id, holding.fencing), rig.now + 3.0)
    worker.session.say(holding, call, rig.now, lease_ms=60_000)
    rig.until_done(call)
    assert call.error is not None and holding.renew


def test_a_hint_from_a_node_that_is_being_asked_waits_for_its_answer() -> None:
    """To watch it anew would bring the same hint at once, and so on without end."""
    rig = filled(0)
    rig.until_done(rig.submit(30))
    silent = rig.cluster.submits[0][0]
    rig.mute = lambda node, reply: node == silent and isinstance(reply, Granted)
    worker = Worker(rig, 1)
    rig.run(0.5)
    assert not worker.got and not worker.session.outstanding.keys() - {1, 2, 3}
    rig.sent.clear()
    rig.run(3.0)
    assert 1 <= len(rig.packets(Watch, silent)) <= 6
    rig.mute = lambda node, reply: False
    rig.run(10.0)
    assert len(worker.got) == 1


def test_what_comes_when_nobody_wants_it_any_more_is_given_back() -> None:
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.turn()
    worker.session.unsubscribe(worker.slots.subscriptions[0])
    rig.run(0.1)
    if rig.packets(GiveBack):
        assert next(iter(rig.cluster.stored.values())).state is State.READY
    assert worker.got == []


def test_the_end_of_a_session_is_told_to_every_node() -> None:
    rig = filled(1)
    worker = Worker(rig, 1)
    rig.run(0.1)
    rig.core.end_session(worker.session, rig.now)
    rig.run(0.1)
    assert len(rig.packets(EndSession)) == 3
    rig.sent.clear()
    rig.run(5.0)
    assert not rig.sent


def test_a_worker_goes_on_by_itself_after_all_nodes_were_away() -> None:
    rig = filled(0)
    worker = Worker(rig, 2)
    rig.run(1.0)
    rig.dead.update(NODES)
    rig.run(30.0)
    rig.dead.clear()
    rig.until_done(rig.submit())
    rig.run(2.0)
    assert len(worker.got) == 1


def test_of_a_grant_that_is_told_again_the_lease_is_renewed_by_its_full_length() -> None:
    rig = filled(2)
    rig.cluster.lease_left = 0                           # nothing of it is left by now
    worker = Worker(rig, 2)
    rig.run(0.5)
    assert [holding.lease_ms for holding in worker.got] == [rig.cluster.state.settings.lease_ms] * 2
    assert len(rig.packets(Keepalive)) <= 3 * 2, "and the session goes on at its pace"
