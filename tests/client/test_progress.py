"""Progress on its way: in order, each event once, many in one packet; and who follows it, through failovers."""

from __future__ import annotations

from collections.abc import Callable

from tests.client.fakes import EVENTS_MAX, without
from tests.client.rig import Rig
from zmqueue.client.leasing import Holding
from zmqueue.client.streaming import FollowCall, Streaming
from zmqueue.client.telling import TellCall
from zmqueue.core.answers import Code, Confirmed, NotPrimary, Refused, Reply
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import How, Kind, State
from zmqueue.core.requests import Follow, Progress, Settling
from zmqueue.errors import (
    BadRequest,
    ClusterUnreachable,
    LeaseLost,
    NoAnswer,
    RequestFailed,
    ResultTimeout,
    UnknownToken,
)


def leased(rig: Rig) -> Holding:
    rig.until_done(rig.submit())
    call = rig.lease(1)
    rig.until_done(call)
    assert call.value is not None
    holding, = call.value
    return holding


def tell(rig: Rig, holding: Holding, number: int, timeout: float = 10.0) -> TellCall:
    call = TellCall(Kind.BYTES, b"%d" % number, rig.now + timeout)
    rig.core.tell(holding, call, rig.now)
    return call


def follow(rig: Rig, holding: Holding, after: int = 0, timeout: float = 30.0) -> FollowCall:
    call = FollowCall(holding.id, after, rig.now + timeout)
    rig.core.follow(call, rig.now)
    return call


def stored(rig: Rig, holding: Holding) -> list[int]:
    events = rig.cluster.stored[holding.id].events
    assert [index for index, *_ in events] == list(range(1, len(events) + 1))
    return [int(data) for _, _, data, _ in events]


def primary(rig: Rig, holding: Holding) -> str:
    node = rig.cluster.primary(bucket_of(holding.id, rig.cluster.state.buckets))
    assert node is not None
    return node


def first_lost(count: int, kind: type[Reply]) -> Callable[[str, Reply], bool]:
    """The first answers of that kind do not arrive."""
    left = [count]

    def mute(node: str, reply: Reply) -> bool:
        if isinstance(reply, kind) and left[0]:
            left[0] -= 1
            return True
        return False

    return mute


# --- telling ----------------------------------------------------------------------------------------------------------


def test_events_told_while_one_is_on_its_way_travel_together() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    first = tell(rig, holding, 1)
    rig.run()
    more = [tell(rig, holding, number) for number in range(2, 21)]
    rig.until_done(first, *more, seconds=0.1)
    assert stored(rig, holding) == list(range(1, 21))
    assert [(packet.index, len(packet.events)) for packet in rig.packets(Progress)] == [(1, 1), (2, 19)]


def test_an_event_whose_answer_was_lost_is_repeated_under_its_index_and_stored_once() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.mute = first_lost(1, Confirmed)
    first = tell(rig, holding, 1)
    rig.run(0.1)
    second = tell(rig, holding, 2)
    rig.until_done(first, second)
    assert first.error is None and second.error is None
    assert stored(rig, holding) == [1, 2]
    assert [(packet.index, len(packet.events)) for packet in rig.packets(Progress)] == [(1, 1), (1, 2)]


def test_what_was_sent_once_is_sent_until_its_fate_is_known_though_its_caller_is_gone() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.dead.add(primary(rig, holding))
    first = tell(rig, holding, 1, timeout=1.0)
    rig.until_done(first)
    assert isinstance(first.error, NoAnswer) and not first.error.definite
    second = tell(rig, holding, 2)
    rig.dead.clear()
    rig.until_done(second)
    assert second.error is None and stored(rig, holding) == [1, 2]


def test_what_was_never_sent_leaves_no_gap() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.until_done(tell(rig, holding, 1))
    node = primary(rig, holding)
    rig.unreachable.add(node)
    rig.dead.add(node)
    never = TellCall(Kind.BYTES, b"2", rig.now - 1.0)
    rig.core.tell(holding, never, rig.now)
    rig.until_done(never)
    assert isinstance(never.error, ClusterUnreachable) and never.error.definite
    rig.unreachable.clear()
    rig.dead.clear()
    third = tell(rig, holding, 3)
    rig.until_done(third)
    assert third.error is None and stored(rig, holding) == [1, 3]


def test_a_settlement_waits_until_all_that_was_told_before_is_stored() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.mute = first_lost(1, Confirmed)
    events = [tell(rig, holding, number) for number in range(1, 4)]
    settled = rig.settle(holding)
    rig.run(0.1)
    assert rig.packets(Settling) == []
    rig.until_done(*events, settled)
    assert settled.error is None and stored(rig, holding) == [1, 2, 3]
    assert rig.cluster.stored[holding.id].state is State.DONE


def test_a_settlement_whose_time_is_over_before_that_is_not_sent() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.dead.add(primary(rig, holding))
    event = tell(rig, holding, 1, timeout=5.0)
    settled = rig.settle(holding, timeout=1.0)
    rig.until_done(settled)
    assert isinstance(settled.error, ClusterUnreachable)
    rig.dead.clear()
    rig.run(10.0)
    assert event.error is None and stored(rig, holding) == [1]
    assert rig.packets(Settling) == [] and rig.cluster.stored[holding.id].state is State.LEASED


