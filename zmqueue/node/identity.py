"""Who a node is: drawn when its data directory is made, counted up at each start (C11)."""

from __future__ import annotations

import secrets
from dataclasses import dataclass

import msgspec

from zmqueue.core.tables import Store, Table

_KEY = b"identity"


class _Row(msgspec.Struct, array_like=True, frozen=True):
    id: str
    incarnation: int
    port: int = 0                          # the port last bound, for a node that listens on any free one
    heartbeat_port: int = 0


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a node."""

    id: str
    incarnation: int
    nonce: int
    port: int
    heartbeat_port: int


def read(store: Store) -> tuple[str, int] | None:
    """The node's id, and the incarnation that ran last; None where no node was ever started on this directory."""
    data = store.get(Table.META, _KEY)
    if data is None:
        return None
    row = msgspec.msgpack.decode(data, type=_Row)
    return row.id, row.incarnation


def begin(store: Store) -> Run:
    """Begin a run: raise the incarnation, on disk before anything else happens (boot() of appendix A)."""
    data = store.get(Table.META, _KEY)
    row = _Row(secrets.token_hex(8), 0) if data is None else msgspec.msgpack.decode(data, type=_Row)
    row = msgspec.structs.replace(row, incarnation=row.incarnation + 1)
    _write(store, row)
    return Run(row.id, row.incarnation, secrets.randbits(63), row.port, row.heartbeat_port)


def bound(store: Store, run: Run, port: int, heartbeat_port: int) -> None:
    """Remember the ports, so that a restart listens where the others look for it."""
    if (port, heartbeat_port) != (run.port, run.heartbeat_port):
        _write(store, _Row(run.id, run.incarnation, port, heartbeat_port))


def _write(store: Store, row: _Row) -> None:
    store.put(Table.META, _KEY, msgspec.msgpack.encode(row))
    store.commit()
