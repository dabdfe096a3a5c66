"""Watches the node's disk: measures it, tells the engine how much room there is, and says once what changed."""

from __future__ import annotations

import logging

from zmqueue.core.engine import Engine
from zmqueue.core.room import Room
from zmqueue.store import DiskRoom, LmdbStore

log = logging.getLogger("zmqueue.node")

MEASURE_EVERY_S = 0.5                  # so soon is noticed that there is room again

CLAIM_SHARE = 4                        # see `committed`


class DiskWatch:
    """Used by the loop's thread; `facts` may be read by others."""

    def __init__(self, store: LmdbStore, node_id: str) -> None:
        self.facts: dict[str, int] = {}
        self._store = store
        self._node_id = node_id
        self._at = float("-inf")
        self._short = self._low = False
        self._spare_bytes = 0

    def begin(self, engine: Engine, now: float) -> None:
        """There is an engine (again), that knows nothing yet."""
        self._measure(engine, now)

    def look(self, engine: Engine, now: float) -> None:
        """Measure, where it is time to. With every tick."""
        if now - self._at >= MEASURE_EVERY_S:
            self._measure(engine, now)

    def committed(self, engine: Engine, now: float) -> None:
        """A batch is on disk: measure at once where it touched the reserve, so that no second one does unnoticed; and
        where submits have claimed a good part of what was to spare, so that none is refused for an old measurement."""
        if not self._short and (engine.disk_claimed_bytes > self._spare_bytes // CLAIM_SHARE
                                or not self._store.reserve_is_whole()):
            self._measure(engine, now)

    def _measure(self, engine: Engine, now: float) -> None:
        self._at = now
        found = self._store.disk_room()
        self._spare_bytes = found.spare_bytes
        engine.disk_has(Room(found.spare_bytes, found.low, f"node {self._node_id} is short of disk: {found.text}"))
        self.facts = {"disk_short": int(found.short), "disk_free_bytes": found.free_bytes,
                      "disk_reserved_bytes": found.reserved_bytes + found.reusable_bytes}
        if (found.short, found.low) != (self._short, self._low):
            self._say(found)
            self._short, self._low = found.short, found.low

    def _say(self, found: DiskRoom) -> None:
        if not found.short:
            log.warning("node %s has room on its disk again (%s bytes free, %s reserved): it takes submits",
                        self._node_id, f"{found.free_bytes:,}", f"{found.reserved_bytes + found.reusable_bytes:,}")
            return
        log.warning(
            "node %s is short of disk: %s. It takes no submits, nor do the primaries of the buckets that it replicates;"
            " leases, settlements, results and deletions go on within the reserve%s", self._node_id, found.text,
            ", of which less than half is left: it takes in no more copies, and stops when it is used up"
            if found.low else "")
