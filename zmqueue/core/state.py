"""The cluster state: the one agreed, immutable record, and everything that is derived from it.

All that must be agreed is a field of `ClusterState`; who is primary, which members are desired, who may vote
follows from the fields and is computed once per state. Members are small integers (*numbers*), never reused;
a member's `id` is what packets are addressed to. `epoch` numbers the states; `changes.py` makes the next one.
"""

from __future__ import annotations

import enum
from functools import cached_property

import msgspec

from zmqueue.core import hashing, policies, schedules
from zmqueue.core.ids import bucket_at
from zmqueue.core.policies import Policy
from zmqueue.core.ring import PLACEMENT_VERSION, Place, Ring, Shape, Walk, ring

WEIGHT_MAX = 100
"""The most weight that a member may have: bounds the points of a ring (100 x 128 vnodes are 12,800 hashes)."""


class Status(enum.IntEnum):
    """What a member is. Only `up` and `down` members are placed; a `down` one keeps its vote and, for a
    grace, its place."""

    JOINING = 0
    UP = 1
    DOWN = 2
    OUT = 3

    @property
    def placeable(self) -> bool:
        return self is Status.UP or self is Status.DOWN


class Member(msgspec.Struct, array_like=True, frozen=True):
    """A node as the cluster state lists it."""

    number: int
    id: str
    incarnation: int
    nonce: int                     # drawn at the start that this incarnation is: tells a clone from the original (C11)
    endpoint: str                  # its ROUTER, as others reach it
    heartbeats: str                # its PUB, likewise
    status: Status
    voter: bool
    weight: int = 1                # 0: votes, and holds nothing
    zone: str = ""
    since: int = 0                 # the epoch in which this record last changed (C8)

    @property
    def up(self) -> bool:
        return self.status is Status.UP


class Agreed(msgspec.Struct, array_like=True, frozen=True):
    """The settings that all members share. Fixed at founding: `buckets`, `vnodes`, `placement_version`."""

    buckets: int = 32
    replicas: int = 3
    min_in_sync: int = 2
    vnodes: int = 128
    placement_version: int = PLACEMENT_VERSION
    heartbeat_ms: int = 100
    suspicion_ms: int = 1_000
    replica_timeout_ms: int = 1_000
    grace_ms: int = 30_000
    session_ms: int = 5_000
    lease_ms: int = 30_000
    deliveries_max: int = 10
    dedup_window_ms: int = 3_600_000
    result_ttl_ms: int = 86_400_000
    body_bytes_max: int = 1_048_576
    since: int = 0                 # the epoch in which a setting last changed
    generation: int = 2            # of the formats, which all members read and write (`generations`); only ever raised


class Disaster(msgspec.Struct, array_like=True, frozen=True):
    """The mark of an operator's decision that may have lost what was answered (C12)."""

    lineage: int                                  # the cluster's, from then on
    epoch: int                                    # of the first state after it
    wall: int                                     # ms, by the clock of the operator's machine
    lost: tuple[str, ...] = ()                    # ids of the members that were given up
    adopted: tuple[tuple[int, int, str], ...] = ()    # (bucket, its generation, id of the member whose copy it is now)
    begun_empty: tuple[int, ...] = ()             # those of the adopted of which nobody had a copy


DISASTERS_KEPT = 64
"""Marks kept in the state, the newest; lineage and generations tell of all of them for ever."""


class Config(msgspec.Struct, frozen=True):
    """What a bucket's term stands for (R1): when any of it changes, the term does."""

    primary: int | None
    replicas: tuple[tuple[int, int, Status, bool, bool], ...]   # number, incarnation, status, in-sync?, desired?


Declaration = tuple[str, int, bytes]
"""A queue's name, the epoch in which its policy last changed, and the policy (`policies.encode`)."""


Schedule = tuple[str, int, schedules.Entry]
"""A schedule's name, the epoch in which it last changed, and what is agreed for it."""


