"""Parked questions of one bucket: they wait until what they ask after has happened, or for their deadline.

What has happened is told at once. "Not yet" and "unknown" need a read barrier sent after the question came (R10): it is
asked for when the question is parked, so that at the deadline the answer is usually allowed already.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

from zmqueue.core.answers import Code
from zmqueue.core.deadlines import Deadlines
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Refusal
from zmqueue.core.operations import State
from zmqueue.core.records import ERASED, Record, Special
from zmqueue.core.requests import Ask, Follow

Asked = TypeVar("Asked", Ask, Follow)


class Parked(Generic[Asked]):
    """One question that waits."""

    __slots__ = ("ask", "client", "deadline", "over", "read", "rid")

    def __init__(self, client: bytes, ask: Asked, deadline: float, rid: int) -> None:
        self.client = client
        self.ask: Asked = ask
        self.deadline = deadline       # seconds, monotonic
        self.rid = rid
        self.read = False              # its barrier is passed: "not yet" may be answered
        self.over = False              # it was answered


class Lot(Generic[Asked]):
    """The questions that wait: by message, by barrier, by deadline."""

    __slots__ = ("_barriers", "_by_id", "_deadlines")

    def __init__(self) -> None:
        self._by_id: dict[bytes, list[Parked[Asked]]] = {}
        self._barriers: deque[Parked[Asked]] = deque()
        self._deadlines: Deadlines[Parked[Asked]] = Deadlines(lambda parked: not parked.over)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._by_id

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, parked: Parked[Asked]) -> None:
        """Park a question."""
        self._by_id.setdefault(parked.ask.id, []).append(parked)
        self._barriers.append(parked)
        self._deadlines.add(parked.deadline, parked)

    def after(self, message_id: bytes) -> Iterable[Parked[Asked]]:
        """The questions after one message."""
        return tuple(self._by_id.get(message_id, ()))

    def first_barrier(self) -> Parked[Asked] | None:
        """The question whose barrier was asked for first, of those that wait for theirs."""
        while self._barriers and self._barriers[0].over:
            self._barriers.popleft()
        return self._barriers[0] if self._barriers else None

    def passed(self) -> None:
        """The first one's barrier is passed."""
        self._barriers.popleft().read = True

    def due(self, now: float, limit: int) -> list[Parked[Asked]]:
        """Questions whose deadline has come. Each is told once."""
        return self._deadlines.due(now, limit)

    def end(self, parked: Parked[Asked]) -> None:
        """It was answered."""
        parked.over = True
        same = self._by_id[parked.ask.id]
        same.remove(parked)
        if not same:
            del self._by_id[parked.ask.id]

    def clear(self) -> list[Parked[Asked]]:
        """The term ended: all that were parked."""
        left = [parked for same in self._by_id.values() for parked in same]
        for parked in left:
            parked.over = True
        self._by_id.clear()
        self._barriers.clear()
        self._deadlines.clear()
        return left


class Parking(ABC, Generic[Asked]):
    """How the primary of a bucket deals with questions of one kind."""

    __slots__ = ("_ledger", "_lot", "_office")

    def __init__(self, ledger: Ledger) -> None:
        self._lot: Lot[Asked] = Lot()
        self._ledger = ledger
        self._office = ledger.office

    @abstractmethod
    def _happened(self, packet: Asked, record: Record) -> bool:
        """True where what is asked after has happened."""

    @abstractmethod
    def _answer(self, client: bytes, packet: Asked, record: Record, at: int) -> None:
        """Answer with how it is."""

    def ask(self, client: bytes, packet: Asked, now: float) -> None:
        """Answer at once if it has happened, else after the barrier and not before `wait` is over."""
        office, limits = self._office, self._office.limits
        record = self._ledger.machine.find(packet.id)
        if record is not None and self._happened(packet, record):
            self._answer(client, packet, record, self._ledger.replica.at(now))
            return
        if office.asks >= limits.asks_parked_max:
            raise Refusal(Code.BUSY, f"{office.asks:,} long polls wait on this node; the limit is "
                                     f"{limits.asks_parked_max:,} (limits.asks_parked_max): try again later")
        wait = min(max(packet.wait, 0), limits.ask_wait_ms_max) / 1_000
        office.asks += 1
        self._lot.add(Parked(client, packet, now + wait, self._ledger.replica.barrier()))
        self.progressed(now)                       # alone in the set, the barrier is passed already

    def progressed(self, now: float) -> None:
        """Barriers may have been passed."""
        while (parked := self._lot.first_barrier()) and self._ledger.replica.readable(parked.rid):
            self._lot.passed()
            self._look(parked, now)

    def tick(self, now: float) -> None:
        """Answer those whose deadline has come. Where the barrier is not passed, that is awaited."""
        for parked in self._lot.due(now, self._office.limits.asks_parked_max):
            if parked.read:
                self._look(parked, now)

    def changed(self, ids: Sequence[bytes], now: float) -> None:
        """Something became of these messages: answer the questions whose time has come by it."""
        if not self._lot:
            return
        for message_id in ids:
            if message_id not in self._lot:
                continue
            record = self._ledger.machine.find(message_id)
            if record is None:
                continue
            for parked in self._lot.after(message_id):
                if self._happened(parked.ask, record):
                    self._close(parked)
                    at = record.ended if record.state.terminal else self._ledger.replica.at(now)
                    self._answer(parked.client, parked.ask, record, at)

    def clear(self) -> None:
        """The term ended."""
        for parked in self._lot.clear():
            self._office.asks -= 1
            self._office.not_primary(parked.client, parked.ask.request, unknown=True)

    def _look(self, parked: Parked[Asked], now: float) -> None:
        """Answer a question whose barrier is passed, if its time has come."""
        record = self._ledger.machine.find(parked.ask.id)
        if record is None:
            if seq := self._ledger.locks.get(parked.ask.id):       # its submit is in the log
                self._ledger.waiting.add(_LookAgain(self, parked), now, seq=seq)
                return
            self._close(parked)
            self._office.refuse(parked.client, parked.ask.request, Code.UNKNOWN_TOKEN,
                                "no such message is known here: it was never accepted, or is forgotten")
        elif parked.deadline <= now or self._happened(parked.ask, record):
            self._close(parked)
            self._answer(parked.client, parked.ask, record, self._ledger.replica.at(now))

    def look_again(self, parked: Parked[Asked], now: float) -> None:
        """The submit that was awaited is applied."""
        if not parked.over:
            self._look(parked, now)

    def _close(self, parked: Parked[Asked]) -> None:
        self._lot.end(parked)
        self._office.asks -= 1

    def _result_is_gone(self, client: bytes, request: int) -> None:
        self._office.refuse(client, request, Code.RESULT_GONE, "the result was kept for the time that its queue or its "
                            "submitter said, or forgotten by an explicit word: it is gone")


def kept(record: Record, at: int) -> bool:
    """False where the result of a message is not given out any more at bucket time `at`."""
    if not isinstance(record, Special) or record.state is not State.DONE or not record.keep:
        return True
    return record.keep != ERASED and at < record.ended + record.keep


class _LookAgain(Generic[Asked]):
    """A question that met a message whose submit was not applied yet."""

    __slots__ = ("_parked", "_parking")

    def __init__(self, parking: Parking[Asked], parked: Parked[Asked]) -> None:
        self._parking: Parking[Asked] = parking
        self._parked: Parked[Asked] = parked

    def done(self, now: float) -> None:
        self._parking.look_again(self._parked, now)

    def failed(self) -> None:
        """The question is still parked, and is answered with all the others."""
