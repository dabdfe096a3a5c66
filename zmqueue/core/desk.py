"""What the primary of one bucket decides, put together: it listens to its replica, and the front brings it requests.

Each decision becomes an operation in the log, and its answer waits for the commit. On nodes that are not primary, and
in a term that is over, the desk rests: it knows nothing and promises nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from zmqueue.core.asks import Questions
from zmqueue.core.endings import Endings
from zmqueue.core.finding import Finding
from zmqueue.core.following import Followers
from zmqueue.core.forwarding import Post, Sending
from zmqueue.core.grants import Grants
from zmqueue.core.intake import Intake
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Office
from zmqueue.core.operations import (
    Cancelled,
    Delivered,
    Expired,
    Extended,
    Fired,
    Forgotten,
    Held,
    Leased,
    Operation,
    Progressed,
    Purged,
    Requeued,
    Returned,
    Ripened,
    Settled,
    State,
    Why,
    messages_of,
)
from zmqueue.core.publishing import Publishing
from zmqueue.core.reception import Reception
from zmqueue.core.replication import Replica, Role
from zmqueue.core.ticking import Timekeeper
from zmqueue.core.wishes import Wishes


class Hall(Protocol):
    """What a desk tells the front of its node."""

    def opened(self, desk: Desk, now: float) -> None:
        """The desk serves, in a new term."""
        ...

    def closed(self, desk: Desk) -> None:
        """The desk rests."""
        ...

    def inherited(self, sessions: Sequence[tuple[bytes, int]], now: float) -> None:
        """These sessions hold leases that an earlier term granted, the last under that number: they count as just
        heard (Q5)."""
        ...

    def unwanted(self, session: bytes, lease: Held) -> None:
        """A message that the session has leased is cancelled."""
        ...

    def name_of(self, session: bytes) -> str:
        """What a session calls itself; "": that is not known here."""
        ...

    def risen(self, queues: Sequence[str]) -> None:
        """These queues got something to hand out."""
        ...


class Desk:
    """One bucket's desk; a `Listener` of its replica."""

    def __init__(self, office: Office, hall: Hall, replica: Replica, post: Post) -> None:
        self.bucket = replica.bucket
        self.serving = False
        self.ledger = Ledger(office, replica)
        self.intake = Intake(self.ledger)
        self.endings = Endings(self.ledger)
        self.grants = Grants(self.ledger)
        self.questions = Questions(self.ledger)
        self.followers = Followers(self.ledger)
        self.wishes = Wishes(self.ledger)
        self.timekeeper = Timekeeper(self.ledger)
        self.sending = Sending(self.ledger, post)
        self.publishing = Publishing(self.intake, self.ledger)
        self.reception = Reception(self.intake, self.ledger, post)
        self.finding = Finding(self.ledger, hall)
        self._office = office
        self._hall = hall
        self._replica = replica
        self._chores: dict[type[Operation], int] = {}  # the last entry of each kind of chore: one at a time
        self._forget_at = 0.0                          # when to look again for what may be forgotten

    @property
    def halted(self) -> str:
        """Why nobody can serve this bucket; "": somebody can, or nothing is known of it."""
        return self._replica.halted

    # --- what the replica tells ---

    def entered(self, now: float) -> None:
        """A new term or role: what was pending has an unknown fate, and a primary begins from rows and tail."""
        self.serving = False
        self.ledger.close()
        self.grants.clear()
        self.questions.clear()
        self.sending.close()
        self.reception.close()
        self.followers.clear()
        self.timekeeper.clear()
        self._chores.clear()
        self._forget_at = 0.0
        if self._replica.role is not Role.PRIMARY:
            self._hall.closed(self)
            return
        tail = self.ledger.open()
        self.sending.open()
        self.grants.inherit(tail)
        self.serving = True
        self._hall.opened(self, now)
        self._hall.inherited(self.ledger.holdings.sessions(), now)
        # What the tail grants is held by nobody yet, but a repeat of its request must not be granted anew (Q5).
        self._hall.inherited([(operation.session, operation.request) for _, operation in tail], now)

    def applied(self, seq: int, operation: Operation, now: float) -> None:
        """An entry is committed and applied: unlock its messages, follow its leases, let its answer go."""
        if not self.serving:
            self._replica.machine.risen.clear()
            self._replica.machine.posted.clear()
            self._replica.machine.tally.clear()
            return
        ids = messages_of(operation)
        self._office.rates.note(self.ledger.machine.tally.take(), now)
        self.ledger.unlock(seq, ids)
        match operation:
            case Leased():
                self._leased(seq, operation, now)
            case Settled() | Returned():
                for message_id in ids:
                    self.ledger.holdings.end(message_id)
                if self.ledger.mending:
                    self._laid_down(operation, ids, now)
                self.ledger.unwanted.difference_update(ids)
                self._ended(ids, now)
            case Cancelled():
                self._ended(ids, now)
                self._cancelled(ids)
            case Expired():
                self._ended(ids, now)
            case Fired():
                self.timekeeper.fired(operation)
            case Progressed():
                self.followers.changed(ids, now)
            case Requeued() | Purged() | Forgotten():
                self.grants.rested(ids)
            case Extended():
                self.ledger.holdings.extend(operation.leases, operation.until)
            case Delivered():
                self.sending.delivered(operation, now)
            case _:
                pass
        self.ledger.waiting.applied(seq, now)

    def _leased(self, seq: int, operation: Leased, now: float) -> None:
        session, request, until = operation.session, operation.request, operation.until
        self.ledger.holdings.add(operation.grants, until, session, request, operation.at)
        if not self.grants.applied(seq, operation):
            self._hall.inherited(((session, request),), now)

    def _ended(self, ids: Sequence[bytes], now: float) -> None:
        """Some of these messages may have ended: whoever waits for that is told."""
        self.questions.changed(ids, now)
        self.followers.changed(ids, now)

    def _laid_down(self, operation: Settled | Returned, ids: Sequence[bytes], now: float) -> None:
        """Dead letters among them that lie where they lay are not handed out again at once, but for those on which
        nobody began: else a worker that cannot repair one would have it in hand again and again."""
        begun = isinstance(operation, Settled) or operation.why in (Why.EXPIRED, Why.SESSION_LOST)
        for message_id in ids:
            queue = self.ledger.mending.pop(message_id, None)
            if queue is not None and begun and self.ledger.machine.record(message_id).state is State.DEAD:
                self.grants.rest(queue, message_id, now + self._office.limits.letter_rest_s)

    def _cancelled(self, ids: Sequence[bytes]) -> None:
        """Those of them that are leased: their handlers are told at once, and again with each sign of life."""
        for message_id in ids:
            holding = self.ledger.holdings.get(message_id)
            if holding is not None:
                self.ledger.unwanted.add(message_id)
                self._hall.unwanted(holding.session, (message_id, holding.fencing))

    def progressed(self, now: float) -> None:
        """Barriers may be passed, replicas may be enough, queues may have risen."""
        if not self.serving:
            return
        self.ledger.waiting.progressed(now)
        self.questions.progressed(now)
        self.followers.progressed(now)
        self.sending.posted(now)
        risen = self.ledger.machine.risen
        if risen:
            queues = sorted(risen)
            risen.clear()
            self._hall.risen(queues)

    # --- what is due ---

    def tick(self, now: float) -> None:
        """Leases expire, long polls end, what was not begun in time expires, delayed messages ripen, what ended long
        ago is forgotten."""
        if not self.serving:
            return
        ledger, limits, at = self.ledger, self._office.limits, self._replica.at(now)
        while expired := ledger.holdings.expired(at):
            # What is locked is left alone: an uncommitted entry ends or extends it.
            unlocked = [lease for lease in expired if lease[0] not in ledger.locks]
            self.endings.take_back(unlocked, Why.EXPIRED, now)
        self.questions.tick(now)
        self.followers.tick(now)
        self.timekeeper.tick(now)
        self.sending.tick(now)
        self.grants.tick(now)
        if self._idle(Expired):
            late = ledger.machine.expiring(self._office.wall, limits.ripened_batch_max)
            if ids := ledger.unlocked(late):
                self._chore(Expired(at, ids, self._office.rules(ledger.machine.queues(ids))), now)
        if self._idle(Ripened):
            ripe = ledger.machine.ripe(self._office.wall, limits.ripened_batch_max)
            self._chore(Ripened(at, ledger.unlocked(ripe)), now)
        if now >= self._forget_at and self._idle(Forgotten):
            old = ledger.machine.forgettable(at, limits.forgotten_batch_max)
            if len(old) < limits.forgotten_batch_max:
                self._forget_at = now + limits.forget_s
            self._chore(Forgotten(at, ledger.unlocked(old)), now)

    def _idle(self, kind: type[Ripened] | type[Forgotten] | type[Expired]) -> bool:
        """True while no uncommitted entry of this kind would make us find the same rows again."""
        return self._chores.get(kind, 0) <= self.ledger.waiting.applied_seq

    def _chore(self, operation: Ripened | Forgotten | Expired, now: float) -> None:
        if operation.ids:
            self._chores[type(operation)] = self.ledger.append(operation, operation.ids, now)
