"""Schedules, told once more by the agreed states and the committed logs: each tick of each entry fires once.

What fires is a tick of an entry that was agreed, later than its start and than all that were dealt with before, in the
bucket in which the entry lies, with its payload, under an id that no other tick has. Where an entry wants all ticks,
none is left out between the one before and the last that is dealt with.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from tests.simulation.checkers import Violation
from zmqueue.core.operations import Fired, Operation
from zmqueue.core.schedules import CatchUp, Entry, decode
from zmqueue.core.state import ClusterState

if TYPE_CHECKING:
    from tests.simulation.checkers.logs import Logs
    from tests.simulation.checkers.states import States


class Ticks:
    """The book of all schedules."""

    ONCE = "each tick of a schedule fires once"
    REAL = "what a schedule fires are its ticks"
    ALL = "no tick is left out where all are wanted"

    def __init__(self, states: States, logs: Logs) -> None:
        self.fired = 0                     # messages of ticks
        self.last: dict[str, int] = {}     # by name: the last tick that is dealt with
        self._agreed: defaultdict[str, dict[bytes, Entry]] = defaultdict(dict)     # all that ever was, by its bytes
        self._buckets: dict[str, int] = {}
        self._ids: dict[bytes, tuple[str, int]] = {}
        states.on_chosen.append(self.chosen)
        logs.on_committed.append(self.committed)

    def chosen(self, state: ClusterState) -> None:
        """These schedules hold from here on, for whoever has installed the state."""
        for name, _, data in state.schedules:
            self._agreed[name].setdefault(data, decode(data))

    def committed(self, bucket: int, seq: int, operation: Operation) -> None:
        """An entry is committed. Raises Violation."""
        if not isinstance(operation, Fired):
            return
        name, before = operation.name, self.last.get(operation.name, 0)
        where = f"entry {seq} of bucket {bucket} fires {name!r} up to {operation.tick}"
        if self._buckets.setdefault(name, bucket) != bucket:
            raise Violation(self.ONCE, f"{where}; it has fired in bucket {self._buckets[name]}")
        if operation.tick <= before:
            raise Violation(self.ONCE, f"{where}, and {before} was dealt with")
        found = [int(dict(message.headers)["zmqueue-tick"]) for message in operation.messages]
        if found != sorted(set(found)) or (found and not before < found[0] <= found[-1] <= operation.tick):
            raise Violation(self.ONCE, f"{where}: {found}, and {before} was dealt with")
        for message, tick in zip(operation.messages, found, strict=True):
            if self._ids.setdefault(message.id, (name, tick)) != (name, tick):
                raise Violation(self.ONCE, f"{where}: the id of {tick} is that of {self._ids[message.id]}")
        payloads = {message.payload for message in operation.messages}
        ticks = (*found, operation.tick)
        fitting = [entry for entry in self._agreed[name].values() if payloads <= {entry.payload}
                   and entry.queue == operation.queue and all(_is_tick(entry, tick) for tick in ticks)]
        if not fitting:
            raise Violation(self.REAL, f"{where}: {found} with {payloads}; agreed were {self._agreed[name]}")
        if all(entry.catch_up is CatchUp.ALL for entry in fitting) and not any(
                _complete(entry, before, found, operation.tick) for entry in fitting):
            raise Violation(self.ALL, f"{where}: {found} after {before} of {fitting}")
        self.last[name] = operation.tick
        self.fired += len(found)


def _is_tick(entry: Entry, tick: int) -> bool:
    return tick > entry.start and (tick - entry.start) % entry.every == 0


def _complete(entry: Entry, before: int, found: list[int], last: int) -> bool:
    first = entry.start + entry.every
    while first <= before:
        first += entry.every
    return found == list(range(first, last + 1, entry.every))
