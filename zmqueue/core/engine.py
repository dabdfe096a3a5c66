"""One node's protocol as a whole: agreement, suspicion, the replicas of its buckets and its face to clients.

The engine takes events (packets, heartbeats, ticks, "the batch is on disk") and gathers effects. The shell
(`zmqueue.node`) and the simulator (`zmqueue.testing`) drive it alike, turn by turn: events, `finish`, effects; the
commit; `durable`, effects. Nothing in here knows the time, the network or the disk.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import msgspec

from zmqueue.core.agreement import Agreement, OldDisk, Superseded
from zmqueue.core.amending import Amending, beyond_us
from zmqueue.core.answers import Code, NotPrimary, Refused
from zmqueue.core.ballots import Accept, Accepted, Hello, Join, Nack, Prepare, Promise, StateIs, Want
from zmqueue.core.copies import Copies
from zmqueue.core.effects import Effects
from zmqueue.core.front import Front, Handled
from zmqueue.core.generations import GENERATION
from zmqueue.core.hashing import hash64
from zmqueue.core.host import Host
from zmqueue.core.inquiries import copy_reply, members_reply, state_reply
from zmqueue.core.limits import DEFAULT, Limits
from zmqueue.core.packets import (
    Ack,
    Ahead,
    Append,
    Differs,
    Envelope,
    Forward,
    Heartbeat,
    Lost,
    Nak,
    Outdated,
    Packet,
    Snap,
    SnapMore,
    Taken,
)
from zmqueue.core.replication import Replica, Replication, Role
from zmqueue.core.requests import Amend, GetCopy, GetMembers, GetState
from zmqueue.core.room import PLENTY, Room
from zmqueue.core.schedules import NO_ALMANAC, Almanac
from zmqueue.core.scrub import Scrub
from zmqueue.core.standing import MajorityWatch, survey
from zmqueue.core.state import Agreed, ClusterState, Status
from zmqueue.core.suspicion import FaultDetector
from zmqueue.core.tables import Tables

ANSWER_ON = 10.0
"""Seconds for which a node that the cluster forgot goes on telling others the state that says so (C7)."""

JOIN_EVERY = 0.5
"""Seconds between two askings of a node without a cluster to be made a member."""

_NO_CLUSTER = "this node is no member of a cluster (yet, or any more): ask another one"

_SUPERSEDED = (
    "cluster {cluster} was recovered as lineage {lineage}, without this disk, which is of lineage {mine}: what it "
    "holds is no part of the cluster any more, and is kept. To join, start this node on an empty directory; if the "
    "plan of the recovery names it, apply the plan to this directory")

STRANGERS_MAX = 1_000
"""Nodes of older lineages that are remembered, so that each is told of once."""

_OLD_DISK = ("this disk is older than what node {sender} has seen of this node: its run {incarnation} knows epoch "
             "{epoch}, and run {had_incarnation} had epoch {had_epoch} on its disk. The directory was restored or "
             "copied, or the disk lost what it had confirmed, so the others refuse it. It is kept as it is: start this "
             "node on an empty directory with --join")

_STOOD_STILL = ("this node stood still (its process was stopped, its machine slept or swapped, or its disk hung), so "
                "others may have taken its buckets over. It suspects nobody until it has listened for a whole timeout; "
                "what it answers waits for the other replicas as ever")

_CONSENSUS = (Hello, StateIs, Want, Prepare, Promise, Accept, Accepted, Nack, Join)
_REPLICATION = (Append, Ack, Nak, Lost, Ahead, Snap, SnapMore, Differs)
_MAIL = (Forward, Taken)
_FOR_FRONT: tuple[type[Handled], ...] = Handled.__args__


@dataclass(frozen=True, slots=True)
class EngineConfig:
    """Who the node is in this run of it, and what it was told."""

    id: str                                # 16 hex digits, drawn when the data directory was made
    incarnation: int                       # already on disk
    nonce: int                             # drawn at this start (C11)
    endpoint: str                          # its ROUTER, as others reach it
    heartbeats: str                        # its PUB, likewise
    jitter: Callable[[], float]            # chance in [0, 1)
    seeds: tuple[str, ...] = ()            # endpoints to ask while it has no cluster
    found: Agreed | None = None            # found a cluster with these settings if there is none on the disk (C12)
    weight: int = 1
    zone: str = ""
    limits: Limits = DEFAULT
    almanac: Almanac = NO_ALMANAC          # for the schedules of its buckets


class Engine:
    """The whole protocol of one node."""

    def __init__(self, tables: Tables, config: EngineConfig, now: float) -> None:
        self.config = config
        self.effects = Effects()
        self.agreement = Agreement(config.id, config.incarnation, config.nonce, tables, self.effects, config.jitter,
                                   endpoint=config.endpoint, heartbeats=config.heartbeats, weight=config.weight,
                                   zone=config.zone)
        self.replicas: dict[int, Replica] = {}
        self.front: Front | None = None
        self.host: Host | None = None
        self.scrub: Scrub | None = None
        self.strangers = 0                 # messages of another cluster or of a refused peer, dropped
        self._tables = tables
        self._now = now
        self._joined_at = float("-inf")
        self._flushed: set[int] = set()    # buckets whose replicas wait for the next commit
        self._active: tuple[Replica, ...] = ()
        self._room: Room = PLENTY
        self._short: frozenset[int] = frozenset()      # the members whose newest heartbeat says so
        settings = Agreed() if self.state is None else self.state.settings
        self.detector = FaultDetector(settings.suspicion_ms / 1000, settings.grace_ms / 1000, now)
        self._majority = MajorityWatch(self.effects)
        self.agreement.on_install.append(self._installed)
        self._amending = Amending(self.effects, self.agreement.want)
        self._outdated: set[str] = set()   # nodes of an older lineage that were met
        self.shown_epoch = 0               # the newest epoch that is on the disk: what is founded here is not yet
        self.serving = False               # on the disk, the cluster lists this run of the node as up
        self.left = False                  # on the disk, a planned stop is agreed; or nobody is there to take over
        self.over = False                  # the cluster forgot this node, and it has answered on for long enough
        self._forgotten_at: float | None = None
        if self.state is not None:
            self.shown_epoch = self.state.epoch
            self._installed(None, self.state)
            self._note_standing(self.state)
        elif config.found is not None:
            cluster_id = f"{hash64('cluster', f'{config.id} {config.nonce}', 0):016x}"
            self.agreement.found(cluster_id, config.found, now)

    # --- what it is ---

    @property
    def state(self) -> ClusterState | None:
        """The newest cluster state that this node knows."""
        return self.agreement.state

    def envelope(self) -> Envelope:
        """Who speaks, for the first frame of what this node sends. Shows only an epoch that is on disk."""
        state = self.state
        return Envelope("" if state is None else state.cluster_id, 0 if state is None else state.lineage,
                        self.config.id, self.config.incarnation, self.shown_epoch)

    def heartbeat(self, now: float, wall: int, disk_age: int) -> Heartbeat | None:
        """What is to be published now; None while this node is no member."""
        state, number = self.state, self.agreement.number
        if state is None or number is None or self.shown_epoch == 0:
            return None
        return Heartbeat(state.cluster_id, state.lineage, self.config.id, number, self.config.incarnation,
                         self.shown_epoch, disk_age, tuple(sorted(self.detector.suspects(now))), wall,
                         self._room.short, GENERATION)

    def peers(self) -> dict[str, tuple[str, str]]:
        """The other members: node id -> (endpoint, endpoint of its heartbeats)."""
        if self.state is None:
            return {}
        return {member.id: (member.endpoint, member.heartbeats) for member in self.state.members
                if member.id != self.config.id}

    def take(self) -> Effects:
        """Hand over what was gathered, in the order in which it is to be performed."""
        return self.effects.take()

    # --- events ---

    def on_peer(self, envelope: Envelope, packets: Sequence[Packet], now: float, wall: int) -> None:
        """A message from another node arrived."""
        self._now = now
        if not self._is_ours(envelope, packets):
            self.strangers += 1
            return
        sender = envelope.node
        self.agreement.shown(sender, envelope.epoch, now)
        for packet in packets:
            if isinstance(packet, Outdated):
                self._heed(sender, packet)
            elif isinstance(packet, _REPLICATION):
                self._replicate(sender, packet, now)
            elif isinstance(packet, _CONSENSUS):
                self.agreement.handle(sender, packet, now)
            elif isinstance(packet, _MAIL) and self.front is not None:
                self.front.office.wall = wall
                self.front.forwarded(sender, packet, now)

    def _is_ours(self, envelope: Envelope, packets: Sequence[Packet]) -> bool:
        state = self.state
        if envelope.node == self.config.id:
            return False
        if state is None:
            return all(isinstance(packet, StateIs) for packet in packets)
        if not envelope.cluster:
            return all(isinstance(packet, Join) for packet in packets)
        if (envelope.cluster, envelope.lineage) != (state.cluster_id, state.lineage):
            self._meet(state, envelope.cluster, envelope.lineage, envelope.node)
            return False
        if self.agreement.seen(envelope.node, envelope.incarnation, envelope.epoch):
            return True
        if state.by_id(envelope.node) is not None and not all(isinstance(packet, Outdated) for packet in packets):
            self.effects.send(envelope.node, Outdated(envelope.incarnation, envelope.epoch,
                                                      *self.agreement.most_seen(envelope.node)))
        return False

    def _heed(self, sender: str, packet: Outdated) -> None:
        """C11: this node is refused. It cannot be of use any more, and what it would say could be wrong.

        About an earlier run it is late, and says nothing: that run's packets were on their way for long.
        """
        if packet.incarnation == self.config.incarnation and self.state is not None and self.state.by_id(sender):
            raise OldDisk(_OLD_DISK.format(sender=sender, **msgspec.structs.asdict(packet)))

    def _meet(self, state: ClusterState, cluster: str, lineage: int, node: str) -> None:
        """Somebody of another cluster, or of another lineage of this one (C12). Raises Superseded."""
        if cluster != state.cluster_id:
            return
        if lineage > state.lineage:
            raise Superseded(_SUPERSEDED.format(cluster=cluster, lineage=lineage, mine=state.lineage))
        if node not in self._outdated and len(self._outdated) < STRANGERS_MAX:
            self._outdated.add(node)
            self.effects.note("refused a node on a disk from before the cluster was recovered", node=node,
                              lineage=lineage, now=state.lineage)

    def _replicate(self, sender: str, packet: Replication, now: float) -> None:
        member = None if self.state is None else self.state.by_id(sender)
        replica = self.replicas.get(packet.bucket)
        if member is not None and replica is not None:
            replica.handle(member.number, packet, now)

    def on_heartbeat(self, heartbeat: Heartbeat, now: float) -> None:
        """A heartbeat was heard."""
        self._now = now
        state = self.state
        if state is None or heartbeat.node == self.config.id:
            return
        member = state.by_id(heartbeat.node)
        if (heartbeat.cluster, heartbeat.lineage) != (state.cluster_id, state.lineage) or member is None:
            self.strangers += 1
            if heartbeat.lineage != state.lineage:
                self._meet(state, heartbeat.cluster, heartbeat.lineage, heartbeat.node)
            return
        if not self.agreement.seen(heartbeat.node, heartbeat.incarnation, heartbeat.epoch):
            return
        self.agreement.shown(heartbeat.node, heartbeat.epoch, now)
        self.agreement.generations.shown(heartbeat.node, heartbeat.incarnation, heartbeat.generation)
        self.detector.heard(member.number, now, heartbeat.incarnation, heartbeat.epoch, heartbeat.disk_age,
                            heartbeat.suspects)
        if heartbeat.disk_short != (member.number in self._short):
            self._note_short(self._short ^ {member.number})

    def disk_has(self, room: Room) -> None:
        """The shell measured the disk. To be called after every change, and as often as `spare_bytes` is to be true."""
        self._room = room
        if self.host is not None and self.front is not None:
            self.host.tight, self.host.low = room.short, room.low
            self.front.office.measured(room)

    @property
    def disk_claimed_bytes(self) -> int:
        """What the submits since the last measurement may write at most."""
        return 0 if self.front is None else self.front.office.claimed_bytes

    def _note_short(self, short: frozenset[int]) -> None:
        self._short = short
        if self.host is not None:
            self.host.short = short

    def on_refused(self, node_id: str, now: float) -> None:
        """Nothing listens at that node's address."""
        self._now = now
        member = None if self.state is None else self.state.by_id(node_id)
        if member is not None:
            self.detector.refused(member.number, now)

    def admit(self, envelope: Envelope, client: bytes, packets: Sequence[Packet]) -> Sequence[Packet]:
        """Those of a client's packets that are for this cluster, for `on_client`; the others are answered here.

        A client that knows a lineage from before a recovery (C12) gets the new one's state, and its requests back.
        """
        state = self.state
        if not envelope.cluster or state is None or (
                (envelope.cluster, envelope.lineage) == (state.cluster_id, state.lineage)):
            return packets
        outdated = envelope.cluster == state.cluster_id and envelope.lineage < state.lineage
        text = (f"this node is of cluster {state.cluster_id}, lineage {state.lineage}; the request is for "
                f"{envelope.cluster}, lineage {envelope.lineage}: check the seeds")
        admitted: list[Packet] = []
        for packet in packets:
            request = getattr(packet, "request", 0)
            if outdated and isinstance(packet, GetState):
                admitted.append(GetState(request, 0))          # epochs of two lineages do not compare
            else:
                self.effects.send(client, NotPrimary(request, state.epoch, unknown=False) if outdated else
                                  Refused(request, Code.NOT_ALLOWED, text))
        return admitted

    def on_client(self, client: bytes, packets: Sequence[Packet], now: float, wall: int) -> None:
        """A message from a client arrived; `admit` has seen to it that it speaks to this cluster."""
        self._now = now
        for packet in packets:
            state = self.state
            if state is not None and isinstance(packet, GetState):
                self.effects.send(client, state_reply(packet, state, wall))
            elif self.front is None or state is None:
                request = getattr(packet, "request", 0)
                self.effects.send(client, Refused(request, Code.NOT_SERVING, _NO_CLUSTER))
            elif isinstance(packet, GetMembers):
                self.effects.send(client, members_reply(
                    packet, state, self.host, self._active, survey(state, self.detector, self._active, now),
                    sorted(self.detector.suspects(now)), number=self.agreement.number or 0,
                    disk_short=self._room.short))
            elif isinstance(packet, GetCopy):
                self.effects.send(client, copy_reply(packet, state, self.replicas.get(packet.bucket)))
            elif isinstance(packet, Amend):
                self._amend(client, packet, now)
            elif isinstance(packet, _FOR_FRONT):
                self.front.handle(client, packet, now, wall)

    def _amend(self, client: bytes, packet: Amend, now: float) -> None:
        if self.state is None or self.shown_epoch != self.state.epoch:
            # What is not on the disk yet is not judged by: the client asks again.
            self.effects.send(client, Refused(packet.request, Code.NOT_SERVING, _NO_CLUSTER))
            return
        behind = self.agreement.generations.behind(self.state, packet.change)
        if why := beyond_us(packet.change, behind, self.config.almanac):
            self.effects.send(client, Refused(packet.request, Code.NOT_ALLOWED, why))
            return
        self._amending.begin(client, packet, self.state, now)

    def tick(self, now: float, wall: int) -> None:
        """Do what is due. To be called every 20 to 50 ms."""
        self._now = now
        stood = self.detector.tick(now)
        if self.state is None:
            self._ask_to_join(now)
            return
        if stood:
            self.effects.warn(_STOOD_STILL, seconds=round(stood, 2), listens_s=self.detector.timeout)
        self.agreement.tick(now, self.detector)
        if self._forgotten_at is not None:
            self.over = now - self._forgotten_at >= ANSWER_ON
            return
        if not self.agreement.leaving:     # whoever stops expects to be alone in the end
            self._majority.tick(self.state, self.detector, self._active, now)
        for replica in self._active:
            replica.tick(now)
            if replica.role is Role.NONE and replica.removable(now):
                self._remove(replica, now)
        assert self.front is not None and self.host is not None and self.scrub is not None
        self.scrub.tick(self.replicas, now)
        self._amending.tick(now)
        self.front.tick(now, wall)
        self.host.copies.sweep()

    def _ask_to_join(self, now: float) -> None:
        if now - self._joined_at < JOIN_EVERY:
            return
        self._joined_at = now
        for seed in self.config.seeds:
            self.effects.send(seed, self.agreement.identity.join())

    def finish(self, now: float) -> None:
        """End a turn's events: what came up in this turn is put into the batch and into packets."""
        host = self.host
        if host is None:
            return
        assert self.front is not None
        self.front.finish(now)
        while host.touched:
            buckets = sorted(host.touched)
            host.touched.clear()
            self._flushed.update(buckets)
            for bucket in buckets:
                replica = self.replicas[bucket]
                replica.flush(now)
                if replica.role is Role.PRIMARY and replica.copy.own < replica.copy.end:
                    self.effects.must_commit = True    # its own disk counts too (R8), and somebody waits for that

    def durable(self, now: float) -> None:
        """The batch is on disk, with everything that was written before the commit began."""
        self._now = now
        if self.state is not None and self.state.epoch != self.shown_epoch:
            self.shown_epoch = self.state.epoch
            self._note_standing(self.state)
            self._amending.agreed(self.state)
        self.agreement.durable(now)
        flushed = sorted(self._flushed)
        self._flushed.clear()
        for bucket in flushed:
            self.replicas[bucket].durable(now)
        self.finish(now)

    def leave(self, now: float) -> None:
        """Begin a planned stop: ask to be taken down, so that the others take over before this node is gone."""
        self._now = now
        self.agreement.leave()

    def drain(self, now: float) -> None:
        """Begin to leave for good: be taken down, and out; this node's replicas are made anew elsewhere."""
        self._now = now
        self.agreement.drain()

    # --- states ---

    def _installed(self, old: ClusterState | None, state: ClusterState) -> None:
        now, number = self._now, self.agreement.number
        self.detector.installed(old, state, number, now)
        if number is None:
            self._retire(now)
            return
        self._forgotten_at = None
        if self.host is None:
            copies = Copies(self._tables)
            self.host = Host(number, self.config.incarnation, self._tables, self.effects, copies, self.agreement.want)
            self.scrub = Scrub(self.host, now)
            self.front = Front(self.effects, state, self.config.limits)
            self.front.office.almanac = self.config.almanac
            self.front.post.me = self.config.id
            self.disk_has(self._room)
            for bucket in range(state.buckets):
                self._open(bucket)
        assert self.front is not None
        self.host.number = number          # another one, where it was forgotten and a late Join made it a member anew
        self.front.agreed(state)
        self._note_short(frozenset(number for number in self._short if state.up(number)))
        for replica in self.replicas.values():
            replica.enter(state, now)
        self._note_active(self.replicas.values())

    def _note_standing(self, state: ClusterState) -> None:
        """What the state on the disk says of this node."""
        me = state.by_id(self.config.id)
        up = me is not None and me.up
        self.serving = me is not None and up and me.incarnation == self.config.incarnation
        self.left = not up or not any(state.up(number) for number in state.voters if me and number != me.number)

    def _retire(self, now: float) -> None:
        """The cluster forgot this node: serve nothing any more, but go on answering for a while (C7).

        With an even number of voters it may be the only one that knows of the decision, while another waits for its
        vote: that one has to be told.
        """
        if self._forgotten_at is None:
            self._forgotten_at = now
        if self.scrub is not None:
            self.scrub.close()
        self.replicas, self._active, self.front, self.host, self.scrub = {}, (), None, None, None
        self._flushed.clear()

    def _open(self, bucket: int) -> Replica:
        assert self.host is not None and self.front is not None
        replica = self.replicas[bucket] = Replica(bucket, self.host)
        replica.listener = self.front.open(replica)
        return replica

    def _remove(self, replica: Replica, now: float) -> None:
        """Delete a copy that is not needed any more (R14)."""
        assert self.front is not None and self.state is not None
        replica.remove()
        self.front.close(replica.bucket)
        self._open(replica.bucket).enter(self.state, now)
        self._note_active(self.replicas.values())

    def _note_active(self, replicas: Iterable[Replica]) -> None:
        self._active = tuple(replica for replica in replicas
                             if replica.role is not Role.NONE or replica.copy.number != 0)

    # --- facts ---

    def facts(self) -> dict[str, int]:
        """Counts for `statistics()`."""
        roles = [replica.role for replica in self._active]
        state = self.state
        facts = {
            "epoch": 0 if state is None else state.epoch,
            "members_up": 0 if state is None else sum(m.status is Status.UP for m in state.members),
            "buckets_primary": roles.count(Role.PRIMARY),
            "buckets_backup": roles.count(Role.BACKUP),
            "alarms": 0 if self.host is None else self.host.alarms,
            "strangers": self.strangers,
            **self._damage_facts(),
        }
        if self.front is not None:
            facts.update(self.front.statistics())
        return facts

    def _damage_facts(self) -> dict[str, int]:
        host, scrub = self.host, self.scrub
        if host is None or scrub is None:
            return dict.fromkeys(("corrupt", "repaired", "damaged", "diverged", "scrubbed_rows", "scrub_rounds"), 0)
        tally = host.marks.tally
        return {"corrupt": tally.corrupt, "repaired": tally.repaired, "damaged": len(host.marks.buckets),
                "diverged": host.diverged, "scrubbed_rows": scrub.rows, "scrub_rounds": scrub.rounds}
