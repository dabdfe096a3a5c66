"""The primary's side of a bucket, for one term: sends the log to the other replicas, and decides what is committed.

PacificA (Lin et al., 2008): an entry is committed when every in-sync replica and every counted learner has it on disk,
this node's own disk included (R8, R11). Entries leave once a turn, one Append for all that came together, and need not
wait for this node's disk. Everything here belongs to one term, and is forgotten with it (R1, R7).
"""

from __future__ import annotations

from collections.abc import Callable

from zmqueue.core.bucket_copy import BucketCopy, Listener
from zmqueue.core.counting import Counting, Flaps
from zmqueue.core.host import Host
from zmqueue.core.log import PINNED_BYTES, PINNED_ENTRIES
from zmqueue.core.operations import Operation, encode
from zmqueue.core.packets import Ack, Append, Differs, Nak, Snap, SnapMore
from zmqueue.core.peers import APPEND_BYTES, APPEND_ENTRIES, Peer
from zmqueue.core.snapshot import CHUNK_AGAIN, GIVE_UP, begin
from zmqueue.core.state import ClusterState
from zmqueue.core.sums import Sum

Made = dict[tuple[int, bool], tuple[Append, int]]
"""The Appends of one turn and their bytes, by (entry before, with entries?): peers at the same point share one."""


