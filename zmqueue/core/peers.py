"""What a primary knows, in one term, of one other replica: what it holds, what is on the way to it, what it owes.

Entries are *pipelined*: `next` moves with what was sent, not with what was acked. After a refusal or too long a
silence the peer is *probed*: one Append, from where the logs are known or said to agree, until an answer comes.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from zmqueue.core.packets import Ack, Append

if TYPE_CHECKING:
    from zmqueue.core.snapshot import Sending

APPEND_BYTES = 1 << 20
"""Bytes of operations in one Append: some ms of a gigabit; a larger entry travels alone."""

APPEND_ENTRIES = 512
"""Entries in one Append: what a backup writes and checks in a few ms."""

WINDOW_BYTES = 8 << 20
"""Bytes on the way to one peer: enough for 80 MB/s at 100 ms, and what its socket may have to hold."""

RESEND_AFTER = 0.2
"""Seconds without an answer after which an Append is taken for lost; doubled at each resending..."""

RESEND_MOST = 2.0
"""...up to this: how soon a peer that comes back is noticed."""


class Peer:
    """One other replica, as the primary sees it in this term."""

    __slots__ = ("_flight", "_shown", "address", "asked", "barrier_since", "behind", "close_since", "commit_sent",
                 "flight_bytes", "in_sync", "lost", "match", "need", "next", "number", "patience", "probing", "rid",
                 "rid_sent", "sending", "start", "waiting_since")

    def __init__(self, number: int, address: str, *, in_sync: bool) -> None:
        self.number = number
        self.address = address
        self.in_sync = in_sync
        # What it holds.
        self.match: int | None = None          # verified up to here, on its disk, in this term (R7)
        self.rid = 0                           # the last barrier that it acked
        self._shown = -1                       # the commit index that it showed last
        # What was sent. `next` is None until first contact.
        self.next: int | None = None           # what is sent next follows this entry
        self.start = 0                         # where the last probe began
        self.probing = True
        self._flight: deque[tuple[int, int]] = deque()    # (last seq, bytes) of each Append with entries
        self.flight_bytes = 0
        self.rid_sent = 0
        self.commit_sent = -1
        self.waiting_since: float | None = None           # since when an answer is due
        self.patience = RESEND_AFTER
        self.barrier_since: float | None = None           # since when a barrier is unanswered
        # Catching up.
        self.need: int | None = None           # counted; complete when match reaches this (R4)
        self.asked = False                     # ReplicaSynced was asked for: counted for the rest of the term (R3)
        self.close_since: float | None = None  # since when it has been near the end of the log (R17)
        self.behind = False                    # what it needs is compacted away
        self.sending: Sending | None = None
        self.lost = False                      # it raised an alarm: nothing more is sent (R15)

    @property
    def counts(self) -> bool:
        """True where every commit needs its ack."""
        return self.in_sync or self.need is not None

    def open(self) -> bool:
        """True while more entries may be sent."""
        return not self._flight if self.probing else self.flight_bytes < WINDOW_BYTES

    def probe(self, start: int) -> None:
        """Forget what is on the way, and begin again after `start`."""
        self.next = self.start = start
        self.probing = True
        self.behind = False
        self._flight.clear()
        self.flight_bytes = 0

    def resume(self, start: int) -> None:
        """It refused, and said where the logs agree."""
        self.probe(start)
        self.waiting_since, self.patience = None, RESEND_AFTER

    def again(self) -> None:
        """No answer came: begin again from what it is known to hold."""
        self.probe(self.start if self.match is None else self.match)
        self.rid_sent, self.commit_sent, self.waiting_since = self.rid, -1, None
        self.patience = min(2 * self.patience, RESEND_MOST)

    def sent(self, append: Append, size: int, now: float) -> None:
        """An Append left."""
        if append.entries:
            self.next = append.prev_seq + len(append.entries)
            self._flight.append((self.next, size))
            self.flight_bytes += size
        if append.rid > self.rid and self.barrier_since is None:
            self.barrier_since = now
        self.rid_sent = append.rid
        self.commit_sent = append.commit
        if self.waiting_since is None:
            self.waiting_since = now

    def acked(self, ack: Ack, now: float) -> None:
        """An Ack of this term came: out of order, late or twice, it never takes anything back."""
        moved = self.match is None or ack.verified > self.match or ack.rid > self.rid
        if ack.rid > self.rid:
            self.rid = ack.rid
            self.barrier_since = None if self.rid >= self.rid_sent else now
        self.match = ack.verified if self.match is None else max(self.match, ack.verified)
        self.next = self.match if self.next is None else max(self.next, self.match)
        self._shown = max(self._shown, ack.commit)
        self.probing = False
        while self._flight and self._flight[0][0] <= self.match:
            self.flight_bytes -= self._flight.popleft()[1]
        if not self._flight and self.rid >= self.rid_sent and self._shown >= min(self.commit_sent, self.match):
            self.waiting_since, self.patience = None, RESEND_AFTER
        elif moved:
            self.waiting_since, self.patience = now, RESEND_AFTER

    def overdue(self, now: float) -> bool:
        """True where an answer should have come by now."""
        return self.waiting_since is not None and now - self.waiting_since >= self.patience
