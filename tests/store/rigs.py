"""Makes each kind of store, and makes it die and come back, so that one suite holds for all of them."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from zmqueue.core.tables import Store
from zmqueue.store import LmdbStore, MemoryStore


class Rig(Protocol):
    """One disk and the store that is open on it."""

    store: Store

    def restart(self) -> Store:
        """End the store with its batch not committed, and open what is on the disk."""
        ...


class MemoryRig:
    def __init__(self, path: Path) -> None:
        self.disk = MemoryStore()
        self.store: Store = self.disk

    def restart(self) -> Store:
        self.store = self.disk = self.disk.crash()
        return self.store


class LmdbRig:
    def __init__(self, path: Path) -> None:
        self.path = path / "store"
        self.store: Store = LmdbStore(self.path, readers_max=64)

    def restart(self) -> Store:
        self.store.close()
        self.store = LmdbStore(self.path, readers_max=64)
        return self.store


RIGS: dict[str, type[MemoryRig] | type[LmdbRig]] = {"memory": MemoryRig, "lmdb": LmdbRig}