class ClusterState(msgspec.Struct, array_like=True, frozen=True, dict=True):
    """One state of the chain. Compare by value; derived values are computed at first use and kept with the state."""

    epoch: int
    cluster_id: str
    lineage: int
    settings: Agreed
    members: tuple[Member, ...]              # by number
    next_number: int
    in_sync: tuple[tuple[int, ...], ...]     # by bucket: numbers, ascending, never none
    terms: tuple[int, ...]                   # by bucket
    generations: tuple[int, ...]             # by bucket: how often it was adopted (C12)
    queues: tuple[Declaration, ...] = ()              # by name
    keys: tuple[tuple[str, int, bytes], ...] = ()     # reserved: name, since, key
    disasters: tuple[Disaster, ...] = ()              # oldest first, at most DISASTERS_KEPT
    removed: int = 0                                  # the epoch in which a declaration of a queue was last withdrawn

    schedules: tuple[Declaration, ...] = ()           # by name: name, since, entry (`schedules.encode`)
    unscheduled: int = 0                              # the epoch in which a schedule was last withdrawn

    # --- members ---

    @cached_property
    def _by_number(self) -> dict[int, Member]:
        return {member.number: member for member in self.members}

    @cached_property
    def _by_id(self) -> dict[str, Member]:
        return {member.id: member for member in self.members}

    def member(self, number: int) -> Member | None:
        """The member of that number."""
        return self._by_number.get(number)

    def by_id(self, member_id: str) -> Member | None:
        """The member of that id."""
        return self._by_id.get(member_id)

    def up(self, number: int) -> bool:
        """True where that is a member and it is `up`."""
        member = self._by_number.get(number)
        return member is not None and member.status is Status.UP

    # --- agreement ---

    @cached_property
    def voters(self) -> tuple[int, ...]:
        """The acceptors of the next state, ascending; `down` and `out` ones that have a vote included."""
        return tuple(member.number for member in self.members if member.voter)

    @property
    def quorum(self) -> int:
        """How many voters decide: more than half of all."""
        return len(self.voters) // 2 + 1

    @cached_property
    def natural(self) -> int | None:
        """The natural proposer: the first `up` voter, who owns round 0 (C2)."""
        return next((member.number for member in self.members if member.voter and member.up), None)

    # --- buckets ---

    @property
    def buckets(self) -> int:
        return self.settings.buckets

    @cached_property
    def _ring(self) -> Ring:
        places = tuple(Place(member.number, member.id, member.weight, member.zone, member.status.placeable)
                       for member in self.members)
        return ring(places, Shape(self.settings.buckets, self.settings.replicas, self.settings.vnodes))

    def walk(self, bucket: int) -> Walk:
        """All members of weight > 0 in the order in which the ring meets them, whatever their status (P1)."""
        return self._ring.walks[bucket]

    @cached_property
    def _desired(self) -> tuple[Walk, ...]:
        return tuple(self._with_stand_ins(bucket) for bucket in range(self.settings.buckets))

    def _with_stand_ins(self, bucket: int) -> Walk:
        """P2: while too few of the desired are `up`, the next `up` ones clockwise are desired too."""
        desired = self._ring.desired[bucket]
        missing = self.settings.min_in_sync - sum(1 for number in desired if self.up(number))
        if missing <= 0:
            return desired
        spare = [number for number in self.walk(bucket) if self.up(number) and number not in desired]
        return desired + tuple(spare[:missing])

    def desired(self, bucket: int) -> Walk:
        """The members that should hold the bucket, first one first, stand-ins (P2) last."""
        return self._desired[bucket]

    @cached_property
    def _primaries(self) -> tuple[int | None, ...]:
        # A member whose weight became 0 is on no walk. It comes last, and serves until its copies are elsewhere.
        return tuple(next((number for number in (*self.walk(bucket), *in_sync)
                           if number in in_sync and self.up(number)), None)
                     for bucket, in_sync in enumerate(self.in_sync))

    def primary(self, bucket: int) -> int | None:
        """The first in-sync `up` member in the full walk, else off it (P1); None while there is none."""
        return self._primaries[bucket]

    @cached_property
    def min_in_sync_now(self) -> int:
        """The m of R11: how many in-sync replicas a submit needs, given who is a member."""
        holders = sum(1 for member in self.members if member.weight > 0 and member.status.placeable)
        return min(self.settings.min_in_sync, holders)

    def enough(self, bucket: int) -> bool:
        """True where the bucket has the in-sync replicas that a submit needs (R11)."""
        return len(self.in_sync[bucket]) >= self.min_in_sync_now

    @cached_property
    def configs(self) -> tuple[Config, ...]:
        """By bucket: what its term stands for."""
        return tuple(self._config(bucket) for bucket in range(self.settings.buckets))

    def _config(self, bucket: int) -> Config:
        in_sync, desired = self.in_sync[bucket], self.desired(bucket)
        return Config(self.primary(bucket), tuple(
            (number, self._by_number[number].incarnation, self._by_number[number].status,
             number in in_sync, number in desired)
            for number in sorted({*in_sync, *desired})))

    def config(self, bucket: int) -> Config:
        """What the bucket's term stands for (R1)."""
        return self.configs[bucket]

    # --- queues ---

    @cached_property
    def policies(self) -> dict[str, Policy]:
        """The policies of the queues that are declared, by name."""
        return {name: policies.decode(declaration) for name, _, declaration in self.queues}

    def policy(self, queue: str) -> Policy:
        """What is agreed for the queue; the default where it is not declared."""
        return self.policies.get(queue, policies.DEFAULT)

    def declared(self, queue: str) -> Declaration | None:
        """The queue's declaration; None where it has none."""
        return next((declaration for declaration in self.queues if declaration[0] == queue), None)

    def declared_since(self, queue: str) -> int:
        """What names the queue's declaration, or that there is none, so that a late change falls away (C8).

        Without one that is the last withdrawal of any: else what was declared before it would come again.
        """
        found = self.declared(queue)
        return self.removed if found is None else found[1]

    # --- schedules ---

    @cached_property
    def entries(self) -> dict[int, tuple[Schedule, ...]]:
        """The schedules, by the bucket in which each lies."""
        found: dict[int, list[Schedule]] = {}
        for name, since, data in self.schedules:
            bucket = bucket_at(schedules.place_of_name(name), self.buckets)
            found.setdefault(bucket, []).append((name, since, schedules.decode(data)))
        return {bucket: tuple(entries) for bucket, entries in found.items()}

    def scheduled(self, name: str) -> Declaration | None:
        """What is agreed for the schedule of that name; None: there is none."""
        return next((declaration for declaration in self.schedules if declaration[0] == name), None)

    def scheduled_since(self, name: str) -> int:
        """What names the schedule, or that there is none: as `declared_since` of queues (C8)."""
        found = self.scheduled(name)
        return self.unscheduled if found is None else found[1]

    @property
    def placement_known(self) -> bool:
        """False where another placement function was agreed: this node votes, and serves no bucket (C6)."""
        return self.settings.placement_version == PLACEMENT_VERSION

    # --- bytes ---

    @cached_property
    def _encoded(self) -> bytes:
        return _encoder.encode(_trimmed(self, settings=_trimmed(self.settings),
                                        members=[_trimmed(member) for member in self.members]))

    def to_bytes(self) -> bytes:
        """The canonical bytes: equal states have equal bytes."""
        return self._encoded

    @cached_property
    def computable(self) -> bool:
        """False where the bytes hold what this version does not know. Such a state is kept and passed on byte for
        byte, and this node votes and serves under it; it proposes nothing, since what it makes would lack that (C6)."""
        return True

    @staticmethod
    def from_bytes(data: bytes) -> ClusterState:
        """Read what `to_bytes` wrote, here or in another version. Raises msgspec.DecodeError on anything else."""
        state: ClusterState = _decoder.decode(data)
        _check(state)
        if state.to_bytes() != data:
            known = msgspec.msgpack.decode(_encoder.encode(state))
            vars(state).update(_encoded=data, computable=_within(msgspec.msgpack.decode(data), known))
        return state


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(ClusterState)

