"""One entry of a log: whatever brings it about, it is small enough for one frame, and what waits for it is counted."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from tests.core import test_joins as joins
from tests.core.counter import QUEUE, A, Counter
from tests.core.fakes import Node
from tests.core.test_outbox import SOURCE, TARGET, Pair
from tests.core.test_topics import node_with, publish
from zmqueue.core.answers import Code, Confirmed, Found, Refused
from zmqueue.core.limits import DEFAULT, Limits
from zmqueue.core.operations import NO_OPTIONS, Options, Parcel, State, Submission
from zmqueue.core.policies import Policy
from zmqueue.core.requests import Find, Lease, Requeue, Submit
from zmqueue.core.tables import Table

BODY = b"x" * 300_000


def refusal(reply: object) -> Code:
    assert isinstance(reply, Refused), reply
    return Code(reply.code)


def sent(node: Pair, packet: Any) -> list[object]:
    """What is answered when all that can be committed is."""
    node.send(packet)
    node.settle_down()
    return list(node.replies())


# --- how large an entry may be ----------------------------------------------------------------------------------------


def test_copies_for_many_queues_are_refused_where_they_are_too_much_for_one_entry() -> None:
    node = node_with(**{f"q{number}": ("#",) for number in range(70)})
    packet = publish(node)
    assert refusal(node.call(replace(packet, message=replace(packet.message, payload=BODY)))) is Code.BAD_REQUEST
    assert node.replica.log == []
    assert isinstance(node.call(publish(node)), Confirmed), "a small one has room"


def test_the_parts_of_a_join_count_as_bytes_of_its_submit() -> None:
    node = Pair()
    parts = tuple(Parcel("parts", node.message(number, SOURCE, BODY)) for number in range(1, 61))
    assert 60 * len(BODY) > DEFAULT.submit_bytes_max
    assert refusal(node.call(joins.submit(node, parts))) is Code.BAD_REQUEST


def test_headers_of_what_an_ack_carries_count_as_bytes() -> None:
    node = Pair()
    headers = tuple((f"h{number:03}", "v" * 400) for number in range(38))
    parcels = tuple(Parcel("next", node.message(number, TARGET, b"", headers=headers)) for number in range(1, 1_101))
    reply = node.call(node.ack(node.take(), *parcels))
    assert refusal(reply) is Code.BAD_REQUEST, reply


def test_a_publish_adds_no_more_names_of_queues_than_a_bucket_may_know() -> None:
    node = Node(generation=3, limits=Limits(queues_max=2))
    for queue in ("a", "b", "c"):
        node.front.office.policies[queue] = Policy(topics=("#",))
    assert refusal(node.call(publish(node))) is Code.QUEUE_FULL
    assert not node.replica.machine.counts


# --- what waits, and what is on its way -------------------------------------------------------------------------------


def test_what_waits_for_a_key_counts_as_bytes_that_wait() -> None:
    node = Counter(limits=Limits(pending_bytes_max=1_000_000))
    for number in range(1, 11):
        message = Submission(node.id_of(number), BODY)
        node.send(Submit(node.request(), 0, QUEUE, (message,), ((0, Options(unique="k")),)))
    assert 900_000 < node.front.office.pending_bytes <= 1_000_000
    assert [refusal(reply) for reply in node.replies()] == [Code.BUSY] * 7
    node.settle_down()
    assert node.front.office.pending_bytes == 0


def test_what_is_published_and_not_applied_yet_counts_for_the_limit_of_its_queue() -> None:
    node = Node(generation=3)
    node.front.office.policies["mail"] = Policy(topics=("#",), messages_max=3)
    for number in range(1, 11):
        node.send(publish(node, number, request=number))
    node.settle_down()
    assert node.replica.machine.count("mail", State.READY) == 3
    assert node.front.desks[0].ledger.arriving("mail") == 0


def test_of_an_outbox_of_large_bodies_not_much_more_is_read_than_is_sent(monkeypatch: pytest.MonkeyPatch) -> None:
    node, read = Pair(), 0
    node.send(node.ack(node.take(), *(Parcel("next", node.message(number, TARGET, BODY)) for number in range(1, 41))))
    scan = node.tables.scan

    def counted(table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        nonlocal read
        found = scan(table, start, stop, limit)
        read += sum(len(value) for _, value in found) if table is Table.OUTBOX else 0
        return found
    monkeypatch.setattr(node.tables, "scan", counted)
    node.deliver()
    assert len(node.stored()) == 40
    assert read < 6 * 40 * len(BODY)


def test_a_few_searches_wait_at_a_time() -> None:
    node = Counter(limits=Limits(searches_max=2))

    def find() -> Find:
        return Find(node.request(), 0, QUEUE, (), 0, 0, (), b"", 10, False)
    for _ in range(3):
        node.send(find())
    assert [refusal(reply) for reply in node.replies()] == [Code.BUSY]
    node.settle_down()
    assert [type(reply) for reply in node.replies()] == [Found, Found]
    assert isinstance(node.call(find()), Found)


def test_rates_of_queues_that_nobody_asks_for_are_forgotten() -> None:
    node = Counter()
    node.call(Submit(node.request(), 0, "once", (Submission(node.id_of(1), b""),)))
    assert len(node.front.office.rates) == 1
    node.pass_time(120.0, step=1.0)
    assert len(node.front.office.rates) == 0


# --- what is said too early, and what is passed over ------------------------------------------------------------------


def test_that_a_letter_needs_no_requeue_is_said_after_a_barrier_only() -> None:
    node = Counter()
    node.put(1)
    node.lease()
    node.send(Requeue(node.request(), 0, (node.id_of(1),), (0,)))
    assert node.replies() == [], "a deposed primary would see it leased, too (R10)"
    node.settle_down()
    assert [type(reply) for reply in node.replies()] == [Confirmed]


def test_an_ack_that_carries_messages_is_answered_with_enough_replicas_only() -> None:
    node = Pair()
    plain, carrying = node.take(), node.take()
    node.replicas[SOURCE].enough = False
    assert isinstance(node.call(node.ack(plain)), Confirmed), "settlements go on (R11)"
    assert sent(node, node.ack(carrying, *node.parcels(1))) == [], "it is withheld"
    node.replicas[SOURCE].enough = True
    node.replicas[SOURCE].listener.progressed(node.now)
    assert [type(reply) for reply in node.replies()] == [Confirmed]


def test_a_part_of_a_join_has_no_unique_key() -> None:
    node = Pair()
    first, second = node.parcels(1, 2, bucket=SOURCE, queue="parts")
    reply: Any = node.call(joins.submit(node, (replace(first, options=Options(unique="k")), second)))
    assert [code for _, code, _ in reply.refused] == [Code.BAD_REQUEST] and "wait for ever" in reply.refused[0][2]


def test_what_was_too_late_by_a_clock_that_is_set_back_is_handed_out_all_the_same() -> None:
    node = Counter()
    node.put(1, options=Options(expires=node.wall + 5_000))
    node.put(2, options=NO_OPTIONS)
    node.now += 10
    node.front.office.wall = node.wall
    request = node.request()
    node.send(Lease(request, QUEUE, 1, A, request, 0))      # 1 is too late, 2 is taken; the desk has ended nothing yet
    node.settle_down()
    node.replies()
    node.now -= 9
    node.front.tick(node.now, node.wall)
    node.settle_down()
    assert node.record(1).state is State.READY
    assert node.lease() == [1]
