"""What is published, held against what was bound: one copy for each bound queue, in one entry, and never again.

The bindings of a run never change once they hold, so what each topic's copies are is known here without the product.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from tests.simulation.checkers import Violation
from zmqueue.core.operations import Operation, Published
from zmqueue.core.topics import copy_id

if TYPE_CHECKING:
    from tests.simulation.checkers.logs import Logs

BOUND: dict[str, tuple[str, ...]] = {"green": ("orders.#",), "grey": ("orders.*", "bills")}
QUEUES = tuple(BOUND)

GETS = {"orders": ["green"], "orders.eu": ["green", "grey"], "orders.eu.paid": ["green"], "bills": ["grey"],
        "bills.us": []}
"""By topic: who gets a copy."""

COPIED = "each bound queue gets one copy of what is published, and no other does"


class Copies:
    """The book of what was published."""

    def __init__(self, logs: Logs) -> None:
        self.published: set[bytes] = set()
        logs.on_committed.append(self.committed)

    def committed(self, bucket: int, seq: int, operation: Operation) -> None:
        """An entry is committed. Raises Violation."""
        if not isinstance(operation, Published):
            return
        where = f"entry {seq} of bucket {bucket} publishes {operation.id.hex()}"
        if operation.id in self.published:
            raise Violation(COPIED, f"{where} again")
        self.published.add(operation.id)
        topic = operation.batches[0].messages[0].payload.split(b" ")[0].decode()
        queues = [batch.queue for batch in operation.batches for _ in batch.messages]
        if queues != GETS[topic]:
            raise Violation(COPIED, f"{where} under {topic} into {queues}; bound are {GETS[topic]}")


def expected(message_id: bytes, topic: str, copies: Iterable[bytes]) -> None:
    """A program was told which copies there are. Raises Violation."""
    wanted = copies_of(message_id, topic)
    if sorted(copies) != sorted(wanted):
        raise Violation(COPIED, f"a program was told that {message_id.hex()} under {topic} has other copies than bound")


def copies_of(message_id: bytes, topic: str) -> list[bytes]:
    """The ids of the copies."""
    return [copy_id(message_id, queue) for queue in GETS[topic]]
