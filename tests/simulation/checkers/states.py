"""One state per epoch: counts the votes on the disks, and so knows which state was chosen, whoever knows it.

A value is chosen when a majority of the voters of the state before has it accepted, in one ballot, on disk. Nothing
but the chosen state of an epoch may be installed anywhere (C1 to C5).
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.checkers import Violation
from tests.simulation.checkers.steps import Steps
from zmqueue.core.acceptor import _KEY as ACCEPTOR_KEY
from zmqueue.core.acceptor import _decoder as acceptor_decoder
from zmqueue.core.ballots import NO_BALLOT, Ballot
from zmqueue.core.changes import Value, apply
from zmqueue.core.state import ClusterState, digest
from zmqueue.core.tables import Table
from zmqueue.testing import Observer, VirtualNode


class States(Observer):
    """The chain of states, as the disks tell it. `on_chosen` is called with each state that becomes chosen."""

    NAME = "one state per epoch"

    def __init__(self) -> None:
        self.chosen: dict[int, ClusterState] = {}
        self.latest: ClusterState | None = None
        self.on_chosen: list[Callable[[ClusterState], None]] = []
        self._votes: dict[tuple[int, Ballot], dict[Value, set[str]]] = {}
        self._epochs: dict[str, int] = {}
        self._records: dict[str, bytes] = {}

    def started(self, node: VirtualNode) -> None:
        self._installed(node)

    def turned(self, node: VirtualNode) -> None:
        self._installed(node)

    def synced(self, node: VirtualNode) -> None:
        self._voted(node)

    def stopped(self, node: VirtualNode) -> None:
        self._voted(node)
        self._epochs.pop(node.name, None)

    def _installed(self, node: VirtualNode) -> None:
        state = None if node.engine is None else node.engine.state
        if state is None or self._epochs.get(node.name) == state.epoch:
            return
        if state.epoch < self._epochs.get(node.name, 0):
            raise Violation(self.NAME, f"{node.name} goes back from epoch {self._epochs[node.name]} to {state.epoch}")
        self._epochs[node.name] = state.epoch
        if state.epoch == 1 and not self.chosen:
            self._choose(state)            # founded
        chosen = self.chosen.get(state.epoch)
        if chosen is None:
            raise Violation(self.NAME, f"{node.name} installs a state of epoch {state.epoch} that was not chosen")
        if chosen is not state and chosen.to_bytes() != state.to_bytes():
            raise Violation(self.NAME, f"{node.name} installs another state of epoch {state.epoch} than the chosen one")

    def _voted(self, node: VirtualNode) -> None:
        view = node.disk.store.snapshot()
        data = view.get(Table.META, ACCEPTOR_KEY)
        view.close()
        if data is None or self._records.get(node.name) == data:
            return
        self._records[node.name] = data
        record = acceptor_decoder.decode(data)
        if record.accepted_ballot == NO_BALLOT or record.accepted_value is None:
            return
        votes = self._votes.setdefault((record.epoch, record.accepted_ballot), {})
        if record.accepted_value not in votes and votes:
            raise Violation(self.NAME, f"ballot {record.accepted_ballot} of epoch {record.epoch} carries two values")
        of_value = votes.setdefault(record.accepted_value, set())
        of_value.add(node.id)
        before = self.chosen.get(record.epoch - 1)
        if before is None:
            return
        voters = {member.id for member in before.members if member.voter}
        if 2 * len(of_value & voters) > len(voters):
            self._outcome(before, record.accepted_value)

    def _outcome(self, before: ClusterState, value: Value) -> None:
        known = self.chosen.get(before.epoch + 1)
        if known is not None:
            if digest(known) != value.digest:
                raise Violation(self.NAME, f"two states are chosen for epoch {known.epoch}")
            return
        state = apply(before, value.changes)
        if digest(state) != value.digest:
            raise Violation(self.NAME, f"the changes chosen for epoch {state.epoch} do not give the chosen digest")
        Steps(before, value.changes, state).check()
        self._choose(state)

    def _choose(self, state: ClusterState) -> None:
        self.chosen[state.epoch] = state
        self.latest = state
        for bucket, in_sync in enumerate(state.in_sync):
            if not in_sync:
                raise Violation(self.NAME, f"epoch {state.epoch} leaves bucket {bucket} without in-sync replica")
        for told in self.on_chosen:
            told(state)
