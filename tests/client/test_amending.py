"""Operators' words on their way: asked of nodes that are up, one after another, until it is agreed or refused."""

from __future__ import annotations

import msgspec
import pytest

from tests.client.fakes import without
from tests.client.rig import NODES, Rig
from zmqueue.client.amending import ANSWER_S, AmendCall
from zmqueue.client.surveys import CopiesCall
from zmqueue.core.answers import Code, Confirmed, CopyReply, NotPrimary, Refused, Reply
from zmqueue.core.changes import MemberForgotten
from zmqueue.core.requests import Amend, GetCopy
from zmqueue.errors import ClusterUnreachable, NoAnswer, NotAllowed

CHANGE = MemberForgotten(3, 1)


class Asked(Rig):
    """A rig in which a test answers the operators' packets itself."""

    def __init__(self) -> None:
        super().__init__()
        self.ready()
        self.dead = set(NODES)

    def amend(self, timeout: float = 10.0) -> AmendCall:
        call = AmendCall(CHANGE, self.now + timeout)
        self.core.amend(call, self.now)
        self.run(0.0)
        return call

    def asked(self) -> list[tuple[str, Amend]]:
        return [(node, packet) for _, node, packets in self.sent for packet in packets if isinstance(packet, Amend)]

    def answer(self, node: str, reply: Reply) -> None:
        self.core.on_packets(node, self.cluster.envelope(), [reply], self.now)
        self.run(0.0)


def test_a_word_is_over_when_it_is_confirmed() -> None:
    rig = Asked()
    call = rig.amend()
    (node, packet), = rig.asked()
    assert packet.change == CHANGE
    rig.answer(node, Confirmed(packet.request))
    assert call.finished and call.error is None


def test_a_silent_node_is_not_the_only_one_that_is_asked_and_its_late_word_counts() -> None:
    rig = Asked()
    call = rig.amend()
    rig.run(ANSWER_S + 1.0)
    (first, packet), (second, _) = rig.asked()[:2]
    assert first != second
    rig.answer(first, Confirmed(packet.request))
    assert call.finished and call.error is None
    rig.run(10.0)
    assert len(rig.asked()) == 2, "nobody is asked any more"


@pytest.mark.parametrize("reply", [Refused(0, Code.NOT_SERVING, "no member"), Refused(0, Code.BUSY, "64 changes wait"),
                                   NotPrimary(0, 9, False)])
def test_what_another_node_may_cure_is_asked_of_another_node(reply: Refused | NotPrimary) -> None:
    rig = Asked()
    call = rig.amend()
    (node, packet), = rig.asked()
    rig.answer(node, msgspec.structs.replace(reply, request=packet.request))
    rig.run(0.5)
    assert not call.finished and len(rig.asked()) == 2 and rig.asked()[1][0] != node


def test_what_cannot_be_agreed_is_told_with_its_reason() -> None:
    rig = Asked()
    call = rig.amend()
    (node, packet), = rig.asked()
    rig.answer(node, Refused(packet.request, Code.NOT_ALLOWED, "it is up: stop it first"))
    assert isinstance(call.error, NotAllowed) and "stop it first" in str(call.error)


def test_a_word_that_nobody_answers_in_time_may_yet_be_agreed() -> None:
    rig = Asked()
    call = rig.amend(timeout=3.0)
    rig.until_done(call)
    assert isinstance(call.error, NoAnswer) and not call.error.definite and "majority" in str(call.error)


def test_a_word_that_left_nowhere_was_certainly_not_agreed() -> None:
    rig = Asked()
    rig.unreachable = set(NODES)
    call = AmendCall(CHANGE, rig.now + 1.0)
    rig.core.amend(call, rig.now)
    rig.until_done(call)
    assert isinstance(call.error, ClusterUnreachable) and call.error.definite


def test_only_members_that_are_up_are_asked() -> None:
    rig = Rig()
    rig.cluster.state = without(rig.cluster.state, NODES[1])
    rig.ready()
    rig.dead = set(NODES)
    call = AmendCall(CHANGE, rig.now + 8.0)
    rig.core.amend(call, rig.now)
    rig.until_done(call)
    nodes = {node for _, node, packets in rig.sent for packet in packets if isinstance(packet, Amend)}
    assert nodes == {NODES[0], NODES[2]}


def test_copies_are_asked_of_all_that_are_up_and_silence_of_some_is_no_reason_to_wait_long() -> None:
    rig = Asked()
    call = CopiesCall(3, rig.now + 10.0)
    rig.core.survey(call, rig.now)
    rig.run(0.0)
    asked = {node: packet for _, node, packets in rig.sent for packet in packets if isinstance(packet, GetCopy)}
    assert set(asked) == set(NODES) and {packet.bucket for packet in asked.values()} == {3}
    for node in NODES[:2]:
        rig.answer(node, CopyReply(asked[node].request, 1, 3, 1, 4, 5, 1, 2))
    rig.run(2.0)
    _, replies = call.outcome()
    assert set(replies) == set(NODES[:2])
