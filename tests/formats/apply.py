"""Applies operations, and prints the rows that come of them. By names that every version has.

Standard input: one operation a line, as hex; an empty line ends a log. Standard output: the rows of each log, one a
line, and an empty line.
"""

from __future__ import annotations

import sys

from zmqueue.core import operations
from zmqueue.core.machine import Machine
from zmqueue.core.tables import Table
from zmqueue.store.memory import MemoryStore

COPY = 7
TABLES = (Table.BODIES, Table.MESSAGES, Table.READY, Table.DELAYED, Table.LEASES, Table.DEAD, Table.ENDED,
          Table.COUNTS)
"""Those of the first generation."""

EVERYTHING = 1 << 30


def rows_of(log: list[str]) -> list[str]:
    """The rows after these operations."""
    store = MemoryStore()
    machine = Machine(store, COPY)
    for seq, line in enumerate(log, 1):
        machine.apply(seq, operations.decode(bytes.fromhex(line)))
    return [f"{table.value} {key.hex()} {value.hex()}" for table in TABLES
            for key, value in store.scan(table, b"\x00", b"\xff" * 8, EVERYTHING)]


def main() -> None:
    log: list[str] = []
    for line in sys.stdin.read().splitlines():
        if line:
            log.append(line)
        else:
            print("\n".join((*rows_of(log), "")))
            log = []


if __name__ == "__main__":
    main()
