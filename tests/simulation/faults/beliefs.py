"""Nodes that take for granted what is not so. It may cost time, never data: no rule of safety rests on suspicion."""

from __future__ import annotations

from collections.abc import Collection

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.core.changes import ReplicaDropped
from zmqueue.core.suspicion import FaultDetector


class Liar:
    """A fault detector that says of one member that a majority suspects it, and is honest otherwise."""

    def __init__(self, honest: FaultDetector, victim: int) -> None:
        self._honest = honest
        self._victim = victim

    def majority_suspects(self, number: int, now: float, voters: Collection[int]) -> bool:
        return number == self._victim or self._honest.majority_suspects(number, now, voters)

    def __getattr__(self, name: str) -> object:
        return getattr(self._honest, name)


class BeliefFaults:
    """False suspicions and unfair demands."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"false suspicion": self._lie, "unfair drop": self._drop}

    def _lie(self) -> bool:
        """For a while, one node takes it for granted that a majority suspects some member."""
        liar, state = self._scene.victim().engine, self._scene.cluster.state
        if liar is None or state is None or isinstance(liar.detector, Liar):
            return False
        honest, member = liar.detector, self._dice.choice(state.members)
        liar.detector = Liar(honest, member.number)  # type: ignore[assignment]

        def end() -> None:
            liar.detector = honest
        self._scene.cluster.time.after(0.5 * self._dice.random(), end)
        return True

    def _drop(self) -> bool:
        """Somebody asks for a replica to be dropped that has done nothing wrong."""
        state, node = self._scene.cluster.state, self._scene.victim()
        if state is None or node.engine is None or node.paused:
            return False
        bucket = self._dice.randrange(state.buckets)
        number = self._dice.choice(state.in_sync[bucket])
        node.engine.agreement.want(node.clock.monotonic(), ReplicaDropped(bucket, number, state.terms[bucket]))
        return True
