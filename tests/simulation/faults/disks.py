"""Disks that are slow, that hang, that are full, that fail to write or to sync.

After a failed write or sync the node stops, and a restart finds what is on the disk (R18): in these runs somebody
restarts it soon, as a supervisor of processes would.
"""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.core.room import PLENTY, Room
from zmqueue.testing import DiskSpeed, Observer, VirtualNode

RESTART_S = 3.0
"""Seconds after which a node that its disk stopped is started again, at most."""

FULL_S = 6.0
"""Seconds for which a disk is full, at most."""

SHORT = Room(0, False, "the disk of this run is short")
LOW = Room(0, True, "the disk of this run is nearly full")


class DiskFaults(Observer):
    """Faults of nodes' disks."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice
        self._failing: set[str] = set()    # nodes whose disk was told to fail
        scene.cluster.observers.append(self)

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"slow disk": self._slow, "failing write": self._fail_write, "failing sync": self._fail_sync,
                "disk short": self._short, "disk full": self._full}

    def mend(self) -> None:
        """All disks are as good as new."""
        for node in self._scene.nodes.values():
            disk = node.disk
            disk.speed, disk.room, disk.full = DiskSpeed(), PLENTY, False
            disk.store.fail_next_commit = disk.store.fail_next_write = False

    def stopped(self, node: VirtualNode) -> None:
        if node.ended and node.name in self._failing:
            self._failing.discard(node.name)
            self._scene.restart_later(node, RESTART_S * self._dice.random())

    def _slow(self) -> bool:
        """Slow, or now and then hanging for longer than suspicion takes; or as it was, if it is so already."""
        disk, usual = self._scene.victim().disk, DiskSpeed()
        disk.speed = usual if disk.speed != usual else replace(
            usual, sync_max=self._dice.choice((0.01, 0.1)), hitch=self._dice.choice((0.0, 0.1)),
            hitch_max=self._dice.choice((0.3, 2.5)))
        return True

    def _fail_write(self) -> bool:
        """The next write fails: the node stops, and nothing of its batch is on the disk."""
        return self._fail(self._scene.victim(), write=True)

    def _fail_sync(self) -> bool:
        """The next sync fails: the node stops, and who knows whether its batch is on the disk."""
        return self._fail(self._scene.victim(), write=False)

    def _fail(self, node: VirtualNode, *, write: bool) -> bool:
        if not node.running:
            return False
        store = node.disk.store
        store.fail_next_write, store.fail_next_commit = write, not write
        self._failing.add(node.name)
        return True

    def _short(self) -> bool:
        """Another program fills the disk: the reserve is left, submits are refused; then there is room again."""
        disk = self._scene.victim().disk
        disk.room = self._dice.choice((SHORT, LOW))

        def again() -> None:
            disk.room = PLENTY
        self._scene.later(FULL_S * self._dice.random(), again)
        return True

    def _full(self) -> bool:
        """Not even the reserve is left: the node stops, and starts only when there is room again."""
        node = self._scene.victim()
        node.disk.full = True

        def again() -> None:
            node.disk.full = False
            self._scene.restart_later(node, RESTART_S * self._dice.random())
        self._scene.later(FULL_S * self._dice.random(), again)
        return True
