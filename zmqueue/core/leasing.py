"""Leases over all buckets that a node serves, and the sessions and watches of the workers that hold and want them.

A lease request takes from one bucket after another, starting at another one each time, so that no bucket starves.
Highest priority first holds within each bucket. Repeated under the same number, a request is answered with what it was
granted and still holds (Q5): that is read from the leases themselves, so a new primary answers it as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from zmqueue.core import checks, letters
from zmqueue.core.answers import Alive, Code, Confirmed, Grant, Granted, Hint
from zmqueue.core.desk import Desk
from zmqueue.core.gathering import Granting, Parting, Reassuring
from zmqueue.core.ids import bucket_of
from zmqueue.core.office import Office, Refusal
from zmqueue.core.operations import Held, Why
from zmqueue.core.requests import EndSession, Keepalive, Lease, Watch
from zmqueue.core.sessions import Session, Sessions
from zmqueue.core.watchers import Watchers
from zmqueue.core.wishes import check_generation


class _Claims(NamedTuple):
    """What a keepalive says about the leases of one bucket."""

    lost: list[Held]                       # listed, but not standing
    renew: dict[int, list[Held]]           # by ms: standing, and half over
    unwanted: list[Held]                   # standing, and cancelled


class Leasing:
    """The part of the front that workers talk to; the `Hall` of the node's desks."""

    def __init__(self, office: Office) -> None:
        self.sessions = Sessions(office.limits)
        self.watchers = Watchers()
        self._office = office
        self._serving: dict[int, Desk] = {}
        self._line: tuple[Desk, ...] = ()      # the desks that serve
        self._turn = 0                         # whose turn it is to be asked first
        self._ticked: float | None = None
        self._check_at = 0.0
        self._hint_at = 0.0

    def desks(self) -> tuple[Desk, ...]:
        """The desks that serve."""
        return self._line

    # --- what desks tell ---

    def opened(self, desk: Desk, now: float) -> None:
        """The desk serves, in a new term."""
        self._serving[desk.bucket] = desk
        self._line = tuple(self._serving.values())

    def closed(self, desk: Desk) -> None:
        """The desk rests."""
        if self._serving.pop(desk.bucket, None):
            self._line = tuple(self._serving.values())

    def inherited(self, sessions: Sequence[tuple[bytes, int]], now: float) -> None:
        """These sessions hold leases of an earlier term: they count as just heard (Q5)."""
        self.sessions.inherit(sessions, now)

    def unwanted(self, session: bytes, lease: Held) -> None:
        """A message that the session has leased is cancelled: tell it, unasked. What is lost is said again with the
        next keepalive."""
        known = self.sessions.get(session)
        if known is not None and known.client:
            self._office.reply(known.client, Alive(0, (), (lease,)))

    def name_of(self, session: bytes) -> str:
        """What a session calls itself; "": it did not say, or was not heard here yet."""
        known = self.sessions.get(session)
        return known.name if known is not None else ""

    def risen(self, queues: Sequence[str]) -> None:
        """These queues got something to hand out."""
        for queue in queues:
            if self.watchers.watched(queue):
                self._hint(queue)

    # --- lease requests ---

    def lease(self, client: bytes, packet: Lease, now: float) -> None:
        """Hand out at most `max` messages now; none is an answer too, and given at once."""
        office, limits = self._office, self._office.limits
        checks.check_line(packet.queue, limits)
        if letters.queue_of(packet.queue) is not None:
            check_generation(office.settings.generation)
        checks.check_session(packet.session, limits)
        checks.check_session_name(packet.name, limits)
        lease_ms = checks.check_lease_ms(packet.lease, office.settings, limits)
        if packet.max < 1:
            raise Refusal(Code.BAD_REQUEST, f"a lease of at most {packet.max} messages; at least 1")
        session = self._hear(packet.session, client, now)
        session.name = packet.name or session.name
        pending = session.granting.get(packet.number)
        if pending is not None:                # a repeat overtook the answer: one answer, to the newer request
            pending.client, pending.request = client, packet.request
        elif packet.number <= session.highest:
            self._answer_again(client, packet, now)
        else:
            self._answer_first(client, packet, session, lease_ms, now)

    def _answer_first(self, client: bytes, packet: Lease, session: Session, lease_ms: int, now: float) -> None:
        office, limits = self._office, self._office.limits
        office.check_room()
        if office.granting_bytes >= limits.granting_bytes_max:
            raise Refusal(Code.BUSY, f"{office.granting_bytes:,} bytes of leased messages wait for their commit on "
                                     f"this node; the limit is {limits.granting_bytes_max:,} "
                                     "(limits.granting_bytes_max): try again later")
        session.highest = packet.number
        granting = Granting(office, session, client, packet.request, packet.number, lease_ms)
        want, number = min(packet.max, limits.lease_messages_max), 0
        self._turn += 1
        for desk in self._from_turn():
            if desk.grants.available(packet.queue) <= 0:
                continue
            if number == want or granting.size >= limits.granted_bytes_max:
                granting.more = True
                break
            grants = desk.grants.pick(packet.queue, want - number, limits.granted_bytes_max - granting.size)
            if grants:
                number += len(grants)
                desk.grants.lease(packet.queue, grants, packet.session, packet.number, lease_ms,
                                  granting.part(grants), now)
                granting.more = granting.more or desk.grants.available(packet.queue) > 0
        granting.complete()

    def _from_turn(self) -> tuple[Desk, ...]:
        first = self._turn % len(self._line) if self._line else 0
        return self._line[first:] + self._line[:first]

    def _answer_again(self, client: bytes, packet: Lease, now: float) -> None:
        """The same request once more: what it was granted and still holds."""
        grants: list[Grant] = []
        left = []
        for desk in self._line:
            again, lease_ms = desk.grants.granted(packet.session, packet.number, now)
            if again:
                grants += again
                left.append(lease_ms)
        self._office.reply(client, Granted(packet.request, packet.number, min(left, default=0), tuple(grants), False))

    # --- sessions ---

    def _hear(self, session_id: bytes, client: bytes, now: float) -> Session:
        session = self.sessions.hear(session_id, client, now)
        if session.ended:
            raise Refusal(Code.BAD_REQUEST, "this session was ended by its own word: begin another one")
        return session

    def keepalive(self, client: bytes, packet: Keepalive, now: float) -> None:
        """The session lives. Renew what it asks to renew, take back what it does not list, tell what it lost (Q5)."""
        office = self._office
        checks.check_session(packet.session, office.limits)
        session = self._hear(packet.session, client, now)      # whatever else is wrong: it lives
        checks.check_session_name(packet.name, office.limits)
        session.name = packet.name or session.name
        if packet.holds:
            checks.check_leases([(message_id, fencing) for message_id, fencing, _ in packet.holds], office.limits)
        office.check_room()
        claims = self._claims(packet, now)
        listed = {message_id for message_id, _, _ in packet.holds}
        alive = Reassuring(office, client, packet.request)
        for desk in self._line:
            lost, renew, unwanted = claims.get(desk.bucket, _Claims([], {}, []))
            unclaimed = [held for held in desk.endings.of_session(packet.session)
                         if held[0] not in listed and self._granted_under(desk, held) <= packet.upto]
            desk.endings.take_back(unclaimed, Why.UNCLAIMED, now)
            for renew_ms, leases in renew.items():
                desk.endings.renew(leases, renew_ms, now)
            alive.unwanted(unwanted)
            if lost:
                desk.ledger.after_barrier(alive.part(lost), now)
        alive.complete()

    def _granted_under(self, desk: Desk, held: Held) -> int:
        holding = desk.ledger.holdings.get(held[0])
        assert holding is not None, "of_session lists leases that stand"
        return holding.request

    def _claims(self, packet: Keepalive, now: float) -> dict[int, _Claims]:
        """By bucket of ours. What is locked is undecided, and what lies elsewhere is for others to judge."""
        claims: dict[int, _Claims] = {}
        limits, buckets = self._office.limits, self._office.settings.buckets
        for message_id, fencing, renew_ms in packet.holds:
            bucket = bucket_of(message_id, buckets)
            desk = self._serving.get(bucket)
            if desk is None or message_id in desk.ledger.locks:
                continue
            holding = desk.ledger.holdings.get(message_id)
            of_bucket = claims.setdefault(bucket, _Claims([], {}, []))
            if holding is None or holding.fencing != fencing or holding.session != packet.session:
                of_bucket.lost.append((message_id, fencing))
                continue
            if message_id in desk.ledger.unwanted:
                of_bucket.unwanted.append((message_id, fencing))
            if renew_ms > 0:
                renew_ms = min(max(renew_ms, limits.lease_ms_min), limits.lease_ms_max)
                if 2 * (holding.until - desk.ledger.replica.at(now)) < renew_ms:
                    of_bucket.renew.setdefault(renew_ms, []).append((message_id, fencing))
        return claims

    def end_session(self, client: bytes, packet: EndSession, now: float) -> None:
        """Return the leases of a session at once. Those with an entry under way follow when that is applied."""
        self._office.check_room()
        session = self.sessions.get(packet.session)
        if session is None:
            self._office.reply(client, Confirmed(packet.request))
            return
        session.ended = True
        self.watchers.drop(session.id)
        parting = Parting(self._office, client, packet.request)
        for desk in self._line:
            if seq := desk.endings.take_back(desk.endings.of_session(session.id), Why.SESSION_LOST, now):
                parting.expect()
                desk.ledger.waiting.add(parting, now, seq=seq)
        parting.complete()

    def _lose_silent(self, now: float) -> None:
        session_ms = self._office.settings.session_ms
        for session in self.sessions.silent(now, session_ms):
            holds = False
            for desk in self._line:
                if desk.ledger.holdings.of(session.id):
                    holds = True
                    desk.endings.take_back(desk.endings.of_session(session.id), Why.SESSION_LOST, now)
                holds = holds or desk.grants.promises(session.id)
            if not holds and self.sessions.forgettable(session, now, session_ms):
                self.watchers.drop(session.id)
                self.sessions.forget(session)

    # --- watches ---

    def watch(self, client: bytes, packet: Watch, now: float) -> None:
        """Remember what the session waits for; where there is something already, say so at once."""
        limits = self._office.limits
        checks.check_session(packet.session, limits)
        if len(packet.queues) > limits.watched_queues_max:
            raise Refusal(Code.BAD_REQUEST, f"{len(packet.queues):,} queues in one watch; the limit is "
                                            f"{limits.watched_queues_max:,} (limits.watched_queues_max)")
        for queue in packet.queues:
            checks.check_line(queue, limits)
        self._hear(packet.session, client, now)
        self.watchers.watch(packet.session, packet.queues)
        for queue in packet.queues:
            if self.watchers.watched(queue):
                self._hint(queue)

    def _hint(self, queue: str) -> None:
        """Tell as many watchers as there are messages, the first ones first; each of them once."""
        available = sum(max(0, desk.grants.available(queue)) for desk in self._line)
        if not available:
            return
        for session_id in self.watchers.take(queue, available):
            session = self.sessions.get(session_id)
            assert session is not None, "a watch ends with its session"
            self._office.reply(session.client, Hint(queue))

    # --- what is due ---

    def tick(self, now: float) -> None:
        """Desks first; then silent sessions; then watchers, in case those that were told are dead."""
        limits = self._office.limits
        if self._ticked is not None and now - self._ticked > limits.stall_s:
            self.sessions.stalled(now)
        self._ticked = now
        for desk in self._line:
            desk.tick(now)
        if now >= self._check_at:
            self._check_at = now + limits.sessions_check_s
            self._lose_silent(now)
        if now >= self._hint_at:
            self._hint_at = now + limits.rehint_s
            for queue in self.watchers.queues():
                self._hint(queue)
