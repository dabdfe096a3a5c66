"""The line in which the answers of one bucket stand until they may leave.

A waiter passes up to three stages: the commit of an entry; a read barrier (R10), for whatever is negative or "not yet";
the bucket having enough in-sync replicas (R11), for every word that a submit is stored: without them it is withheld,
never refused. When the term ends, all are told that nobody knows (Q6).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from zmqueue.core.answers import Alive, Answer, Confirmed, Refused
from zmqueue.core.office import Office, Refusal

if TYPE_CHECKING:
    from zmqueue.core.replication import Replica


class Waiter(Protocol):
    """Somebody who waits for his moment."""

    def done(self, now: float) -> None:
        """The moment has come."""
        ...

    def failed(self) -> None:
        """The term ended before: nobody knows what will become of it."""
        ...


class Answering:
    """The most frequent waiter: a finished answer."""

    __slots__ = ("_client", "_office", "_packet", "_size")

    def __init__(self, office: Office, client: bytes, packet: Confirmed | Answer | Alive | Refused,
                 size: int = 0) -> None:
        self._office = office
        self._client = client
        self._packet = packet
        self._size = size
        office.pending_bytes += size

    def done(self, now: float) -> None:
        self._office.pending_bytes -= self._size
        self._office.reply(self._client, self._packet)

    def failed(self) -> None:
        self._office.pending_bytes -= self._size
        self._office.not_primary(self._client, self._packet.request, unknown=True)


class Again:
    """A request that met something locked (R9): judged anew, as a whole, when that is unlocked."""

    __slots__ = ("_client", "_judge", "_office", "_request", "_size")

    def __init__(self, office: Office, client: bytes, request: int, judge: Callable[[float], None], size: int) -> None:
        """`judge` is given the time, and may raise Refusal; `size`: the bytes that wait with it."""
        self._office = office
        self._client = client
        self._request = request
        self._judge = judge
        self._size = size
        office.pending_bytes += size

    def done(self, now: float) -> None:
        self._office.pending_bytes -= self._size
        try:
            self._judge(now)
        except Refusal as refusal:
            self._office.refuse(self._client, self._request, refusal.code, refusal.text)

    def failed(self) -> None:
        self._office.pending_bytes -= self._size
        self._office.not_primary(self._client, self._request, unknown=True)


class Waiting:
    """The line of one bucket. Stages, in this order, each only where it is asked for: commit, barrier, enough."""

    __slots__ = ("_by_seq", "_office", "_reads", "_replica", "_withheld", "applied_seq")

    def __init__(self, office: Office, replica: Replica) -> None:
        self._office = office
        self._replica = replica
        self.applied_seq = 0
        self._by_seq: dict[int, list[tuple[Waiter, int | None, bool]]] = {}
        self._reads: deque[tuple[Waiter, int, bool]] = deque()
        self._withheld: list[Waiter] = []

    def add(self, waiter: Waiter, now: float, *, seq: int = 0, rid: int | None = None, enough: bool = False) -> None:
        """Let `waiter` go on when entry `seq` is applied, the barrier `rid` is passed, and the replicas are enough."""
        self._office.pending += 1
        if seq > self.applied_seq:
            self._by_seq.setdefault(seq, []).append((waiter, rid, enough))
        else:
            self._committed(waiter, rid, enough, now)

    def applied(self, seq: int, now: float) -> None:
        """The entry `seq` is committed and applied."""
        self.applied_seq = seq
        for waiter, rid, enough in self._by_seq.pop(seq, ()):
            self._committed(waiter, rid, enough, now)

    def progressed(self, now: float) -> None:
        """Barriers may have been passed, and the in-sync set may have grown."""
        while self._reads and self._replica.readable(self._reads[0][1]):
            waiter, _, enough = self._reads.popleft()
            self._passed(waiter, enough, now)
        if self._withheld and self._replica.enough:
            released, self._withheld = self._withheld, []
            for waiter in released:
                self._release(waiter, now)

    def begin(self, applied_seq: int) -> None:
        """A new term: everybody who waits is told that it is over."""
        self.applied_seq = applied_seq
        left = [waiter for entries in self._by_seq.values() for waiter, _, _ in entries]
        left += [waiter for waiter, _, _ in self._reads] + self._withheld
        self._by_seq, self._reads, self._withheld = {}, deque(), []
        self._office.pending -= len(left)
        for waiter in left:
            waiter.failed()

    def _committed(self, waiter: Waiter, rid: int | None, enough: bool, now: float) -> None:
        if rid is not None and (self._reads or not self._replica.readable(rid)):
            self._reads.append((waiter, rid, enough))
        else:
            self._passed(waiter, enough, now)

    def _passed(self, waiter: Waiter, enough: bool, now: float) -> None:
        if enough and not self._replica.enough:
            self._withheld.append(waiter)      # R11: withheld, never refused
        else:
            self._release(waiter, now)

    def _release(self, waiter: Waiter, now: float) -> None:
        self._office.pending -= 1
        waiter.done(now)
