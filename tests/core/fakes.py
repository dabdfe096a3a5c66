"""Fakes that the tests of the queue share: tables in a dictionary, and a replica that commits when it is told to."""

from __future__ import annotations

import bisect
from collections.abc import Sequence
from typing import cast

from zmqueue.core import operations, packets
from zmqueue.core.answers import Reply
from zmqueue.core.desk import Desk
from zmqueue.core.effects import Effects
from zmqueue.core.front import Front, Handled
from zmqueue.core.ids import make_id
from zmqueue.core.limits import DEFAULT, Limits
from zmqueue.core.machine import Machine
from zmqueue.core.operations import Operation
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import Agreed, Member, Status, found
from zmqueue.core.tables import Table

WALL = 1_700_000_000_000


class FakeTables:
    """All tables in memory; nothing is durable and nothing is forgotten."""

    def __init__(self) -> None:
        self.rows: dict[Table, dict[bytes, bytes]] = {table: {} for table in Table}
        self._order: dict[Table, list[bytes]] = {table: [] for table in Table}

    def get(self, table: Table, key: bytes) -> bytes | None:
        return self.rows[table].get(key)

    def put(self, table: Table, key: bytes, value: bytes) -> None:
        assert 1 <= len(key) <= 511
        if key not in self.rows[table]:
            bisect.insort(self._order[table], key)
        self.rows[table][key] = value

    def put_many(self, table: Table, rows: Sequence[tuple[bytes, bytes]]) -> None:
        for key, value in rows:
            self.put(table, key, value)

    def delete(self, table: Table, key: bytes) -> bool:
        if key not in self.rows[table]:
            return False
        del self.rows[table][key]
        self._order[table].pop(bisect.bisect_left(self._order[table], key))
        return True

    def scan(self, table: Table, start: bytes, stop: bytes, limit: int) -> list[tuple[bytes, bytes]]:
        order = self._order[table]
        first = bisect.bisect_left(order, start)
        last = min(bisect.bisect_left(order, stop), first + limit)
        return [(key, self.rows[table][key]) for key in order[first:last]]

    def last(self, table: Table, start: bytes, stop: bytes) -> tuple[bytes, bytes] | None:
        found = self.scan(table, start, stop, 1 << 30)
        return found[-1] if found else None

    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> int:
        found = self.scan(table, start, stop, limit)
        for key, _ in found:
            self.delete(table, key)
        return len(found)

    def snapshot(self) -> FakeTables:
        copied = FakeTables()
        for table, content in self.rows.items():
            copied.put_many(table, list(content.items()))
        return copied

    @property
    def valid(self) -> bool:
        return True

    def close(self) -> None:
        return None


class FakeReplica:
    """One bucket's replica of a cluster in the test's hand: nothing commits and no barrier passes until it says so."""

    def __init__(self, bucket: int, tables: FakeTables) -> None:
        self.bucket = bucket
        self.role = Role.NONE
        self.term = 0
        self.commit = 0
        self.log: list[Operation] = []
        self.machine = Machine(tables, bucket + 1)
        self.generation = 1
        self.enough = True
        self.short_peer = ""
        self.halted = ""
        self.listener: Desk
        self._rid = 0
        self._passed = 0
        self.base = 1_000_000                  # bucket time at the moment 0

    @property
    def end(self) -> int:
        return len(self.log)

    def append(self, operation: Operation, now: float) -> int:
        assert self.role is Role.PRIMARY
        self.log.append(operations.decode(operations.encode(operation)))
        return len(self.log)

    def at(self, now: float) -> int:
        return self.base + int(now * 1_000)

    def barrier(self) -> int:
        self._rid += 1
        return self._rid

    def readable(self, rid: int) -> bool:
        return rid <= self._passed

    def tail_operations(self) -> list[Operation]:
        return self.log[self.commit:]

    # --- what the test does ---

    def enter(self, role: Role, now: float = 0.0) -> None:
        """A new term begins."""
        self.role = role
        self.term += 1
        self.listener.entered(now)

    def pass_barriers(self, now: float = 0.0) -> None:
        """All in-sync replicas answered."""
        self._passed = self._rid
        self.listener.progressed(now)

    def commit_to(self, seq: int, now: float = 0.0) -> None:
        """All in-sync replicas have everything up to `seq` on disk."""
        while self.commit < seq:
            self.commit += 1
            operation = self.log[self.commit - 1]
            self.machine.apply(self.commit, operation)
            self.listener.applied(self.commit, operation, now)
        self.listener.progressed(now)

    def settle_down(self, now: float = 0.0) -> None:
        """Everything commits, all barriers pass, until nothing is left to do."""
        while self.commit < self.end or self._passed < self._rid:
            self.commit_to(self.end, now)
            self.pass_barriers(now)


class Node:
    """A front with fake replicas of all buckets, and the clock of both kinds."""

    def __init__(self, buckets: int = 1, limits: Limits = DEFAULT, **settings: int) -> None:
        agreed = Agreed(**{"buckets": buckets, "min_in_sync": 1, **settings})
        self.state = found("c", agreed, Member(1, "0" * 16, 1, 0, "tcp://a", "tcp://b", Status.UP, True))
        self.effects = Effects()
        self.front = Front(self.effects, self.state, limits)
        self.front.post.me = "0" * 16
        self.tables = FakeTables()
        self.replicas = [FakeReplica(bucket, self.tables) for bucket in range(buckets)]
        self.now = 100.0
        self._requests = 0
        for replica in self.replicas:
            replica.listener = self.front.open(cast("Replica", replica))
            replica.enter(Role.PRIMARY, self.now)

    @property
    def wall(self) -> int:
        return WALL + int((self.now - 100.0) * 1_000)

    @property
    def replica(self) -> FakeReplica:
        assert len(self.replicas) == 1
        return self.replicas[0]

    def an_id(self, number: int, place: int = 0, drawn: int | None = None) -> bytes:
        return make_id(self.wall if drawn is None else drawn, place, number.to_bytes(15, "big"))

    def request(self) -> int:
        self._requests += 1
        return self._requests

    def send(self, packet: Handled, client: bytes = b"c") -> None:
        """A request comes; through its bytes, as on the wire."""
        decoded = packets.decode(packets.encode(packet))
        self.front.handle(client, cast(Handled, decoded), self.now, self.wall)

    def settle_down(self) -> None:
        """Everything commits, and what buckets send each other arrives."""
        self.front.finish(self.now)
        while any(replica.commit < replica.end or replica._passed < replica._rid for replica in self.replicas):
            for replica in self.replicas:
                replica.settle_down(self.now)
            self.front.finish(self.now)

    def replies(self, client: bytes = b"c") -> list[Reply]:
        """What was sent to a client since the last time it was looked at."""
        mine = [cast(Reply, packet) for to, packet in self.effects.now if to == client]
        self.effects.now[:] = [(to, packet) for to, packet in self.effects.now if to != client]
        return [cast(Reply, packets.decode(packets.encode(packet))) for packet in mine]

    def call(self, packet: Handled, client: bytes = b"c") -> Reply:
        """Send, let everything commit, and take the one answer."""
        self.send(packet, client)
        self.settle_down()
        replies = self.replies(client)
        assert len(replies) == 1, replies
        return replies[0]

    def pass_time(self, seconds: float, step: float = 0.05) -> None:
        """Tick through some time, with everything that comes of it committed."""
        end = self.now + seconds
        while self.now < end - 1e-9:
            self.now = min(end, self.now + step)
            self.front.tick(self.now, self.wall)
            self.settle_down()
