"""What applying a schedule's decision does to the rows: the last tick that was dealt with stands in LINKS."""

from __future__ import annotations

from zmqueue.core import keys
from zmqueue.core.operations import Fired
from zmqueue.core.schedules import name_digest
from zmqueue.core.steps import Steps
from zmqueue.core.tables import Table


def apply(steps: Steps, operation: Fired) -> None:
    """Write down the last tick of the entry; the messages are the caller's."""
    row = keys.fired_key(keys.copy_prefix(steps.copy), name_digest(operation.name))
    if steps.tables.get(Table.LINKS, row) is not None:
        steps.take_row(Table.LINKS, row)
    steps.put_row(Table.LINKS, row, operation.tick.to_bytes(keys.MOMENT_BYTES, "big"))
