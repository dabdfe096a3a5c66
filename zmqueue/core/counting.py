"""Whom a primary counts, whom it asks to have in-sync, and whom it asks to be rid of (R3, R4, R14, R17), in one term.

A learner that is near the end of the log is *counted*: commits need its ack, so what it lacks can only shrink. When it
holds what there was when that began, ReplicaSynced is asked for, and from then on it is counted for the whole term.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping

from zmqueue.core.bucket_copy import BucketCopy
from zmqueue.core.changes import Change, ReplicaDropped, ReplicaRetired, ReplicaSynced
from zmqueue.core.host import Host
from zmqueue.core.peers import APPEND_BYTES, Peer

REPEAT_EVERY = 0.2
"""Seconds between two askings for the same (C8)."""

FLAP_MEMORY = 600.0
"""Seconds for which it is remembered that a replica was dropped (R17)."""

FLAP_WAIT_MOST = 60.0
"""Seconds for which a flapping replica has to keep up, at most, before it is counted again (R17)."""

MARK_EVERY = 0.010
"""Seconds within which entries count as equally old: that bounds the memory, 100 marks for a second."""

STALL = 0.5
"""Seconds without a tick after which this node blames nobody for a timeout: it was away itself."""


class Flaps:
    """When each replica of a bucket was dropped or un-counted; outlives terms."""

    __slots__ = ("_times",)

    def __init__(self) -> None:
        self._times: dict[int, deque[float]] = {}

    def note(self, number: int, now: float) -> None:
        """The replica kept commits waiting, and was let go for it."""
        self._times.setdefault(number, deque(maxlen=16)).append(now)

    def wait(self, number: int, now: float) -> float:
        """For how many seconds it has to keep up before it is counted."""
        times = self._times.get(number)
        if not times:
            return 0.0
        while times and now - times[0] > FLAP_MEMORY:
            times.popleft()
        return min(2.0 ** len(times), FLAP_WAIT_MOST) if times else 0.0


class Counting:
    """The replicas of one bucket, in one term, as its primary judges them."""

    __slots__ = ("_ages", "_asked", "_asked_at", "_bucket", "_copy", "_fair_at", "_flaps", "_host", "_peers",
                 "_retired", "_term", "_ticked_at")

    def __init__(self, host: Host, copy: BucketCopy, term: int, peers: Mapping[int, Peer], retired: Iterable[int],
                 flaps: Flaps, now: float) -> None:
        self._host = host
        self._copy = copy
        self._bucket = copy.bucket
        self._term = term
        self._peers = peers
        self._retired = tuple(retired)     # in-sync, and not needed: all desired ones are in-sync and up
        self._flaps = flaps
        self._ages: deque[tuple[int, float]] = deque()   # (last seq, when it was appended), ascending
        self._asked: tuple[Change, ...] = ()
        self._asked_at = now
        self._ticked_at = self._fair_at = now
        self.appended(now)

    def appended(self, now: float) -> None:
        """Entries were added up to the present end."""
        end = self._copy.end
        if self._ages and self._ages[-1][0] >= end:
            return
        since = now
        if self._ages and now - self._ages[-1][1] < MARK_EVERY:
            since = self._ages.pop()[1]
        self._ages.append((end, since))

    def tick(self, now: float, timeout: float) -> bool:
        """Judge everybody; say whether commits may now need fewer acks."""
        if now - self._ticked_at > STALL:
            self._fair_at = now + timeout
        self._ticked_at = now
        while self._ages and self._ages[0][0] <= self._copy.commit:
            self._ages.popleft()           # acked by all who count
        wanted: list[Change] = [ReplicaRetired(self._bucket, number, self._term) for number in self._retired]
        fewer = False
        for peer in self._peers.values():
            late = now >= self._fair_at and self._age(peer, now) > timeout
            if not peer.in_sync and not peer.asked:
                fewer = self._learner(peer, late, now) or fewer
            if peer.asked:
                wanted.append(ReplicaSynced(self._bucket, peer.number, self._term))
            if (peer.lost or late) and (peer.in_sync or peer.asked):
                wanted.append(ReplicaDropped(self._bucket, peer.number, self._term))
        self._ask(tuple(wanted), now)
        return fewer

    @property
    def wants(self) -> bool:
        """True while something is asked for."""
        return bool(self._asked)

    def _age(self, peer: Peer, now: float) -> float:
        """Seconds since the oldest thing that the peer should have acked: an entry, or a read barrier."""
        since = now if peer.barrier_since is None else peer.barrier_since
        held = max(peer.match or 0, self._copy.commit)
        if held < self._copy.end:
            since = min(since, next((then for seq, then in self._ages if seq > held), now))
        return now - since

    def _learner(self, peer: Peer, late: bool, now: float) -> bool:
        """Count a learner that keeps up, un-count one that does not; say whether it was un-counted."""
        if peer.need is not None:
            if late:
                peer.need = peer.match = peer.close_since = None
                self._flaps.note(peer.number, now)
                return True
            peer.asked = peer.match is not None and peer.match >= peer.need
            return False
        close = (peer.match is not None and peer.sending is None and peer.next == self._copy.end
                 and peer.flight_bytes <= APPEND_BYTES and peer.number not in self._host.short)
        if not close:
            peer.close_since = None
            return False
        if peer.close_since is None:
            peer.close_since = now
        if now - peer.close_since >= self._flaps.wait(peer.number, now):
            peer.need = self._copy.end     # R4: the end of the log in memory, at this moment
            peer.barrier_since = None
            peer.asked = peer.match is not None and peer.match >= peer.need
        return False

    def _ask(self, wanted: tuple[Change, ...], now: float) -> None:
        if wanted and (wanted != self._asked or now - self._asked_at >= REPEAT_EVERY):
            self._asked_at = now
            self._host.ask(now, *wanted)
        self._asked = wanted
