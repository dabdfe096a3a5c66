"""Callers who wait no longer: what they asked for is not done any more, or goes back; nothing is left over."""

from __future__ import annotations

import random

import pytest

from tests.client.rig import NODES, Rig
from zmqueue.core.answers import Confirmed, Granted
from zmqueue.core.operations import State
from zmqueue.core.requests import Ask, Settling, Submit
from zmqueue.errors import ClusterUnreachable, SubmitTimeout


def filled(count: int) -> Rig:
    rig = Rig().ready()
    rig.until_done(*(rig.submit() for _ in range(count)))
    rig.sent.clear()
    return rig


def leased(rig: Rig) -> int:
    return sum(stored.state is State.LEASED for stored in rig.cluster.stored.values())


@pytest.mark.parametrize("seconds", [0.0, 0.0005, 0.0015, 0.0025, 0.005, 0.3])
def test_what_a_withdrawn_lease_call_was_or_will_be_granted_goes_back(seconds: float) -> None:
    rig = filled(9)
    call = rig.lease(9, wait=5.0)
    rig.run(seconds)
    rig.core.withdraw(call, rig.now)
    assert call.finished
    rig.run(0.1)
    assert leased(rig) == 0
    again = rig.lease(9, wait=5.0)
    rig.until_done(again)
    assert again.value is not None and len(again.value) == 9


def test_what_cannot_be_given_back_is_left_out_of_the_keepalives_and_returns_by_that() -> None:
    rig = filled(2)
    kept, dropped = rig.lease(1), rig.lease(1)
    rig.until_done(kept, dropped)
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    give_backs, rig.cluster.handle = rig.cluster.handle, lambda node, request: (   # type: ignore[method-assign]
        [] if type(request).__name__ == "GiveBack" else give_backs(node, request))
    rig.core.withdraw(dropped, rig.now)
    rig.run(5.0)
    assert leased(rig) == 1, "only what somebody holds is leased, long before the lease of 30 s is over"
    held, = kept.value or []
    assert not held.lost


def test_withdrawing_at_random_moments_leaves_nothing_leased() -> None:
    dice = random.Random(11)
    rig = filled(40)
    for _ in range(150):
        call = rig.lease(dice.choice((1, 3, 40)), wait=dice.choice((0.0, 2.0)))
        rig.mute = lambda node, reply: isinstance(reply, Granted) and dice.random() < 0.1
        rig.run(dice.choice((0.0, 0.001, 0.002, 0.0021, 0.004)))
        rig.core.withdraw(call, rig.now)
    rig.mute = lambda node, reply: False
    final = rig.lease(40, wait=20.0)
    got = 0
    while got < 40:
        rig.until_done(final, seconds=21.0)
        assert final.value, "nothing is left leased to nobody"
        got += len(final.value)
        rig.until_done(*(rig.settle(holding) for holding in final.value))
        final = rig.lease(40, wait=20.0)
    assert all(stored.state is State.DONE for stored in rig.cluster.stored.values())


def test_a_withdrawn_submit_that_was_not_sent_never_is() -> None:
    rig = Rig()
    rig.unreachable.update(NODES)
    call = rig.submit()
    rig.run(1.0)
    rig.core.withdraw(call, rig.now)
    assert isinstance(call.error, ClusterUnreachable) and call.error.definite
    rig.unreachable.clear()
    rig.run(5.0)
    assert not rig.packets(Submit) and not rig.cluster.stored


def test_a_withdrawn_submit_that_was_sent_is_of_unknown_fate_and_is_not_sent_again() -> None:
    rig = Rig().ready()
    rig.mute = lambda node, reply: isinstance(reply, Confirmed)
    call = rig.submit()
    rig.run(0.1)
    rig.core.withdraw(call, rig.now)
    assert isinstance(call.error, SubmitTimeout)
    rig.run(5.0)
    assert len(rig.packets(Submit)) == 1


@pytest.mark.parametrize("how", ["withdrawn", "expired"])
def test_a_question_nobody_waits_for_is_not_asked_again(how: str) -> None:
    rig = filled(1)
    rig.dead.update(NODES)
    call = rig.ask(next(iter(rig.cluster.stored)), timeout=0.2)
    rig.run(0.1)
    if how == "withdrawn":
        rig.core.withdraw(call, rig.now)
    rig.run(0.2)
    assert call.finished
    asked = len(rig.packets(Ask))
    rig.run(30.0)
    assert len(rig.packets(Ask)) == asked == 1


def test_a_settle_goes_on_though_nobody_waits_for_it() -> None:
    rig = filled(1)
    call = rig.lease(1)
    rig.until_done(call)
    rig.dead.update(NODES)
    settle = rig.settle((call.value or [])[0])
    rig.core.withdraw(settle, rig.now)
    rig.run(1.0)
    rig.dead.clear()
    rig.until_done(settle)
    assert settle.error is None and len(rig.packets(Settling)) >= 2
