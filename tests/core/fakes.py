"""Fakes that the tests of the queue share: tables in a dictionary, and a replica that commits when it is told to."""

from __future__ import annotations

import bisect
from collections.abc import Sequence

from zmqueue.core.tables import Table

PLACE_0 = 0
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