class PrimarySide:
    """A primary in one term."""

    __slots__ = ("_at", "_copy", "_counting", "_entered", "_host", "_listener", "_resting", "_rid", "_rid_sent",
                 "_state", "_stop", "peers", "tail", "term")

    def __init__(self, host: Host, copy: BucketCopy, state: ClusterState, listener: Listener, flaps: Flaps,
                 stop: Callable[[float], None], now: float) -> None:
        self._host = host
        self._copy = copy
        self._listener = listener
        self._stop = stop                  # called at an alarm: this node must not serve
        self._state = state
        self.term = state.terms[copy.bucket]
        copy.create()
        self.tail = copy.end               # what was inherited: reads wait until it is committed (R9)
        self._entered = now
        self._at = copy.last_at()          # Q1: bucket time stood still while nobody was primary
        self._rid = 0
        self._rid_sent = True              # some Append carried the present rid
        self.peers = _peers(state, copy.bucket, host.number)
        self._counting = Counting(host, copy, self.term, self.peers, _retired(state, copy.bucket), flaps, now)
        self._resting = False              # nothing is to be done until something happens

    def close(self) -> None:
        """The term ended, and with it the snapshots on their way (R12)."""
        for peer in self.peers.values():
            self._end_snapshot(peer)

    def agreed(self, state: ClusterState) -> None:
        """A newer state, in which this term goes on."""
        self._state = state

    # --- what the desk wants ---

    def append(self, operation: Operation) -> int:
        """Add an entry; it leaves with the next flush."""
        self._wake()
        return self._copy.append(self.term, encode(operation), operation)

    def at(self, now: float) -> int:
        """Bucket time, ms: goes on from the last entry's with this node's clock (Q1)."""
        return self._at + int((now - self._entered) * 1_000)

    def barrier(self) -> int:
        """A number for a read: no Append sent before now carries it (R10). Reads of one turn share one."""
        if self._rid_sent:
            self._rid += 1
            self._rid_sent = False
            self._wake()
        return self._rid

    def readable(self, rid: int) -> bool:
        """True where no newer primary can have answered before the read came, and the inherited tail is applied."""
        return self._copy.commit >= self.tail and all(
            peer.rid >= rid for peer in self.peers.values() if peer.counts)

    # --- what replicas say ---

    def ack(self, peer: Peer, packet: Ack, now: float) -> None:
        """A replica holds, on its disk, what this log holds up to `verified`."""
        if max(packet.commit, packet.verified) > self._copy.end:
            self._alarm("a replica has what this primary lost", peer, now)        # R15c
            return
        if (peer.sending is not None or peer.behind) and packet.verified >= self._copy.log.base_seq:
            self._end_snapshot(peer)       # the log serves it from here on
            peer.resume(packet.verified)
        peer.acked(packet, now)
        self._wake()
        self.evaluate(now)

    def nak(self, peer: Peer, packet: Nak, now: float) -> None:
        """A replica does not hold the entry before those that were sent: find where to resume (R13)."""
        log = self._copy.log
        if packet.commit > self._copy.end:
            self._alarm("a replica has committed what this primary lost", peer, now)      # R15c
            return
        if peer.sending is not None:
            if packet.commit < log.base_seq:
                return                     # late: a snapshot is on its way for this reason
            self._end_snapshot(peer)
        elif self._late(peer, packet):
            return
        self._resume(peer, packet)
        self._wake()

    def _late(self, peer: Peer, packet: Nak) -> bool:
        """True where the peer was resumed already: of a pipeline after a gap, every Append is refused."""
        if peer.next is None or (peer.match is not None and packet.prev_seq <= peer.match):
            return True
        return peer.probing and packet.prev_seq != peer.start

    def _resume(self, peer: Peer, packet: Nak) -> None:
        log = self._copy.log
        if peer.in_sync:
            start = min(packet.prev_seq, self._copy.commit)   # it holds all that is committed, whatever it knows of it
        elif log.base_seq <= packet.end and log.term_at(packet.end) == packet.end_term:
            start = packet.end
        elif packet.commit >= log.base_seq:
            start = packet.commit
            if log.term_at(start) != packet.commit_term:
                self._host.alarm("a learner has committed another entry than this primary", bucket=self._copy.bucket,
                                 term=self.term, seq=start, learner=peer.address)
                peer.lost = True           # nothing can be built on it; somebody has to look at its disk
                return
        else:
            peer.behind = True
            return
        peer.resume(max(start, peer.match or 0))

    def lost(self, peer: Peer, now: float) -> None:
        """R15a: an in-sync replica lacks what is committed. It is asked to be dropped; nothing more is sent to it."""
        self._host.alarm("a replica lost what it had confirmed", bucket=self._copy.bucket, term=self.term,
                         replica=peer.address)
        peer.lost = True
        self._end_snapshot(peer)
        self._wake()

    def ahead(self, peer: Peer, now: float) -> None:
        """R15b: a replica has committed something else than what stands here."""
        self._alarm("a replica has committed another entry than this primary", peer, now)

    def differs(self, peer: Peer, packet: Differs) -> None:
        """D3: a replica has other rows than these, or got other rows in a snapshot than were counted here."""
        self._host.differs("a replica's rows are not the same as here", self._copy.bucket, term=self.term,
                           seq=packet.seq, theirs=Sum(packet.count, packet.digest), replica=peer.address)
        if peer.sending is not None:
            self._end_snapshot(peer)
            peer.behind = True             # another one, when the rows are counted
        self._wake()

    def more(self, peer: Peer, packet: SnapMore, now: float) -> None:
        """The chunk of the snapshot before `index` is on the learner's disk."""
        sending = peer.sending
        if sending is None or packet.snapshot != sending.id:
            return
        if packet.index == 0 < sending.index:
            self._end_snapshot(peer)       # the learner restarted and discarded what it had
            peer.behind = True
        elif packet.index == sending.index + 1 and not sending.last:
            if sending.valid:
                sending.next_chunk(now)
                self._send_chunk(peer, now)
            else:
                self._end_snapshot(peer)
                peer.behind = True
        self._wake()

    def _alarm(self, what: str, peer: Peer, now: float) -> None:
        self._host.alarm(what, bucket=self._copy.bucket, term=self.term, replica=peer.address, end=self._copy.end,
                         commit=self._copy.commit)
        self._stop(now)

    # --- committing ---

    def evaluate(self, now: float) -> None:
        """Commit what everybody who counts has on disk. After every change of what that depends on (R16)."""
        commit = self._copy.own
        for peer in self.peers.values():
            if peer.counts:
                commit = min(commit, peer.match or 0)
        if commit > self._copy.commit:
            self._wake()
            self._copy.advance(commit, self._listener, now)
        self._listener.progressed(now)

    # --- sending ---

    def flush(self, now: float) -> None:
        """Send everything that came up in this turn."""
        self._counting.appended(now)
        made: Made = {}
        for peer in self.peers.values():
            self._feed(peer, now, made)

    def _feed(self, peer: Peer, now: float, made: Made, *, push: bool = False) -> None:
        """Send what the peer lacks, as far as its window is open. `push`: an Append in any case."""
        if peer.lost or peer.behind or peer.sending is not None:
            return
        log = self._copy.log
        if peer.next is None:
            peer.probe(self._copy.commit)  # R7: all that is committed may be here and there; the rest is compared
            push = True
        start = peer.next
        assert start is not None, "a probe begins somewhere"
        if start < log.base_seq:
            self._too_far_back(peer)
            return
        push = push or (peer.counts and peer.rid_sent < self._rid)
        while True:
            opened = start < log.end and peer.open()
            if not opened and not push:
                return
            append, size = self._append_after(start, opened, made)
            self._host.effects.send(peer.address, append)
            peer.sent(append, size, now)
            start += len(append.entries)
            push = False

    def _append_after(self, prev_seq: int, with_entries: bool, made: Made) -> tuple[Append, int]:
        known = made.get((prev_seq, with_entries))
        if known is not None and known[0].commit == self._copy.commit:
            return known
        log = self._copy.log
        prev_term = log.term_at(prev_seq)
        assert prev_term is not None, "what is sent follows an entry of this log"
        entries = log.entries(prev_seq, APPEND_ENTRIES, APPEND_BYTES) if with_entries else ()
        append = Append(self._copy.bucket, self.term, self._state.epoch, prev_seq, prev_term, entries,
                        self._copy.commit, self._rid, *self._copy.machine.sum)
        self._rid_sent = True
        made[prev_seq, with_entries] = append, sum(len(data) for _, data in entries)
        return made[prev_seq, with_entries]

    def _too_far_back(self, peer: Peer) -> None:
        if peer.in_sync:
            self._host.alarm("an in-sync replica lacks what was compacted away", bucket=self._copy.bucket,
                             term=self.term, replica=peer.address)
            peer.lost = True               # R15: it is asked to be dropped
        else:
            peer.behind = True

    # --- snapshots ---

    def _begin_snapshot(self, peer: Peer, now: float) -> None:
        host = self._host
        if self._copy.bucket in host.suspects:
            return                         # first these rows are counted: it might be one like the one before
        sending = begin(host.tables, host.copies, self._copy.bucket, self._copy.log,
                        (host.number, host.incarnation), now)
        if sending is None:
            return                         # too many already, or nothing is on disk yet: with another tick
        peer.sending, peer.behind = sending, False
        peer.waiting_since = None
        sending.next_chunk(now)
        self._send_chunk(peer, now)

    def _send_chunk(self, peer: Peer, now: float) -> None:
        sending = peer.sending
        assert sending is not None
        sending.sent_at = now
        self._rid_sent = True
        peer.rid_sent = self._rid
        self._host.effects.send(peer.address, Snap(
            self._copy.bucket, self.term, self._state.epoch, sending.id, sending.index, sending.last, sending.seq,
            sending.seq_term, sending.position.at, sending.rows, self._rid, *sending.sum))

    def _end_snapshot(self, peer: Peer) -> None:
        if peer.sending is not None:
            peer.sending.close()
            peer.sending = None

    # --- what is due ---

    def tick(self, now: float) -> None:
        """Send again what had no answer, let idle replicas know what is committed, judge everybody."""
        if self._resting:
            return
        made: Made = {}
        for peer in self.peers.values():
            self._tend(peer, now, made)
        self._counting.tick(now, self._state.settings.replica_timeout_ms / 1_000)
        self.evaluate(now)
        self._resting = not self._counting.wants and all(map(self._settled, self.peers.values()))

    def _tend(self, peer: Peer, now: float, made: Made) -> None:
        sending = peer.sending
        if sending is not None:
            if not sending.valid:
                self._end_snapshot(peer)
                peer.behind = True
            elif now - sending.progress_at >= GIVE_UP:
                self._end_snapshot(peer)
                peer.next = None
            elif now - sending.sent_at >= CHUNK_AGAIN:
                self._send_chunk(peer, now)
        elif peer.behind:
            self._begin_snapshot(peer, now)
        elif peer.overdue(now):
            peer.again()
            self._feed(peer, now, made, push=True)
        elif peer.waiting_since is None and peer.commit_sent < self._copy.commit:
            self._feed(peer, now, made, push=True)
        else:
            self._feed(peer, now, made)

    def _settled(self, peer: Peer) -> bool:
        """True where the peer needs nothing until something happens here or there."""
        return (peer.in_sync and not peer.lost and peer.waiting_since is None and peer.next == self._copy.end
                and peer.commit_sent >= self._copy.commit and peer.rid_sent >= self._rid)

    def _wake(self) -> None:
        self._resting = False
        self._host.touched.add(self._copy.bucket)

    def compact_upto(self) -> int:
        """How far the log may be compacted: what a learner is about to get stays, within a limit."""
        upto, log = self._copy.commit, self._copy.log
        if log.end - log.base_seq > PINNED_ENTRIES or log.known_bytes > PINNED_BYTES:
            return upto
        for peer in self.peers.values():
            if peer.sending is not None:
                upto = min(upto, peer.sending.seq)
            elif peer.next is not None:
                upto = min(upto, peer.start if peer.match is None else peer.match)
        return upto


def _peers(state: ClusterState, bucket: int, me: int) -> dict[int, Peer]:
    """The other replicas. They are fixed for the term: who is desired, in-sync or up is what a term stands for."""
    in_sync, desired = state.in_sync[bucket], state.desired(bucket)
    peers = {}
    for number in sorted({*in_sync, *desired} - {me}):
        member = state.member(number)
        if member is not None and (member.up or number in in_sync):
            peers[number] = Peer(number, member.id, in_sync=number in in_sync)
    return peers


def _retired(state: ClusterState, bucket: int) -> list[int]:
    """The in-sync replicas that are not needed any more (R14)."""
    in_sync, desired = state.in_sync[bucket], state.desired(bucket)
    if not all(number in in_sync and state.up(number) for number in desired):
        return []
    return [number for number in in_sync if number not in desired]
