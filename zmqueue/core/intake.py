"""How the primary of a bucket takes submits: each message once, however often it is sent (Q2, Q3, R11)."""

from __future__ import annotations

from collections.abc import Collection
from functools import partial

from msgspec.structs import replace

from zmqueue.core.answers import Code, Confirmed
from zmqueue.core.checks import Fault, age_fault, check_bytes, check_submit, options_bytes
from zmqueue.core.choosing import Choice, choose, gives_options
from zmqueue.core.ids import drawn_at
from zmqueue.core.joins import numbered
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Refusal
from zmqueue.core.operations import UNIQUE_PREFIX, Options, Submission, Submitted, messages_of, unique_lock
from zmqueue.core.policies import Policy
from zmqueue.core.requests import Submit
from zmqueue.core.waiting import Answering


class Intake:
    """The submits of one bucket."""

    __slots__ = ("_ledger", "_office")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._office = ledger.office

    def submit(self, client: bytes, packet: Submit, now: float) -> None:
        """Write what is new; answer for all when all is committed and the replicas are enough (R11).

        Raises Refusal, before anything is written, where the whole request cannot be taken.
        """
        office, ledger, messages, seq = self._office, self._ledger, packet.messages, 0
        size, faults = check_submit(messages, ledger.bucket, office.wall, office.settings, office.limits)
        choice: Choice = {}
        if packet.options or gives_options(office.policy(packet.queue)):
            choice = choose(packet, office, faults)
            size += sum(map(options_bytes, choice.values()))
            check_bytes(size, office.limits)
        office.check_room(size)
        if faults:
            faulty = {index for index, _, _ in faults}
            messages = tuple(message for index, message in enumerate(messages) if index not in faulty)
        ids = [message.id for message in messages]
        if ids and not self._all_new(ids):
            messages, seq = self._sort_out(packet, messages, faults, size)
        known: list[tuple[int, bytes]] = []
        if choice:
            keyed = self._keyed(packet.queue, messages, choice)
            if locked := ledger.locked_until(tuple(keyed.values())):
                ledger.again(client, packet.request, locked, partial(self.submit, client, packet), now, size)
                return
            messages = self._without_known(packet, messages, keyed, known, now)
        policy, retry = office.policy(packet.queue), 0
        if messages and (policy.messages_max or policy.age_ms_max):
            messages, retry = self._within_limits(packet, policy, messages, known, faults, now)
        if messages:
            self.check_acceptable((packet.queue,), size, len(messages))
            office.will_write(size, len(messages))
            if any(message.due for message in messages):
                messages = self._without_past_dues(messages)
            chosen = tuple((index, self._numbered(choice[message.id])) for index, message in enumerate(messages)
                           if message.id in choice)
            operation = Submitted(ledger.replica.at(now), packet.queue, messages, chosen)
            seq = ledger.append(operation, messages_of(operation), now)
        confirmed = Confirmed(packet.request, tuple(sorted(faults)), tuple(known), retry)
        answer = Answering(office, client, confirmed, size)
        ledger.waiting.add(answer, now, seq=seq, rid=ledger.replica.barrier() if faults or known else None,
                           enough=len(faults) < len(packet.messages))

    def _numbered(self, options: Options) -> Options:
        """A join's parts leave by this bucket's outbox."""
        return numbered(options, self._ledger.replica.generation, self._office.settings.buckets)

    def _within_limits(self, packet: Submit, policy: Policy, messages: tuple[Submission, ...],
                       known: list[tuple[int, bytes]], faults: list[Fault],
                       now: float) -> tuple[tuple[Submission, ...], int]:
        """As many as the queue takes, the first ones first; `faults` grows by the others, and by those that are `known`
        for the sake of one of them. And when to try again."""
        room = self._office.quotas.room(packet.queue, policy, len(messages), now)
        if room.messages < len(messages):
            index = {message.id: place for place, message in enumerate(packet.messages)}
            refused = {message.id for message in messages[room.messages:]}
            places = [index[message_id] for message_id in refused]
            places += [place for place, holder in known if holder in refused]
            known[:] = [(place, holder) for place, holder in known if holder not in refused]
            faults.extend((place, room.code, room.text) for place in places)
        return messages[:room.messages], room.retry_ms

    def _keyed(self, queue: str, messages: tuple[Submission, ...], choice: Choice) -> dict[bytes, bytes]:
        """By id, what stands among the locks for the `unique` keys of messages."""
        return {message.id: unique_lock(queue, options) for message in messages
                if (options := choice.get(message.id)) is not None and options.unique}

    def _without_known(self, packet: Submit, messages: tuple[Submission, ...], keyed: dict[bytes, bytes],
                       known: list[tuple[int, bytes]], now: float) -> tuple[Submission, ...]:
        """Leave out those whose `unique` key another message has. `known` grows by whom."""
        if not keyed:
            return messages
        index = {message.id: place for place, message in enumerate(packet.messages)}
        at, fresh = self._ledger.replica.at(now), []
        first: dict[bytes, bytes] = {}         # by lock: who is the first with it in this batch
        for message in messages:
            lock = keyed.get(message.id)
            holder = None
            if lock is not None:
                holder = first.get(lock) or self._ledger.machine.holder(lock[UNIQUE_PREFIX:], at)
            if holder is None:
                fresh.append(message)
                if lock is not None:
                    first[lock] = message.id
            else:
                known.append((index[message.id], holder))
        return tuple(fresh)

    def _all_new(self, ids: list[bytes]) -> bool:
        """True for the common batch: all ids differ, are drawn in our time and were never seen."""
        unique, wall, window = set(ids), self._office.wall, self._office.settings.dedup_window_ms
        return (len(unique) == len(ids) and self._ledger.locks.keys().isdisjoint(unique)
                and drawn_at(min(ids)) >= wall - window and drawn_at(max(ids)) <= wall + window // 2
                and not self._ledger.machine.known(ids))

    def _sort_out(self, packet: Submit, messages: tuple[Submission, ...], faults: list[Fault],
                  size: int) -> tuple[tuple[Submission, ...], int]:
        """Part a batch: (the new messages, the entry to wait for because it names others of them; 0: none).

        What is refused is added to `faults`. What is applied already needs nothing but the answer. Applied state and
        tail are both asked (R9), else a retry at a new primary would be stored twice.
        """
        index = {message.id: place for place, message in enumerate(packet.messages)}
        applied = self._ledger.machine.known([message.id for message in messages])
        fresh: dict[bytes, Submission] = {}
        last = 0
        for message in messages:
            if seq := self._ledger.locks.get(message.id):
                last = max(last, seq)
            elif message.id in applied or message.id in fresh:
                continue
            elif fault := age_fault(message.id, self._office.wall, self._office.settings):
                faults.append((index[message.id], *fault))
            else:
                fresh[message.id] = message
        if fresh and (last or applied) and (reason := self._cannot_take(size, len(fresh))):
            # What was written earlier is withheld, never refused (R11); what is new is refused, definitely.
            faults.extend((index[message_id], *reason) for message_id in fresh)
            fresh.clear()
        return tuple(fresh.values()), last

    def check_acceptable(self, queues: Collection[str], size: int, messages: int) -> None:
        """Refuse so many new messages for these queues, all in one entry, where they cannot be taken now."""
        if reason := self._cannot_take(size, messages):
            raise Refusal(*reason)
        counts, most = self._ledger.machine.counts, self._office.limits.queues_max
        new = [queue for queue in queues if queue not in counts]
        if new and len(counts) + len(new) > most:
            raise Refusal(Code.QUEUE_FULL, f"bucket {self._ledger.bucket} knows {len(counts):,} queues; the limit is "
                                           f"{most:,} (limits.queues_max), and {', '.join(map(repr, new[:5]))} would "
                                           f"be {len(new):,} more: use fewer names")

    def check_limits(self, queue: str, now: float) -> None:
        """Refuse one message more for a queue whose policy does not let it be taken."""
        policy = self._office.policy(queue)
        if policy.messages_max or policy.age_ms_max:
            room = self._office.quotas.room(queue, policy, 1, now)
            if not room.messages:
                raise Refusal(room.code, room.text)

    def _cannot_take(self, size: int, messages: int) -> tuple[Code, str] | None:
        """Why the bucket takes nothing new now: (code, text); None: it does."""
        office, bucket, replica = self._office, self._ledger.bucket, self._ledger.replica
        if not replica.enough:
            return Code.NOT_ENOUGH_REPLICAS, (
                f"bucket {bucket} has fewer in-sync replicas than the {office.settings.min_in_sync} that it needs "
                "(settings.min_in_sync): try again when a node is back")
        if full := office.disk_full(size, messages):
            return Code.DISK_FULL, full
        if peer := replica.short_peer:
            return Code.DISK_FULL, (
                f"node {peer}, a replica of bucket {bucket}, is short of disk: free space there (its log and zmqueue "
                "members say more), or work off what stands in queues")
        return None

    def _without_past_dues(self, messages: tuple[Submission, ...]) -> tuple[Submission, ...]:
        """What is due already need not be delayed and ripen."""
        wall = self._office.wall
        return tuple(replace(message, due=0) if 0 < message.due <= wall else message for message in messages)
