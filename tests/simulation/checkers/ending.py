"""How a run must end: after the last fault, within a bounded time, everything is whole, drained, equal and found."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.checkers import Violation
from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.logs import Logs, content
from tests.simulation.checkers.states import States
from zmqueue.core.ids import bucket_of
from zmqueue.core.state import ClusterState
from zmqueue.testing import VirtualCluster

ASKED_AT_END = 12
"""Confirmed messages that a fresh client asks after, at most."""

IN_FLIGHT = ("leases", "locked", "pending_bytes", "granting_bytes", "requests_pending")
"""What a node's statistics must be free of when all is done."""


class Ending:
    """The checks at the end of a run."""

    WHOLE = "all is well in the end"
    EQUAL = "replicas are equal in the end"
    LOST = "nothing confirmed is lost"
    DEFINITE = "what is definitely refused is not stored"

    def __init__(self, cluster: VirtualCluster, states: States, logs: Logs, answers: Answers,
                 pending: Callable[[], int], unfound: Callable[[], str] = str) -> None:
        """`pending()`: how many submits are under way. `unfound()`: what is damaged on a disk and not found yet."""
        self._cluster, self._states, self._logs, self._answers = cluster, states, logs, answers
        self._pending, self._unfound = pending, unfound

    def check(self, limit: float, refused: Callable[[], list[bytes]]) -> None:
        """Let time pass until all is well, and look. Raises Violation. `refused()`: the ids that programs take for not
        stored."""
        if not self._cluster.run_until(lambda: not self._unwell(), limit, every=0.1):
            raise Violation(self.WHOLE, f"{limit:g} s after the last fault: {self._unwell()}")
        self._cluster.run(0.5)             # what is told lazily is told by now
        self._check_rest()
        self._check_rows()
        self._check_found()
        for message_id in refused():
            if message_id in self._logs.models[bucket_of(message_id, len(self._logs.models))].lives:
                raise Violation(self.DEFINITE, f"a program was told that {message_id.hex()} is not stored, and it is")

    def _unwell(self) -> str:
        """What is not well yet; empty: nothing."""
        cluster, latest = self._cluster, self._states.latest
        if unfound := self._unfound():
            return unfound
        if not cluster.is_whole():
            return f"not whole in {self._short(cluster.state)}"
        if pending := self._pending():
            return f"{pending} submits are not finished"
        if latest is None or cluster.state != latest:
            return "the newest chosen state is not known to all"
        for bucket, model in enumerate(self._logs.models):
            waiting = [life for life in model.lives.values() if not life.state.terminal]
            if waiting:
                return f"{len(waiting)} messages of bucket {bucket} have not ended, the first is {waiting[0]}"
            for node in cluster.running:
                replica = None if node.engine is None else node.engine.replicas.get(bucket)
                member = latest.by_id(node.id)
                if member is not None and member.number in latest.in_sync[bucket]:
                    end = len(self._logs.committed[bucket])
                    # A backup may keep a tail that nobody else has until another entry takes its place (R6).
                    if replica is None or replica.commit != end or (replica.primary and replica.end != end):
                        return f"bucket {bucket} at {node.name} is not at its end, {end}"
        return ""

    def _short(self, state: ClusterState | None) -> str:
        if state is None:
            return "no state at all"
        members = ", ".join(f"{member.number} {member.status.name}.{member.incarnation}" for member in state.members)
        buckets = ", ".join(f"{bucket}: in-sync {state.in_sync[bucket]} of {state.desired(bucket)}"
                            for bucket in range(state.buckets))
        known = ", ".join(f"{node.name}.{node.incarnation} at epoch {node.engine.state.epoch}"
                          for node in self._cluster.running
                          if node.engine is not None and node.engine.state is not None)
        return f"epoch {state.epoch} of {members}; {buckets}; {known}"

    def _check_rest(self) -> None:
        """Nothing is in flight that nobody will end."""
        for node in self._cluster.running:
            front = None if node.engine is None else node.engine.front
            if front is None:
                continue
            facts = front.statistics()
            left = {name: facts[name] for name in IN_FLIGHT if facts[name]}
            if left:
                raise Violation(self.WHOLE, f"{node.name} still holds {left}")

    def _check_rows(self) -> None:
        """The rows of all in-sync replicas are the same, and say of each message what was committed of it."""
        latest = self._states.latest
        assert latest is not None
        for bucket, model in enumerate(self._logs.models):
            rows = None
            for number in latest.in_sync[bucket]:
                node = self._cluster.node_of(number)
                assert node is not None and node.engine is not None
                replica = node.engine.replicas[bucket]
                mine = content(node.disk.store, replica.copy.number)
                if rows is None:
                    rows = mine
                elif rows != mine:
                    raise Violation(self.EQUAL, f"{node.name} has other rows of bucket {bucket} than its peers")
                for message_id, life in model.lives.items():
                    record = replica.machine.find(message_id)
                    if record is None or record.state is not life.state or record.result != life.result:
                        raise Violation(self.LOST, f"{node.name} says of {message_id.hex()} {record}, "
                                                   f"committed is {life}")

    def _check_found(self) -> None:
        """Each confirmed message is stored; a fresh client finds some of them."""
        for message_id in self._answers.confirmed:
            model = self._logs.models[bucket_of(message_id, len(self._logs.models))]
            if message_id not in model.lives and message_id not in model.forgotten:
                raise Violation(self.LOST, f"{message_id.hex()} was confirmed, and is nowhere")
        confirmed = list(self._answers.confirmed)
        some = confirmed[::max(1, len(confirmed) // ASKED_AT_END)][:ASKED_AT_END]
        client = self._cluster.client()
        calls = [client.ask(message_id) for message_id in some]
        self._cluster.run_until(lambda: all(call.finished for call in calls), 20.0, every=0.05)
        for call in calls:
            if call.error is not None:
                raise Violation(self.LOST, f"a client asks after {call.id.hex()}, which was confirmed: {call.error!r}")
