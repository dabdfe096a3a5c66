"""Routing: the newest cluster state that the client knows, who is primary of what, and the cluster's time.

The state comes from whoever has it: at first the seeds, later any member. It is asked for again when something says
that it is out of date: a `NotPrimary`, a heartbeat of a newer epoch, silence, a bucket without primary. Never more than
one question every `FETCH_S`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

import msgspec

from zmqueue.client import limits
from zmqueue.client.exchanges import Exchange, Exchanges
from zmqueue.client.timers import Timers
from zmqueue.core.answers import Reply, StateReply
from zmqueue.core.packets import Heartbeat
from zmqueue.core.requests import GetState
from zmqueue.core.state import ClusterState


class Peer:
    """What the client knows of one endpoint."""

    __slots__ = ("blocked_until", "quiet_until", "submits")

    def __init__(self) -> None:
        self.blocked_until = 0.0           # it could not be written to
        self.quiet_until = 0.0             # it left something unanswered
        self.submits = 0                   # Submit packets on their way to it


class Fetch(Exchange):
    """One question for the state."""

    __slots__ = ("routing",)

    def __init__(self, routing: Routing) -> None:
        self.routing = routing

    def answered(self, reply: Reply, now: float) -> None:
        if isinstance(reply, StateReply):
            self.routing.learned(reply, now)

    def silent(self, now: float) -> None:
        self.routing.quiet(self.endpoint, now)

    def unsent(self, now: float) -> None:
        pass                               # the next question goes to another endpoint


class Routing:
    """Where to send what."""

    def __init__(self, seeds: Sequence[str], exchanges: Exchanges, timers: Timers) -> None:
        self._seeds = tuple(dict.fromkeys(seeds))
        self._exchanges = exchanges
        self._timers = timers
        self._peers: dict[str, Peer] = {}
        self.state: ClusterState | None = None
        self.nodes: tuple[str, ...] = ()                 # endpoints of the `up` members that hold buckets
        self.changed: set[int] = set()                   # buckets whose term changed since the core last looked
        self.installed = 0                               # how many states were taken
        self._primaries: tuple[str | None, ...] = ()     # by bucket
        self._buckets_of: dict[str, list[int]] = {}
        self._wanted = True
        self._wanted_epoch = 0
        self._wanted_lineage = 0
        self._source: str | None = None                  # who has shown the wanted epoch
        self._turn = 0
        self._fetched_at = -math.inf
        self._wall = 0                                   # the client's own clock, ms, at
        self._wall_at = 0.0
        self._offsets: dict[str, int] = {}               # node -> cluster time minus own time, ms
        self._offset = 0

    # --- peers ---

    def peer(self, endpoint: str) -> Peer:
        """The record of an endpoint."""
        peer = self._peers.get(endpoint)
        if peer is None:
            peer = self._peers[endpoint] = Peer()
        return peer

    def blocked(self, endpoint: str, now: float) -> None:
        """It cannot be written to now."""
        self.peer(endpoint).blocked_until = now + limits.BLOCKED_S
        self._timers.at(now + limits.BLOCKED_S)

    def connected(self, endpoint: str) -> None:
        """It can be written to again."""
        self.peer(endpoint).blocked_until = 0.0
        if self._wanted:
            self._source, self._fetched_at = endpoint, -math.inf

    def quiet(self, endpoint: str, now: float) -> None:
        """It left something unanswered: perhaps it is dead, and others know."""
        self.peer(endpoint).quiet_until = now + limits.QUIET_S
        self._timers.at(now + limits.QUIET_S)
        self.want()

    def heard(self, endpoint: str) -> None:
        """It said something."""
        peer = self.peer(endpoint)
        peer.quiet_until = 0.0
        peer.blocked_until = 0.0

    def writable(self, endpoint: str, now: float) -> bool:
        """False for a moment after it could not be written to."""
        return self.peer(endpoint).blocked_until <= now

    def lively(self, endpoint: str, now: float) -> bool:
        """True where nothing speaks against sending it something that could go elsewhere."""
        return self.writable(endpoint, now) and not self.is_quiet(endpoint, now)

    def is_quiet(self, endpoint: str, now: float) -> bool:
        """True for a while after it left something unanswered."""
        return self.peer(endpoint).quiet_until > now

    # --- the state ---

    @property
    def epoch(self) -> int:
        return self.state.epoch if self.state is not None else 0

    @property
    def cluster(self) -> str:
        """The cluster's id; empty while none is known."""
        return self.state.cluster_id if self.state is not None else ""

    @property
    def lineage(self) -> int:
        return self.state.lineage if self.state is not None else 0

    def primary(self, bucket: int) -> str | None:
        """The endpoint to which a bucket's requests go; None: no state yet, or it has none now."""
        return self._primaries[bucket] if self._primaries else None

    def buckets_of(self, endpoint: str) -> Sequence[int]:
        """The buckets that it is primary of."""
        return self._buckets_of.get(endpoint, ())

    @property
    def primaries(self) -> Sequence[str]:
        """The endpoints that are primary of anything, in a fixed order."""
        return tuple(self._buckets_of)

    @property
    def endpoints(self) -> frozenset[str]:
        """Who may be written to: worth a connection."""
        return frozenset(self._seeds) | frozenset(self.nodes)

    def want(self, epoch: int = 0, source: str | None = None) -> None:
        """Ask for the state; `source` has shown a newer epoch."""
        self._wanted = True
        if epoch > max(self._wanted_epoch, self.epoch):
            self._wanted_epoch = epoch
            self._source = source or self._source
            self._fetched_at = -math.inf                 # at once, but only once for each epoch

    def superseded(self, lineage: int, source: str | None) -> None:
        """The cluster was recovered (C12): `source`, where known, is of a newer lineage, whose epochs begin anew."""
        self._wanted = True
        if lineage > max(self._wanted_lineage, self.lineage):
            self._wanted_lineage, self._wanted_epoch = lineage, 0
            self._source = source or self._source
            self._fetched_at = -math.inf                 # at once, but only once for each lineage

    def endpoint_of(self, node_id: str) -> str | None:
        """Where that member listens, as the newest state known has it."""
        member = None if self.state is None else self.state.by_id(node_id)
        return None if member is None else member.endpoint

    def fetch(self, now: float) -> None:
        """Send a question if one is due."""
        if not self._wanted:
            return
        pause = limits.FETCH_NEWER_S if self._wanted_epoch > self.epoch else limits.FETCH_S
        if now < self._fetched_at + pause:
            return
        self._fetched_at = now
        self._timers.at(now + pause)
        if self.state is None and self._turn == 0:
            self._turn = 1
            for seed in self._seeds:                     # at first all at once: a dead one costs no time
                self._ask(seed, now)
        else:
            self._ask(self._candidate(now), now)

    def _ask(self, endpoint: str, now: float) -> None:
        fetch = Fetch(self)
        request = self._exchanges.begin(fetch, endpoint)
        self._exchanges.send(fetch, GetState(request, self.epoch), limits.SILENCE_S, now)

    def _candidate(self, now: float) -> str:
        source, self._source = self._source, None
        if source is not None:
            return source
        everybody = tuple(dict.fromkeys((*self.nodes, *self._seeds)))
        self._turn += 1
        order = [everybody[(self._turn + step) % len(everybody)] for step in range(len(everybody))]
        return next((endpoint for endpoint in order if self.lively(endpoint, now)), order[0])

    def learned(self, reply: StateReply, now: float) -> None:
        """A node said what it knows."""
        if reply.state and (reply.epoch > self.epoch or self._wanted_lineage > self.lineage):
            try:
                state = ClusterState.from_bytes(reply.state)
            except msgspec.DecodeError:
                return
            if (state.lineage, state.epoch) > (self.lineage, self.epoch):
                self._install(state)
        known = self.state is not None and self.lineage >= self._wanted_lineage
        if known and reply.epoch >= max(self.epoch, self._wanted_epoch):
            self._wanted = False

    def _install(self, state: ClusterState) -> None:
        before, self.state = self.state, state
        self.installed += 1
        endpoint = {member.number: member.endpoint for member in state.members}
        primaries = [state.primary(bucket) for bucket in range(state.buckets)]
        self.nodes = tuple(member.endpoint for member in state.members
                           if member.up and (member.weight > 0 or member.number in primaries))
        self._primaries = tuple(endpoint[number] if number is not None else None for number in primaries)
        self._buckets_of = {}
        for bucket, primary in enumerate(self._primaries):
            if primary is not None:
                self._buckets_of.setdefault(primary, []).append(bucket)
        if before is not None and before.buckets == state.buckets:
            self.changed.update(bucket for bucket in range(state.buckets) if before.lineage != state.lineage
                                or before.terms[bucket] != state.terms[bucket])
        for gone in self._peers.keys() - self.endpoints:
            if not self._peers[gone].submits:
                del self._peers[gone]
        members = {member.id for member in state.members}
        self._offsets = {node: offset for node, offset in self._offsets.items() if node in members}

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """A node of this cluster lives: what does it know, and what time is it there?"""
        if heartbeat.epoch > self.epoch:
            self.want(heartbeat.epoch, self.endpoint_of(heartbeat.node))
        if self._wall:
            self._offsets[heartbeat.node] = heartbeat.wall - self._own_wall(now)
            self._offset = int(statistics.median(self._offsets.values()))

    # --- time ---

    def tick(self, now: float, wall: int) -> None:
        """The client's own clock."""
        self._wall, self._wall_at = wall, now

    def _own_wall(self, now: float) -> int:
        return self._wall + int((now - self._wall_at) * 1000)

    def cluster_wall(self, now: float) -> int:
        """The cluster's time in ms: the own clock corrected by what the nodes' heartbeats show (Q3)."""
        return self._own_wall(now) + self._offset

    @property
    def offset(self) -> int:
        """ms by which the cluster's clocks are ahead of the own one: their median."""
        return self._offset
