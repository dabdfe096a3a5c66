"""Bits that flip in the records of one node, while nobody looks.

Only one node of a run is hit, and only while each of its in-sync copies has another one beside it: a damaged copy is
made anew from another replica, and where there is none, its bucket stands still. Where such a copy becomes all that is
left of an in-sync set before it was mended, the run is over without a verdict.
"""

from __future__ import annotations

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.core.copies import COPIED, NO_COPY, position_in
from zmqueue.core.keys import copy_prefix
from zmqueue.core.tables import Damage, Table, span
from zmqueue.testing import VirtualNode

TABLES = (Table.LOG, *COPIED)

FRAME_BYTES = 5
"""Of each record, before its value: they flip too."""

ROWS_MAX = 400
"""Records of each table of a copy among which one is drawn."""


class DamageFaults:
    """Flipped bits."""

    def __init__(self, scene: Scene, dishonest: set[str]) -> None:
        self._scene, self._dice = scene, scene.dice
        self._dishonest = dishonest
        self._flipped: list[tuple[VirtualNode, Table, bytes]] = []

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"flipped bit": self._flip}

    def mend(self) -> None:
        """Nothing flips any more; what has flipped is for the nodes to find."""
        for node in self._scene.nodes.values():
            node.disk.after_sync = None

    def unfound(self) -> str:
        """Which damaged record nobody has found yet; empty: none."""
        for node, table, key in self._flipped:
            try:
                node.disk.store.get(table, key)
            except Damage:
                return f"the record {key.hex()} of {table.value} at {node.name} is damaged, and nobody has found it"
        return ""

    def _flip(self) -> bool:
        """With the next sync: what flips lies on the disk."""
        node = self._scene.nodes[min(self._dishonest)] if self._dishonest else self._scene.victim()
        if not node.running or not self._has_others(node):
            return False
        node.disk.after_sync = lambda: self._flip_one(node)
        return False                       # it is counted when it happens

    def _flip_one(self, node: VirtualNode) -> None:
        dice, store = self._dice, node.disk.store
        if not self._has_others(node) or not self._dishonest <= {node.name}:
            return
        view, bucket = store.snapshot(), dice.randrange(self._scene.cluster.settings.buckets)
        try:
            copy = position_in(view, bucket).copy
            found = [] if copy == NO_COPY else [
                (table, key, value) for table in TABLES
                for key, value in view.scan(table, *span(copy_prefix(copy)), ROWS_MAX)]
        except Damage:
            found = []                     # it has had its share
        view.close()
        if found:
            table, key, value = dice.choice(found)
            self._dishonest.add(node.name)
            store.flip(table, key, dice.randrange(8 * (FRAME_BYTES + len(value))))
            self._flipped.append((node, table, key))
            self._scene.struck["flipped bit"] += 1
            self._scene.cluster.trace.add(node.name, "has a flipped bit", table.value, key)

    def _has_others(self, node: VirtualNode) -> bool:
        state = self._scene.cluster.state
        member = None if state is None else state.by_id(node.id)
        if state is None or member is None:
            return False
        return all(any(number != member.number and state.up(number) for number in in_sync)
                   for in_sync in state.in_sync if member.number in in_sync)
