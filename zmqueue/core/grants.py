"""How the primary of a bucket hands out messages: picks what is ready, leases it, and finds it for a repeat (Q5)."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from zmqueue.core import letters
from zmqueue.core.answers import Grant
from zmqueue.core.ledger import Ledger
from zmqueue.core.operations import Leased, State
from zmqueue.core.records import Special
from zmqueue.core.waiting import Waiter

_PAGE_MIN = 16
"""Ready rows looked at in one scan, at least: some of them may be locked."""


_RESTED_MAX = 1_000
"""Dead letters that stop resting in one tick."""


class Grants:
    """What one bucket hands out."""

    __slots__ = ("_inherited", "_ledger", "_picked", "_picks", "_resting")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._inherited: dict[int, bytes] = {}         # Leased of an earlier term, uncommitted -> its session
        self._picks: dict[int, tuple[str, int]] = {}   # uncommitted Leased -> (queue, how many ready ones it takes)
        self._picked: dict[str, int] = {}              # by queue: the sum of those
        self._resting: dict[str, dict[bytes, float]] = {}      # by queue: dead letter -> until when, seconds

    def available(self, queue: str) -> int:
        """How many messages could be handed out now: ready, and in no uncommitted lease; none of a paused queue. Of
        dead letters (`letters`), as many as lie there and do not rest."""
        if (dead := letters.queue_of(queue)) is not None:
            resting = len(self._resting.get(dead, ()))
            return self._ledger.machine.count(dead, State.DEAD) - self._picked.get(queue, 0) - resting
        if self._ledger.office.policy(queue).paused:
            return 0
        return self._ledger.machine.count(queue, State.READY) - self._picked.get(queue, 0)

    def pick(self, queue: str, most: int, size_max: int) -> list[Grant]:
        """At most `most` messages, best first, with `size_max` bytes of payload together (but at least one message).

        The search begins behind what earlier picks took and is not applied yet: looking at all of those again each
        time would cost the square of what is in flight.
        """
        if (dead := letters.queue_of(queue)) is not None:
            return self._pick_letters(dead, most, size_max)
        machine, locks, fronts = self._ledger.machine, self._ledger.locks, self._ledger.machine.fronts
        grants: list[Grant] = []
        size, start, page_size = 0, fronts.get(queue), max(most, _PAGE_MIN)
        front, moves = start, True                 # it moves only past what is locked: that changes with its entry
        while len(grants) < most:
            page = machine.ready(queue, start, page_size)
            for key, message_id, fencing in page:
                if len(grants) == most:
                    break
                if message_id not in locks:
                    grant = self._grant(message_id, fencing)
                    if grant is None:
                        moves = False              # too late by this clock, which may be set back before it is ended
                        start = key + b"\x00"
                        continue
                    size += len(grant.submission.payload)
                    if grants and size > size_max:
                        most = len(grants)
                        break
                    grants.append(grant)
                start = key + b"\x00"
                front = start if moves else front
            if len(page) < page_size:
                break
        if front is not None:
            fronts[queue] = front
        return grants

    def _pick_letters(self, queue: str, most: int, size_max: int) -> list[Grant]:
        """The same of dead letters, in the order of their submit."""
        machine, locks, resting = self._ledger.machine, self._ledger.locks, self._resting.get(queue, ())
        grants: list[Grant] = []
        size, start, page_size = 0, None, max(most, _PAGE_MIN)
        while page := machine.letters(queue, start, page_size):
            for key, message_id in page:
                start = key + b"\x00"
                if message_id in locks or message_id in resting:
                    continue
                (submission, options), record = machine.body(message_id), machine.record(message_id)
                size += len(submission.payload)
                if len(grants) == most or (grants and size > size_max):
                    return grants
                grants.append(Grant(submission, record.fencing + 1, record.deliveries, record.error, options))
        return grants

    def _grant(self, message_id: bytes, fencing: int) -> Grant | None:
        """None: it is too late to begin on it. `fencing`: the number of the delivery before."""
        machine = self._ledger.machine
        submission, options = machine.body(message_id)
        if not fencing and options is None:        # never handed out: there is no record to look for
            return Grant(submission, 1, 1)
        record = machine.record(message_id)
        if isinstance(record, Special) and 0 < record.expires < self._ledger.office.wall:
            return None                            # the desk ends it soon
        return Grant(submission, fencing + 1, record.deliveries + 1, record.error, options)

    def lease(self, queue: str, grants: Sequence[Grant], session: bytes, number: int, lease_ms: int,
              waiter: Waiter, now: float) -> None:
        """Lease what was just picked; `waiter` goes on when that is applied."""
        at = self._ledger.replica.at(now)
        held = tuple((grant.submission.id, grant.fencing) for grant in grants)
        operation = Leased(at, session, number, held, at + lease_ms)
        seq = self._ledger.append(operation, [message_id for message_id, _ in held], now)
        self._picks[seq] = (queue, len(grants))
        self._picked[queue] = self._picked.get(queue, 0) + len(grants)
        self._ledger.waiting.add(waiter, now, seq=seq)

    def inherit(self, leases: Sequence[tuple[int, Leased]]) -> None:
        """These are in the tail that this primary took over."""
        self._inherited = {seq: operation.session for seq, operation in leases}

    def promises(self, session: bytes) -> bool:
        """True while a lease of the session is in the inherited tail: its request is not to be granted again (Q5)."""
        return session in self._inherited.values()

    def applied(self, seq: int, operation: Leased) -> bool:
        """A Leased is applied; False: it was not of this term, but inherited."""
        self._inherited.pop(seq, None)
        machine, mending = self._ledger.machine, self._ledger.mending
        queue, number = self._picks.pop(seq, ("", 0))
        if not number:
            for message_id, _ in operation.grants:
                if (record := machine.record(message_id)).state is State.MENDING:
                    mending[message_id] = record.queue
            return False
        if (dead := letters.queue_of(queue)) is not None:
            mending.update((message_id, dead) for message_id, _ in operation.grants)
        self._picked[queue] -= number
        if not self._picked[queue]:
            del self._picked[queue]
        return True

    # --- dead letters that were in hand in vain ---

    def rest(self, queue: str, message_id: bytes, until: float) -> None:
        """It lies where it lay, and is handed out again only after that moment, by this primary."""
        self._resting.setdefault(queue, {})[message_id] = until

    def rested(self, ids: Sequence[bytes]) -> None:
        """They do not lie there any more."""
        for of_queue in self._resting.values():
            for message_id in ids:
                of_queue.pop(message_id, None)

    def tick(self, now: float) -> None:
        """Some have rested long enough. Those of a queue began to rest one after another, for equal times."""
        for queue, resting in list(self._resting.items()):
            for message_id, until in list(islice(resting.items(), _RESTED_MAX)):
                if until > now:
                    break
                del resting[message_id]
            if not resting:
                del self._resting[queue]

    def granted(self, session: bytes, number: int, now: float) -> tuple[list[Grant], int]:
        """What a lease request was granted here before and still holds, and how many ms of it are left at least."""
        ledger, at = self._ledger, self._ledger.replica.at(now)
        grants, until = [], []
        for message_id in sorted(ledger.holdings.of(session)):
            holding = ledger.holdings.get(message_id)
            if holding is None or holding.request != number or message_id in ledger.locks:
                continue
            (submission, options), record = ledger.machine.body(message_id), ledger.machine.record(message_id)
            grants.append(Grant(submission, holding.fencing, record.deliveries, record.error, options))
            until.append(holding.until)
        return grants, max(0, min(until, default=at) - at)

    def clear(self) -> None:
        """The term ended."""
        self._inherited.clear()
        self._picks.clear()
        self._picked.clear()
        self._resting.clear()
