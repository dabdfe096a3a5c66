"""Disks that are slow, that hang, that fail."""

from __future__ import annotations

from dataclasses import replace

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.testing import DiskSpeed


class DiskFaults:
    """Faults of nodes' disks."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"slow disk": self._slow}

    def mend(self) -> None:
        """All disks are as good as new."""
        for node in self._scene.nodes.values():
            node.disk.speed = DiskSpeed()

    def _slow(self) -> bool:
        """Slow, or now and then hanging for longer than suspicion takes; or as it was, if it is so already."""
        disk, usual = self._scene.victim().disk, DiskSpeed()
        disk.speed = usual if disk.speed != usual else replace(
            usual, sync_max=self._dice.choice((0.01, 0.1)), hitch=self._dice.choice((0.0, 0.1)),
            hitch_max=self._dice.choice((0.3, 2.5)))
        return True