def test_events_go_to_the_next_primary_when_the_first_dies() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    dying = primary(rig, holding)
    rig.dead.add(dying)
    events = [tell(rig, holding, number) for number in (1, 2)]
    rig.run(0.2)
    rig.cluster.state = without(rig.cluster.state, dying)
    for node in rig.nodes:
        if node != dying:
            rig.heartbeat(node)
    rig.until_done(*events)
    assert all(event.error is None for event in events) and stored(rig, holding) == [1, 2]


def test_a_refusal_is_told_to_all_that_travelled_together_and_ends_the_telling() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.cluster._progress = lambda request: Refused(  # type: ignore[method-assign]
        request.request, Code.BAD_REQUEST, "too many")
    events = [tell(rig, holding, number) for number in (1, 2)]
    rig.until_done(*events)
    assert all(isinstance(event.error, BadRequest) for event in events)
    later = tell(rig, holding, 3)
    assert isinstance(later.error, BadRequest) and later.error is not events[0].error
    rig.run(1.0)
    assert len(rig.packets(Progress)) == 1


def test_a_lost_lease_refuses_all_events_of_a_packet_and_not_only_the_first() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.cluster.stored[holding.id].fencing += 1
    events = [tell(rig, holding, number) for number in (1, 2, 3)]
    rig.until_done(*events)
    assert [type(event.error) for event in events] == [LeaseLost] * 3


def test_a_settlement_goes_out_though_the_events_before_it_were_refused() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.cluster._progress = lambda request: Refused(  # type: ignore[method-assign]
        request.request, Code.BAD_REQUEST, "too many")
    event, settled = tell(rig, holding, 1), rig.settle(holding)
    rig.until_done(event, settled)
    assert isinstance(event.error, BadRequest) and settled.error is None


# --- following --------------------------------------------------------------------------------------------------------


def test_following_is_one_long_poll_for_each_answer() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.until_done(tell(rig, holding, 1))
    call = follow(rig, holding)
    rig.until_done(call, seconds=0.1)
    assert call.value is not None and [data for _, _, data, _ in call.value.events] == [b"1"]
    call = follow(rig, holding, after=1, timeout=15.0)
    rig.run(10.0)
    assert [packet.after for packet in rig.packets(Follow)] == [0, 1] and not call.finished
    rig.run(6.0)
    assert isinstance(call.error, ResultTimeout)


def test_a_stream_gives_every_event_once_and_then_the_end() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    count = 3 * EVENTS_MAX + 1
    rig.until_done(*(tell(rig, holding, number) for number in range(1, count + 1)))
    rig.until_done(rig.settle(holding))
    streaming, seen = Streaming(holding.id, 0, 30.0, None), []
    while not streaming.ended:
        call = follow(rig, holding, streaming.after)
        rig.until_done(call)
        seen += streaming.events(call.outcome())
    assert [event.index for event in seen] == list(range(1, count + 2))
    assert [event.data for event in seen[:-1]] == [b"%d" % number for number in range(1, count + 1)]
    assert [event.last for event in seen] == [False] * count + [True]
    assert (seen[-1].kind, seen[-1].data, seen[-1].delivery) == ("result", "result", 0)


def test_the_end_has_the_same_index_wherever_one_begins() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.until_done(tell(rig, holding, 1), tell(rig, holding, 2))
    rig.until_done(rig.settle(holding, How.REJECT))
    for after in range(5):
        streaming = Streaming(holding.id, after, 30.0, None)
        call = follow(rig, holding, after)
        rig.until_done(call)
        events = streaming.events(call.outcome())
        assert [event.index for event in events] == [*range(after + 1, 3), 3]
        assert streaming.ended and events[-1].kind == "error"
        assert isinstance(events[-1].error, RequestFailed) and events[-1].error.state == "dead"


def test_following_goes_on_at_the_next_primary() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    call = follow(rig, holding)
    rig.run(0.1)
    dying = primary(rig, holding)
    rig.dead.add(dying)
    rig.cluster.state = without(rig.cluster.state, dying)
    for node in rig.nodes:
        if node != dying:
            rig.heartbeat(node)
    rig.run(0.5)
    rig.cluster.stored[holding.id].events.append((1, Kind.BYTES, b"1", 1))
    rig.run(1.0)
    assert not call.finished, "the question lies at the new primary, which has no way to tell in this fake"
    assert {endpoint for _, endpoint, packets in rig.sent for packet in packets if isinstance(packet, Follow)} == {
        dying, primary(rig, holding)}


def test_a_question_that_met_no_primary_is_asked_elsewhere() -> None:
    rig = Rig().ready()
    holding = leased(rig)
    rig.until_done(tell(rig, holding, 1))
    answers, honest = [0], rig.cluster._follow

    def once_not(request: Follow) -> list[Reply]:
        answers[0] += 1
        return [NotPrimary(request.request, rig.cluster.state.epoch, True)] if answers[0] == 1 else honest(request)

    rig.cluster._follow = once_not  # type: ignore[method-assign]
    call = follow(rig, holding)
    rig.until_done(call)
    assert call.value is not None and len(call.value.events) == 1 and answers == [2]


def test_an_unknown_token_is_told_at_once() -> None:
    rig = Rig().ready()
    call = FollowCall(b"\x01" + bytes(23), 0, rig.now + 30.0)
    rig.core.follow(call, rig.now)
    rig.until_done(call, seconds=0.1)
    assert isinstance(call.error, UnknownToken)
