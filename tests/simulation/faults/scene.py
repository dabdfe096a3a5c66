"""What all kinds of faults share: the cluster, chance, whom to hit, and what is to happen later."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable

from tests.simulation.workload import Workload
from zmqueue.testing import VirtualCluster, VirtualNode

Strike = Callable[[], bool]
"""One kind of fault: strikes once; False where there was nothing to strike at."""

NODES_MAX = 7


class Scene:
    """One run, as faults see it."""

    def __init__(self, cluster: VirtualCluster, workload: Workload, dice: random.Random) -> None:
        self.cluster, self.workload, self.dice = cluster, workload, dice
        self.on = True                     # faults strike
        self.struck: Counter[str] = Counter()
        self.leaving: set[str] = set()     # nodes that asked to be down, and do not come back by themselves
        self.doubled = False               # messages were doubled: then a refusal of one says nothing of the other
        self.latest = 0.0                  # seconds after which a message that is under way has surely arrived

    # --- whom ---

    @property
    def nodes(self) -> dict[str, VirtualNode]:
        return self.cluster.nodes

    def shuffled(self) -> list[str]:
        """The names of all nodes, in an order by chance."""
        names = list(self.nodes)
        self.dice.shuffle(names)
        return names

    def victim(self) -> VirtualNode:
        """Some node; often the one that is primary of most buckets."""
        state = self.cluster.state
        if state is None or self.dice.random() < 0.5:
            return self.anybody()
        primaries = Counter(state.primary(bucket) for bucket in range(state.buckets))
        number = primaries.most_common(1)[0][0]
        return self._member(number) or self.anybody()

    def anybody(self) -> VirtualNode:
        """Any node."""
        return self.dice.choice(list(self.nodes.values()))

    def primary(self) -> VirtualNode | None:
        """The primary of some bucket, while it runs."""
        state = self.cluster.state
        node = None if state is None else self._member(state.primary(self.dice.randrange(state.buckets)))
        return node if node is not None and node.running and not node.paused else None

    def _member(self, number: int | None) -> VirtualNode | None:
        return None if number is None else self.cluster.node_of(number)

    def client_names(self, share: float) -> list[str]:
        """Each program with that probability."""
        return [name for name in self.cluster.clients if self.dice.random() < share]

    # --- later ---

    def later(self, seconds: float, act: Callable[[], object]) -> None:
        """Do it then, if faults still strike."""
        def run() -> None:
            if self.on:
                act()
        self.cluster.time.after(seconds, run)

    def restart_later(self, node: VirtualNode, away: float) -> None:
        """Start it then, unless somebody else has."""
        def restart() -> None:
            if not node.running:
                node.start()
                self.leaving.discard(node.name)
        self.later(away, restart)

