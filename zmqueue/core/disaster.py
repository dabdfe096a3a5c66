"""Recovering a cluster whose majority is lost for good (C12): from what the survivors' disks hold to one new state.

Three steps, of which only the last writes: *collect* what each survivor's disk holds; *plan*, from all of it, the first
state of the next lineage, and what may be lost by it; *apply* the plan to each survivor's disk. This is the plan;
`salvage` reads and writes the disks. It is an operator's decision: a majority could have agreed on, and confirmed, what
no survivor knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from zmqueue.core.state import DISASTERS_KEPT, ClusterState, Disaster, Member, Status

FORMAT = 1
NAMED_MOST = 10
"""Buckets that a sentence names one by one."""


class CannotRecover(Exception):
    """This cannot be collected, planned or applied; the text says why, and what to do instead. Nothing was written."""


class CopyFacts(msgspec.Struct, frozen=True):
    """What a survivor's copy of one bucket is."""

    bucket: int
    generation: int
    end_term: int                          # the term in which the last entry of its log was made
    end: int
    commit: int
    unfinished: int                        # messages that have not ended, in the applied state
    damaged: bool = False

    @property
    def rank(self) -> tuple[int, int, int, int]:
        """Of two copies of a bucket the higher one holds all that the lower one does, and that is committed, or more.

        Logs whose last entries are of one term agree, as far as the shorter one goes; where the terms differ, the
        later one's primary had everything that was committed before. So the term comes first and the length next; how
        much of it a replica knew to be committed says little.
        """
        return self.generation, self.end_term, self.end, self.commit


class Survivor(msgspec.Struct, frozen=True):
    """What one survivor's disk holds: the outcome of *collect*."""

    id: str
    incarnation: int
    cluster_id: str
    lineage: int
    epoch: int
    state: bytes                           # `ClusterState.to_bytes`
    copies: tuple[CopyFacts, ...]
    format: int = FORMAT

    def copy(self, bucket: int) -> CopyFacts | None:
        """Its copy of a bucket."""
        return next((copy for copy in self.copies if copy.bucket == bucket), None)


class Adopted(msgspec.Struct, frozen=True):
    """A bucket of which no in-sync replica survives: it goes on from an older copy, or empty."""

    bucket: int
    generation: int
    member: str                            # id of the survivor
    copy: CopyFacts | None                 # None: nobody has a sound copy, it is begun empty
    in_sync: tuple[str, ...]               # ids of the members that held it


class Plan(msgspec.Struct, frozen=True):
    """What is to be written onto the survivors' disks: the outcome of *plan*."""

    cluster_id: str
    lineage: int
    epoch: int
    state: bytes
    base_epoch: int                        # of the newest state that a survivor knows
    survivors: tuple[Survivor, ...]        # as they were collected, without their states
    lost: tuple[tuple[str, str], ...]      # (id, endpoint) of the members that are given up
    adopted: tuple[Adopted, ...]
    format: int = FORMAT


def plan(survivors: Sequence[Survivor], wall: int) -> Plan:
    """Plan the first state of the next lineage. `wall`: ms, for its mark. Raises CannotRecover."""
    base = _base(survivors)
    alive = {member.number: survivor for survivor in survivors for member in base.members if member.id == survivor.id}
    votes = sum(1 for number in alive if number in base.voters)
    if votes >= base.quorum:
        raise CannotRecover(f"the survivors have {votes} of {len(base.voters)} votes, which is a majority: start them; "
                            "where a bucket has no in-sync replica left, `zmqueue adopt` mends that alone")
    epoch = base.epoch + 1
    members = tuple(_kept(member, epoch) for member in base.members if member.number in alive)
    if not any(member.weight > 0 for member in members):
        raise CannotRecover("no survivor has a weight: none of them holds a bucket, and nothing is left of the data")
    first = msgspec.structs.replace(base, members=members, in_sync=(tuple(sorted(alive)),) * base.buckets)
    in_sync: list[tuple[int, ...]] = []
    adopted: list[Adopted] = []
    for bucket in range(base.buckets):
        holders = tuple(number for number in base.in_sync[bucket]
                        if number in alive and not _damaged(alive[number], bucket))
        if not holders:
            number, copy = _best(alive, bucket, first.desired(bucket)[0])
            adopted.append(Adopted(bucket, base.generations[bucket] + 1, alive[number].id, copy,
                                   tuple(_id(base, holder) for holder in base.in_sync[bucket])))
            holders = (number,)
        in_sync.append(holders)
    lost = tuple((member.id, member.endpoint) for member in base.members if member.number not in alive)
    generations = list(base.generations)
    for one in adopted:
        generations[one.bucket] = one.generation
    mark = Disaster(base.lineage + 1, epoch, wall, tuple(member for member, _ in lost),
                    tuple((one.bucket, one.generation, one.member) for one in adopted),
                    tuple(one.bucket for one in adopted if one.copy is None))
    state = msgspec.structs.replace(
        base, epoch=epoch, lineage=base.lineage + 1, members=members, in_sync=tuple(in_sync),
        terms=(epoch,) * base.buckets, generations=tuple(generations),
        disasters=(*base.disasters, mark)[-DISASTERS_KEPT:])
    return Plan(state.cluster_id, state.lineage, epoch, state.to_bytes(), base.epoch,
                tuple(msgspec.structs.replace(survivor, state=b"") for survivor in survivors), lost, tuple(adopted))


