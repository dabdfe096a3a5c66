"""One bucket on one node: which role it has in which term, and the way from packets and requests to that role's side.

The role follows from the cluster state alone (R2); with each term a new side begins, which knows nothing of the term
before. What outlives terms is the copy: log, commit index, rows.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from zmqueue.core.backup import BackupSide
from zmqueue.core.ballots import Hello, StateIs
from zmqueue.core.bucket_copy import BucketCopy, Listener
from zmqueue.core.changes import ReplicaDropped
from zmqueue.core.copies import NO_COPY
from zmqueue.core.counting import REPEAT_EVERY, Flaps
from zmqueue.core.host import BRANCH, Host
from zmqueue.core.machine import Machine
from zmqueue.core.mending import Mending
from zmqueue.core.operations import Operation
from zmqueue.core.packets import Ack, Ahead, Append, Differs, Lost, Nak, Snap, SnapMore
from zmqueue.core.primary import PrimarySide
from zmqueue.core.state import ClusterState

TELL_EVERY = 0.1
"""Seconds between two tellings, per bucket, that a peer and this node know different states."""

DELETE_AFTER = 60.0
"""Seconds for which a copy must have been unneeded before it is deleted (R14)."""

TIGHT = {"entries_max": 256, "bytes_max": 1 << 20}
"""How long a log is kept on a node that is short of disk: a learner there gets a snapshot sooner."""

Replication = Append | Ack | Nak | Lost | Ahead | Snap | SnapMore | Differs


class Role(enum.Enum):
    """What a node is to a bucket, in a term."""

    NONE = "none"
    BACKUP = "backup"        # learners too
    PRIMARY = "primary"
    STOPPED = "stopped"      # it was primary, and an alarm says that it must not serve (R15)
    DAMAGED = "damaged"      # its copy is damaged: it is nothing to the bucket, whatever the state says (D1)


class Facts(NamedTuple):
    """A replica, for statistics."""

    bucket: int
    role: Role
    term: int
    copy: int                            # 0: this node has none
    base: int
    commit: int
    end: int
    in_sync: tuple[int, ...]
    catching_up: tuple[int, ...]         # desired and up, not in-sync
    lag: int                             # entries that the slowest in-sync replica lacks, as the primary knows; else 0


class _Nobody:
    """The listener of a replica that has none (yet)."""

    def entered(self, now: float) -> None:
        return

    def applied(self, seq: int, operation: Operation, now: float) -> None:
        return

    def progressed(self, now: float) -> None:
        return


class Replica:
    """One bucket on this node.

    In a turn: any of `enter`, `append`, `barrier`, `handle`, `tick`; then `flush`, before the batch is committed; then
    `durable`, of those that were flushed. A replica puts its bucket into `host.touched` when it has to be flushed.
    """

    def __init__(self, bucket: int, host: Host) -> None:
        self.bucket = bucket
        self.listener: Listener = _Nobody()        # set by the engine, before the first `enter`
        self.role = Role.NONE
        self.term = 0
        self.state: ClusterState | None = None
        self.mending = Mending(bucket, host)
        self.copy = BucketCopy(bucket, host.tables, host.copies, damaged=self.mending.damaged)
        self._host = host
        self._side: PrimarySide | BackupSide | None = None
        self._flaps = Flaps()
        self._told_at = float("-inf")
        self._asked_at = float("-inf")
        self._unneeded_since: float | None = None

    # --- what it is ---

    @property
    def primary(self) -> PrimarySide | None:
        """The primary's side, where this node is primary."""
        return self._side if isinstance(self._side, PrimarySide) else None

    @property
    def backup(self) -> BackupSide | None:
        """The backup's side, where this node is a backup or a learner."""
        return self._side if isinstance(self._side, BackupSide) else None

    @property
    def commit(self) -> int:
        """Entries up to here are committed and applied."""
        return self.copy.commit

    @property
    def end(self) -> int:
        """The last entry of the log."""
        return self.copy.end

    @property
    def generation(self) -> int:
        """How often the bucket was adopted (C12), as this copy knows."""
        return self.copy.generation

    @property
    def machine(self) -> Machine:
        """The rows of the live copy. Another one after a snapshot."""
        return self.copy.machine

    # --- states ---

    def enter(self, state: ClusterState, now: float) -> None:
        """A cluster state was installed (or found at boot). Cheap where it changes nothing for this bucket."""
        self._note_drops(state, now)
        self.state = state
        self._note_generation(state)
        self.mending.entered(state)
        self._note_need(state, now)
        term, role = state.terms[self.bucket], self._role_in(state)
        if term != self.term or self.role not in (role, Role.STOPPED):
            self._begin(state, term, role, now)
        else:
            self._go_on(state, now)

    def _note_generation(self, state: ClusterState) -> None:
        """C12: of a bucket that was adopted, an older copy is the adopted one, or a branch that is given up.

        What such a branch holds above the adopted copy is not what the bucket is any more: this node would raise
        R15's alarms against the primary, and the primary against it, for ever.
        """
        generation, copy = state.generations[self.bucket], self.copy
        if generation == copy.generation:
            return
        assert generation > copy.generation, "a copy is of no later generation than the state on its disk"
        if copy.number == NO_COPY or self._host.number in state.in_sync[self.bucket]:
            copy.renew(generation)
            return
        self._host.effects.note(
            BRANCH + "the bucket was adopted from another copy, and this one is deleted", bucket=self.bucket,
            generation=copy.generation, now=generation, commit=copy.commit, end=copy.end,
            unfinished=copy.machine.unfinished())
        copy.give_up(generation)

    def _role_in(self, state: ClusterState) -> Role:
        me = state.member(self._host.number)
        if me is None or not state.placement_known:
            return Role.NONE
        if self.mending.damaged:
            return Role.DAMAGED
        if state.primary(self.bucket) == me.number and me.incarnation == self._host.incarnation:
            return Role.PRIMARY                    # R2: named by its own state, as what runs
        replica = me.number in state.in_sync[self.bucket] or me.number in state.desired(self.bucket)
        return Role.BACKUP if replica else Role.NONE

    def _begin(self, state: ClusterState, term: int, role: Role, now: float) -> None:
        """Forget everything that belonged to the term before (R1)."""
        if self._side is not None:
            self._side.close()
        self.term, self.role, self._side = term, role, None
        self._host.touched.add(self.bucket)
        if role is Role.BACKUP:
            self._side = BackupSide(self._host, self.copy, term, self._primary_id(state), self.listener,
                                    in_sync=self._host.number in state.in_sync[self.bucket])
        elif role is Role.PRIMARY:
            self._side = PrimarySide(self._host, self.copy, state, self.listener, self._flaps, self._stop, now)
        self.listener.entered(now)
        if isinstance(self._side, PrimarySide):
            self._side.evaluate(now)               # R16: a sole replica has nobody whose ack would do it

    def _primary_id(self, state: ClusterState) -> str:
        number = state.primary(self.bucket)
        member = None if number is None else state.member(number)
        return "" if member is None else member.id

    def _go_on(self, state: ClusterState, now: float) -> None:
        side = self.primary
        if side is not None:
            side.agreed(state)
            self.listener.progressed(now)          # the number of replicas that are enough may have changed

    def _stop(self, now: float) -> None:
        """Serve no more in this term; another replica is to take over (R15)."""
        if self._side is not None:
            self._side.close()
        self.role, self._side = Role.STOPPED, None
        self._asked_at = float("-inf")
        self.listener.entered(now)

    def condemn(self, what: str, now: float) -> None:
        """The copy is found to be damaged: it is nothing to anybody any more, from here on (D1)."""
        if self._side is not None:
            self._side.close()
        self.mending.condemn(self.copy.number, self.term, what)
        self.copy.forsake()
        self.role, self._side = Role.DAMAGED, None
        self.listener.entered(now)

    @property
    def halted(self) -> str:
        """Why nothing is served, where no other node can serve either (D2); "": that is not so."""
        return "" if self.state is None else self.mending.why(self.state)

    def _note_drops(self, state: ClusterState, now: float) -> None:
        """R17: who left the in-sync set while up and desired was dropped."""
        if self.state is None or self.state.in_sync[self.bucket] == state.in_sync[self.bucket]:
            return
        for number in self.state.in_sync[self.bucket]:
            if (number not in state.in_sync[self.bucket] and state.up(number) and self.state.up(number)
                    and number in state.desired(self.bucket)):
                self._flaps.note(number, now)

    # --- what the desk wants ---

    def append(self, operation: Operation, now: float) -> int:
        """Add an entry; only while this node is primary. -> its seq."""
        side = self.primary
        assert side is not None, "only a primary appends"
        return side.append(operation)

    def at(self, now: float) -> int:
        """Bucket time, ms (Q1). It stands still where this node is not primary."""
        side = self.primary
        return self.copy.at if side is None else side.at(now)

    def barrier(self) -> int:
        """A number for a read that came now; see `readable`."""
        side = self.primary
        assert side is not None, "only a primary reads"
        return side.barrier()

    def readable(self, rid: int) -> bool:
        """True when a negative answer to a read that drew `rid` is true (R9, R10)."""
        side = self.primary
        return side is not None and side.readable(rid)

    @property
    def enough(self) -> bool:
        """True where there are the in-sync replicas that a submit needs (R11)."""
        return self.state is not None and self.state.enough(self.bucket)

    @property
    def short_peer(self) -> str:
        """The id of a node that is short of disk, and that every commit here needs; "": there is none."""
        side, short = self.primary, self._host.short
        if side is None or not short:
            return ""
        return next((peer.address for peer in side.peers.values() if peer.counts and peer.number in short), "")

    def tail_operations(self) -> list[Operation]:
        """What stands above the commit index, in order (R9)."""
        return self.copy.tail()

    # --- packets ---

    def handle(self, sender: int, packet: Replication, now: float) -> None:
        """Take a packet of the member with this number."""
        if self.state is None:
            return
        if packet.term != self.term:
            self._other_term(sender, packet, now)
            return
        if isinstance(packet, (Append, Snap)):
            side = self.backup
            if side is None or sender != self.state.primary(self.bucket):
                return
            self._host.touched.add(self.bucket)
            if isinstance(packet, Append):
                side.append(packet, now)
            else:
                side.snapshot(packet)
            return
        self._to_primary(sender, packet, now)

    def _to_primary(self, sender: int, packet: Ack | Nak | Lost | Ahead | SnapMore | Differs, now: float) -> None:
        side = self.primary
        peer = None if side is None else side.peers.get(sender)
        if side is None or peer is None:
            return
        match packet:
            case Ack():
                side.ack(peer, packet, now)
            case Nak():
                side.nak(peer, packet, now)
            case SnapMore():
                side.more(peer, packet, now)
            case Lost():
                side.lost(peer, now)
            case Ahead():
                side.ahead(peer, now)
            case Differs():
                side.differs(peer, packet)

    def _other_term(self, sender: int, packet: Replication, now: float) -> None:
        """A primary of another term: one of the two does not know the newest state (R7: acks do not cross terms)."""
        state = self.state
        member = None if state is None else state.member(sender)
        if state is None or member is None or not isinstance(packet, (Append, Snap)):
            return
        if now - self._told_at < TELL_EVERY:
            return
        self._told_at = now
        behind = packet.term > self.term or packet.epoch > state.epoch
        self._host.effects.send(member.id, Hello(state.epoch) if behind else StateIs(state.to_bytes()))

    # --- turns ---

    def flush(self, now: float) -> None:
        """A turn ends: send what came up, and write down where the copy stands. Before each commit of a batch."""
        side = self.primary
        if side is not None:
            side.flush(now)
        self.copy.flush()

    def durable(self, now: float) -> None:
        """The batch that the last `flush` ended is on disk (R8)."""
        if not self.copy.durable():
            return
        side = self.primary
        if side is not None:
            side.evaluate(now)
            self.copy.save()

    def tick(self, now: float) -> None:
        """Do what is due. To be called every 20 to 50 ms."""
        if self.role is Role.DAMAGED:
            assert self.state is not None, "roles come with states"
            self.mending.tick(self.state, now)
            return
        side = self.primary
        if side is not None:
            side.tick(now)
        elif self.role is Role.STOPPED and now - self._asked_at >= REPEAT_EVERY:
            self._asked_at = now
            self._host.ask(now, ReplicaDropped(self.bucket, self._host.number, self.term))
        self.copy.compact(self.commit if self.primary is None else self.primary.compact_upto(),
                          **TIGHT if self._host.tight else {})

    # --- leaving ---

    def _note_need(self, state: ClusterState, now: float) -> None:
        me, in_sync, desired = state.member(self._host.number), state.in_sync[self.bucket], state.desired(self.bucket)
        unneeded = (state.placement_known and me is not None and me.up and me.incarnation == self._host.incarnation
                    and me.number not in in_sync and me.number not in desired
                    and all(number in in_sync for number in desired))
        if not unneeded:
            self._unneeded_since = None
        elif self._unneeded_since is None:
            self._unneeded_since = now

    def removable(self, now: float) -> bool:
        """True where the copy may be deleted: all desired replicas have long been in-sync without this one (R14)."""
        return self._unneeded_since is not None and now - self._unneeded_since >= DELETE_AFTER

    def remove(self) -> None:
        """Delete the copy; this replica is not to be used again. Its rows are swept (Copies.sweep)."""
        assert self.role is Role.NONE, "a replica that is needed is not deleted (R14)"
        self._host.copies.delete(self.bucket)

    # --- facts ---

    def facts(self) -> Facts:
        """How the bucket is, as this node knows it."""
        state, side = self.state, self.primary
        in_sync = () if state is None else state.in_sync[self.bucket]
        catching_up = () if state is None else tuple(
            number for number in state.desired(self.bucket) if number not in in_sync and state.up(number))
        lag = 0 if side is None else max(
            (self.end - (peer.match or 0) for peer in side.peers.values() if peer.in_sync), default=0)
        return Facts(self.bucket, self.role, self.term, self.copy.number, self.copy.log.base_seq, self.commit,
                     self.end, in_sync, catching_up, lag)
