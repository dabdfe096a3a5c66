"""A stopped node's data directory, opened by an operator's tool: under its lock, so never beside a running node."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zmqueue.core import salvage
from zmqueue.core.disaster import CannotRecover, Plan, Survivor
from zmqueue.core.tables import Damage
from zmqueue.errors import ZmqueueError
from zmqueue.node.identity import read
from zmqueue.store import Directory, LmdbStore, StoreError, StoreFailed, open_directory


class RecoveryFailed(ZmqueueError):
    """A directory cannot be collected, or the plan not applied to it: nothing was written, and the text says why.

    Not definite only where the disk failed in the commit: then the same command says whether it was applied.
    """

    definite = True


class Stopped:
    """An open directory."""

    def __init__(self, store: LmdbStore, node_id: str, incarnation: int) -> None:
        self.id = node_id
        self._store = store
        self._incarnation = incarnation

    def collect(self) -> Survivor:
        """What its disk holds."""
        return salvage.collect(self._store, self.id, self._incarnation)

    def applied(self, plan: Plan) -> bool:
        """True where the plan was applied here before."""
        return salvage.applied(self._store, plan)

    def apply(self, plan: Plan) -> None:
        """Write the plan, in one transaction that is on disk when this returns."""
        salvage.apply(self._store, self.id, plan)
        try:
            self._store.commit()
        except StoreFailed as error:
            failed = RecoveryFailed(f"{error}; the plan is on this disk as a whole or not at all: apply it again")
            failed.definite = False
            raise failed from error


@contextmanager
def stopped(data: str | os.PathLike[str]) -> Iterator[Stopped]:
    """Open the directory of a node that does not run. Raises RecoveryFailed, with the reason in words."""
    where = Path(data)
    try:
        with open_directory(where, create=False) as directory:
            if directory.empty:
                raise CannotRecover(f"{where} holds no node's data: nothing is to be recovered from it")
            yield from _opened(directory)
    except Damage as error:
        raise RecoveryFailed(f"{where}: {error}; it is the node's own record, so nothing can be told of this disk: "
                             "leave it out") from error
    except (CannotRecover, StoreError) as error:
        raise RecoveryFailed(str(error)) from error


def _opened(directory: Directory) -> Iterator[Stopped]:
    store = LmdbStore(directory.store_path)
    try:
        known = read(store)
        if known is None:
            raise CannotRecover(f"{directory.path} holds no node's identity: no node was ever started on it")
        yield Stopped(store, *known)
    finally:
        store.close()                      # drops what was not committed
