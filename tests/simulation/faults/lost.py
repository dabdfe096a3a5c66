"""Disks that are not what they were: an empty one under an old name and address, and an old copy put back.

Both are within the promise only where enough good copies are left, so each waits for its moment, and strikes once in a
run. A wiped disk takes nothing that anybody counts on: its node is agreed to be down and in no in-sync set, and the
votes that are left are a majority. An old copy lacks entries that its node had confirmed (C11, R15): its votes are as
they were, another in-sync replica of each of its buckets is up, and alarms may follow. Where the old copy is all that
is left of an in-sync set in the end, the run is over, without a verdict: that is beyond the promise.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Table
from zmqueue.testing import Image, VirtualNode

LOOK_EVERY, LOOK_FOR = 0.2, 5.0
"""Seconds between two looks whether the moment has come, and after which it is not waited for any more."""


class LostDisks:
    """A wiped disk, and an old one."""

    def __init__(self, scene: Scene, latest: Callable[[], ClusterState | None], dishonest: set[str]) -> None:
        """`latest()`: the newest state that is chosen, whoever knows of it. Into `dishonest` goes the name of the node
        that has an old disk."""
        self._scene, self._dice = scene, scene.dice
        self._latest, self._dishonest = latest, dishonest
        self._busy = False

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"wiped disk": self._wipe, "old disk": self._restore}

    # --- wiped ---

    def _wipe(self) -> bool:
        """The machine dies; when the cluster goes on without it, it is there again with an empty disk."""
        node, cluster = self._scene.victim(), self._scene.cluster
        if self._busy or not node.running:
            return False
        self._busy = True
        node.crash()
        until = cluster.time.now + LOOK_FOR

        def look() -> None:
            if node.running:
                self._busy = False             # somebody was faster
            elif self._is_dispensable(node):
                node.wipe()
                self._scene.struck["wiped disk"] += 1
                node.start()
            elif cluster.time.now < until:
                self._scene.later(LOOK_EVERY, look)
            else:
                self._busy = False
                node.start()
        self._scene.later(LOOK_EVERY, look)
        return False                           # it is counted when it happens

    def _is_dispensable(self, node: VirtualNode) -> bool:
        state = self._latest()
        member = None if state is None else state.by_id(node.id)
        if state is None or member is None:
            return False
        others = [number for number in state.voters if number != member.number]
        return (not member.up and len(others) >= state.quorum
                and not any(member.number in in_sync for in_sync in state.in_sync))

    # --- old ---

    def _restore(self) -> bool:
        """A copy of the disk is made now, and some seconds later put in its place."""
        node = self._scene.victim()
        if self._busy or self._dishonest or not node.running:
            return False
        self._busy = True
        image = node.disk.image()

        def put_back() -> None:
            if not node.running or self._dishonest or not self._is_harmless(node, image):
                self._busy = False
                return
            node.crash()
            self._dishonest.add(node.name)
            node.restore(image)
            self._scene.struck["old disk"] += 1
            node.start()
        self._scene.later(0.1 + 3.0 * self._dice.random(), put_back)
        return False

    def _is_harmless(self, node: VirtualNode, image: Image) -> bool:
        """True where the copy has the node's votes as they are, lacks something, and others have what it lacks."""
        state = self._latest()
        member = None if state is None else state.by_id(node.id)
        now = node.disk.image()
        if state is None or member is None or now.label != image.label:
            return False
        if now.tables[Table.META] != image.tables[Table.META] or now.tables == image.tables:
            return False
        return all(any(number != member.number and self._runs(number) for number in in_sync)
                   for in_sync in state.in_sync if member.number in in_sync)

    def _runs(self, number: int) -> bool:
        other = self._scene.cluster.node_of(number)
        return other is not None and other.running and not other.paused
