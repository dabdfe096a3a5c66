"""The node's face to clients: brings each request to the desk of its bucket, and answers what spans several of them.

Requests for a bucket of which this node is not primary are answered with `NotPrimary`, definitely not done. Leases,
sessions and watches are about the node: a worker asks a node, not a bucket.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, assert_never

from zmqueue.core import checks
from zmqueue.core.answers import Code, QueueDepth, QueuesReply
from zmqueue.core.carrying import parcels_bytes
from zmqueue.core.desk import Desk
from zmqueue.core.effects import Effects
from zmqueue.core.forwarding import Post
from zmqueue.core.ids import bucket_of
from zmqueue.core.leasing import Leasing
from zmqueue.core.limits import DEFAULT, Limits
from zmqueue.core.office import Office, Refusal
from zmqueue.core.operations import State
from zmqueue.core.packets import Forward, Mail
from zmqueue.core.quotas import Quotas
from zmqueue.core.requests import (
    Ask,
    Cancel,
    EndSession,
    Erase,
    Extend,
    Find,
    Follow,
    GetQueues,
    GiveBack,
    Keepalive,
    Lease,
    Progress,
    Publish,
    Purge,
    Requeue,
    Settling,
    Submit,
    Watch,
)
from zmqueue.core.state import ClusterState

if TYPE_CHECKING:
    from zmqueue.core.replication import Replica

Queued = (Submit | Ask | Settling | Extend | GiveBack | Cancel | Requeue | Purge | Erase | Progress | Follow | Find
          | Publish)
"""The requests about one bucket."""

Handled = Queued | Lease | Keepalive | Watch | EndSession | GetQueues
"""The requests that the front answers; the engine answers those after the cluster state and the members itself."""


class Front:
    """All desks of a node, and everything that they share."""

    def __init__(self, effects: Effects, state: ClusterState, limits: Limits = DEFAULT) -> None:
        self.office = Office(effects, limits, state.settings)
        self._tidy_at = 0.0
        self.desks: dict[int, Desk] = {}               # every bucket of which this node has a copy
        self.post = Post(effects, state, limits)       # from bucket to bucket
        self._leasing = Leasing(self.office)
        self.office.quotas = Quotas(self.office, self._leasing.desks)
        self._state = state
        self.agreed(state)

    # --- what the engine tells ---

    def agreed(self, state: ClusterState) -> None:
        """A cluster state was installed. To be called before its replicas enter their terms."""
        before = self.office.policies
        self.office.settings = state.settings
        self.office.policies = state.policies
        self.office.schedules = state.entries
        self.office.epoch = state.epoch
        self._state = state
        self.post.agreed(state)
        self._leasing.risen([queue for queue, policy in before.items()
                             if policy.paused and not state.policy(queue).paused])

    def open(self, replica: Replica) -> Desk:
        """Make the desk of a replica: its `Listener`."""
        desk = self.desks[replica.bucket] = Desk(self.office, self._leasing, replica, self.post)
        return desk

    def close(self, bucket: int) -> None:
        """The node gave its copy away."""
        desk = self.desks.pop(bucket)
        assert not desk.serving, "a primary's copy is never deleted (R14)"

    def tick(self, now: float, wall: int) -> None:
        """Do what is due. To be called every 20 to 50 ms."""
        self.office.wall = wall
        self._leasing.tick(now)
        if now >= self._tidy_at:
            self._tidy_at = now + self.office.limits.forget_s
            self.office.rates.forget(now)

    def forwarded(self, node: str, mail: Mail, now: float) -> None:
        """Another bucket's primary brings messages for one of here, or says what it took from one of here.

        Only whom the state names is listened to: what others say is late, or of a branch that is given up (C12). They
        say it again when they, or this node, know better.
        """
        here, there = (mail.target, mail.source) if isinstance(mail, Forward) else (mail.source, mail.target)
        desk = self.desks.get(here)
        if (desk is None or not desk.serving or not 0 <= there < self._state.buckets
                or self.post.primary(there) != node):
            return
        if isinstance(mail, Forward):
            desk.reception.take(node, mail, now)
        else:
            desk.sending.told(mail, now)

    def finish(self, now: float) -> None:
        """A turn ends: what buckets of this node sent to buckets of this node arrives."""
        while received := self.post.received():
            for mail in received:
                self.forwarded(self.post.me, mail, now)

    def handle(self, client: bytes, packet: Handled, now: float, wall: int) -> None:
        """Answer a client's request, now or when what it needs is committed."""
        self.office.wall = wall
        try:
            self._handle(client, packet, now)
        except Refusal as refusal:
            request = 0 if isinstance(packet, Watch) else packet.request
            self.office.refuse(client, request, refusal.code, refusal.text)

    # --- requests ---

    def _handle(self, client: bytes, packet: Handled, now: float) -> None:
        match packet:
            case (Submit() | Ask() | Settling() | Extend() | GiveBack() | Cancel() | Requeue() | Purge() | Erase()
                  | Progress() | Follow() | Find() | Publish()):
                self._to_desk(client, packet, now)
            case Lease():
                self._leasing.lease(client, packet, now)
            case Keepalive():
                self._leasing.keepalive(client, packet, now)
            case Watch():
                self._leasing.watch(client, packet, now)
            case EndSession():
                self._leasing.end_session(client, packet, now)
            case GetQueues():
                self.office.reply(client, QueuesReply(packet.request, self.depths(now), self.office.epoch))
            case _:
                assert_never(packet)

    def _to_desk(self, client: bytes, packet: Queued, now: float) -> None:
        office = self.office
        checks.check_bucket(packet.bucket, office.settings)
        desk = self.desks.get(packet.bucket)
        if desk is None or not desk.serving:
            if desk is not None and (why := desk.halted):
                raise Refusal(Code.NOT_SERVING, why)
            office.not_primary(client, packet.request, unknown=False)
            return
        match packet:
            case Submit():
                checks.check_queue(packet.queue, office.limits)
                desk.intake.submit(client, packet, now)
            case Publish():
                desk.publishing.publish(client, packet, now)
            case Settling():
                size = checks.check_settles(packet.settles, office.settings, office.limits)
                size += parcels_bytes(packet.settles, office)
                office.check_room(size)
                desk.endings.settle(client, packet, size, now)
            case Ask():
                checks.check_ids((packet.id,))
                self._check_place((packet.id,), packet.bucket)
                desk.questions.ask(client, packet, now)
            case Follow():
                checks.check_ids((packet.id,))
                self._check_place((packet.id,), packet.bucket)
                checks.check_after(packet.after)
                desk.followers.ask(client, packet, now)
            case Extend():
                office.check_room()
                checks.check_leases(packet.leases, office.limits)
                lease_ms = checks.check_lease_ms(packet.lease, office.settings, office.limits)
                desk.endings.extend(client, packet, lease_ms, now)
            case GiveBack():
                office.check_room()
                checks.check_leases(packet.leases, office.limits)
                desk.endings.give_back(client, packet, now)
            case Cancel() | Requeue() | Purge() | Erase():
                office.check_room()
                checks.check_number(len(packet.ids), office.limits.settles_max, "messages", "settles_max")
                checks.check_ids(packet.ids)
                self._check_place(packet.ids, packet.bucket)
                checks.check_guards(packet)
                desk.wishes.wish(client, packet, now)
            case Find():
                office.check_room()
                checks.check_find(packet, office.limits)
                self._check_place(packet.ids, packet.bucket)
                desk.finding.find(client, packet, now)
            case Progress():
                checks.check_ids((packet.id,))
                office.check_room(checks.check_events(packet.events, office.limits))
                desk.wishes.progress(client, packet, now)
            case _:
                assert_never(packet)

    def _check_place(self, ids: Sequence[bytes], bucket: int) -> None:
        """What lies elsewhere is not unknown: say so, instead of "no such message"."""
        for message_id in ids:
            where = bucket_of(message_id, self.office.settings.buckets)
            if where != bucket:
                raise Refusal(Code.BAD_REQUEST, f"this message lies in bucket {where}, not in {bucket}: fetch the "
                                                "cluster state again")

    # --- facts ---

    def depths(self, now: float) -> tuple[QueueDepth, ...]:
        """What stands in each queue, over the buckets that this node serves, by name. Applied state, no barrier: it is
        for people to look at."""
        counts: dict[str, list[int]] = {}
        oldest: dict[str, int] = {}
        for desk in self._leasing.desks():
            machine = desk.ledger.machine
            for queue, of_bucket in machine.counts.items():
                total = counts.get(queue)
                counts[queue] = list(of_bucket) if total is None else [
                    ours + more for ours, more in zip(total, of_bucket, strict=True)]
                if of_bucket[State.READY]:
                    oldest[queue] = max(oldest.get(queue, -1), machine.waited(queue, self.office.wall))
        return tuple(QueueDepth(queue, number[State.READY] + number[State.BEHIND], number[State.DELAYED],
                                number[State.LEASED], number[State.DEAD] + number[State.MENDING],
                                oldest.get(queue, -1),
                                *self.office.rates.last(queue, now))
                     for queue, number in sorted(counts.items()))

    def statistics(self) -> dict[str, int]:
        """What waits in this node's memory, to be held against `Limits`."""
        office, leasing = self.office, self._leasing
        return {"requests_pending": office.pending, "pending_bytes": office.pending_bytes,
                "granting_bytes": office.granting_bytes, "asks_parked": office.asks,
                "outbox": sum(desk.sending.waiting for desk in leasing.desks()), "outbox_refused": self.post.refused,
                "sessions": len(leasing.sessions), "watchers": len(leasing.watchers),
                "serving": len(leasing.desks()), "leases": sum(len(desk.ledger.holdings) for desk in leasing.desks()),
                "locked": sum(len(desk.ledger.locks) for desk in leasing.desks())}
