"""Topics: one copy into each bound queue, all or none, whatever is repeated; and what patterns stand for."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from tests.core.fakes import WALL, Node
from zmqueue.core import policies
from zmqueue.core.answers import Code, Confirmed, Granted, Refused
from zmqueue.core.limits import Limits
from zmqueue.core.operations import Options, Published, Submission
from zmqueue.core.policies import Policy
from zmqueue.core.replication import Role
from zmqueue.core.requests import Lease, Publish
from zmqueue.core.sums import sum_of
from zmqueue.core.topics import COPY_PREFIX, copy_id, matches, pattern_problem, topic_problem


@pytest.mark.parametrize(("pattern", "topic", "fits"), [
    ("orders", "orders", True), ("orders", "orders.eu", False), ("orders.*", "orders.eu", True),
    ("orders.*", "orders", False), ("orders.*", "orders.eu.paid", False), ("orders.#", "orders", True),
    ("orders.#", "orders.eu.paid", True), ("#", "anything.at.all", True), ("*.paid", "orders.paid", True),
    ("#.paid", "paid", True), ("#.paid", "a.b.paid", True), ("#.paid", "a.paid.b", False), ("a.#.b.*", "a.b.c", True),
    ("a.#.b.*", "a.x.b.b.c", True), ("a.#.b", "a", False), ("#.#", "a", True), ("*.#", "a", True), ("*", "a.b", False)])
def test_patterns_stand_for_topics(pattern: str, topic: str, fits: bool) -> None:
    assert matches(pattern, topic) is fits


def test_names_and_patterns_are_words_with_dots() -> None:
    assert topic_problem("orders.eu-1.paid_2") == "" == pattern_problem("orders.*.#")
    for wrong in ("", ".", "a..b", "a.", "a b", "a.*", "ä", "a" * 129, ".".join("a" * 17)):
        assert topic_problem(wrong)
    for wrong in ("a*", "a.##", "", ".".join("*" * 17)):
        assert pattern_problem(wrong)


def node_with(limits: Limits | None = None, **bindings: tuple[str, ...]) -> Node:
    node = Node(generation=3) if limits is None else Node(limits=limits, generation=3)
    bind(node, **bindings)
    return node


def bind(node: Node, **bindings: tuple[str, ...]) -> None:
    node.state = replace(node.state, epoch=node.state.epoch + 1, queues=tuple(
        (queue, 2, policies.encode(Policy(topics=patterns))) for queue, patterns in sorted(bindings.items())))
    node.front.agreed(node.state)


def publish(node: Node, number: int = 1, topic: str = "orders.paid", request: int = 7, **fields: object) -> Publish:
    message = Submission(node.an_id(number << 64, drawn=WALL), b"body", headers=(("trace", "1"),))
    return Publish(request, 0, topic, replace(message, **fields))


def queued(node: Node, queue: str) -> list[bytes]:
    return [message_id for _, message_id, _ in node.replica.machine.ready(queue, None, 100)]


def test_each_bound_queue_gets_one_copy_in_one_entry() -> None:
    node = node_with(mail=("orders.*",), audit=("#",), other=("bills.#",))
    packet = publish(node)
    reply = node.call(packet)
    copies = [copy_id(packet.message.id, queue) for queue in ("audit", "mail")]
    assert reply == Confirmed(7, (), tuple((0, copy) for copy in copies))
    assert node.replica.end == 1 and isinstance(node.replica.log[0], Published)
    assert queued(node, "audit") == copies[:1] and queued(node, "mail") == copies[1:] and queued(node, "other") == []
    granted = node.call(Lease(8, "mail", 1, b"s" * 16, 1, 0))
    assert isinstance(granted, Granted)
    assert granted.grants[0].submission == replace(packet.message, id=copies[1])
    assert node.replica.machine.sum == sum_of(node.tables, node.replica.machine.copy)


def test_a_queue_with_two_patterns_that_fit_gets_one_copy() -> None:
    node = node_with(mail=("orders.*", "#"))
    node.call(publish(node))
    assert len(queued(node, "mail")) == 1


def test_a_repeat_makes_no_copy_even_for_who_was_bound_meanwhile() -> None:
    node = node_with(mail=("#",))
    first = node.call(publish(node))
    bind(node, late=("#",))
    assert node.call(publish(node)) == first
    assert node.replica.end == 1 and queued(node, "late") == []


def test_a_repeat_waits_for_the_commit_of_its_first() -> None:
    node = node_with(mail=("#",))
    node.send(publish(node))
    node.send(publish(node, request=8))
    assert node.replica.end == 1 and node.replies() == []
    node.settle_down()
    assert len(node.replies()) == 2 and len(queued(node, "mail")) == 1


def test_a_new_primary_finds_what_is_published_in_its_tail() -> None:
    node = node_with(mail=("#",))
    node.send(publish(node))
    node.replica.enter(Role.PRIMARY, node.now)
    node.replies()
    node.send(publish(node, request=8))
    assert node.replica.end == 1
    node.settle_down()
    assert len(queued(node, "mail")) == 1


def test_that_nobody_is_bound_is_said_after_a_barrier_and_nothing_is_stored() -> None:
    node = node_with(mail=("bills",))
    node.send(publish(node))
    assert node.replies() == []
    node.settle_down()
    assert node.replies() == [Confirmed(7)] and node.replica.end == 0


def test_late_subscribers_get_nothing_old() -> None:
    node = node_with(mail=("#",))
    node.call(publish(node))
    bind(node, mail=("#",), late=("#",))
    node.call(publish(node, 2))
    assert len(queued(node, "mail")) == 2 and len(queued(node, "late")) == 1


def test_where_one_queue_is_full_no_queue_gets_a_copy() -> None:
    node = node_with(mail=("#",))
    node.state = replace(node.state, queues=(("full", 2, policies.encode(Policy(messages_max=1, topics=("#",)))),
                                             ("mail", 2, policies.encode(Policy(topics=("#",))))))
    node.front.agreed(node.state)
    assert isinstance(node.call(publish(node)), Confirmed)
    reply = node.call(publish(node, 2))
    assert isinstance(reply, Refused) and reply.code == Code.QUEUE_FULL
    assert len(queued(node, "mail")) == 1


@pytest.mark.parametrize("options", [Options(group="g"), Options(unique="u"), Options(scope=9)])
def test_what_cannot_be_published_is_refused(options: Options) -> None:
    node = node_with(mail=("#",))
    reply = node.call(replace(publish(node), options=options))
    assert isinstance(reply, Refused) and reply.code == Code.BAD_REQUEST


def test_an_old_id_is_not_published() -> None:
    node = node_with(mail=("#",))
    old = replace(publish(node), message=Submission(node.an_id(1, drawn=WALL - 10_000_000), b""))
    reply = node.call(old)
    assert isinstance(reply, Refused) and reply.code == Code.ID_TOO_OLD


def test_copies_have_ids_of_their_own_that_begin_alike() -> None:
    node = Node()
    message_id = node.an_id(5)
    first, second = copy_id(message_id, "a"), copy_id(message_id, "b")
    assert len({message_id, first, second}) == 3 and len(first) == len(message_id)
    assert first[:COPY_PREFIX] == second[:COPY_PREFIX] == message_id[:COPY_PREFIX]
