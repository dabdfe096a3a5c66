"""The state machine under any sequence of operations that a primary could decide.

After each operation: the sum is that of the rows; the rows are those that the records tell of (`well_formed`); states
have changed only as that operation may change them; groups went on in order; `unique` keys are held for as long as
their scope says; and another machine that applied the same operations has the same rows.
"""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, precondition, rule
from msgspec.structs import replace

from tests.core import well_formed
from tests.core.fakes import WALL, FakeTables
from zmqueue.core import operations, outbox
from zmqueue.core.ids import bucket_of, make_id
from zmqueue.core.machine import Machine
from zmqueue.core.operations import (
    Awaits,
    Batch,
    Cancelled,
    Delivered,
    Erased,
    Expired,
    Extended,
    Fired,
    Forgotten,
    Forwarded,
    How,
    Kind,
    Leased,
    Operation,
    Options,
    Parcel,
    Progressed,
    Published,
    Purged,
    Requeued,
    Returned,
    Ripened,
    Rule,
    Rules,
    Scope,
    Settle,
    Settled,
    State,
    Submission,
    Submitted,
    Why,
    unique_digest,
)
from zmqueue.core.records import ERASED, Record, Special
from zmqueue.core.sums import sum_of

BUCKETS = 4
GENERATION = 1
QUEUES = ("jobs", "jobs", "mail")
KEEP = 400

READY, LEASED, DELAYED, BEHIND = State.READY, State.LEASED, State.DELAYED, State.BEHIND
DONE, DEAD, CANCELLED, EXPIRED = State.DONE, State.DEAD, State.CANCELLED, State.EXPIRED
PURGED, MENDING = State.PURGED, State.MENDING
GOES_ON = (BEHIND, READY)
"""What any operation does to the next of a group, when it ends the head."""

NEW: set[tuple[State | None, State | None]] = {(None, READY), (None, DELAYED), (None, BEHIND)}
MAY: dict[type[Operation], set[tuple[State | None, State | None]]] = {
    Submitted: NEW,
    Forwarded: NEW | {(DELAYED, READY), (DELAYED, BEHIND)},     # joins
    Fired: NEW,
    Published: NEW,
    Leased: {(READY, LEASED), (DEAD, MENDING)},
    Extended: set(),
    Progressed: set(),
    Delivered: set(),
    Erased: set(),
    Settled: {(LEASED, DONE), (LEASED, DEAD), (LEASED, READY), (LEASED, DELAYED), (LEASED, CANCELLED),
              (MENDING, PURGED), (MENDING, DEAD), GOES_ON},
    Returned: {(LEASED, READY), (LEASED, DEAD), (LEASED, CANCELLED), (MENDING, DEAD), GOES_ON},
    Ripened: {(DELAYED, READY), (DELAYED, BEHIND)},
    Expired: {(READY, EXPIRED), (DELAYED, EXPIRED), (BEHIND, EXPIRED), GOES_ON},
    Cancelled: {(READY, CANCELLED), (DELAYED, CANCELLED), (BEHIND, CANCELLED), GOES_ON},
    Requeued: {(DEAD, READY), (DEAD, BEHIND)},
    Purged: {(DEAD, PURGED), GOES_ON},
    Forgotten: {(DONE, None), (DEAD, None), (CANCELLED, None), (EXPIRED, None), (PURGED, None), GOES_ON},
}
"""Which steps from state to state an operation may make; None: not known."""

New = list[tuple[int, int, Options | None]]
"""Messages to be: (priority, delay, options)."""

options = st.builds(
    lambda expires, group, key, losses, keep, place: Options(
        expires, group, key[0], key[1], 700 if key[1] == Scope.WINDOW else 0, losses, keep, place=place),
    st.sampled_from((0, 0, 300, 5_000)), st.sampled_from(("", "g", "g")),
    st.one_of(st.just(("", Scope.DONE)), st.tuples(st.just("u"), st.sampled_from(Scope))),
    st.sampled_from((0, 1)), st.sampled_from((0, 900)), st.sampled_from((0, 0, 1 << 62, (1 << 62) + 1)))

rules = st.builds(
    lambda attempts, losses, keep_dead, keep_result, halt: (
        ("", Rule(attempts, losses, KEEP, keep_dead, keep_result, halt)), ("mail", Rule(1, 1, KEEP))),
    st.integers(0, 3), st.integers(0, 3), st.sampled_from((0, 900)), st.sampled_from((0, 200)), st.booleans())
"""Half of what is declared changes from one operation to the next, as settings may."""

wanted = st.lists(st.tuples(st.integers(0, 2), st.sampled_from((0, 0, 0, 200)), st.one_of(st.none(), options)),
                  min_size=1, max_size=4)


