"""Long polls of one bucket: questions after a message that wait for its end, or for their deadline.

A settled result is given at once. "Not yet" and "unknown" need a read barrier sent after the question came (R10): it is
asked for when the question is parked, so that at the deadline the answer is usually allowed already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from zmqueue.core.deadlines import Deadlines
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Refusal
from zmqueue.core.operations import State
from zmqueue.core.packets import Answer, Ask, Code
from zmqueue.core.records import ERASED, Record, Special


class Parked:
    """One question that waits."""

    __slots__ = ("ask", "client", "deadline", "over", "read", "rid")

    def __init__(self, client: bytes, ask: Ask, deadline: float, rid: int) -> None:
        self.client = client
        self.ask = ask
        self.deadline = deadline       # seconds, monotonic
        self.rid = rid
        self.read = False              # its barrier is passed: "not yet" may be answered
        self.over = False              # it was answered


class Asks:
    """The parked questions of a bucket: by message, by barrier, by deadline."""

    __slots__ = ("_barriers", "_by_id", "_deadlines")

    def __init__(self) -> None:
        self._by_id: dict[bytes, list[Parked]] = {}
        self._barriers: deque[Parked] = deque()
        self._deadlines: Deadlines[Parked] = Deadlines(lambda parked: not parked.over)

    def __contains__(self, message_id: bytes) -> bool:
        return message_id in self._by_id

    def __bool__(self) -> bool:
        return bool(self._by_id)

    def add(self, parked: Parked) -> None:
        """Park a question."""
        self._by_id.setdefault(parked.ask.id, []).append(parked)
        self._barriers.append(parked)
        self._deadlines.add(parked.deadline, parked)

    def after(self, message_id: bytes) -> Iterable[Parked]:
        """The questions after one message."""
        return tuple(self._by_id.get(message_id, ()))

    def first_barrier(self) -> Parked | None:
        """The question whose barrier was asked for first, of those that wait for theirs."""
        while self._barriers and self._barriers[0].over:
            self._barriers.popleft()
        return self._barriers[0] if self._barriers else None

    def passed(self) -> None:
        """The first one's barrier is passed."""
        self._barriers.popleft().read = True

    def due(self, now: float, limit: int) -> list[Parked]:
        """Questions whose deadline has come. Each is told once."""
        return self._deadlines.due(now, limit)

    def end(self, parked: Parked) -> None:
        """It was answered."""
        parked.over = True
        same = self._by_id[parked.ask.id]
        same.remove(parked)
        if not same:
            del self._by_id[parked.ask.id]

    def clear(self) -> list[Parked]:
        """The term ended: all that were parked."""
        left = [parked for same in self._by_id.values() for parked in same]
        for parked in left:
            parked.over = True
        self._by_id.clear()
        self._barriers.clear()
        self._deadlines.clear()
        return left


class Questions:
    """How the primary of a bucket answers them."""

    __slots__ = ("_asks", "_ledger", "_office")

    def __init__(self, ledger: Ledger) -> None:
        self._asks = Asks()
        self._ledger = ledger
        self._office = ledger.office

    def ask(self, client: bytes, packet: Ask, now: float) -> None:
        """Answer at once if the message has ended, else after the barrier and not before `wait` is over."""
        office, limits = self._office, self._office.limits
        record = self._ledger.machine.find(packet.id)
        if record is not None and record.state.terminal:
            self._answer(client, packet, record, self._ledger.replica.at(now))
            return
        if office.asks >= limits.asks_parked_max:
            raise Refusal(Code.BUSY, f"{office.asks:,} long polls wait on this node; the limit is "
                                     f"{limits.asks_parked_max:,} (limits.asks_parked_max): try again later")
        wait = min(max(packet.wait, 0), limits.ask_wait_ms_max) / 1_000
        office.asks += 1
        self._asks.add(Parked(client, packet, now + wait, self._ledger.replica.barrier()))
        self.progressed(now)                       # alone in the set, the barrier is passed already

    def progressed(self, now: float) -> None:
        """Barriers may have been passed."""
        while (parked := self._asks.first_barrier()) and self._ledger.replica.readable(parked.rid):
            self._asks.passed()
            self._look(parked, now)

    def tick(self, now: float) -> None:
        """Answer those whose deadline has come. Where the barrier is not passed, that is awaited."""
        for parked in self._asks.due(now, self._office.limits.asks_parked_max):
            if parked.read:
                self._look(parked, now)

    def ended(self, ids: Sequence[bytes]) -> None:
        """Leases on these messages ended: answer the questions after those that are over."""
        if not self._asks:
            return
        for message_id in ids:
            if message_id not in self._asks:
                continue
            record = self._ledger.machine.find(message_id)
            if record is None or not record.state.terminal:
                continue
            for parked in self._asks.after(message_id):
                self._close(parked)
                self._answer(parked.client, parked.ask, record, record.ended)

    def clear(self) -> None:
        """The term ended."""
        for parked in self._asks.clear():
            self._office.asks -= 1
            self._office.not_primary(parked.client, parked.ask.request, unknown=True)

    def _look(self, parked: Parked, now: float) -> None:
        """Answer a question whose barrier is passed, if its time has come."""
        record = self._ledger.machine.find(parked.ask.id)
        if record is None:
            if seq := self._ledger.locks.get(parked.ask.id):       # its submit is in the log
                self._ledger.waiting.add(_LookAgain(self, parked), now, seq=seq)
                return
            self._close(parked)
            self._office.refuse(parked.client, parked.ask.request, Code.UNKNOWN_TOKEN,
                                "no such message is known here: it was never accepted, or is forgotten")
        elif record.state.terminal or parked.deadline <= now:
            self._close(parked)
            self._answer(parked.client, parked.ask, record, self._ledger.replica.at(now))

    def look_again(self, parked: Parked, now: float) -> None:
        """The submit that was awaited is applied."""
        if not parked.over:
            self._look(parked, now)

    def _close(self, parked: Parked) -> None:
        self._asks.end(parked)
        self._office.asks -= 1

    def _answer(self, client: bytes, packet: Ask, record: Record, at: int) -> None:
        result = record.result if packet.result else b""
        if packet.result and isinstance(record, Special) and not _kept(record, at):
            self._office.refuse(client, packet.request, Code.RESULT_GONE, "the result was kept for the time that its "
                                "queue or its submitter said, or forgotten by an explicit word: it is gone")
            return
        self._office.reply(client, Answer(packet.request, record.state.shown, record.queue, record.deliveries,
                                          record.error, record.kind, result))


def _kept(record: Special, at: int) -> bool:
    """False where the result of a message is not given out any more at bucket time `at`."""
    if record.state is not State.DONE or not record.keep:
        return True
    return record.keep != ERASED and at < record.ended + record.keep


class _LookAgain:
    """A question that met a message whose submit was not applied yet."""

    __slots__ = ("_parked", "_questions")

    def __init__(self, questions: Questions, parked: Parked) -> None:
        self._questions = questions
        self._parked = parked

    def done(self, now: float) -> None:
        self._questions.look_again(self._parked, now)

    def failed(self) -> None:
        """The question is still parked, and is answered with all the others."""
