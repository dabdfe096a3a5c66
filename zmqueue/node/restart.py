"""What the node does when a row is not what was written: it begins anew inside the process, without that copy.

The damage was met in the middle of a turn, so batch and memory are torn. Both are dropped, as a crash drops them; the
copy of the bucket is condemned on disk; the incarnation is raised; a new engine begins. To the protocol this is a
restart, of which it knows everything. Its replica has no role until a fresh copy came from another node.
"""

from __future__ import annotations

import logging
from collections import deque
from dataclasses import replace

from zmqueue.core.damage import condemn
from zmqueue.core.engine import EngineConfig
from zmqueue.core.tables import Damage
from zmqueue.node.identity import begin
from zmqueue.store import LmdbStore, StoreError

log = logging.getLogger("zmqueue.node")

RESTARTS_MAX = 8
"""Damaged rows within RESTARTS_WITHIN that are survived; with one more the disk breaks faster than it is mended."""

RESTARTS_WITHIN = 60.0

ADVICE = ("stop using that disk; `zmqueue doctor --data DIR` says what is left of it, and the node starts anew on an "
          "empty directory with --join")


class DiskDamaged(StoreError):
    """The disk returned something else than was written, and the node cannot go on with it."""


class Restarts:
    """The restarts of one process."""

    def __init__(self, store: LmdbStore) -> None:
        self.count = 0
        self._store = store
        self._at: deque[float] = deque(maxlen=RESTARTS_MAX)

    def after(self, damage: Damage, config: EngineConfig, now: float) -> EngineConfig:
        """Condemn what is damaged, and return what the next engine is to be made of.

        Raises DiskDamaged where the node has to stop, StoreFailed where the disk does not even take that.
        """
        if len(self._at) == RESTARTS_MAX and now - self._at[0] < RESTARTS_WITHIN:
            raise DiskDamaged(f"{RESTARTS_MAX + 1} rows of {self._store.path} turned out to be damaged within "
                              f"{RESTARTS_WITHIN:g} s, the last: {damage}. {ADVICE}") from damage
        self._at.append(now)
        self.count += 1
        self._store.abort()
        try:
            mendable = condemn(self._store, damage)
        except Damage as second:
            raise DiskDamaged(f"{second} (in {self._store.path}), which the node itself needs; before that, {damage}. "
                              f"{ADVICE}") from damage
        if not mendable:
            raise DiskDamaged(f"{damage} (in {self._store.path}), which the node itself needs: no other has it. "
                              f"{ADVICE}") from damage
        run = begin(self._store)           # with the mark, in one batch
        log.error("node %s: %s (in %s). The node begins anew without that copy of the bucket, and gets a fresh one "
                  "from another node; its disk is not to be trusted: replace it", config.id, damage, self._store.path)
        return replace(config, incarnation=run.incarnation, nonce=run.nonce)