_ALWAYS: dict[type[msgspec.Struct], int] = {ClusterState: 11, Member: 11, Agreed: 16}
"""How many fields the first format has: these are always written. Never changed."""


def _trimmed(record: msgspec.Struct, **instead: object) -> list[object]:
    """The record's fields without those at the end that were appended later and are at their defaults.

    A state that says nothing new has the bytes, and so the digest, that the version before gives it (C6), and a
    cluster of both agrees at once.
    """
    fields = record.__struct_fields__
    found = [instead.get(name, getattr(record, name)) for name in fields]
    defaults = (msgspec.NODEFAULT,) * (len(fields) - len(record.__struct_defaults__)) + record.__struct_defaults__
    while len(found) > _ALWAYS[type(record)] and found[-1] == defaults[len(found) - 1]:
        found.pop()
    return found


def _within(found: object, known: object) -> bool:
    """True where `found` says no more than `known`: it has the same items, but for some at the end of arrays."""
    if isinstance(found, list) and isinstance(known, list):
        return len(found) <= len(known) and all(map(_within, found, known))
    return found == known


def _check(state: ClusterState) -> None:
    """Refuse a state that no list of changes can have made: its derived values would fail."""
    buckets = state.settings.buckets
    numbers = [member.number for member in state.members]
    if not buckets == len(state.in_sync) == len(state.terms) == len(state.generations):
        raise msgspec.ValidationError(f"a state of {buckets} buckets has one in-sync set, term, generation for each")
    if numbers != sorted(set(numbers)) or len({member.id for member in state.members}) != len(numbers):
        raise msgspec.ValidationError("members stand in the order of their numbers, and each once")
    if not all(0 <= member.weight <= WEIGHT_MAX for member in state.members):
        raise msgspec.ValidationError(f"a member's weight is 0 to {WEIGHT_MAX}")
    names = [name for name, _, _ in state.queues]
    if names != sorted(set(names)):
        raise msgspec.ValidationError("queues stand in the order of their names, and each once")
    names = [name for name, _, _ in state.schedules]
    if names != sorted(set(names)):
        raise msgspec.ValidationError("schedules stand in the order of their names, and each once")
    if not all(in_sync and set(in_sync) <= set(numbers) for in_sync in state.in_sync):
        raise msgspec.ValidationError("an in-sync set is not empty, and of members")


def digest(state: ClusterState) -> bytes:
    """16 bytes that stand for the state (C6)."""
    return hashing.digest(state.to_bytes())


def found(cluster_id: str, settings: Agreed, member: Member) -> ClusterState:
    """The first state of a cluster: its founder is up, votes alone, and is in-sync in every bucket.

    Called only on an explicit word (C12). Raises ValueError where the founder may hold nothing.
    """
    if member.weight < 1:
        raise ValueError(f"a founder holds every bucket, so its weight is at least 1, not {member.weight}")
    founder = msgspec.structs.replace(member, number=1, status=Status.UP, voter=True, since=1)
    return ClusterState(
        epoch=1, cluster_id=cluster_id, lineage=1, settings=msgspec.structs.replace(settings, since=1),
        members=(founder,), next_number=2, in_sync=((1,),) * settings.buckets,
        terms=(1,) * settings.buckets, generations=(1,) * settings.buckets)
