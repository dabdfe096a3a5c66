"""Joins: ready when the last part is done, each part counted once, and queued together with its parts."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from tests.core.fakes import WALL
from tests.core.test_outbox import SOURCE, TARGET, Pair
from zmqueue.core.answers import Code, Confirmed, NotPrimary
from zmqueue.core.operations import Awaits, How, Options, Parcel, State, Submission
from zmqueue.core.packets import Forward
from zmqueue.core.records import Record
from zmqueue.core.replication import Role
from zmqueue.core.requests import Cancel, Submit
from zmqueue.core.sums import sum_of
from zmqueue.core.tables import Table


def submit(node: Pair, parts: tuple[Parcel, ...], join: int = 50, **options: object) -> Submit:
    message = node.message(join, TARGET, b"all")
    return Submit(node.request(), TARGET, "sums", (message,),
                  ((0, Options(awaits=Awaits(parts), **options)),))  # type: ignore[arg-type]


def parts(node: Pair, *numbers: int) -> tuple[Parcel, ...]:
    return node.parcels(*numbers, bucket=SOURCE, queue="parts")


def word(node: Pair, part: bytes, join: int = 50) -> Parcel:
    return Parcel("", Submission(node.message(join).id, b""), part=part)


def finish(node: Pair, *, of: int = 50) -> bytes:
    """Lease a part and ack it, with word to its join."""
    grant = node.lease("parts", most=1)[0]
    node.call(node.ack(grant, word(node, grant.submission.id, of)))
    node.deliver()
    return grant.submission.id


def record(node: Pair, join: int = 50) -> Record:
    found = node.replicas[TARGET].machine.find(node.message(join).id)
    assert found is not None
    return found


def queued(node: Pair, *numbers: int, **options: Any) -> None:
    assert isinstance(node.call(submit(node, parts(node, *numbers), **options)), Confirmed)
    node.deliver()


def test_a_join_is_ready_when_its_last_part_is_done() -> None:
    node = Pair()
    queued(node, 1, 2)
    assert record(node).state is State.DELAYED
    finish(node)
    assert record(node).state is State.DELAYED and node.lease("sums") == ()
    finish(node)
    assert record(node).state is State.READY
    [grant] = node.lease("sums")
    assert grant.submission.payload == b"all" and grant.submission.due == 0


def test_word_that_comes_twice_counts_once() -> None:
    node = Pair()
    queued(node, 1, 2)
    done = finish(node)
    other = node.take()
    node.call(node.ack(other, word(node, done)))       # from another handler, even
    node.deliver()
    assert record(node).state is State.DELAYED
    finish(node)
    assert record(node).state is State.READY


def test_a_ready_join_is_handed_out_while_word_of_a_part_comes_again() -> None:
    node = Pair()
    queued(node, 1)
    done = finish(node)
    node.call(node.ack(node.take(), word(node, done)))
    node.arrive()                                      # the word is in the target's log
    assert len(node.lease("sums")) == 1


def test_word_that_comes_while_the_join_is_cancelled_changes_nothing() -> None:
    node = Pair()
    queued(node, 1)
    grant = node.lease("parts", most=1)[0]
    node.call(node.ack(grant, word(node, grant.submission.id)))
    node.send(Cancel(node.request(), TARGET, (node.message(50).id,)))
    node.arrive()                                      # both are in the log, one after the other
    assert node.replicas[TARGET].end - node.replicas[TARGET].commit == 2
    node.deliver()
    assert record(node).state is State.CANCELLED


def test_the_join_and_its_parts_are_one_entry() -> None:
    node = Pair()
    node.send(submit(node, parts(node, 1, 2)))
    assert node.replicas[TARGET].end == 1
    node.replicas[TARGET].log.clear()
    node.replicas[TARGET].enter(Role.PRIMARY, node.now)
    assert isinstance(node.replies()[0], NotPrimary)
    node.pass_time(1.0)
    node.deliver()
    assert node.lease("parts") == () and node.rows(Table.LINKS) == 0


def test_a_repeated_submit_of_a_join_queues_its_parts_once() -> None:
    node = Pair()
    first = submit(node, parts(node, 1, 2))
    node.call(first)
    node.deliver()
    assert node.call(replace(first, request=99)) == Confirmed(99)
    node.deliver()
    assert len(node.lease("parts")) == 2


def test_time_does_not_make_a_join_ready() -> None:
    node = Pair()
    queued(node, 1)
    node.pass_time(60.0, step=1.0)
    assert record(node).state is State.DELAYED


def test_a_cancelled_join_is_not_made_ready_by_its_parts() -> None:
    node = Pair()
    queued(node, 1)
    node.call(Cancel(node.request(), TARGET, (node.message(50).id,)))
    finish(node)
    assert record(node).state is State.CANCELLED


def test_a_join_that_expires_while_it_waits_has_ended() -> None:
    node = Pair()
    queued(node, 1, expires=WALL + 5_000)
    node.pass_time(10.0)
    finish(node)
    assert record(node).state is State.EXPIRED


def test_what_a_forgotten_join_awaited_is_forgotten_too() -> None:
    node = Pair(dedup_window_ms=1_000, result_ttl_ms=1_000)
    queued(node, 1, 2)
    awaited = [key for key in node.tables.rows[Table.LINKS] if key[4:5] == b"j"]
    assert len(awaited) == 2
    node.call(Cancel(node.request(), TARGET, (node.message(50).id,)))
    node.pass_time(10.0)
    assert not [key for key in node.tables.rows[Table.LINKS] if key[4:5] == b"j"]
    machine = node.replicas[TARGET].machine
    assert machine.sum == sum_of(node.tables, machine.copy)


def test_a_part_that_fails_and_then_succeeds_is_counted() -> None:
    node = Pair()
    queued(node, 1)
    grant = node.lease("parts")[0]
    node.call(node.ack(grant, how=How.NACK))
    finish(node)
    assert record(node).state is State.READY


def test_an_ack_may_queue_a_join() -> None:
    node = Pair()
    join = Parcel("sums", node.message(50, TARGET, b"all"), Options(awaits=Awaits(parts(node, 1))))
    node.call(node.ack(node.take(), join))
    node.deliver()
    assert record(node).state is State.DELAYED
    finish(node)
    assert record(node).state is State.READY


def test_a_join_of_a_group_waits_for_its_turn() -> None:
    node = Pair()
    queued(node, 1, group="g")
    node.call(Submit(node.request(), TARGET, "sums", (node.message(51),), ((0, Options(group="g")),)))
    finish(node)
    assert record(node).state is State.BEHIND


def test_joins_that_cannot_be_are_refused() -> None:
    node = Pair()
    nested = replace(parts(node, 2)[0], options=Options(awaits=Awaits(parts(node, 3))))
    for wrong in (submit(node, ()), submit(node, parts(node, 1, 1)), submit(node, parts(node, 1), unique="k"),
                  submit(node, (nested,))):
        reply = node.call(wrong)
        assert isinstance(reply, Confirmed) and [code for _, code, _ in reply.refused] == [Code.BAD_REQUEST]


def test_word_of_what_is_no_part_changes_nothing() -> None:
    node = Pair()
    queued(node, 1)
    stranger = node.take()
    node.call(node.ack(stranger, word(node, stranger.submission.id), word(node, stranger.submission.id, join=77)))
    node.deliver()
    assert record(node).state is State.DELAYED and node.rows(Table.OUTBOX) == 0
    assert not [mail for mail in node.mail if isinstance(mail, Forward)]
