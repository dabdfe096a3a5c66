"""Random loss, silence, refusals and failovers, from seeds: every call ends in time, and what it says is true (Q2)."""

from __future__ import annotations

import random
from collections import Counter

import msgspec
import pytest

from tests.client.fakes import without
from tests.client.rig import NODES, Rig
from zmqueue.client.calls import Draft, SubmitCall, SubmitItem
from zmqueue.client.sending import Sender, Transmission
from zmqueue.core.answers import Code, NotPrimary, Reply
from zmqueue.core.operations import Kind
from zmqueue.core.requests import Submit
from zmqueue.core.state import Status
from zmqueue.errors import Refused

STEPS = 60
TIMEOUT_S = 4.0


class Chaos:
    """One seed's run."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.rig = Rig()
        self.loss = self.random.choice((0.0, 0.05, 0.4))
        self.calls: list[tuple[SubmitCall, list[bytes]]] = []
        self.ended: dict[SubmitCall, float] = {}
        self.rig.mute = lambda node, reply: self.random.random() < self.loss
        honest = self.rig.cluster._submit

        def moody(node: str, request: Submit) -> list[Reply]:
            roll = self.random.random()
            if roll < 0.05:
                return [NotPrimary(request.request, self.rig.cluster.state.epoch, False)]
            if roll < 0.1:
                if self.random.random() < 0.5:
                    honest(node, request)
                return [NotPrimary(request.request, self.rig.cluster.state.epoch, True)]
            return honest(node, request)

        self.rig.cluster._submit = moody  # type: ignore[method-assign]

    def step(self) -> None:
        """Something happens."""
        rig = self.rig
        match self.random.randrange(8):
            case 0:
                rig.dead ^= {self.random.choice(NODES)}
            case 1:
                rig.unreachable ^= {self.random.choice(NODES)}
            case 2:
                node = self.random.choice(NODES)
                rig.cluster.refuse.pop(node, None) or rig.cluster.refuse.update(
                    {node: (self.random.choice((Code.NOT_ENOUGH_REPLICAS, Code.BUSY, Code.QUEUE_FULL)), "no")})
            case 3:
                self.failover()
            case 4:
                rig.core.on_lost(self.random.choice(NODES), rig.now)
            case _:
                self.submit(self.random.choice((1, 1, 1, 5, 250)))
        rig.run(self.random.choice((0.001, 0.01, 0.3)))

    def failover(self) -> None:
        state = self.rig.cluster.state
        if all(member.up for member in state.members):
            self.rig.cluster.state = without(state, self.random.choice(NODES))
        else:
            members = tuple(msgspec.structs.replace(member, status=Status.UP) for member in state.members)
            epoch = state.epoch + 1
            self.rig.cluster.state = msgspec.structs.replace(
                state, epoch=epoch, members=members, in_sync=((1, 2, 3),) * state.buckets,
                terms=(epoch,) * state.buckets)
        if self.random.random() < 0.5:
            self.rig.heartbeat(self.random.choice(NODES))

    def submit(self, count: int) -> None:
        bodies = [self.random.randbytes(16) for _ in range(count)]
        rig = self.rig
        call = SubmitCall("q", [Draft(body, Kind.BYTES) for body in bodies], rig.now + TIMEOUT_S, self.note,
                          many=count > 1)
        self.calls.append((call, bodies))
        rig.core.submit(call, rig.now)

    def note(self, call: SubmitCall) -> None:
        assert call not in self.ended, "a call ends once"
        self.ended[call] = self.rig.now

    def check(self) -> None:
        stored = Counter(stored.submission.payload for stored in self.rig.cluster.stored.values())
        for call, bodies in self.calls:
            assert self.ended[call] <= call.deadline + 0.051
            for index, body in enumerate(bodies):
                error = call.errors.get(index)
                assert stored[body] <= 1, "stored under two ids"
                if error is None:
                    assert stored[body] == 1, "confirmed and not stored"
                elif error.definite:
                    assert stored[body] == 0, f"stored, and the caller was told that it is not: {error!r}"


@pytest.mark.parametrize("seed", range(60))
def test_every_submit_ends_in_time_and_what_it_says_is_true(seed: int) -> None:
    chaos = Chaos(seed)
    for _ in range(STEPS):
        chaos.step()
    chaos.rig.run(TIMEOUT_S + 1.0)
    chaos.check()


def test_once_all_is_well_again_everything_is_confirmed() -> None:
    chaos = Chaos(4711)
    for _ in range(STEPS):
        chaos.step()
    chaos.rig.run(TIMEOUT_S + 1.0)
    chaos.loss = 0.0
    chaos.rig.dead.clear()
    chaos.rig.unreachable.clear()
    chaos.rig.cluster.refuse.clear()
    chaos.rig.run(2.0)
    call = chaos.rig.submit(3000)
    chaos.rig.until_done(call, seconds=4.0)
    assert call.error is None


def redraw_whatever_its_fate(item: SubmitItem) -> bool:
    return item.draft.id is None


def believe_a_late_refusal(item: SubmitItem, error: Refused, now: float) -> bool:
    item.fail(error)
    return True


def take_silence_for_refusal(sender: Sender, transmission: Transmission, now: float) -> None:
    sender.unsent(transmission, now)


def forget_the_deadline(item: SubmitItem) -> None:
    pass


@pytest.mark.parametrize(("where", "name", "fault"), [
    (SubmitItem, "free", property(redraw_whatever_its_fate)),
    (SubmitItem, "refuse", believe_a_late_refusal),
    (Sender, "silent", take_silence_for_refusal),
    (SubmitItem, "expire", forget_the_deadline),
])
def test_the_checks_catch_a_planted_fault(monkeypatch: pytest.MonkeyPatch, where: type, name: str,
                                          fault: object) -> None:
    monkeypatch.setattr(where, name, fault)

    def run(seed: int) -> None:
        chaos = Chaos(seed)
        for _ in range(STEPS):
            chaos.step()
        chaos.rig.run(TIMEOUT_S + 1.0)
        chaos.check()

    with pytest.raises((AssertionError, KeyError)):
        for seed in range(60):
            run(seed)
