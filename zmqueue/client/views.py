"""Views: what the operator sees of a cluster, as plain values with the field names of the command line's JSON."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace

from zmqueue.client.queues import QueuePolicy
from zmqueue.core.answers import MembersReply, QueuesReply
from zmqueue.core.rates import WINDOW_S
from zmqueue.core.state import ClusterState, Member


@dataclass(frozen=True, slots=True)
class MemberView:
    """One member. `primary`, `backup`, `catching_up`: how many buckets it holds so; in-sync, but for the last.

    What only the node itself knows is None where it did not answer: `disk_short` (it takes no submits for want of
    disk), `corrupt` (copies of buckets that were found damaged, since its directory was made), `repaired` (of these),
    `damaged` (buckets whose copy is damaged now, or is being made anew).
    """

    id: str
    endpoint: str
    status: str
    voter: bool
    incarnation: int
    weight: int
    zone: str
    primary: int
    backup: int
    catching_up: int
    disk_short: bool | None = None
    corrupt: int | None = None
    repaired: int | None = None
    damaged: list[int] | None = None


@dataclass(frozen=True, slots=True)
class DisasterView:
    """An operator's decision that may have lost what was confirmed: a recovery, or the adoption of buckets."""

    lineage: int                           # the cluster's, since then; higher than before where it was recovered
    epoch: int                             # of the first state after it
    at_ms: int                             # by the clock of the operator's machine
    lost: list[str]                        # ids of the members that were given up
    adopted: list[int]                     # buckets that went on from an older copy,
    begun_empty: list[int]                 # or, of these, from none


@dataclass(frozen=True, slots=True)
class MembersView:
    """The cluster as one state and the nodes that answered show it."""

    epoch: int
    cluster_id: str
    buckets: int
    replicas: int
    min_in_sync: int
    members: list[MemberView]
    majority: bool                         # some node hears a majority of the voters
    buckets_without_primary: int
    buckets_short: int                     # in-sync replicas fewer than `replicas`
    corrupt: int                           # sums over the nodes that answered
    repaired: int
    primaries: list[str | None]            # for each bucket, the id of its primary
    missing: list[str]                     # ids of the voters that no node which answered hears
    halted: list[int]                      # buckets whose primary cannot commit: it does not hear a replica that counts
    lineage: int                           # 1, and one more for each recovery
    disasters: list[DisasterView]          # oldest first


@dataclass(frozen=True, slots=True)
class QueueView:
    """What stands in one queue, over all buckets. `oldest_s`: for how long the oldest ready message has waited."""

    name: str
    ready: int
    delayed: int
    leased: int
    dead: int
    oldest_s: float | None
    submitted_per_s: float = 0.0           # over the last minute, as the primaries counted
    delivered_per_s: float = 0.0
    settled_per_s: float = 0.0             # done
    died_per_s: float = 0.0                # became dead letters
    paused: bool = False
    policy: QueuePolicy | None = None      # None: it is not declared


def members_view(state: ClusterState, replies: Iterable[MembersReply]) -> MembersView:
    """Put together what the state says and what the nodes that answered know."""
    answers = list(replies)
    by_number = {answer.number: answer for answer in answers if answer.number}
    catching_up = Counter(number for answer in answers for _, number in set(answer.catching_up))
    primary = Counter(state.primary(bucket) for bucket in range(state.buckets))
    backup = Counter(number for bucket, in_sync in enumerate(state.in_sync) for number in in_sync
                     if number != state.primary(bucket))

    def view(member: Member) -> MemberView:
        answer = by_number.get(member.number)
        seen = MemberView(
            member.id, member.endpoint, member.status.name.lower(), member.voter, member.incarnation, member.weight,
            member.zone, primary[member.number], backup[member.number], catching_up[member.number])
        return seen if answer is None else replace(
            seen, disk_short=answer.disk_short, corrupt=answer.corrupt, repaired=answer.repaired,
            damaged=sorted(answer.damaged))

    unheard = set.intersection(*(set(answer.missing) for answer in answers)) if answers else set()

    return MembersView(
        epoch=state.epoch, cluster_id=state.cluster_id, buckets=state.buckets, replicas=state.settings.replicas,
        min_in_sync=state.settings.min_in_sync, members=[view(member) for member in state.members],
        majority=any(answer.majority for answer in answers),
        buckets_without_primary=primary[None],
        buckets_short=sum(1 for in_sync in state.in_sync if len(in_sync) < state.settings.replicas),
        corrupt=sum(answer.corrupt for answer in answers), repaired=sum(answer.repaired for answer in answers),
        primaries=[None if (member := state.member(state.primary(bucket) or 0)) is None else member.id
                   for bucket in range(state.buckets)],
        missing=[member.id for member in state.members if member.number in unheard],
        halted=sorted({bucket for answer in answers for bucket in answer.halted}),
        lineage=state.lineage, disasters=[
            DisasterView(mark.lineage, mark.epoch, mark.wall, list(mark.lost),
                         [bucket for bucket, _, _ in mark.adopted], list(mark.begun_empty))
            for mark in state.disasters])


def queues_view(state: ClusterState, replies: Iterable[QueuesReply]) -> list[QueueView]:
    """Sum up over the nodes, by name; with what is declared, also of queues in which nothing stands."""
    found: dict[str, list[int]] = {name: [0, 0, 0, 0, -1, 0, 0, 0, 0] for name, _, _ in state.queues}
    for reply in replies:
        for depth in reply.queues:
            row = found.setdefault(depth.queue, [0, 0, 0, 0, -1, 0, 0, 0, 0])
            oldest = max(row[4], depth.oldest)
            counts = (depth.ready, depth.delayed, depth.leased, depth.dead, 0,
                      depth.submitted, depth.delivered, depth.settled, depth.died)
            row[:] = [ours + more for ours, more in zip(row, counts, strict=True)]
            row[4] = oldest
    def view(name: str, ready: int, delayed: int, leased: int, dead: int, oldest: int, submitted: int, delivered: int,
             settled: int, died: int) -> QueueView:
        policy = state.policy(name)
        return QueueView(
            name, ready, delayed, leased, dead, oldest / 1000 if oldest >= 0 else None, submitted / WINDOW_S,
            delivered / WINDOW_S, settled / WINDOW_S, died / WINDOW_S, policy.paused,
            QueuePolicy.of(policy) if state.declared(name) else None)

    return [view(name, *row) for name, row in sorted(found.items())]
