"""How the primary of a bucket publishes: one copy into each queue that is bound to the topic, all in one entry.

The ids of the copies follow from the id of what is published and from their queues, and begin alike: so a repeat finds
that there are copies, whatever is bound by then, and makes none. Who is bound is what the primary has installed.
"""

from __future__ import annotations

from functools import partial

from msgspec.structs import replace

from zmqueue.core.answers import Code, Confirmed
from zmqueue.core.checks import age_fault, message_bytes, submission_fault
from zmqueue.core.choosing import GENERATION, completed, options_fault
from zmqueue.core.ids import places_of
from zmqueue.core.intake import Intake
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Refusal
from zmqueue.core.operations import Batch, Published, messages_of, published_lock
from zmqueue.core.requests import Publish
from zmqueue.core.topics import COPY_PREFIX, bound, copy_id, topic_problem
from zmqueue.core.waiting import Answering


class Publishing:
    """What is published in one bucket."""

    __slots__ = ("_intake", "_ledger", "_office")

    def __init__(self, intake: Intake, ledger: Ledger) -> None:
        self._intake = intake
        self._ledger = ledger
        self._office = ledger.office

    def publish(self, client: bytes, packet: Publish, now: float) -> None:
        """Store the copies, and tell their ids when they are committed. Raises Refusal, before anything is written:
        then no queue got a copy."""
        ledger, office, message = self._ledger, self._office, packet.message
        self._check(packet)
        if seq := ledger.locked_until((published_lock(message.id),)):
            ledger.again(client, packet.request, seq, partial(self.publish, client, packet), now,
                         message_bytes(message, packet.options))
            return
        if copies := ledger.machine.beginning_with(message.id[:COPY_PREFIX]):
            self._confirm(client, packet, copies, 0, now)
            return
        if fault := age_fault(message.id, office.wall, office.settings):
            raise Refusal(Code(fault[0]), fault[1])
        queues = bound(office.policies, packet.topic)
        if not queues:
            self._confirm(client, packet, [], 0, now)
            return
        copies_bytes = message_bytes(message, packet.options) * len(queues)
        if copies_bytes > office.limits.submit_bytes_max:
            raise Refusal(Code.BAD_REQUEST, f"a copy for each of {len(queues):,} queues that are bound has "
                                            f"{copies_bytes:,} bytes together; the limit for one request is "
                                            f"{office.limits.submit_bytes_max:,} (limits.submit_bytes_max): publish "
                                            "where what is large can be had")
        office.check_room(copies_bytes)
        self._intake.check_acceptable(queues, copies_bytes, len(queues))
        batches, due = [], message.due if message.due > office.wall else 0
        for queue in queues:
            self._intake.check_limits(queue, now)
            copy = replace(message, id=copy_id(message.id, queue), due=due)
            options = completed(copy, packet.options, office.policy(queue), office.wall)
            batches.append(Batch(queue, (copy,), () if options is None else ((0, options),)))
        office.will_write(copies_bytes, len(queues))
        operation = Published(ledger.replica.at(now), message.id, tuple(batches))
        seq = ledger.append(operation, messages_of(operation), now)
        self._confirm(client, packet, [batch.messages[0].id for batch in batches], seq, now, copies_bytes)

    def _check(self, packet: Publish) -> None:
        office, message, bucket = self._office, packet.message, self._ledger.bucket
        if office.settings.generation < GENERATION:
            raise Refusal(Code.NOT_ALLOWED, "topics need a cluster whose members all run this version: upgrade the "
                                            "others (zmqueue members shows them)")
        if problem := topic_problem(packet.topic):
            raise Refusal(Code.BAD_REQUEST, problem)
        latest = office.wall + office.limits.delay_ms_max
        fault = submission_fault(message, bucket, *places_of(bucket, office.settings.buckets), latest,
                                 office.settings.body_bytes_max, office.limits)
        if fault is not None:
            raise Refusal(Code(fault[0]), fault[1])
        options = packet.options
        if options is None:
            return
        if options.group or options.unique or options.awaits is not None:
            raise Refusal(Code.BAD_REQUEST, "what is published has no group and no unique key, and is no join: its "
                                            "copies lie together, wherever that is")
        if text := options_fault(message, options, office):
            raise Refusal(Code.BAD_REQUEST, text)

    def _confirm(self, client: bytes, packet: Publish, copies: list[bytes], seq: int, now: float,
                 size: int = 0) -> None:
        """Answer with the ids of the copies. That there is none is said after a read barrier only (R10): else a
        deposed primary would say so that does not know who is bound."""
        ledger = self._ledger
        known = tuple((0, message_id) for message_id in copies)
        answer = Answering(self._office, client, Confirmed(packet.request, (), known), size)
        ledger.waiting.add(answer, now, seq=seq, rid=None if copies else ledger.replica.barrier(), enough=True)
