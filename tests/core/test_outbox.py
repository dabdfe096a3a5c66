"""The outbox between two buckets: what a settle carries is queued once if it holds, and never if it does not (Q4)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, cast

import pytest
from msgspec.structs import replace

from tests.core.fakes import WALL, Node
from zmqueue.core import outbox, policies
from zmqueue.core.answers import Code, Confirmed, Grant, Granted, NotPrimary, Refused
from zmqueue.core.ids import bucket_of, make_id, places_of
from zmqueue.core.limits import DEFAULT, Limits
from zmqueue.core.operations import Forwarded, How, Kind, Options, Parcel, Settle, State, Submission
from zmqueue.core.packets import Forward, Mail, Taken, decode, encode
from zmqueue.core.policies import Policy
from zmqueue.core.replication import Role
from zmqueue.core.requests import Lease, Settling, Submit
from zmqueue.core.sums import sum_of
from zmqueue.core.tables import Table

ME = "0" * 16
SOURCE, TARGET = 0, 1


class Pair(Node):
    """Two buckets of one node. What one sends to the other stands in `mail` until the test lets it arrive."""

    def __init__(self, limits: Limits = DEFAULT, **settings: int) -> None:
        super().__init__(buckets=2, limits=limits, generation=3, **settings)
        self.mail: list[Mail] = []
        self.number = 0
        self.leases = 0

    def message(self, number: int, bucket: int = TARGET, payload: bytes = b"next", **fields: Any) -> Submission:
        place = places_of(bucket, 2)[0]
        return Submission(make_id(WALL, place, number.to_bytes(15, "big")), payload, **fields)

    def parcels(self, *numbers: int, bucket: int = TARGET, queue: str = "next") -> tuple[Parcel, ...]:
        return tuple(Parcel(queue, self.message(number, bucket)) for number in numbers)

    def settle_down(self) -> None:
        """All commits; what is sent is caught."""
        while True:
            self.catch()
            if not any(replica.commit < replica.end or replica._passed < replica._rid for replica in self.replicas):
                return
            for replica in self.replicas:
                replica.settle_down(self.now)

    def catch(self) -> None:
        self.mail += [cast(Mail, decode(encode(mail))) for mail in self.front.post.received()]

    def arrive(self, *mails: Mail) -> None:
        """Let these arrive; by default, all that was caught."""
        chosen: Sequence[Mail] = mails or self.mail
        if not mails:
            self.mail = []
        for mail in chosen:
            self.front.forwarded(ME, mail, self.now)

    def deliver(self) -> None:
        """Everything arrives until nothing moves."""
        self.settle_down()
        while self.mail:
            self.arrive()
            self.settle_down()

    def forwards(self) -> list[Forward]:
        return [mail for mail in self.mail if isinstance(mail, Forward)]

    def answers(self) -> list[Taken]:
        return [mail for mail in self.mail if isinstance(mail, Taken)]

    # --- a program that works ---

    def take(self, bucket: int = SOURCE) -> Grant:
        """Submit one, and lease it."""
        self.number += 1
        self.call(Submit(self.request(), bucket, "jobs", (self.message(1_000 + self.number, bucket),)))
        return self.lease("jobs")[0]

    def lease(self, queue: str, most: int = 100) -> tuple[Grant, ...]:
        self.leases += 1
        granted = self.call(Lease(self.request(), queue, most, b"s" * 16, self.leases, 0))
        assert isinstance(granted, Granted)
        return granted.grants

    def ack(self, grant: Grant, *then: Parcel, how: How = How.ACK) -> Settling:
        bucket = bucket_of(grant.submission.id, 2)
        return Settling(self.request(), bucket, (
            Settle(grant.submission.id, grant.fencing, how, Kind.BYTES, b"done", then=then),))

    def stored(self, queue: str = "next") -> list[bytes]:
        """What stands in a queue of the target, in its order."""
        machine = self.replicas[TARGET].machine
        return [message_id for _, message_id, _ in machine.ready(queue, None, 100)]

    def ids(self, *numbers: int) -> list[bytes]:
        return [self.message(number).id for number in numbers]

    def rows(self, table: Table) -> int:
        return len(self.tables.rows[table])

    def last_taken(self, generation: int = 1) -> int:
        machine = self.replicas[TARGET].machine
        return outbox.last_taken(machine.tables, machine.copy, SOURCE, generation)


# --- the way of one ---------------------------------------------------------------------------------------------------


def test_what_an_ack_carries_is_queued_in_its_own_bucket_and_leaves_the_outbox() -> None:
    node = Pair()
    assert node.call(node.ack(node.take(), *node.parcels(1, 2))) == Confirmed(3)
    assert node.rows(Table.OUTBOX) == 2
    node.deliver()
    assert node.stored() == node.ids(1, 2)
    assert node.rows(Table.OUTBOX) == 0 and node.last_taken() == 2


def test_a_bucket_sends_to_itself_in_the_same_way() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, bucket=SOURCE)))
    node.deliver()
    assert [grant.submission.id for grant in node.lease("next")] == [node.message(1, SOURCE).id]
    assert node.rows(Table.OUTBOX) == 0


def test_nothing_leaves_before_the_settle_is_committed() -> None:
    node = Pair()
    grant = node.take()
    node.send(node.ack(grant, *node.parcels(1)))
    node.front.tick(node.now, node.wall)
    node.catch()
    assert node.mail == []
    node.settle_down()
    assert [forward.first for forward in node.forwards()] == [1]


def test_a_settle_that_does_not_hold_queues_nothing() -> None:
    node = Pair()
    grant = node.take()
    stale = node.ack(Grant(grant.submission, grant.fencing + 1, 1), *node.parcels(1))
    reply = node.call(stale)
    assert isinstance(reply, Confirmed) and reply.refused[0][1] == Code.LEASE_LOST
    node.deliver()
    assert node.rows(Table.OUTBOX) == 0 and node.stored() == []


def test_a_repeated_ack_queues_nothing_again() -> None:
    node = Pair()
    grant = node.take()
    node.call(node.ack(grant, *node.parcels(1)))
    node.deliver()
    node.call(node.ack(grant, *node.parcels(1)))
    node.deliver()
    assert node.stored() == node.ids(1) and node.last_taken() == 1


def test_the_answer_waits_for_the_commit_of_the_target() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.arrive()
    node.catch()
    assert node.answers() == [] and node.replicas[TARGET].end == 1
    node.settle_down()
    assert [answer.last for answer in node.answers()] == [1]


def test_the_answer_waits_for_enough_replicas_of_the_target() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.arrive()
    target = node.replicas[TARGET]
    target.enough = False
    node.settle_down()
    assert target.commit == 1 and node.answers() == []
    target.enough = True
    target.listener.progressed(node.now)
    node.catch()
    assert [answer.last for answer in node.answers()] == [1]


def test_number_and_messages_are_one_entry() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.deliver()
    [entry] = [operation for operation in node.replicas[TARGET].log if isinstance(operation, Forwarded)]
    assert (entry.first, entry.last) == (1, 2)
    assert [message.id for batch in entry.batches for message in batch.messages] == node.ids(1, 2)


# --- loss and repetition ----------------------------------------------------------------------------------------------


def test_a_forward_that_comes_twice_is_taken_once() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    [forward] = node.forwards()
    node.arrive(forward, forward)
    node.deliver()
    node.arrive(forward)
    node.deliver()
    assert node.stored() == node.ids(1, 2) and node.last_taken() == 2


def test_a_forward_that_comes_after_its_messages_are_forgotten_is_not_taken_again() -> None:
    node = Pair(dedup_window_ms=1_000, result_ttl_ms=1_000)
    node.call(node.ack(node.take(), *node.parcels(1)))
    [forward] = node.forwards()
    node.deliver()
    node.call(node.ack(node.lease("next")[0]))
    node.pass_time(10.0)
    assert node.rows(Table.MESSAGES) == 0
    node.arrive(forward)
    node.deliver()
    assert node.stored() == [] and node.last_taken() == 1


def test_what_is_not_answered_is_sent_again_later_and_later() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    sent = []
    for _ in range(400):
        node.pass_time(0.05)
        sent += [node.now for _ in node.forwards()]
        node.mail.clear()
    gaps = [later - earlier for earlier, later in pairwise(sent)]
    assert 4 <= len(sent) <= 8 and gaps == sorted(gaps) and gaps[-1] > 2.0


def test_a_lost_answer_is_given_again() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.arrive()
    node.settle_down()
    node.mail.clear()
    node.pass_time(1.0)
    node.deliver()
    assert node.stored() == node.ids(1) and node.rows(Table.OUTBOX) == 0


def test_a_late_answer_takes_nothing_back() -> None:
    node = Pair(limits=Limits(forwarded_batch_max=1))
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.arrive()
    node.settle_down()
    [first] = node.answers()
    node.deliver()
    node.arrive(first)
    node.deliver()
    assert node.stored() == node.ids(1, 2) and node.rows(Table.OUTBOX) == 0


def test_batches_follow_each_other_in_order_one_at_a_time() -> None:
    node = Pair(limits=Limits(forwarded_batch_max=2))
    node.call(node.ack(node.take(), *node.parcels(1, 2, 3, 4, 5)))
    assert [(forward.first, len(forward.parcels)) for forward in node.forwards()] == [(1, 2)]
    node.deliver()
    assert node.stored() == node.ids(1, 2, 3, 4, 5)


def test_a_gap_is_not_jumped() -> None:
    node = Pair(limits=Limits(forwarded_batch_max=1))
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    [forward] = node.forwards()
    node.mail.clear()
    node.arrive(replace(forward, first=2, parcels=node.parcels(2)))
    node.settle_down()
    assert node.stored() == [] and [answer.last for answer in node.answers()] == [0]


# --- failovers --------------------------------------------------------------------------------------------------------


def test_a_new_primary_of_the_source_goes_on_with_what_lies_there() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.mail.clear()
    node.replicas[SOURCE].enter(Role.PRIMARY, node.now)
    node.pass_time(0.05)
    node.deliver()
    assert node.stored() == node.ids(1, 2) and node.rows(Table.OUTBOX) == 0


def test_a_settle_in_the_inherited_tail_is_forwarded_when_it_is_committed() -> None:
    node = Pair()
    node.send(node.ack(node.take(), *node.parcels(1)))
    node.replicas[SOURCE].enter(Role.PRIMARY, node.now)
    assert node.replies() == [NotPrimary(3, 1, True)]
    node.deliver()
    assert node.stored() == node.ids(1)


def test_a_settle_whose_entry_is_cut_off_queues_nothing() -> None:
    node = Pair()
    node.send(node.ack(node.take(), *node.parcels(1)))
    source = node.replicas[SOURCE]
    del source.log[source.commit:]
    source.enter(Role.PRIMARY, node.now)
    node.pass_time(10.0)
    node.deliver()
    assert node.stored() == []


def test_a_new_primary_of_the_target_finds_the_number_in_the_tail_that_it_inherits() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    [forward] = node.forwards()
    node.arrive(forward)
    target = node.replicas[TARGET]
    target.enter(Role.PRIMARY, node.now)
    node.arrive(forward)
    assert target.end == 1
    node.deliver()
    assert node.stored() == node.ids(1) and node.rows(Table.OUTBOX) == 0


def test_a_new_primary_of_the_target_takes_what_the_old_one_did_not_commit() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.arrive()
    target = node.replicas[TARGET]
    target.log.clear()
    target.enter(Role.PRIMARY, node.now)
    node.pass_time(1.0)
    node.deliver()
    assert node.stored() == node.ids(1) and node.rows(Table.OUTBOX) == 0


def test_a_delivered_in_the_inherited_tail_is_not_written_again() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.arrive()
    node.settle_down()
    node.arrive()
    source = node.replicas[SOURCE]
    end = source.end
    assert source.commit == end - 1
    source.enter(Role.PRIMARY, node.now)
    node.front.tick(node.now, node.wall)
    node.deliver()
    assert source.end == end and node.rows(Table.OUTBOX) == 0


def test_only_whom_the_state_names_is_listened_to() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    [forward] = node.forwards()
    node.front.forwarded("f" * 16, forward, node.now)
    node.settle_down()
    assert node.replicas[TARGET].end == 0
    node.front.forwarded("f" * 16, Taken(SOURCE, 1, TARGET, forward.number, 1), node.now)
    node.settle_down()
    assert node.rows(Table.OUTBOX) == 1


# --- adoption (C12) ---------------------------------------------------------------------------------------------------


def adopt(node: Pair, bucket: int) -> None:
    """The bucket goes on from another copy, in its next generation."""
    generations = list(node.state.generations)
    generations[bucket] += 1
    node.state = replace(node.state, epoch=node.state.epoch + 1, generations=tuple(generations))
    node.front.agreed(node.state)
    node.replicas[bucket].generation = generations[bucket]
    node.replicas[bucket].enter(Role.PRIMARY, node.now)


def test_an_adopted_source_counts_anew_so_no_new_message_is_taken_for_an_old_one() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.deliver()
    for key in [key for key in node.tables.rows[Table.LINKS] if b"s" in key[4:5]]:
        node.tables.delete(Table.LINKS, key)           # the copy from before
    adopt(node, SOURCE)
    node.call(node.ack(node.take(), *node.parcels(3)))
    node.deliver()
    assert node.stored() == node.ids(1, 2, 3)
    assert (node.last_taken(1), node.last_taken(2)) == (2, 1)


def test_an_adopted_target_goes_on_behind_what_its_lost_branch_had_taken() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.deliver()
    for key in list(node.tables.rows[Table.LINKS]):
        if key[4:5] == b"t":
            node.tables.delete(Table.LINKS, key)
    adopt(node, TARGET)
    node.call(node.ack(node.take(), *node.parcels(3)))
    node.deliver()
    assert node.stored() == node.ids(1, 2, 3) and node.last_taken() == 3


def test_a_target_that_was_not_adopted_takes_nothing_after_a_gap_and_says_so() -> None:
    node = Pair()
    node.arrive(Forward(SOURCE, 1, TARGET, 1, 3, 3, node.parcels(3)))
    node.settle_down()
    assert node.stored() == [] and node.answers() == []
    [note] = node.effects.notes
    assert note.kind == "a bucket was sent messages after a gap, and takes none of them"


# --- what cannot be taken now -----------------------------------------------------------------------------------------


def test_a_refusal_passes_and_the_order_stays() -> None:
    node = Pair()
    target = node.replicas[TARGET]
    target.enough = False
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.arrive()
    node.settle_down()
    target.enough = True
    target.listener.progressed(node.now)
    node.catch()
    [answer] = node.answers()
    assert (answer.last, answer.code) == (0, Code.NOT_ENOUGH_REPLICAS)
    node.deliver()
    assert node.front.statistics()["outbox"] == 1 and node.front.statistics()["outbox_refused"] == 1
    assert [note.warning for note in node.effects.notes] == [True]
    node.call(node.ack(node.take(), *node.parcels(2)))
    node.deliver()
    assert node.stored() == []
    node.pass_time(1.0)
    node.deliver()
    assert node.stored() == node.ids(1, 2) and node.front.statistics()["outbox"] == 0


def test_what_comes_before_a_full_queue_is_taken() -> None:
    node = Pair(limits=Limits(queues_max=1))
    node.call(node.ack(node.take(), *node.parcels(1), *node.parcels(2, queue="other"), *node.parcels(3)))
    node.deliver()
    assert node.front.post.refused == 1 and node.last_taken() == 1
    assert node.stored() == node.ids(1) and node.stored("other") == []


def test_a_full_queue_holds_nothing_back_since_a_join_may_have_taken_the_last_place_for_which_its_parts_wait() -> None:
    node = Pair()
    node.state = replace(node.state, queues=(("next", 2, policies.encode(Policy(messages_max=4))),))
    node.front.agreed(node.state)
    node.call(node.ack(node.take(), *node.parcels(1, 2, 3, 4, 5), *node.parcels(6, queue="other")))
    node.deliver()
    assert node.stored() == node.ids(1, 2, 3, 4, 5) and node.stored("other") == node.ids(6)
    refused = node.call(Submit(node.request(), TARGET, "next", (node.message(7),)))
    assert isinstance(refused, Confirmed) and [code for _, code, _ in refused.refused] == [Code.QUEUE_FULL]


def test_several_queues_are_filled_by_one_entry_in_the_order_of_their_numbers() -> None:
    node = Pair()
    for queue in ("next", "other"):
        node.call(Submit(node.request(), TARGET, queue, (node.message(len(queue)),)))
    node.call(node.ack(node.take(), *node.parcels(1), *node.parcels(2, queue="other"), *node.parcels(3)))
    node.deliver()
    assert node.stored() == node.ids(4, 1, 3) and node.stored("other") == node.ids(5, 2)
    assert sum(isinstance(operation, Forwarded) for operation in node.replicas[TARGET].log) == 1


def test_what_flies_from_one_node_is_bounded() -> None:
    node = Pair(limits=Limits(flying_bytes_max=1))
    node.call(node.ack(node.take(), *node.parcels(1), *node.parcels(2, bucket=SOURCE)))
    assert len(node.forwards()) == 1
    node.deliver()
    node.pass_time(0.05)
    node.deliver()
    assert node.rows(Table.OUTBOX) == 0 and node.front.post.flying_bytes == 0


# --- what the target does with them -----------------------------------------------------------------------------------


def test_what_is_known_at_the_target_is_not_stored_again_and_stops_nothing() -> None:
    node = Pair()
    node.call(Submit(node.request(), TARGET, "next", (node.message(1),)))
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.deliver()
    assert node.stored() == node.ids(1, 2) and node.last_taken() == 2


def test_of_one_unique_key_the_first_is_queued() -> None:
    node = Pair()
    parcels = tuple(replace(parcel, options=Options(unique="k")) for parcel in node.parcels(1, 2))
    node.call(node.ack(node.take(), *parcels))
    node.deliver()
    assert node.stored() == node.ids(1) and node.last_taken() == 2


def test_a_message_that_names_a_locked_one_waits_for_its_commit() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1)))
    node.send(Submit(node.request(), TARGET, "next", (node.message(1),)))
    node.arrive()
    assert node.replicas[TARGET].end == 1
    node.deliver()
    assert node.stored() == node.ids(1) and node.last_taken() == 1


def test_options_and_delays_go_along() -> None:
    node = Pair()
    node.call(node.ack(node.take(), Parcel("next", node.message(1, due=WALL + 5_000), Options(group="g"))))
    node.deliver()
    machine = node.replicas[TARGET].machine
    record = machine.find(node.message(1).id)
    assert record is not None and record.state is State.DELAYED
    assert machine.body(node.message(1).id)[1] == Options(group="g")


# --- what is refused at the door --------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", [How.NACK, How.REJECT])
def test_only_an_ack_carries_anything(how: How) -> None:
    node = Pair()
    reply = node.call(node.ack(node.take(), *node.parcels(1), how=how))
    assert isinstance(reply, Confirmed) and reply.refused[0][1] == Code.BAD_REQUEST
    node.deliver()
    assert node.stored() == []


@pytest.mark.parametrize(("parcel", "code"), [
    (lambda node: Parcel("no queue!", node.message(1)), Code.BAD_REQUEST),
    (lambda node: Parcel("next", node.message(1, payload=b"x" * 101)), Code.BODY_TOO_LARGE),
    (lambda node: Parcel("next", replace(node.message(1), id=b"short")), Code.BAD_REQUEST),
    (lambda node: Parcel("next", node.message(1), Options(scope=9)), Code.BAD_REQUEST),
])
def test_what_no_bucket_would_take_is_refused_with_its_settle_and_the_others_hold(parcel: object, code: Code) -> None:
    node = Pair(body_bytes_max=100)
    bad, good = node.ack(node.take(), parcel(node)), node.ack(node.take(), *node.parcels(2))  # type: ignore[operator]
    reply = node.call(Settling(9, SOURCE, (*bad.settles, *good.settles)))
    assert isinstance(reply, Confirmed) and [(index, found) for index, found, _ in reply.refused] == [(0, code)]
    node.deliver()
    assert node.stored() == node.ids(2)


def test_one_message_is_carried_once() -> None:
    node = Pair()
    reply = node.call(node.ack(node.take(), *node.parcels(1, 1)))
    assert isinstance(reply, Confirmed) and reply.refused[0][1] == Code.BAD_REQUEST


def test_one_request_carries_no_more_than_its_limit() -> None:
    node = Pair(limits=Limits(parcels_max=2))
    reply = node.call(node.ack(node.take(), *node.parcels(1, 2, 3)))
    assert isinstance(reply, Refused) and reply.code == Code.BAD_REQUEST


def test_in_a_cluster_with_older_members_an_ack_carries_nothing() -> None:
    node = Pair()
    node.state = replace(node.state, settings=replace(node.state.settings, generation=2))
    node.front.agreed(node.state)
    reply = node.call(node.ack(node.take(), *node.parcels(1)))
    assert isinstance(reply, Confirmed) and reply.refused[0][1] == Code.NOT_ALLOWED


# --- the sum of the rows ----------------------------------------------------------------------------------------------


def test_the_sum_of_the_rows_is_kept_up_all_the_way() -> None:
    node = Pair()
    node.call(node.ack(node.take(), *node.parcels(1, 2)))
    node.call(node.ack(node.take(), *node.parcels(3)))
    for replica in node.replicas:
        assert replica.machine.sum == sum_of(node.tables, replica.machine.copy)
    node.deliver()
    for replica in node.replicas:
        assert replica.machine.sum == sum_of(node.tables, replica.machine.copy)
