"""Progress, as programs tell it and as programs that follow are told: one gapless sequence, the same for everybody.

Of each message the events have the indices 1, 2, 3 ...; whoever is told one of them is told the same. Those of one
delivery are what its handler told, in that order, each once. What was confirmed to a handler is never missing again:
neither for who asks later and is told "not yet", nor at the end of the message, nor in the end on the disks.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from tests.simulation.checkers import Violation
from zmqueue.core.answers import Confirmed, Events
from zmqueue.core.ids import bucket_of
from zmqueue.core.operations import State
from zmqueue.core.packets import Packet
from zmqueue.core.records import Special
from zmqueue.core.requests import Follow, Progress
from zmqueue.testing import Observer, VirtualClient, VirtualCluster

Lease = tuple[bytes, int]
Told = tuple[int, bytes]
Stored = tuple[int, bytes, int]
"""(kind, data, fencing number)."""


class Streams(Observer):
    """The book of all progress."""

    SAME = "progress is one gapless sequence, the same for everybody"
    TOLD = "progress is what handlers told, in their order, each event once"
    KEPT = "confirmed progress is never lost"

    def __init__(self) -> None:
        self.followed = 0                  # events that somebody who follows was told
        self._told: defaultdict[Lease, dict[int, Told]] = defaultdict(dict)    # by index under the lease
        self._confirmed: defaultdict[bytes, dict[int, int]] = defaultdict(dict)    # message -> fencing -> last index
        self._seen: defaultdict[bytes, dict[int, Stored]] = defaultdict(dict)      # by index of the message
        self._ends: dict[bytes, int] = {}  # messages that somebody was told have ended -> events
        self._progress: dict[tuple[bytes, int], Progress] = {}
        self._follows: dict[tuple[bytes, int], tuple[Follow, int]] = {}    # and what was confirmed when it was asked

    # --- what programs ask and are told ---

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if isinstance(packet, Progress):
                self._progress[client.identity, packet.request] = packet
                told = self._told[packet.id, packet.fencing]
                for index, event in enumerate(packet.events, packet.index):
                    if told.setdefault(index, event) != event:
                        raise Violation(self.TOLD, f"two events of {packet.id.hex()} have the index {index} under "
                                                   f"lease {packet.fencing}")
            elif isinstance(packet, Follow):
                self._follows[client.identity, packet.request] = packet, self._confirmed_of(packet.id)

    def told(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if isinstance(packet, Confirmed) and not packet.refused:
                progress = self._progress.get((client.identity, packet.request))
                if progress is not None:
                    of_message, last = self._confirmed[progress.id], progress.index + len(progress.events) - 1
                    of_message[progress.fencing] = max(last, of_message.get(progress.fencing, 0))
            elif isinstance(packet, Events):
                self._events(*self._follows[client.identity, packet.request], packet)

    def _confirmed_of(self, message_id: bytes) -> int:
        return sum(self._confirmed[message_id].values()) if message_id in self._confirmed else 0

    def _events(self, asked: Follow, confirmed: int, answer: Events) -> None:
        where = f"of {asked.id.hex()}, after {asked.after}"
        indices = [index for index, *_ in answer.events]
        if indices != list(range(asked.after + 1, asked.after + 1 + len(indices))) or (
                indices and indices[-1] > answer.count):
            raise Violation(self.SAME, f"{where}, somebody is told of events {indices} of {answer.count}")
        seen = self._seen[asked.id]
        for index, kind, data, fencing in answer.events:
            stored = kind, data, fencing
            if seen.setdefault(index, stored) != stored:
                raise Violation(self.SAME, f"{where}, event {index} is {stored}, and somebody was told {seen[index]}")
        self.followed += len(indices)
        if answer.more:
            return
        if not answer.events and answer.count > asked.after:
            raise Violation(self.SAME, f"{where}, there are {answer.count} events, and none is told")
        if State(answer.state).terminal:
            if answer.count < self._confirmed_of(asked.id):
                raise Violation(self.KEPT, f"{where}, it has ended with {answer.count} events; "
                                           f"{self._confirmed_of(asked.id)} were confirmed")
            if self._ends.setdefault(asked.id, answer.count) != answer.count:
                raise Violation(self.SAME, f"{where}, it has ended with {answer.count} events, and with "
                                           f"{self._ends[asked.id]} for others")
        elif not answer.events and answer.count < confirmed:
            raise Violation(self.KEPT, f"{where}, there are {answer.count} events; {confirmed} had been confirmed when "
                                       "this was asked")

    # --- the end ---

    def check_rows(self, cluster: VirtualCluster) -> None:
        """In a cluster in which all is well: its primaries hold all of it. Raises Violation."""
        state = cluster.state
        assert state is not None
        for message_id in {message_id for message_id, _ in self._told}:
            bucket = bucket_of(message_id, state.buckets)
            node = cluster.node_of(state.primary(bucket) or 0)
            assert node is not None and node.engine is not None, "all is well"
            machine = node.engine.replicas[bucket].machine
            record = machine.touched(message_id)
            if record is None:
                continue                   # it is forgotten
            count = record.events if isinstance(record, Special) else 0
            self._check_message(message_id, machine.events(message_id, 0, count))

    def _check_message(self, message_id: bytes, rows: Sequence[tuple[int, int, bytes, int]]) -> None:
        by_lease: defaultdict[int, list[Told]] = defaultdict(list)
        for index, kind, data, fencing in rows:
            by_lease[fencing].append((kind, data))
            stored = kind, data, fencing
            if self._seen[message_id].get(index, stored) != stored:
                raise Violation(self.SAME, f"event {index} of {message_id.hex()} is {stored} in the end, and somebody "
                                           f"was told {self._seen[message_id][index]}")
        if lost := [index for index in self._seen[message_id] if index > len(rows)]:
            raise Violation(self.KEPT, f"somebody was told of events {lost} of {message_id.hex()}; in the end it has "
                                       f"{len(rows)}")
        if list(by_lease) != sorted(by_lease):
            raise Violation(self.SAME, f"events of {message_id.hex()} stand after those of a later delivery")
        for fencing, events in by_lease.items():
            told = self._told[message_id, fencing]
            if events != [told.get(index) for index in range(1, len(events) + 1)]:
                raise Violation(self.TOLD, f"under lease {fencing} of {message_id.hex()} were told {told}, and stored "
                                           f"{events}")
        for fencing, last in self._confirmed[message_id].items():
            if len(by_lease[fencing]) < last:
                raise Violation(self.KEPT, f"{last} events under lease {fencing} of {message_id.hex()} were confirmed; "
                                           f"{len(by_lease[fencing])} are stored")
