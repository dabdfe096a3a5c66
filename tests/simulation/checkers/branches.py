"""What the books of committed logs and of states become when an operator decides that something is given up (C12).

From an adoption on, committed is what the adopted copy had applied, and what is committed after that. What older copies
hold is looked at no more: they are given up, or are the adopted one, as soon as their node knows. What was confirmed
and is in none of this is *lost*; it is remembered, so that a test can hold it against what the operator was told.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable

from tests.simulation.checkers.logs import Key, Logs, Seen
from tests.simulation.checkers.model import BucketModel
from tests.simulation.checkers.states import States
from zmqueue.core.copies import position_in
from zmqueue.core.operations import decode
from zmqueue.core.packets import Entry
from zmqueue.core.replication import Replica
from zmqueue.core.state import ClusterState
from zmqueue.testing import VirtualNode


class RecoverableStates(States):
    """States of several lineages, of which the test says when each begins."""

    def recovered(self, state: ClusterState) -> None:
        """A recovery was planned: its state is chosen, by the operator, and what the lineage before voted is void."""
        self.chosen = {epoch: chosen for epoch, chosen in self.chosen.items() if epoch < state.epoch}
        self._votes = {key: votes for key, votes in self._votes.items() if key[0] < state.epoch}
        self._choose(state)


class BranchingLogs(Logs):
    """Committed logs of buckets that may be adopted."""

    def __init__(self, states: States, buckets: int) -> None:
        super().__init__(states, buckets)
        self.given_up: dict[int, list[Entry]] = {}     # by bucket: what was committed, and the adopted copy lacked
        self._generations: tuple[int, ...] = (1,) * buckets
        self._older: set[Key] = set()

    def lost(self, confirmed: Iterable[bytes]) -> set[bytes]:
        """Those of the messages that are nowhere any more."""
        known = {message_id for model in self.models for message_id in (*model.lives, *model.forgotten)}
        return set(confirmed) - known

    def _chosen(self, state: ClusterState) -> None:
        for bucket, generation in enumerate(state.generations):
            if generation > self._generations[bucket]:
                adopted = next(member for mark in reversed(state.disasters) for at, then, member in mark.adopted
                               if (at, then) == (bucket, generation))
                self._branch(bucket, self._applied(self.nodes[adopted], bucket))
        self._generations = state.generations
        super()._chosen(state)

    def _applied(self, node: VirtualNode, bucket: int) -> int:
        if node.engine is not None:
            return node.engine.replicas[bucket].commit
        view = node.disk.store.snapshot()
        position = position_in(view, bucket)
        view.close()
        return position.commit

    def _branch(self, bucket: int, commit: int) -> None:
        committed = self.committed[bucket]
        self.given_up.setdefault(bucket, []).extend(committed[commit:])
        del committed[commit:]
        model = self.models[bucket] = BucketModel()
        for seq, (_, data) in enumerate(committed, 1):
            model.apply(seq, decode(data))

    def _moved(self, node: VirtualNode, bucket: int, replica: Replica, seen: Seen | None) -> None:
        key = node.name, bucket
        if replica.copy.generation < self._generations[bucket]:
            self._older.add(key)
            self._tails.pop(key, None)
            return
        if key in self._older and seen is not None:    # what it had is void: all of what it has now is looked at
            seen = copy.copy(seen)
            seen.copy = seen.commit = seen.end = 0
        self._older.discard(key)
        super()._moved(node, bucket, replica, seen)
