"""Collecting results: few packets, turns for all, a bounded number at a time, nothing left over; in virtual time."""

from __future__ import annotations

import pytest

from tests.client.rig import NODES, Rig
from zmqueue.client import limits
from zmqueue.client.calls import AskCall
from zmqueue.client.collecting import Collecting, TakeCall
from zmqueue.core.operations import How
from zmqueue.core.requests import Ask
from zmqueue.errors import ClusterUnreachable, ResultTimeout


def filled(count: int) -> tuple[Rig, list[bytes]]:
    rig = Rig().ready()
    call = rig.submit(count)
    rig.until_done(call)
    rig.sent.clear()
    return rig, [item.id for item in call.items if item.id is not None]


def settle(rig: Rig, ids: set[bytes]) -> None:
    call = rig.lease(1000, wait=5.0)
    rig.until_done(call)
    rig.until_done(*(rig.settle(holding, How.ACK if holding.id in ids else How.NACK) for holding in call.value or []))


def take(rig: Rig, collecting: Collecting, seconds: float = 60.0) -> list[AskCall]:
    call = TakeCall(collecting)
    rig.core.collect(call, rig.now)
    rig.until_done(call, seconds=seconds)
    collecting.left -= len(call.value or [])
    return call.value or []


def collecting(rig: Rig, ids: list[bytes], timeout: float) -> Collecting:
    return Collecting(ids, rig.now + timeout, rig.core.ask, rig.core.soon)


def test_all_questions_go_out_in_one_message_per_primary() -> None:
    rig, ids = filled(600)
    settle(rig, set(ids))
    rig.sent.clear()
    found = collecting(rig, ids, 10.0)
    got = take(rig, found)
    asks = [(when, node) for when, node, packets in rig.sent if any(isinstance(packet, Ask) for packet in packets)]
    assert len(asks) == len(set(asks)) <= len(NODES), "one multipart message for each"
    while found.left:
        got += take(rig, found)
    assert {call.id for call in got} == set(ids) and all(call.error is None for call in got)


def test_no_more_are_asked_after_or_held_than_the_limit_and_the_taker_sets_the_pace(
        monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COLLECTED_MAX", 10)
    rig, ids = filled(100)
    settle(rig, set(ids))
    rig.sent.clear()
    found = collecting(rig, ids, 30.0)
    first = take(rig, found)
    rig.run(5.0)
    assert len(rig.packets(Ask)) == 10, "nobody takes, so nothing is asked"
    second = take(rig, found)
    rig.turn()
    assert second and len(rig.packets(Ask)) == 20 - len(second), "what lies here counts as asked"
    got = [call.id for call in (*first, *second)]
    while found.left:
        got += [call.id for call in take(rig, found)]
    assert sorted(got) == sorted(ids) and len(rig.packets(Ask)) == 100


def test_requests_that_take_long_do_not_keep_others_from_being_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COLLECTED_MAX", 10)
    rig, ids = filled(50)
    settle(rig, set(ids[-5:]))                               # the last to be asked after are the only ones done
    began = rig.now
    found = collecting(rig, ids, 60.0)
    got: set[bytes] = set()
    while len(got) < 5:
        got |= {call.id for call in take(rig, found)}
    assert got == set(ids[-5:]) and rig.now - began <= 5 * limits.COLLECT_TURN_S


def test_at_the_deadline_all_that_is_left_has_timed_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "COLLECTED_MAX", 10)
    rig, ids = filled(50)
    began = rig.now
    found = collecting(rig, ids, 2.5)
    got: list[AskCall] = []
    while found.left:
        got += take(rig, found, seconds=4.0)
    assert {call.id for call in got} == set(ids) and len(got) == 50
    assert all(isinstance(call.error, ResultTimeout) for call in got)
    assert 2.4 < rig.now - began < 3.1


def test_without_nodes_it_ends_in_time() -> None:
    rig = Rig()
    rig.unreachable.update(NODES)
    found = collecting(rig, [bytes([1]) + bytes(23), bytes([1]) + bytes(22) + b"x"], 1.0)
    got: list[AskCall] = []
    while found.left:
        got += take(rig, found, seconds=3.0)
    assert all(isinstance(call.error, ClusterUnreachable) for call in got)


@pytest.mark.parametrize("taken", [True, False])
def test_what_is_closed_asks_no_more(taken: bool) -> None:
    rig, ids = filled(20)
    settle(rig, set(ids[:1]) if taken else set())
    found = collecting(rig, ids, 60.0)
    call = TakeCall(found)
    rig.core.collect(call, rig.now)
    rig.run(0.1)
    assert call.finished is taken
    rig.core.withdraw(call, rig.now)
    found.close(rig.now)
    rig.dead.update(NODES)                                   # so that an open question would be asked again
    rig.sent.clear()
    rig.run(100.0)
    assert call.finished and not rig.packets(Ask)
