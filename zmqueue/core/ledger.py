"""What the primary of one bucket holds in memory beside the rows: locked messages, leases, and who waits for an answer.

A message that an uncommitted entry names is *locked* (R9): no decision touches it. So nothing ever needs undoing, and a
new primary rebuilds everything here from the rows and the tail of its log. It is as large as what is in flight.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence

from zmqueue.core.answers import Confirmed
from zmqueue.core.checks import Fault
from zmqueue.core.holdings import Holdings
from zmqueue.core.machine import Machine
from zmqueue.core.office import Office
from zmqueue.core.operations import Held, Leased, Operation, State, arrivals_of, messages_of
from zmqueue.core.records import Special
from zmqueue.core.replication import Replica
from zmqueue.core.waiting import Again, Answering, Waiter, Waiting


class Ledger:
    """One bucket's locks, leases and waiters, and the way into its log."""

    __slots__ = ("_arrivals", "_arriving", "bucket", "holdings", "locks", "machine", "mending", "office", "replica",
                 "unwanted", "waiting")

    def __init__(self, office: Office, replica: Replica) -> None:
        self.bucket = replica.bucket
        self.office = office
        self.replica = replica
        self.machine: Machine                      # of the copy that is live in this term; set by `open`
        self.locks: dict[bytes, int] = {}          # message -> the last uncommitted entry that names it
        self._arrivals: dict[int, list[tuple[str, int]]] = {}   # uncommitted entry -> (queue, new messages in it),
        self._arriving: dict[str, int] = {}        # and by queue the sum of those
        self.holdings = Holdings()                 # applied leases,
        self.unwanted: set[bytes] = set()          # and those of their messages that are cancelled
        self.mending: dict[bytes, str] = {}        # and dead letters that are leased, with their queue
        self.waiting = Waiting(office, replica)

    def close(self) -> None:
        """The term ended: whoever waits is told that nobody knows."""
        self.locks.clear()
        self._arrivals.clear()
        self._arriving.clear()
        self.holdings.clear()
        self.unwanted.clear()
        self.mending.clear()
        self.waiting.begin(self.replica.commit)

    def open(self) -> list[tuple[int, Leased]]:
        """This node is primary: learn what is locked and what is leased; return the leases that are in the tail."""
        self.machine = self.replica.machine
        self.machine.fronts.clear()
        self.machine.risen.clear()
        self.machine.tally.clear()
        tail = list(enumerate(self.replica.tail_operations(), self.replica.commit + 1))
        for seq, operation in tail:
            self.locks.update(dict.fromkeys(messages_of(operation), seq))
            self._expect(seq, operation)
        for message_id, record in self.machine.leased():
            self.holdings.add(((message_id, record.fencing),), record.until, record.session, record.request)
            if isinstance(record, Special) and record.cancelling:
                self.unwanted.add(message_id)
            if record.state is State.MENDING:
                self.mending[message_id] = record.queue
        return [(seq, operation) for seq, operation in tail if isinstance(operation, Leased)]

    def append(self, operation: Operation, ids: Collection[bytes], now: float) -> int:
        """Put a decision into the log; the messages that it names are locked until it is applied. -> its seq."""
        seq = self.replica.append(operation, now)
        self.locks.update(dict.fromkeys(ids, seq))
        self._expect(seq, operation)
        return seq

    def _expect(self, seq: int, operation: Operation) -> None:
        if found := arrivals_of(operation):
            self._arrivals[seq] = found
            for queue, number in found:
                self._arriving[queue] = self._arriving.get(queue, 0) + number

    def arriving(self, queue: str) -> int:
        """How many new messages of the queue are in the log and not applied yet."""
        return self._arriving.get(queue, 0)

    def unlock(self, seq: int, ids: Sequence[bytes]) -> None:
        """The entry is applied. An inherited tail may name a message again further up: then it stays locked."""
        for queue, number in self._arrivals.pop(seq, ()):
            self._arriving[queue] -= number
            if not self._arriving[queue]:
                del self._arriving[queue]
        locks = self.locks
        for message_id in ids:
            if locks.get(message_id) == seq:
                del locks[message_id]

    def locked_until(self, ids: Sequence[bytes]) -> int:
        """The entry after which none of the messages is locked; 0: none is."""
        if not self.locks or self.locks.keys().isdisjoint(ids):
            return 0
        return max(self.locks.get(message_id, 0) for message_id in ids)

    def unlocked(self, ids: Sequence[bytes]) -> tuple[bytes, ...]:
        """Those of the messages that are not locked."""
        return tuple(message_id for message_id in ids if message_id not in self.locks)

    def holds(self, lease: Held) -> bool:
        """True while that lease stands, in applied state."""
        holding = self.holdings.get(lease[0])
        return holding is not None and holding.fencing == lease[1]

    def confirm(self, client: bytes, request: int, faults: Sequence[Fault], seq: int, now: float, size: int = 0, *,
                barrier: bool = False, enough: bool = False) -> None:
        """Answer when entry `seq` is applied; where something is refused, or `barrier` says that it follows from what
        may change yet, only after a read barrier (R10); `enough`: only with enough in-sync replicas (R11)."""
        rid = self.replica.barrier() if faults or barrier else None
        answer = Answering(self.office, client, Confirmed(request, tuple(faults)), size)
        self.waiting.add(answer, now, seq=seq, rid=rid, enough=enough)

    def again(self, client: bytes, request: int, seq: int, judge: Callable[[float], None], now: float,
              size: int) -> None:
        """Judge a request of so many bytes anew when entry `seq` is applied, which names something of it."""
        self.waiting.add(Again(self.office, client, request, judge, size), now, seq=seq)

    def after_barrier(self, waiter: Waiter, now: float) -> None:
        """Let `waiter` go on when what was seen here is known not to be a deposed primary's view (R10)."""
        self.waiting.add(waiter, now, rid=self.replica.barrier())
