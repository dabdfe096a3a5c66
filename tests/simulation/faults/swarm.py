"""Which kinds of faults a run has, how often each strikes, and when: all by chance, all from the seed.

A run in which everything goes wrong all the time gets nowhere, and one in which each fault is rare meets no two of
them at once; a draw of kinds per seed gives both, and all in between.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from tests.simulation.faults.beliefs import BeliefFaults
from tests.simulation.faults.clocks import ClockFaults
from tests.simulation.faults.damage import DamageFaults
from tests.simulation.faults.disks import DiskFaults
from tests.simulation.faults.failpoints import FailpointFaults
from tests.simulation.faults.lost import LostDisks
from tests.simulation.faults.members import MemberFaults
from tests.simulation.faults.network import NetworkFaults
from tests.simulation.faults.processes import ProcessFaults
from tests.simulation.faults.scene import Scene
from tests.simulation.workload import Workload
from zmqueue.core.state import ClusterState
from zmqueue.testing import VirtualCluster

SHARES = {"heal": 1.0, "failpoint of a snapshot": 0.6, "old disk": 0.1, "flipped bit": 0.15}
"""In how many runs a kind is that is not like the others: what mends, what seldom finds its moment, and what is hardly
within the promise."""


class Faults:
    """What goes wrong in one run."""

    def __init__(self, cluster: VirtualCluster, workload: Workload, dice: random.Random,
                 latest: Callable[[], ClusterState | None], dishonest: set[str]) -> None:
        """`latest()`: the newest chosen state. Into `dishonest` go the names of nodes whose disks will not hold what
        they confirmed."""
        self.scene = scene = Scene(cluster, workload, dice)
        self._network, self._processes = NetworkFaults(scene), ProcessFaults(scene)
        self._disks, self._clocks, self._failpoints = DiskFaults(scene), ClockFaults(scene), FailpointFaults(scene)
        self._damage = DamageFaults(scene, dishonest)
        families = (self._network, self._processes, self._disks, self._clocks, self._failpoints, MemberFaults(scene),
                    BeliefFaults(scene), LostDisks(scene, latest, dishonest), self._damage)
        self.names = frozenset(name for family in families for name in family.kinds())     # drawn or not
        share = dice.choice((0.15, 0.3, 0.6))
        self._kinds = {name: strike for family in families for name, strike in family.kinds().items()
                       if dice.random() < SHARES.get(name, share)}
        self._weights = [dice.choice((1, 1, 3, 8)) for _ in self._kinds]
        self._pause = dice.choice((0.2, 0.7, 2.0))
        self._again()

    @property
    def struck(self) -> Counter[str]:
        """How often each kind struck."""
        return self.scene.struck

    def unfound(self) -> str:
        """What is damaged and was not found yet; empty: nothing."""
        return self._damage.unfound()

    def stop(self) -> None:
        """Strike no more, and mend what is broken."""
        self.scene.on = False
        self._network.mend()
        self._failpoints.mend()
        self._disks.mend()
        self._damage.mend()
        self._clocks.mend()
        self._processes.mend()

    def _again(self) -> None:
        self.scene.cluster.time.after(self._pause * 2 * self.scene.dice.random(), self._strike)

    def _strike(self) -> None:
        if not self.scene.on:
            return
        name = self.scene.dice.choices(list(self._kinds), self._weights)[0]
        self.scene.cluster.trace.add("--", f"fault: {name}")
        if self._kinds[name]():
            self.scene.struck[name] += 1
        self._again()
