"""The state machine of one bucket: applies committed operations to the rows of one copy, the same way on every replica.

An operation carries every decision, so nothing here looks at a clock, at settings or at who is primary. What operations
have in common, and what happens where one does not fit the rows, is in `steps`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_never
from zlib import crc32

from msgspec.structs import replace

from zmqueue.core import fired, groups, joins, keys, letters, outbox
from zmqueue.core.operations import (
    Batch,
    Cancelled,
    Chosen,
    Delivered,
    Erased,
    Expired,
    Extended,
    Fired,
    Forgotten,
    Forwarded,
    How,
    Leased,
    Operation,
    Options,
    Progressed,
    Published,
    Purged,
    Requeued,
    Returned,
    Ripened,
    Rule,
    Scope,
    Settle,
    Settled,
    State,
    Submission,
    Submitted,
    Why,
    unique_digest,
)
from zmqueue.core.records import (
    ERASED,
    NOT_SETTLED,
    BodyWriter,
    Fate,
    Record,
    Special,
    event_row,
    remember,
    special,
    waiting,
)
from zmqueue.core.steps import Steps
from zmqueue.core.tables import Table

_LOSS = {Why.EXPIRED: "the lease expired before it was settled",
         Why.SESSION_LOST: "the session of the worker was lost"}


class Machine(Steps):
    """What each operation does."""

    def apply(self, seq: int, operation: Operation) -> None:
        """Change the rows as the entry `seq` of the log says."""
        match operation:
            case Submitted():
                self._submitted(keys.order_of(seq, 0), Batch(operation.queue, operation.messages, operation.options),
                                operation.at)
            case Leased():
                self._leased(operation)
            case Settled():
                self._settled(operation)
            case Extended():
                self._extended(operation)
            case Returned():
                self._returned(operation)
            case Ripened():
                self._ripened(operation)
            case Forgotten():
                self._forgotten(operation)
            case Expired():
                self._withdrawn(operation, State.EXPIRED)
            case Cancelled():
                self._withdrawn(operation, State.CANCELLED)
            case Requeued():
                self._requeued(operation)
            case Purged():
                self._purged(operation)
            case Erased():
                self._erased(operation)
            case Progressed():
                self._progressed(operation)
            case Forwarded():
                self._forwarded(seq, operation)
            case Fired():
                fired.apply(self, operation)
                batch = Batch(operation.queue, operation.messages, operation.options)
                if batch.messages:
                    self._submitted(keys.order_of(seq, 0), batch, operation.at)
            case Delivered():
                outbox.delivered(self, operation)
            case Published():
                self._submitted_all(seq, operation.batches, operation.at)
            case _:
                assert_never(operation)
        self.write()

    # --- submits ---

    def _submitted(self, first: int, batch: Batch, at: int) -> None:
        """New messages; `first`: the order of the first one."""
        queue, messages = batch.queue, batch.messages
        if batch.options:
            self._submitted_with_options(first, queue, messages, batch.options, at)
            return
        prefix, body = self._prefix, BodyWriter(queue).row
        line, rank, best = keys.queue_prefix(prefix, queue), keys.rank, keys.PRIORITY_MAX
        self.tables.put_many(Table.BODIES, [
            (prefix + message.id, body(order, message)) for order, message in enumerate(messages, first)])
        ready = [(line + rank(best - message.priority, order), waiting(message.id, 0))
                 for order, message in enumerate(messages, first) if not message.due]
        if ready:
            self.tables.put_many(Table.READY, ready)
            self._rise(queue, min(ready)[0])
        if len(ready) < len(messages):
            self.tables.put_many(Table.DELAYED, [
                (keys.delayed_key(prefix, message.due, order), message.id)
                for order, message in enumerate(messages, first) if message.due])
        self.stand(State.READY, [crc32(message.id) for message in messages if not message.due])
        self.stand(State.DELAYED, [crc32(message.id) for message in messages if message.due])
        self.arrive(queue, State.READY, len(ready))
        self.arrive(queue, State.DELAYED, len(messages) - len(ready))

    def _submitted_with_options(self, first: int, queue: str, messages: tuple[Submission, ...], chosen: Chosen,
                                at: int) -> None:
        """One after another: each has a record from the beginning, but for those without options."""
        writer, options = BodyWriter(queue), dict(chosen)
        for index, message in enumerate(messages):
            order, key, crc = first + index, self._prefix + message.id, crc32(message.id)
            own, submission = options.get(index), message
            if own is not None and own.awaits is not None:
                message = replace(message, due=joins.NEVER)
                joins.begin(self, message.id, own.awaits)
                own = replace(own, awaits=None)
            state = State.DELAYED if message.due else State.READY
            self.arrive(queue, state, 1)
            self.stand(state, (crc,))
            if own is None:
                self.tables.put(Table.BODIES, key, writer.row(order, message))
                record = Record(state, queue, message.priority, order, message.attempts)
                self._place_new(key, record, message, crc)
                continue
            self.tables.put(Table.BODIES, key, writer.special_row(order, submission, own))
            record = self._special_record(queue, order, message, own, at)
            self.new_record()
            self._place_new(key, record, message, crc)
            self.give(key, record, crc)

    def _special_record(self, queue: str, order: int, message: Submission, options: Options, at: int) -> Special:
        """It begins as one that is leased does, in no waiting line; `_place_new` finds it its place."""
        record = Special(State.DELAYED if message.due else State.READY, queue, message.priority, order,
                         message.attempts, expires=options.expires, group=options.group, losses_max=options.losses,
                         keep=options.keep, place=options.place)
        if options.unique:
            record.unique = unique_digest(queue, options)
            record.scope = options.scope
            record.window = at + options.window if options.scope == Scope.WINDOW else 0
            self._hold_unique(record, message.id)
        return record

    def _hold_unique(self, record: Special, message_id: bytes) -> None:
        """Its key keeps others out from now on, and not the one that had it until its window was over."""
        place = self._prefix + record.unique
        former = self.tables.get(Table.UNIQUES, place)
        if former is not None:
            self.take_row(Table.UNIQUES, place)
            key, crc = self._prefix + former, crc32(former)
            other = self.take(key, crc)
            assert isinstance(other, Special) and other.unique == record.unique, "who holds a key knows it"
            other.unique = b""
            self.put_record(key, other, crc)
        self.put_row(Table.UNIQUES, place, message_id)

    def _place_new(self, key: bytes, record: Record, message: Submission, crc: int) -> None:
        """Put the rows that say where a new message stands; that it stands there is in counts and sum already."""
        self.await_first_start(key, record)
        if message.due:
            record.due = message.due
            self.tables.put(Table.DELAYED, keys.delayed_key(self._prefix, message.due, record.order), message.id)
        elif isinstance(record, Special) and record.group and not groups.take_head(self, key, record):
            self.move(record, State.BEHIND, crc)
            groups.put_behind(self, key, record)
        else:
            self.put_ready(key, record)

    def _submitted_all(self, seq: int, batches: Sequence[Batch], at: int) -> None:
        """New messages for several queues, in one entry."""
        order = keys.order_of(seq, 0)
        for batch in batches:
            self._submitted(order, batch, at)
            order += len(batch.messages)

    def _forwarded(self, seq: int, operation: Forwarded) -> None:
        """The messages and the number of the last one: both in this entry, so that each is taken once (Q4)."""
        outbox.taken(self, operation)
        self._submitted_all(seq, operation.batches, operation.at)
        for join, part in operation.arrived:
            joins.arrived(self, join, part)

    # --- leases ---

    def _leased(self, operation: Leased) -> None:
        prefix, leases = self._prefix, []
        for message_id, fencing in operation.grants:
            key, crc = prefix + message_id, crc32(message_id)
            record = self.take_first(key, crc) if fencing == 1 else self.take(key, crc)
            assert record.fencing == fencing - 1, "each lease has its own fencing number"
            record.fencing = fencing
            record.how, record.due = NOT_SETTLED, 0
            record.session, record.request, record.until = operation.session, operation.request, operation.until
            if isinstance(record, Special):
                record.told = 0
            if record.state is State.DEAD:
                letters.take_up(self, key, record, crc)
            else:
                self._begin(key, record, crc)
            self.give(key, record, crc)
            leases.append((key, b""))
        self.tables.put_many(Table.LEASES, leases)

    def _begin(self, key: bytes, record: Record, crc: int) -> None:
        assert record.state is State.READY, "only what is ready is leased, and dead letters"
        self.leave(key, record)
        record.deliveries += 1
        if isinstance(record, Special) and record.unique and record.scope == Scope.WAITING:
            self.free_unique(record)
        self.move(record, State.LEASED, crc)

    def _extended(self, operation: Extended) -> None:
        for message_id, fencing in operation.leases:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self.lease(key, fencing, crc)
            record.until = operation.until
            self.give(key, record, crc)

    def _settled(self, operation: Settled) -> None:
        rules = _Rules(operation)
        for settle, due in zip(operation.settles, operation.due, strict=True):
            key, crc = self._prefix + settle.id, crc32(settle.id)
            record = self.release(key, settle.fencing, crc)
            record.how = settle.how
            if record.state is State.MENDING:
                record = letters.settled(self, key, record, crc, settle, operation.at, rules.of(record))
            elif settle.how == How.ACK:
                record = special(record) if rules.of(record).keep_result else record
                record.kind, record.result, record.error = settle.kind, settle.data, ""
                self.end(key, record, crc, State.DONE, operation.at, rules.of(record))
            else:
                record = self._failed(key, record, crc, settle, due, rules)
            if settle.then:
                outbox.post(self, operation.generation, settle.then, operation.buckets)
            self.give(key, record, crc)

    def _failed(self, key: bytes, record: Record, crc: int, settle: Settle, due: int, rules: _Rules) -> Record:
        record.failures += 1
        record.error = settle.error
        if rules.history:
            fate = Fate.REJECTED if settle.how == How.REJECT else Fate.FAILED
            record = remember(record, rules.at, fate, settle.error)
        if settle.how == How.REJECT:
            self.end(key, record, crc, State.DEAD, rules.at, rules.of(record))
        else:
            self._again(key, record, crc, due, rules)
        return record

    def _returned(self, operation: Returned) -> None:
        loss, rules = _LOSS.get(Why(operation.why)), _Rules(operation)
        for message_id, fencing in operation.leases:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self.release(key, fencing, crc)
            if record.state is State.MENDING:
                letters.lay_down(self, key, record, crc)
                self.give(key, record, crc)
                continue
            if loss is None:                        # nobody began on it: it was no delivery
                record.deliveries -= 1
            else:
                record.losses += 1
                record.error = loss
                if rules.history:
                    fate = Fate.EXPIRED if operation.why == Why.EXPIRED else Fate.LOST
                    record = remember(record, rules.at, fate, "")
            if loss is None and not _unwanted(record):
                self.wait(key, record, crc)
            else:
                self._again(key, record, crc, 0, rules)
            self.give(key, record, crc)

    def _again(self, key: bytes, record: Record, crc: int, due: int, rules: _Rules) -> None:
        """Another delivery after a delivery that did not succeed, if it may have another."""
        if _unwanted(record):
            self.end(key, record, crc, State.CANCELLED, rules.at, rules.of(record))
        elif why := rules.given_up(record):
            record.error = why
            self.end(key, record, crc, State.DEAD, rules.at, rules.of(record))
        elif due:
            self.rest(key, record, due, crc)
        else:
            self.wait(key, record, crc)

    def _progressed(self, operation: Progressed) -> None:
        key, crc = self._prefix + operation.id, crc32(operation.id)
        record = special(self.lease(key, operation.fencing, crc))
        for kind, data in operation.events:
            record.events += 1
            record.told += 1
            self.put_row(Table.EVENTS, keys.event_key(self._prefix, operation.id, record.events),
                         event_row(kind, operation.fencing, data))
        self.give(key, record, crc)

    # --- what waits ---

    def _ripened(self, operation: Ripened) -> None:
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            touched = self.tables.get(Table.MESSAGES, key) is not None
            record = self.take(key, crc) if touched else self.untouched(key)
            self.delete(Table.DELAYED, keys.delayed_key(self._prefix, record.due, record.order))
            record.state, record.due = State.DELAYED, 0     # of one that is untouched, the row was all that said so
            self.wait(key, record, crc)
            if touched:
                self.give(key, record, crc)

    def _withdrawn(self, operation: Expired | Cancelled, state: State) -> None:
        """What waits ends. Of a leased one, a cancel is remembered; it never expires, for somebody began on it."""
        rules = _Rules(operation)
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self.take_any(key, crc)
            if record.state is State.LEASED:
                assert state is State.CANCELLED, "what is leased does not expire"
                record = special(record)
                record.cancelling = True
            elif not record.state.terminal:
                self.leave(key, record)
                self.end(key, record, crc, state, operation.at, rules.of(record))
            self.give(key, record, crc)

    # --- what has ended ---

    def _requeued(self, operation: Requeued) -> None:
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self.take(key, crc)
            assert record.state is State.DEAD, "only a dead letter is requeued"
            letters.leave(self, key, record)
            record = special(record)
            record.ended = record.forget = record.failures = record.losses = record.deliveries = 0
            record.how = NOT_SETTLED
            record.expires = 0
            record.requeued += 1
            self.wait(key, record, crc)
            self.give(key, record, crc)

    def _purged(self, operation: Purged) -> None:
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self.take(key, crc)
            assert record.state is State.DEAD, "only dead letters are purged"
            self.delete(Table.BODIES, key)
            self.delete(Table.DEAD, keys.dead_key(self._prefix, record.queue, record.order))
            self.move(record, State.PURGED, crc)
            if isinstance(record, Special) and record.group:
                groups.thrown_away(self, key, record)
            self.give(key, record, crc)

    def _erased(self, operation: Erased) -> None:
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = special(self.take(key, crc))
            assert record.state is State.DONE, "only a result is erased"
            record.result, record.keep = b"", ERASED
            self.give(key, record, crc)

    def _forgotten(self, operation: Forgotten) -> None:
        for message_id in operation.ids:
            key, crc = self._prefix + message_id, crc32(message_id)
            record = self.take(key, crc)
            assert record.state.terminal, "only what has ended is forgotten"
            self.delete(Table.MESSAGES, key)
            self.delete(Table.ENDED, keys.ended_key(self._prefix, record.forget, message_id))
            if record.state is State.DEAD:
                self.delete(Table.BODIES, key)
                self.delete(Table.DEAD, keys.dead_key(self._prefix, record.queue, record.order))
            if isinstance(record, Special):
                self._forgotten_special(key, record)
            self.forget(record.state, crc)
            self.arrive(record.queue, record.state, -1)

    def _forgotten_special(self, key: bytes, record: Special) -> None:
        if record.unique:
            self.free_unique(record)
        for index in range(1, record.events + 1):
            self.take_row(Table.EVENTS, keys.event_key(self._prefix, key[keys.COPY_BYTES:], index))
        if record.group and record.state is State.DEAD:
            groups.thrown_away(self, key, record)
        joins.forgotten(self, key[keys.COPY_BYTES:])


class _Rules:
    """What an operation says of how often a message is tried and how long it is remembered."""

    __slots__ = ("_rules", "_simple", "at", "history")

    def __init__(self, operation: Settled | Returned | Expired | Cancelled) -> None:
        self.at = operation.at
        self.history = bool(operation.rules)       # outcomes are remembered, from generation 3 on
        self._rules = dict(operation.rules)
        self._simple = Rule(operation.attempts, 0, operation.keep) if isinstance(
            operation, Settled | Returned) and not self._rules else None

    def of(self, record: Record) -> Rule:
        """The rule for the record's queue."""
        return self._simple or self._rules.get(record.queue) or self._rules[""]

    def given_up(self, record: Record) -> str:
        """Why the message is not to be delivered again; "": it is."""
        rule = self.of(record)
        attempts = record.attempts or rule.attempts
        if self._simple:
            return _given_up(record, f"{attempts} are allowed") if 0 < attempts <= record.deliveries else ""
        losses = (record.losses_max if isinstance(record, Special) else 0) or rule.losses
        if 0 < attempts <= record.failures:
            return _given_up(record, f"{attempts} may fail")
        if 0 < losses <= record.losses:
            return _given_up(record, f"{losses} may be lost")
        return ""


def _given_up(record: Record, allowed: str) -> str:
    return (f"given up after {record.deliveries} deliveries, {allowed}: {record.failures} "
            f"failed, {record.losses} lost; the last: {record.error or 'no error was given'}")


def _unwanted(record: Record) -> bool:
    return isinstance(record, Special) and record.cancelling
