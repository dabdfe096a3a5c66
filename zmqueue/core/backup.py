"""The backup's side of a bucket, for one term: takes entries and snapshots from the primary, and says what it has.

Everything here is forgotten with the term. What an Ack says is `verified`: how far this log is, in this term, compared
with the primary's or written from it; never where the log ends, since a tail of an older term may be longer (R5).
"""

from __future__ import annotations

from zmqueue.core.bucket_copy import BucketCopy, Listener
from zmqueue.core.host import Host
from zmqueue.core.packets import Ack, Ahead, Append, Differs, Entry, Lost, Nak, Snap, SnapMore
from zmqueue.core.snapshot import Staging, known_tables
from zmqueue.core.sums import Sum


class BackupSide:
    """A backup or learner in one term."""

    __slots__ = ("_copy", "_differs", "_host", "_in_sync", "_listener", "_primary", "_staging", "_term", "verified")

    def __init__(self, host: Host, copy: BucketCopy, term: int, primary: str, listener: Listener, *,
                 in_sync: bool) -> None:
        self._host = host
        self._copy = copy
        self._term = term
        self._primary = primary            # the node that is primary in this term; "": there is none
        self._listener = listener
        self._in_sync = in_sync
        self.verified = 0                  # never falls
        self._staging: Staging | None = None
        self._differs = False              # it was said in this term that the rows are not the primary's

    def close(self) -> None:
        """The term ended, and with it a snapshot that is not whole (R12)."""
        self._discard()

    # --- the log ---

    def append(self, packet: Append, now: float) -> None:
        """Take a primary's entries, if the one before them is here."""
        if self._host.low and not self._in_sync and packet.entries:
            return                         # not acked: where this learner counts already, it is dropped for it
        copy, log = self._copy, self._copy.log
        if packet.prev_seq > copy.commit and log.term_at(packet.prev_seq) != packet.prev_term:
            self._refuse(packet)
            return
        if not self._take(packet.prev_seq, packet.entries):
            self._host.alarm("the primary would change what is committed here", bucket=copy.bucket, term=self._term,
                             commit=copy.commit, primary=self._primary)
            self._host.effects.send_durable(self._primary, Ahead(copy.bucket, self._term))
            return
        self.verified = max(self.verified, packet.prev_seq + len(packet.entries))
        commit = min(packet.commit, self.verified)
        if commit > copy.commit:
            copy.advance(commit, self._listener, now)
        if self._staging is not None and self._staging.position.commit <= self.verified:
            self._discard()                # the log was faster
        if packet.commit == copy.commit:
            self._compare(Sum(packet.count, packet.digest))
        self._ack(packet.rid)

    def _compare(self, theirs: Sum) -> None:
        """D3: at the same entry the rows are the same, and so is their sum."""
        copy, ours = self._copy, self._copy.machine.sum
        if ours == theirs or self._differs or not ours.known or not theirs.known:
            return
        self._differs = True
        self._host.differs("the rows here are not the primary's", copy.bucket, term=self._term, seq=copy.commit,
                           ours=ours, theirs=theirs, primary=self._primary)
        self._host.effects.send(self._primary, Differs(copy.bucket, self._term, copy.commit, *ours))

    def _refuse(self, packet: Append) -> None:
        """Say what is here instead. R15a is judged here, on this packet alone: a late Nak would be a false alarm."""
        copy = self._copy
        if self._in_sync and packet.prev_seq <= packet.commit:
            self._host.alarm("this in-sync replica does not hold what is committed", bucket=copy.bucket,
                             term=self._term, missing=packet.prev_seq, end=copy.end)
            self._host.effects.send_durable(self._primary, Lost(copy.bucket, self._term))
            return
        self._nak(packet.prev_seq)

    def _nak(self, prev_seq: int) -> None:
        copy, log = self._copy, self._copy.log
        commit_term, end_term = log.term_at(copy.commit), log.term_at(copy.end)
        assert commit_term is not None and end_term is not None, "the log begins at or below the commit index"
        self._host.effects.send_durable(self._primary, Nak(
            copy.bucket, self._term, copy.commit, commit_term, copy.end, end_term, prev_seq))

    def _take(self, prev_seq: int, entries: tuple[Entry, ...]) -> bool:
        """Write what is new of the entries. False, and nothing written, where they contradict what is committed."""
        copy, log = self._copy, self._copy.log
        if prev_seq < copy.end:
            for known, entry in enumerate(entries):
                seq = prev_seq + 1 + known
                if seq > copy.end:
                    break
                if seq <= copy.commit:
                    if seq > log.base_seq and log.entry(seq) != entry:
                        return False       # R15b
                elif log.term_at(seq) != entry[0]:
                    assert seq > self.verified, "a term has one primary, and it writes an entry once (R1)"
                    copy.cut(seq - 1)      # R6: in the batch that writes the replacement
                    break
            else:
                return True                # all of them are here
            entries = entries[known:]
        if entries:
            copy.extend(entries)
        return True

    def _ack(self, rid: int) -> None:
        ack = Ack(self._copy.bucket, self._term, self.verified, rid, self._copy.commit)
        if self.verified <= self._copy.own:
            self._host.effects.send(self._primary, ack)      # nothing that it says waits for the disk
        else:
            self._host.effects.send_durable(self._primary, ack)

    # --- snapshots ---

    def snapshot(self, chunk: Snap) -> None:
        """Take one chunk, if a snapshot may be taken at all (R12)."""
        copy = self._copy
        if self._in_sync or self._host.low:
            return
        if chunk.seq <= self.verified:
            self._ack(chunk.rid)           # the Ack that said so was lost
            return
        if chunk.seq <= copy.commit:
            self._nak(chunk.seq)           # the log will do
            return
        if not known_tables(chunk):
            self._host.effects.note("a snapshot of a newer version is refused: update this node", bucket=copy.bucket)
            return
        staging = self._staging
        if staging is not None and chunk.snapshot < staging.id:
            return                         # late, of a snapshot that the primary gave up
        if staging is None or staging.id != chunk.snapshot:
            staging = self._stage(chunk)
        if staging is None:
            return
        if chunk.index == staging.index:
            staging.write(chunk)
            if chunk.last:
                self._install(staging, chunk)
                return
        if chunk.index < staging.index:
            self._host.effects.send_durable(self._primary, staging.more(copy.bucket, self._term))

    def _stage(self, chunk: Snap) -> Staging | None:
        """Begin anew, where this is a first chunk. Another one was begun before a restart: it is asked for anew."""
        self._discard()
        if chunk.index > 0:
            self._host.effects.send(self._primary, SnapMore(self._copy.bucket, self._term, chunk.snapshot, 0))
            return None
        self._staging = Staging(chunk, self._host.tables, self._host.copies, self._copy.generation)
        return self._staging

    def _install(self, staging: Staging, chunk: Snap) -> None:
        copy, theirs = self._copy, Sum(chunk.count, chunk.digest)
        if theirs.known and theirs != staging.sum:
            self._refuse_snapshot(staging, theirs)
            return
        self._staging = None
        copy.adopt(staging.whole())
        self.verified = chunk.seq
        self._host.effects.note("a snapshot was installed", bucket=copy.bucket, seq=chunk.seq)
        self._ack(chunk.rid)

    def _refuse_snapshot(self, staging: Staging, theirs: Sum) -> None:
        """D3: rows are missing, or are others than those that were counted: what the primary sent is not its state."""
        copy, ours = self._copy, staging.sum
        self._host.alarm("a snapshot is refused: its rows are not those that its primary counted", bucket=copy.bucket,
                         term=self._term, seq=staging.position.commit, ours=ours, theirs=theirs, primary=self._primary)
        self._discard()
        self._host.effects.send(self._primary, Differs(copy.bucket, self._term, staging.position.commit, *ours))

    def _discard(self) -> None:
        if self._staging is not None:
            self._staging.abandon()
            self._staging = None
