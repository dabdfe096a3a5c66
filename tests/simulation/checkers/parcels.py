"""What settles queue (the outbox, Q4), told once more by the committed logs of all buckets.

A settle that is committed puts what it carries on links, numbered by source, generation and target. On each link the
target commits exactly these messages, each once, in the order of their numbers, each after its settle; and the source
forgets one only when the target has committed it. In the end nothing is on its way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.simulation.checkers import Violation
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import Chosen, Delivered, Forwarded, Operation, Parcel, Settled, Submitted

if TYPE_CHECKING:
    from tests.simulation.checkers.logs import Logs

Link = tuple[int, int, int]
"""(source, its generation, target)."""


@dataclass(slots=True)
class Line:
    """One link."""

    parcels: list[Parcel] = field(default_factory=list)    # the first one has the number 1
    taken: int = 0
    deleted: int = 0


class Parcels:
    """The book of all links; told of each committed entry, in the order in which they became known."""

    ONCE = "what a settle queues is queued once, in its order, and nothing else is"
    KEPT = "what a settle queues is kept until it is queued"

    def __init__(self, logs: Logs, buckets: int) -> None:
        self.lines: dict[Link, Line] = {}
        self._buckets = buckets
        logs.on_committed.append(self.committed)

    @property
    def queued(self) -> int:
        """How many messages settles have queued."""
        return sum(line.taken for line in self.lines.values())

    def committed(self, bucket: int, seq: int, operation: Operation) -> None:
        """An entry is committed. Raises Violation."""
        match operation:
            case Settled(settles=settles, generation=generation):
                for settle in settles:
                    self._put(bucket, generation, settle.then)
            case Submitted(options=options):
                self._put_parts(bucket, options)
            case Forwarded(batches=batches):
                self._forwarded(bucket, seq, operation)
                for batch in batches:
                    self._put_parts(bucket, batch.options)
            case Delivered():
                self._delivered(bucket, seq, operation)
            case _:
                pass

    def _put_parts(self, bucket: int, options: Chosen) -> None:
        """Joins are queued: with them, their parts."""
        for _, each in options:
            if each.awaits is not None:
                self._put(bucket, each.awaits.generation, each.awaits.parts)

    def _put(self, bucket: int, generation: int, parcels: Sequence[Parcel]) -> None:
        for parcel in parcels:
            link = bucket, generation, bucket_of(parcel.message.id, self._buckets)
            self.lines.setdefault(link, Line()).parcels.append(parcel)

    def _forwarded(self, bucket: int, seq: int, operation: Forwarded) -> None:
        line = self.lines.get((operation.source, operation.generation, bucket), Line())
        where = f"entry {seq} of bucket {bucket} takes {operation.first} to {operation.last} of {operation.source}"
        if operation.first != line.taken + 1 or operation.skipped:
            raise Violation(self.ONCE, f"{where}, after {line.taken}")
        if operation.last > len(line.parcels):
            raise Violation(self.ONCE, f"{where}, but only {len(line.parcels)} were queued by settles that hold")
        found = [(batch.queue, message.id, message.payload) for batch in operation.batches
                 for message in batch.messages]
        wanted = [(parcel.queue, parcel.message.id, parcel.message.payload)
                  for parcel in line.parcels[operation.first - 1:operation.last] if not parcel.part]
        if found != wanted:
            raise Violation(self.ONCE, f"{where} as {found}, and queued was {wanted}")
        words = tuple((parcel.message.id, parcel.part)
                      for parcel in line.parcels[operation.first - 1:operation.last] if parcel.part)
        if operation.arrived != words:
            raise Violation(self.ONCE, f"{where} with word of {operation.arrived}, and queued was {words}")
        line.taken = operation.last

    def _delivered(self, bucket: int, seq: int, operation: Delivered) -> None:
        line = self.lines.get((bucket, operation.generation, operation.target), Line())
        if operation.last > line.taken or operation.first != line.deleted + 1:
            raise Violation(self.KEPT, f"entry {seq} of bucket {bucket} deletes {operation.first} to {operation.last} "
                                       f"for {operation.target}, which has {line.taken}; before, {line.deleted} were")
        line.deleted = operation.last

    def unfound(self) -> str:
        """What is still on its way; empty: nothing."""
        for (source, _, target), line in self.lines.items():
            if line.deleted < len(line.parcels):
                return (f"of {len(line.parcels)} messages from bucket {source} to {target}, {line.taken} are taken and "
                        f"{line.deleted} are known to be")
        return ""
