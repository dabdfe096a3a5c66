"""What a node says of the cluster and of itself to a client that asks: computed here, sent by the engine."""

from __future__ import annotations

from collections.abc import Sequence

from zmqueue.core.answers import Code, CopyReply, MembersReply, Refused, StateReply
from zmqueue.core.damage import Tally
from zmqueue.core.host import Host
from zmqueue.core.replication import Replica, Role
from zmqueue.core.requests import GetCopy, GetMembers, GetState
from zmqueue.core.standing import Standing
from zmqueue.core.state import ClusterState


def state_reply(packet: GetState, state: ClusterState, wall: int) -> StateReply:
    """The state, or no bytes where the client has it."""
    data = b"" if packet.epoch >= state.epoch else state.to_bytes()
    return StateReply(packet.request, state.epoch, data, wall)


def members_reply(packet: GetMembers, state: ClusterState, host: Host | None, active: Sequence[Replica],
                  found: Standing, suspects: Sequence[int], *, number: int, disk_short: bool) -> MembersReply:
    """What only the node `number` itself knows. `active`: its replicas that have a role; `found`: whom it hears."""
    catching_up = tuple((replica.bucket, learner) for replica in active if replica.role is Role.PRIMARY
                        for learner in replica.facts().catching_up)
    tally, damaged = (Tally(), ()) if host is None else (host.marks.tally, tuple(host.marks.buckets))
    return MembersReply(packet.request, state.epoch, found.majority, tuple(suspects), catching_up, tally.corrupt,
                        tally.repaired, disk_short, number, found.missing, found.halted, damaged)


def copy_reply(packet: GetCopy, state: ClusterState, replica: Replica | None) -> CopyReply | Refused:
    """The node's copy of one bucket, whatever its role."""
    if replica is None:
        return Refused(packet.request, Code.BAD_REQUEST, f"there is no bucket {packet.bucket}")
    copy = replica.copy
    return CopyReply(packet.request, state.epoch, packet.bucket, copy.generation if copy.number else 0, copy.commit,
                     copy.end, copy.log.term_at(copy.end) or 0, copy.machine.unfinished(), replica.mending.damaged)