class Copies(RuleBasedStateMachine):
    """A machine, its twin, and a primary's way to decide, in generation 3."""

    def __init__(self) -> None:
        super().__init__()
        self.tables, self.twins = FakeTables(), FakeTables()
        self.machine, self.twin = Machine(self.tables, 7), Machine(self.twins, 9)
        self.at = 1_000
        self.seq = self.drawn = self.taken = 0
        self.chosen: dict[bytes, Options] = {}
        self.records: dict[bytes, Record] = {}     # as they were after the last operation
        self.groups: dict[bytes, well_formed.Group] = {}
        self.awaited: dict[bytes, set[bytes]] = {}     # by join: its parts,
        self.arrived: dict[bytes, set[bytes]] = {}     # and those of which word came

    @initialize()
    def begin(self) -> None:
        self.check()

    # --- applying ---

    @property
    def wall(self) -> int:
        return WALL + self.at

    def apply(self, operation: Operation) -> None:
        before, groups = self.records, self.groups
        self.seq += 1
        for machine in (self.machine, self.twin):
            machine.apply(self.seq, operations.decode(operations.encode(operation)))
        self.at += 1
        self.check()
        after = self.records
        for message_id in before.keys() | after.keys():
            was, now = before.get(message_id), after.get(message_id)
            step = (was.state if was else None, now.state if now else None)
            assert step[0] == step[1] or step in MAY[type(operation)], f"{operation} makes no step {step}"
        self.check_order(groups, after)

    def check(self) -> None:
        assert self.machine.sum == sum_of(self.tables, 7)
        well_formed.check(self.tables, 7)
        for table in well_formed.ALL:
            assert well_formed.rows_of(self.tables, 7, table) == well_formed.rows_of(self.twins, 9, table)
        assert self.machine.sum == self.twin.sum == Machine(self.tables, 7, self.machine.sum).sum
        self.records = well_formed.records_of(self.tables, 7)
        self.groups = well_formed.groups_of(self.tables, 7)
        for message_id, record in self.records.items():
            chosen = self.chosen.get(message_id)
            if chosen is not None and chosen.unique:
                assert isinstance(record, Special)
                self.check_key(record, chosen)

    def check_order(self, before: dict[bytes, well_formed.Group], after: dict[bytes, Record]) -> None:
        """Where a group went on, it went on with the first of those who wait, and wait still."""
        for place, group in self.groups.items():
            earlier = before[place].behind if place in before else ()
            if group.head in earlier:
                overtaken = earlier[:earlier.index(group.head)]
                assert all(after[message_id].state.terminal for message_id in overtaken)

    def check_key(self, record: Special, chosen: Options) -> None:
        match chosen.scope:
            case Scope.DONE:
                held = not record.state.terminal and not record.requeued
            case Scope.WAITING:
                held = not record.state.terminal and not record.fencing
            case _:
                held = record.window > self.at or bool(record.unique)     # after it, until somebody else has it
        assert bool(record.unique) == held
        if held:
            assert record.unique == unique_digest(record.queue, chosen)

    # --- deciding ---

    def some(self, draw: st.DataObject, ids: Sequence[bytes]) -> tuple[bytes, ...]:
        """Some of them, in any order."""
        return tuple(draw.draw(st.lists(st.sampled_from(sorted(ids)), min_size=1, max_size=4, unique=True)))

    def those(self, *states: State) -> list[bytes]:
        return [message_id for message_id, record in self.records.items() if record.state in states]

    def agreed(self, draw: st.DataObject) -> Rules:
        return draw.draw(rules)

    def new_batch(self, queue: str, new: New, taken: set[bytes]) -> Batch:
        """What a primary makes of them: without those whose key another one has, here or among the `taken` ones."""
        messages: list[Submission] = []
        chosen: list[tuple[int, Options]] = []
        for priority, delay, own in new:
            self.drawn += 1
            message_id = make_id(self.wall, 0, self.drawn.to_bytes(15, "big"))
            due = self.wall + delay if delay else 0
            if own is not None:
                if own.expires:
                    own = replace(own, expires=max(due, self.wall) + own.expires)
                if own.unique:
                    digest = unique_digest(queue, own)
                    if digest in taken or self.machine.holder(digest, self.at) is not None:
                        continue
                    taken.add(digest)
                if own != Options():
                    chosen.append((len(messages), own))
                    self.chosen[message_id] = own
            messages.append(Submission(message_id, b"body", priority=priority, due=due))
        return Batch(queue, tuple(messages), tuple(chosen))

    # --- the operations ---

    @rule(draw=st.data(), queue=st.sampled_from(QUEUES), new=wanted, begin=st.booleans())
    def submit(self, draw: st.DataObject, queue: str, new: New, begin: bool) -> None:
        batch = self.new_batch(queue, new, set())
        if batch.messages:
            self.apply(Submitted(self.at, batch.queue, batch.messages, batch.options))
        if begin:
            self.lease(draw, queue)

    @precondition(lambda self: self.those(READY))
    @rule(draw=st.data(), queue=st.sampled_from(QUEUES))
    def lease(self, draw: st.DataObject, queue: str) -> None:
        """From the front, as a primary picks; but for those for which it is too late."""
        ready = [(message_id, fencing + 1) for _, message_id, fencing in self.machine.ready(queue, None, 100)
                 if not self.too_late(message_id)]
        if ready:
            grants = tuple(ready[:draw.draw(st.integers(1, 3))])
            self.apply(Leased(self.at, b"s" * 16, self.seq, grants, self.at + 500))

    def too_late(self, message_id: bytes) -> bool:
        record = self.machine.touched(message_id)
        return isinstance(record, Special) and 0 < record.expires < self.wall

    def lease_letters(self, draw: st.DataObject) -> None:
        grants = tuple((message_id, self.machine.record(message_id).fencing + 1)
                       for message_id in self.some(draw, self.those(DEAD)))
        self.apply(Leased(self.at, b"m" * 16, self.seq, grants, self.at + 500))

    def held(self, draw: st.DataObject) -> tuple[tuple[bytes, int], ...]:
        return tuple((message_id, self.machine.record(message_id).fencing)
                     for message_id in self.some(draw, self.those(LEASED, MENDING)))

    @precondition(lambda self: self.those(LEASED, MENDING))
    @rule(draw=st.data())
    def settle(self, draw: st.DataObject) -> None:
        settles, due = [], []
        for message_id, fencing in self.held(draw):
            how = draw.draw(st.sampled_from(How))
            parcels = draw.draw(st.integers(0, 2)) if how is How.ACK else 0
            then = tuple(Parcel("next", Submission(make_id(self.wall, number << 15, message_id[:15]), b"then"))
                         for number in range(parcels))
            settles.append(Settle(message_id, fencing, how, Kind.BYTES, b"result" if how is How.ACK else b"",
                                  "" if how is How.ACK else "it failed", 0, then))
            due.append(self.wall + 150 if how is How.NACK and draw.draw(st.booleans()) else 0)
        self.apply(Settled(self.at, tuple(settles), tuple(due), 2, KEEP, self.agreed(draw), GENERATION, BUCKETS))

    @precondition(lambda self: self.those(LEASED, MENDING))
    @rule(draw=st.data(), why=st.sampled_from(Why))
    def return_leases(self, draw: st.DataObject, why: Why) -> None:
        self.apply(Returned(self.at, self.held(draw), why, 2, KEEP, self.agreed(draw)))

    @precondition(lambda self: self.those(LEASED, MENDING))
    @rule(draw=st.data())
    def extend(self, draw: st.DataObject) -> None:
        self.apply(Extended(self.at, self.held(draw), self.at + 900))

    @rule(draw=st.data(), ms=st.sampled_from((50, 250, 1_000)), many=st.integers(1, 5))
    def time_passes(self, draw: st.DataObject, ms: int, many: int) -> None:
        """And the chores that fall due, in batches."""
        self.at += ms
        if late := self.machine.expiring(self.wall, many):
            self.apply(Expired(self.at, tuple(late), self.agreed(draw)))
        if ripe := self.machine.ripe(self.wall, many):
            self.apply(Ripened(self.at, tuple(ripe)))
        if old := self.machine.forgettable(self.at, many):
            self.apply(Forgotten(self.at, tuple(old)))

    @precondition(lambda self: self.those(READY, DELAYED, BEHIND, LEASED))
    @rule(draw=st.data())
    def cancel(self, draw: st.DataObject) -> None:
        ids = self.some(draw, self.those(READY, DELAYED, BEHIND, LEASED))
        self.apply(Cancelled(self.at, ids, self.agreed(draw)))

    @precondition(lambda self: self.those(DEAD))
    @rule(draw=st.data())
    def deal_with_letters(self, draw: st.DataObject) -> None:
        match draw.draw(st.sampled_from(("requeue", "purge", "lease"))):
            case "requeue":
                self.apply(Requeued(self.at, self.some(draw, self.those(DEAD))))
            case "purge":
                self.apply(Purged(self.at, self.some(draw, self.those(DEAD))))
            case _:
                self.lease_letters(draw)

    @precondition(lambda self: self.those(DONE))
    @rule(draw=st.data())
    def erase(self, draw: st.DataObject) -> None:
        ids = self.some(draw, self.those(DONE))
        self.apply(Erased(self.at, ids))
        for message_id in ids:
            record = self.machine.record(message_id)
            assert isinstance(record, Special) and (record.result, record.keep) == (b"", ERASED)

    @precondition(lambda self: self.those(LEASED, MENDING))
    @rule(draw=st.data(), many=st.integers(1, 3))
    def progress(self, draw: st.DataObject, many: int) -> None:
        message_id, fencing = self.held(draw)[0]
        before = self.machine.record(message_id)
        told = before.told if isinstance(before, Special) else 0
        self.apply(Progressed(self.at, message_id, fencing, tuple((Kind.TEXT, b"%d" % n) for n in range(many))))
        record = self.machine.record(message_id)
        assert isinstance(record, Special) and record.told == told + many
        found = self.machine.events(message_id, record.events - many, many)
        assert [event[2:] for event in found] == [(b"%d" % n, fencing) for n in range(many)]

    @rule(draw=st.data(), queue=st.sampled_from(QUEUES), new=wanted, many=st.integers(1, 3))
    def between_buckets(self, draw: st.DataObject, queue: str, new: New, many: int) -> None:
        match draw.draw(st.sampled_from(("forwarded", "published", "join", "part", "tick", "delivered"))):
            case "forwarded":
                self.forwarded(queue, new, many)
            case "published":
                self.publish(new[:1])
            case "join":
                self.submit_join(many, new[0][2] or Options())
            case "part" if self.awaited:
                self.part_arrives(draw)
            case "tick":
                self.fire(queue, new, "nightly")
            case _:
                self.deliver(many)

    def forwarded(self, queue: str, new: New, numbers: int) -> None:
        """Of some of the numbers there is no message."""
        taken: set[bytes] = set()
        batches = tuple(batch for name in (queue, "mail") if (batch := self.new_batch(name, new, taken)).messages)
        first, self.taken = self.taken + 1, self.taken + numbers
        self.apply(Forwarded(self.at, 3, GENERATION, first, self.taken, batches))
        assert outbox.last_taken(self.tables, 7, 3, GENERATION) == self.taken

    def publish(self, new: New) -> None:
        """One copy in each queue that is bound."""
        taken: set[bytes] = set()
        batches = tuple(batch for name in ("jobs", "mail") if (batch := self.new_batch(name, new, taken)).messages)
        self.apply(Published(self.at, b"p" * 24, batches))

    def submit_join(self, parts: int, own: Options) -> None:
        """A join, with its parts in the outbox: it is delayed until word of each has come."""
        self.drawn += 1
        join = make_id(self.wall, 0, self.drawn.to_bytes(15, "big"))
        parcels = tuple(Parcel("parts", Submission(make_id(self.wall, 0, bytes((part,)) + join[10:]), b"part"))
                        for part in range(parts))
        own = Options(expires=self.wall + own.expires if own.expires else 0, group=own.group, place=own.place,
                      awaits=Awaits(parcels, GENERATION, BUCKETS))
        self.apply(Submitted(self.at, "jobs", (Submission(join, b"join"),), ((0, own),)))
        self.awaited[join] = {parcel.message.id for parcel in parcels}
        assert self.records[join].state is DELAYED

    def part_arrives(self, draw: st.DataObject) -> None:
        """Word of some parts, perhaps for the second time; for a join that is ready, or has ended, it means nothing."""
        join = draw.draw(st.sampled_from(sorted(self.awaited)))
        parts = self.some(draw, sorted(self.awaited[join]))
        before = self.records.get(join)
        self.arrived.setdefault(join, set()).update(parts)
        self.taken += len(parts)
        self.apply(Forwarded(self.at, 3, GENERATION, self.taken - len(parts) + 1, self.taken, (),
                             tuple((join, part) for part in parts)))
        after = self.records.get(join)
        if before is not None and after is not None and before.state is DELAYED and not before.fencing:
            assert (after.state is DELAYED) == (self.arrived[join] < self.awaited[join])
        else:
            assert before == after

    def fire(self, queue: str, new: New, name: str) -> None:
        batch = self.new_batch(queue, new, set())
        self.apply(Fired(self.at, name, self.wall, queue, batch.messages, batch.options))

    def deliver(self, many: int) -> None:
        for (target, generation), first in list(outbox.links(self.tables, 7))[:1]:
            lying, _ = outbox.parcels(self.tables, 7, (target, generation), first, many, 1 << 20)
            assert all(bucket_of(parcel.message.id, BUCKETS) == target for parcel in lying)
            self.apply(Delivered(self.at, target, generation, first, first + len(lying) - 1))


TestCopies = Copies.TestCase
TestCopies.settings = settings(max_examples=40, stateful_step_count=40, deadline=None,
                                    phases=(Phase.explicit, Phase.reuse, Phase.generate))
"""What fails is told at once: to make 30 steps fewer takes minutes (append Phase.shrink for that)."""
