"""A paused queue hands out nothing: no primary leases a message of a queue that is paused in the state that it knows.

A primary that has not heard of the pause yet may, so what counts is the state that it had installed when its turn
began; where that turn brought another one in which the queue is not paused, it may as well.
"""

from __future__ import annotations

import msgspec

from tests.simulation.checkers import Violation
from zmqueue.core.operations import Leased, State, Submitted, decode
from zmqueue.core.replication import Replica, Role
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Damage
from zmqueue.testing import Observer, VirtualNode

_PAUSED = 10
"""The place of the flag in a policy (docs/formats.md)."""


def paused_in(state: ClusterState | None) -> frozenset[str]:
    """The queues that are paused in a state, read from its bytes and not by the product's eyes."""
    if state is None:
        return frozenset()
    policies = {name: msgspec.msgpack.decode(policy) for name, _, policy in state.queues}
    return frozenset(name for name, fields in policies.items() if len(fields) > _PAUSED and fields[_PAUSED])


def _is_letter(replica: Replica, message_id: bytes) -> bool:
    """True of a dead letter: it is handed out to be looked at, pause or no pause."""
    record = replica.machine.find(message_id)
    return record is not None and record.state.shown is State.DEAD


class Pauses(Observer):
    """What was paused where, and what is leased all the same."""

    GRANTED = "a paused queue hands out nothing"

    def __init__(self) -> None:
        self.pauses = 0                              # states that were installed, by any node, with a queue paused
        self._paused: dict[str, frozenset[str]] = {}     # by node: in the state with which its turn begins
        self._ends: dict[tuple[str, int], tuple[int, int]] = {}      # (node, bucket) -> (term, end) as primary
        self._queue: dict[bytes, str] = {}           # of each message that was submitted

    def started(self, node: VirtualNode) -> None:
        self._paused[node.name] = self._installed(node)

    def stopped(self, node: VirtualNode) -> None:
        for key in [key for key in self._ends if key[0] == node.name]:
            del self._ends[key]

    def turned(self, node: VirtualNode) -> None:
        if node.engine is None:
            return
        now = self._installed(node)
        before = self._paused.get(node.name, frozenset())
        for bucket, replica in node.engine.replicas.items():
            if replica.role is Role.PRIMARY:
                self._look(node, bucket, replica, before & now)
        self.pauses += len(now - before)
        self._paused[node.name] = now

    def _installed(self, node: VirtualNode) -> frozenset[str]:
        return frozenset() if node.engine is None else paused_in(node.engine.state)

    def _look(self, node: VirtualNode, bucket: int, replica: Replica, paused: frozenset[str]) -> None:
        term, end = self._ends.get((node.name, bucket), (0, 0))
        if (term, end) == (replica.term, replica.end):
            return
        self._ends[node.name, bucket] = replica.term, replica.end
        log = replica.copy.log
        for seq in range(max(log.base_seq, end if term == replica.term else replica.commit) + 1, replica.end + 1):
            try:
                decided_in, data = log.entry(seq)
            except Damage:
                continue
            operation = decode(data)
            if isinstance(operation, Submitted):
                self._queue.update((message.id, operation.queue) for message in operation.messages)
            if not isinstance(operation, Leased) or decided_in != replica.term:
                continue
            queues = {self._queue.get(message_id) for message_id, _ in operation.grants
                      if not _is_letter(replica, message_id)}
            if wrong := queues & paused:
                raise Violation(self.GRANTED, f"{node.name} hands out of {wrong}, which is paused in the state that "
                                              f"it knows: entry {seq} of bucket {bucket}")