def _base(survivors: Sequence[Survivor]) -> ClusterState:
    """The newest state that a survivor knows."""
    if not survivors:
        raise CannotRecover("no survivor was collected: at least one disk is needed")
    if len({survivor.cluster_id for survivor in survivors}) > 1:
        raise CannotRecover("these disks are of different clusters: "
                            + ", ".join(f"{survivor.id} of {survivor.cluster_id}" for survivor in survivors))
    if len({survivor.id for survivor in survivors}) < len(survivors):
        raise CannotRecover("a node was collected twice, or its disk was copied: keep one of the two")
    if any(survivor.format != FORMAT for survivor in survivors):
        raise CannotRecover("a survivor was collected by another version: collect all of them with this one")
    newest = max(survivors, key=lambda survivor: (survivor.lineage, survivor.epoch))
    for survivor in survivors:
        if survivor.lineage < newest.lineage:
            raise CannotRecover(f"{survivor.id} is of lineage {survivor.lineage}, and {newest.id} of {newest.lineage}: "
                                "apply the plan of that recovery to it, or leave it out")
        if survivor.epoch == newest.epoch and survivor.state != newest.state:
            raise CannotRecover(f"{survivor.id} and {newest.id} know different states of epoch {newest.epoch}: a disk "
                                "lost what it had confirmed; leave one of them out")
    base = ClusterState.from_bytes(newest.state)
    for survivor in survivors:
        if base.by_id(survivor.id) is None:
            raise CannotRecover(f"{survivor.id} is no member in epoch {base.epoch}, which {newest.id} knows: leave it "
                                "out")
    return base


def _kept(member: Member, epoch: int) -> Member:
    """A survivor as the new state lists it: up, so that its in-sync sets stay whole until it is back (C5)."""
    voter = member.voter or member.weight > 0
    return msgspec.structs.replace(member, status=Status.UP if voter else member.status, voter=voter, since=epoch)


def _damaged(survivor: Survivor, bucket: int) -> bool:
    copy = survivor.copy(bucket)
    return copy is not None and copy.damaged


def _best(alive: dict[int, Survivor], bucket: int, first: int) -> tuple[int, CopyFacts | None]:
    """The survivor with the best sound copy of a bucket; the `first`, and none, where there is none."""
    found = [(copy.rank, -number, number, copy) for number, survivor in alive.items()
             if (copy := survivor.copy(bucket)) is not None and not copy.damaged]
    if not found:
        return first, None
    _, _, number, copy = max(found)
    return number, copy


def _id(state: ClusterState, number: int) -> str:
    member = state.member(number)
    return str(number) if member is None else member.id


def losses(made: Plan) -> list[str]:
    """What is given up, and what may be lost, in sentences for the operator."""
    buckets = ClusterState.from_bytes(made.state).buckets
    older = [one for one in made.adopted if one.copy is not None]
    empty = [one for one in made.adopted if one.copy is None]
    lost = ", ".join(f"{member} at {endpoint}" for member, endpoint in made.lost)
    said = [
        (f"the newest state that a survivor knows is of epoch {made.base_epoch}: what the others agreed on after that "
         "is forgotten, and what was answered under it may be lost"),
        f"given up for good: {lost}; make sure that none of them runs, and never start one on its old disk again",
        (f"{buckets - len(made.adopted)} of {buckets} buckets keep an in-sync replica: what was confirmed in them "
         f"until epoch {made.base_epoch} is kept")]
    if older:
        said.append(f"{len(older)} buckets have none left and go on from an older copy: what was answered and is not "
                    "in it is lost. " + _named([_adopted(one) for one in older]))
    if empty:
        said.append(f"{len(empty)} buckets begin empty, since no survivor has a sound copy: all that was in them is "
                    "lost. " + _named([f"bucket {one.bucket}{_were(one)}" for one in empty]))
    return said


def _adopted(one: Adopted) -> str:
    assert one.copy is not None
    return (f"bucket {one.bucket} from {one.member}, with entries to {one.copy.end} and {one.copy.unfinished} "
            f"unfinished messages{_were(one)}")


def _were(one: Adopted) -> str:
    return f" (in-sync were {', '.join(one.in_sync)})"


def _named(texts: list[str]) -> str:
    more = len(texts) - NAMED_MOST
    return "; ".join(texts[:NAMED_MOST]) + (f"; and {more} more" if more > 0 else "")
