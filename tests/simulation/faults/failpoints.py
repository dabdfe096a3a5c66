"""Death at a named moment: a fuse is laid at a failpoint, and whoever gets there first dies there.

Deaths are counted by the name of the failpoint, when they happen; to lay a fuse is no fault yet.
"""

from __future__ import annotations

from functools import partial

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.testing import Failpoint, Fuse, VirtualNode

BOOT = (Failpoint.BOOT, Failpoint.RECOVERED)
SNAPSHOT = (Failpoint.CHUNK_READ, Failpoint.CHUNK_SENT, Failpoint.CHUNK_TAKEN, Failpoint.CHUNK_ON_DISK)

FAMILIES = {
    "failpoint of a boot": BOOT,
    "failpoint of a view change": (Failpoint.STATE_IN_MEMORY, Failpoint.STATE_ON_DISK),
    "failpoint of a snapshot": SNAPSHOT,
    "failpoint of a send": (Failpoint.BEFORE_SENDS, Failpoint.BETWEEN_SENDS, Failpoint.SENT_NOT_COMMITTED,
                            Failpoint.BETWEEN_PROMISES, Failpoint.AFTER_PROMISES),
    "failpoint of a write": (Failpoint.BEFORE_COMMIT, Failpoint.IN_COMMIT, Failpoint.AFTER_COMMIT)}

JOINED_MAX = 5
"""Nodes up to which one more joins so that somebody needs snapshots: many nodes make a run slow."""

SKIPS = (0, 0, 0, 1, 3)
"""How often a process gets by before it dies."""


class FailpointFaults:
    """Crashes between two things that look like one."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice

    def kinds(self) -> dict[str, Strike]:
        """One kind for each family of names."""
        return {name: partial(self._lay, points) for name, points in FAMILIES.items()}

    def mend(self) -> None:
        """No fuse is left."""
        for node in self._scene.nodes.values():
            node.clear()

    def _lay(self, points: tuple[Failpoint, ...]) -> bool:
        dice, scene, point = self._dice, self._scene, self._dice.choice(points)
        if point in SNAPSHOT and len(scene.nodes) < JOINED_MAX:
            scene.cluster.add_node().start()           # somebody who needs snapshots
        here = [scene.victim()] if dice.random() < 0.5 and point not in SNAPSHOT else list(scene.nodes.values())
        for node in here:
            node.lay(Fuse(point, dice.choice(SKIPS), partial(self._blown, node, point)))
        if point in BOOT:
            node = here[0]
            node.lay(Fuse(point, 0, partial(self._blown, node, point)))
            node.crash()
            scene.restart_later(node, dice.random())
        return False

    def _blown(self, node: VirtualNode, point: Failpoint) -> None:
        self._scene.struck[name_of(point)] += 1
        if self._dice.random() < 0.5:
            for other in self._scene.nodes.values():
                other.clear()              # one is enough, this time
        self._scene.restart_later(node, self._dice.choice((0.02, 0.3, 3.0)) * 2 * self._dice.random())


def name_of(point: Failpoint) -> str:
    """The fault's name in the counts."""
    return f"crash at {point.name.lower().replace('_', ' ')}"
