"""Faults between the packets and the program: what a node answers is right, and what the client makes of it is not.

No checker of packets, logs and disks can see these. Those can that know what programs were told, and nothing else.
"""

from __future__ import annotations

import msgspec
import pytest

from tests.simulation.bounds import RAN_AWAY
from tests.simulation.checkers.rings import RingBook
from tests.simulation.checkers.sequential import LINEAR
from tests.simulation.checkers.total_queue import TotalQueue
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.client import leasing
from zmqueue.client.calls import AskCall, SubmitItem
from zmqueue.client.core import ClientCore
from zmqueue.client.leasing import Line, Subscription
from zmqueue.client.routing import Routing
from zmqueue.core.answers import Answer


def refusals_are_taken_for_confirmations(patch: pytest.MonkeyPatch) -> None:
    """A program is told that its message is stored, when a node has just refused it."""
    rewrite(patch, SubmitItem, "refuse", ("self._fail(error)", "self.accept(error)"))


def payloads_are_mixed_up(patch: pytest.MonkeyPatch) -> None:
    """Of several messages that come in one answer, all are handed out with the payload of the first."""
    rewrite(patch, Line, "_deal", (
        "self.session.hold(self.queue, grant,",
        ("self.session.hold(self.queue, _replace(grant, submission=_replace("
         "grant.submission, payload=granted.grants[0].submission.payload)),")))
    patch.setattr(leasing, "_replace", msgspec.structs.replace, raising=False)


def messages_are_delivered_twice(patch: pytest.MonkeyPatch) -> None:
    """Now and then a worker is handed what it has been handed before, under the same lease."""
    rewrite(patch, Subscription, "take", (
        "self._deliver(holding)",
        "self._deliver(holding)\n    if holding.id[-1] % 16 == 0:\n        self._deliver(holding)"))


def answers_are_remembered(patch: pytest.MonkeyPatch) -> None:
    """A client that has asked after a message answers the next question itself, with what it heard then."""
    heard: dict[tuple[ClientCore, bytes], Answer] = {}
    honest_ask, honest_answered = ClientCore.ask, AskCall.answered

    def ask(self: ClientCore, call: AskCall, now: float) -> None:
        remembered = heard.get((self, call.id))
        if remembered is not None and not call.settled:
            call.finish(remembered)
            return
        owner[call] = self
        honest_ask(self, call, now)

    def answered(self: AskCall, answer: Answer) -> None:
        heard[owner[self], self.id] = answer
        honest_answered(self, answer)
    owner: dict[AskCall, ClientCore] = {}
    patch.setattr(ClientCore, "ask", ask)
    patch.setattr(AskCall, "answered", answered)


def clients_take_the_first_desired_for_primary(patch: pytest.MonkeyPatch) -> None:
    """A client sends to the first desired replica that is up, whether it is in-sync or not."""
    rewrite(patch, Routing, "_install", (
        "primaries = [state.primary(bucket) for bucket in range(state.buckets)]",
        "primaries = [next(filter(state.up, state.desired(bucket)), None) for bucket in range(state.buckets)]"))


def clients_never_rest(patch: pytest.MonkeyPatch) -> None:
    """A client always has something to do at once: its program uses up a processor."""
    patch.setattr(ClientCore, "next_tick", lambda self: 0.0)


PROGRAMS = [
    mutant(refusals_are_taken_for_confirmations, "Q2", TotalQueue.LOST),
    mutant(payloads_are_mixed_up, "I6", TotalQueue.UNEXPECTED),
    mutant(messages_are_delivered_twice, "Q5", TotalQueue.DUPLICATED),
    mutant(answers_are_remembered, "R10", LINEAR),
    mutant(clients_take_the_first_desired_for_primary, "P1", RingBook.NAME),
    mutant(clients_never_rest, "-", RAN_AWAY),
]
