"""Node: one replica peer, embedded in a program or run by `zmqueue node`."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import zmq

from zmqueue import store
from zmqueue.core.endpoints import Endpoint, parse_endpoint
from zmqueue.core.engine import EngineConfig
from zmqueue.core.state import WEIGHT_MAX
from zmqueue.core.tables import Damage, Table
from zmqueue.errors import ZmqueueError
from zmqueue.node.identity import begin, bound
from zmqueue.node.loop import Loop, chance
from zmqueue.node.restart import ADVICE
from zmqueue.node.sockets import AddressInUse, Sockets, bind, common
from zmqueue.settings import Settings
from zmqueue.store import Directory, LmdbStore, StoreError, open_directory
from zmqueue.store.reserve import RESERVE_BYTES, RESERVE_BYTES_MIN
from zmqueue.timetable import Timetable

log = logging.getLogger("zmqueue.node")

START_S = 30.0                         # start() waits that long to be a serving member
LEAVE_S = 5.0                          # stop() waits that long for others to take its buckets over

_WORDS = "found a cluster with found=True (--found), or name members of the cluster to join (--join)"


class NodeFailed(ZmqueueError):
    """The node cannot start, or stopped by itself; the text says why. Nothing that was answered is lost by it."""

    definite = True


class DirectoryInUse(NodeFailed):
    """Another process has the data directory (the text names it). Definite: nothing was touched."""


class Node:
    """One replica peer: its own threads, no event loop needed, nothing global; several may live in one process.

    `data`: its directory, made if missing. `listen`: `tcp://address:port` of its ROUTER; port 0 is any free one, and
    is kept over restarts. `advertise`: the same as others reach it, where that differs. `found=True` founds a cluster
    if the directory is empty; `join` are endpoints of members to be asked for membership; a directory that has a
    cluster needs neither. `settings` are agreed at founding and ignored later. `heartbeat_port`: of its PUB socket
    (0: any free one, kept). `weight`: its share of the buckets relative to others; 0 votes but holds nothing.
    `zone`: replicas go to different zones where there are enough. `disk_reserve_bytes`: disk that is kept allocated
    ahead; when the disk gives no more, submits are refused (DiskFull), and what has been accepted is worked off within
    the reserve. `map_bytes_max`: how large the store's file may become (None: as large as the disk allows); it is
    treated like a disk of that size.

    Raises ValueError for arguments that cannot be, at once; `start` raises NodeFailed and DirectoryInUse.
    """

    def __init__(self, data: str | os.PathLike[str], listen: str = "tcp://127.0.0.1:7400", *,
                 advertise: str | None = None, found: bool = False, join: Sequence[str] = (),
                 settings: Settings | None = None, heartbeat_port: int = 0, weight: int = 1, zone: str = "",
                 disk_reserve_bytes: int = RESERVE_BYTES, map_bytes_max: int | None = None) -> None:
        if isinstance(join, str):
            raise ValueError(f"join is the text {join!r}; give a list of endpoints")
        self._data = Path(data)
        self._listen = parse_endpoint(listen, "listen", zero=True)
        self._advertise = None if advertise is None else parse_endpoint(advertise, "advertise", zero=True)
        self._join = tuple(str(parse_endpoint(seed, "join")) for seed in join)
        self._found = found
        self._settings = Settings() if settings is None else settings
        self._heartbeat_port, self._weight, self._zone = heartbeat_port, weight, zone
        self._disk_reserve_bytes, self._map_bytes_max = disk_reserve_bytes, map_bytes_max
        if self._advertise is not None and self._advertise.wildcard:
            raise ValueError(f"advertise is {advertise!r}; others cannot connect to that: name a host or an address")
        if self._listen.wildcard and self._advertise is None:
            raise ValueError(f"listen is {listen!r}, all addresses of this machine; say with advertise which of them "
                             "others are to connect to")
        if not 0 <= weight <= WEIGHT_MAX:
            raise ValueError(f"weight is {weight}; it must be 0 to {WEIGHT_MAX}")
        if not 0 <= heartbeat_port <= 65_535:
            raise ValueError(f"heartbeat_port is {heartbeat_port}; it must be 0 (any free one) to 65535")
        if disk_reserve_bytes < RESERVE_BYTES_MIN:
            raise ValueError(f"disk_reserve_bytes is {disk_reserve_bytes:,}; it must be {RESERVE_BYTES_MIN:,} at least:"
                             " one settlement can be that large")
        if map_bytes_max is not None and map_bytes_max < 2 * disk_reserve_bytes:
            raise ValueError(f"map_bytes_max is {map_bytes_max:,}; it must be twice the disk reserve at least "
                             f"({2 * disk_reserve_bytes:,}), else hardly anything could be submitted")
        if found and weight == 0:
            raise ValueError("a founder needs a weight above 0: somebody must hold the buckets")
        self._id = ""
        self._endpoint = ""
        self._loop: Loop | None = None
        self._store: LmdbStore | None = None
        self._directory: Directory | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] | None = None
        self._pid = os.getpid()

    # --- life ---

    def start(self, wait: float = START_S) -> Node:
        """Start, and return once the cluster lists this run of the node as up: it serves then.

        `wait`: seconds for that; 0 returns at once (several nodes of one process that restart together need each
        other). Raises NodeFailed with the reason, DirectoryInUse where another process has the directory.
        """
        self._check_process()
        if self._loop is not None:
            raise NodeFailed(f"node {self._id} runs already")
        try:
            self._open()
        except store.DirectoryInUse as error:
            self._release()
            raise DirectoryInUse(str(error)) from error
        except StoreError as error:
            self._release()
            what_to_do = f". {ADVICE}" if isinstance(error, Damage) else ""
            raise NodeFailed(f"the node in {self._data} cannot start: {error}{what_to_do}") from error
        except BaseException:
            self._release()
            raise
        if wait > 0:
            self._wait_to_serve(wait)
        return self

    def _open(self) -> None:
        if not self._data.exists() and not self._found and not self._join:
            raise NodeFailed(f"there is no directory {self._data}; {_WORDS}")
        self._directory = open_directory(self._data, create=self._found or bool(self._join))
        files = self._store = LmdbStore(self._directory.store_path, reserve_bytes=self._disk_reserve_bytes,
                                        map_bytes_max=self._map_bytes_max)
        has_cluster = files.get(Table.META, b"state") is not None
        if not has_cluster and not self._found and not self._join:
            raise NodeFailed(f"{self._data} holds no cluster; {_WORDS}. Where this node was a member before, its "
                             "directory was emptied: it joins as a new member, and the old one is out after a grace")
        run = begin(files)
        self._id = run.id
        context = self._context = zmq.Context()
        context.setsockopt(zmq.MAX_SOCKETS, 4_096)
        sockets = Sockets(context, self._listen, run.port)
        publisher = context.socket(zmq.PUB)
        common(publisher)
        publisher.setsockopt(zmq.SNDHWM, 100)
        publisher.setsockopt(zmq.LINGER, 0)
        try:
            heartbeat_port = bind(publisher, self._listen.at(self._heartbeat_port), run.heartbeat_port)
        except AddressInUse:
            publisher.close(0)
            sockets.close()
            raise
        bound(files, run, sockets.port, heartbeat_port)
        reachable = self._reachable(sockets.port)
        self._endpoint = str(reachable)
        config = EngineConfig(
            id=run.id, incarnation=run.incarnation, nonce=run.nonce, endpoint=self._endpoint,
            heartbeats=str(reachable.at(heartbeat_port)), jitter=chance(), seeds=self._join,
            found=self._settings.agreed() if self._found else None, weight=self._weight, zone=self._zone,
            almanac=Timetable())
        if not has_cluster and not self._found:
            log.info("node %s waits for a seed to take it in: %s", run.id, ", ".join(self._join))
        self._loop = Loop(files, config, sockets, publisher, context)
        self._loop.start()

    def _reachable(self, port: int) -> Endpoint:
        if self._advertise is None:
            return self._listen.at(port)
        return self._advertise if self._advertise.port else self._advertise.at(port)

    def _wait_to_serve(self, wait: float) -> None:
        loop = self._loop
        assert loop is not None
        with loop.changed:
            loop.changed.wait_for(lambda: loop.serving or loop.ended.is_set(), wait)
        if loop.error is not None:
            self._release()
            raise NodeFailed(f"node {self._id} stopped: {loop.error}") from loop.error
        if not loop.serving:
            state_known = bool(loop.statistics().get("epoch"))
            self._end()
            raise NodeFailed(
                f"node {self._id} was not taken up within {wait:g} s: " + (
                    "no majority of the voters answered, or they refuse this copy of the data because it is older "
                    "than what they have seen of this node, or because the cluster was recovered without it (their "
                    "logs say so); start the other nodes, or start this one on an empty directory" if state_known else
                    f"no member answered at {', '.join(self._join)}; check that they run"))

    def stop(self, *, drain: bool = False) -> None:
        """Stop: hand the buckets over first, then end. Returns within some seconds, whatever the others do.

        `drain=True` leaves the cluster for good: this node's replicas are made anew elsewhere.
        """
        self._check_process()
        loop = self._loop
        if loop is None:
            return
        if not loop.ended.is_set() and loop.serving:
            loop.call((lambda engine, now: engine.drain(now)) if drain else (lambda engine, now: engine.leave(now)))
            with loop.changed:
                loop.changed.wait_for(lambda: loop.left or loop.ended.is_set(), LEAVE_S)
        self._end()

    def _end(self) -> None:
        if self._loop is not None:
            self._loop.stop()
        self._release()

    def _release(self) -> None:
        """Let go of everything that this object holds; also half-way through a start that failed."""
        loop, self._loop = self._loop, None
        files, self._store = self._store, None
        if loop is None and files is not None:
            files.close()
        context, self._context = self._context, None
        if context is not None:
            context.destroy(linger=300)
        directory, self._directory = self._directory, None
        if directory is not None:
            directory.close()

    def __enter__(self) -> Node:
        return self.start()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.stop()

    # --- facts ---

    @property
    def id(self) -> str:
        """16 hex digits, drawn when the data directory was made; empty before the first start."""
        return self._id

    @property
    def endpoint(self) -> str:
        """Where clients and peers reach it: `tcp://host:port`; empty before the first start."""
        return self._endpoint

    @property
    def serving(self) -> bool:
        """True while the cluster lists this run of the node as up."""
        return self._loop is not None and self._loop.serving

    @property
    def error(self) -> BaseException | None:
        """Why the node stopped by itself, or None."""
        return None if self._loop is None else self._loop.error

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until the node has ended by itself; True if it has."""
        return True if self._loop is None else self._loop.ended.wait(timeout)

    def statistics(self) -> dict[str, int | float | str]:
        """Counts since the start, and what the node is now: epoch, buckets by role, packets, commits, bytes, alarms."""
        self._check_process()
        loop, files = self._loop, self._store
        if loop is None or files is None:
            return {"id": self._id, "serving": False}
        facts = files.statistics()
        return {**loop.statistics(), "id": self._id, "endpoint": self._endpoint, "serving": loop.serving,
                "used_bytes": facts.used_bytes, "map_bytes": facts.map_bytes, "commits": facts.commits,
                "at": time.time()}

    def _check_process(self) -> None:
        if os.getpid() != self._pid:
            raise NodeFailed("this node belongs to the process that made it; nothing of it survives a fork: make "
                             "another Node in this process, on another directory")


__all__ = ["DirectoryInUse", "Node", "NodeFailed"]
