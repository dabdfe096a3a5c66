"""Members that come and go by plan while everything else goes wrong."""

from __future__ import annotations

from tests.simulation.faults.scene import NODES_MAX, Scene, Strike
from zmqueue.core.changes import MemberForgotten
from zmqueue.core.state import Status


class MemberFaults:
    """Joining, leaving, being replaced and forgotten."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"join": self._join, "leave": self._leave, "replace": self._replace, "forget": self._forget}

    def _join(self) -> bool:
        if len(self._scene.nodes) >= NODES_MAX:
            return False
        self._scene.cluster.add_node().start()
        return True

    def _leave(self) -> bool:
        """A planned stop; the process is ended soon after, whether it was agreed or not."""
        node, scene = self._scene.victim(), self._scene
        if not node.running or node.name in scene.leaving:
            return False
        node.leave()
        scene.leaving.add(node.name)

        def end() -> None:
            node.crash()
            scene.leaving.discard(node.name)
        scene.later(0.2 + 2.0 * self._dice.random(), end)
        scene.restart_later(node, 2.2 + 4.0 * self._dice.random())
        return True

    def _replace(self) -> bool:
        """One node leaves for good, and soon another one joins; at the end of the run the old one comes back."""
        node, scene = self._scene.victim(), self._scene
        if not node.running or node.name in scene.leaving or len(scene.nodes) >= NODES_MAX:
            return False
        node.leave(for_good=True)
        scene.leaving.add(node.name)
        scene.later(4.0 * self._dice.random(), node.crash)
        scene.later(4.0 * self._dice.random(), self._join)
        return True

    def _forget(self) -> bool:
        """The operator has a member forgotten that has long been out, running or not: it learns of that, goes on
        answering for a while, since it may be the only one that knows of the decision, and stops (C7)."""
        state, asked = self._scene.cluster.state, False
        for member in () if state is None else state.members:
            node = self._scene.victim()
            if member.status is Status.OUT and node.engine is not None and not node.paused:
                node.engine.agreement.want(node.clock.monotonic(), MemberForgotten(member.number, member.since))
                asked = True
        return asked
