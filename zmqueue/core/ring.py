"""The ring: which members hold a bucket and in which order, as a pure function of who is a member.

Consistent hashing (Karger et al., 1997): each member stands at `weight * vnodes` points of a circle of 64-bit
numbers, each bucket at one, and a bucket's *walk* is the order in which going clockwise from its point meets
the members. Bounded loads (Mirrokni et al., 2017): no member begins the walk of more than ceil(1.1 x its
share) buckets; the walk of a bucket whose natural first member is full begins with the next one that is not.
Integers only. Rules P1 and P2: the bound looks at placeable members and weights, never at who is up, so that
one crash does not reshuffle primaries everywhere.
"""

from __future__ import annotations

from bisect import bisect_left
from functools import lru_cache
from typing import NamedTuple

from zmqueue.core.hashing import hash64

PLACEMENT_VERSION = 1
"""The placement function that this module is; a node that does not know the agreed one serves no bucket (C6)."""

CACHED_RINGS = 64
"""Rings kept computed: the newest state's, a few before it, and the intermediate ones of a list of changes."""

Walk = tuple[int, ...]


class Place(NamedTuple):
    """What the ring needs to know of a member: nothing that a crash or a restart changes."""

    number: int
    id: str
    weight: int
    zone: str
    placeable: bool


class Shape(NamedTuple):
    """What the ring needs to know of the settings."""

    buckets: int
    replicas: int
    vnodes: int


class Ring(NamedTuple):
    """The two tables of a placement, by bucket."""

    walks: tuple[Walk, ...]     # all members of weight > 0, whatever their status
    desired: tuple[Walk, ...]   # the first `replicas` placeable ones, in the order of the walk, zones kept apart


@lru_cache(CACHED_RINGS)
def ring(places: tuple[Place, ...], shape: Shape) -> Ring:
    """Place every bucket. `places` in order of their numbers."""
    by_number = {place.number: place for place in places}
    clockwise = _clockwise(tuple((place.number, place.id, place.weight) for place in places), shape)
    walks = _bounded(clockwise, by_number, shape.buckets)
    return Ring(walks, tuple(_desired(walk, by_number, shape.replicas) for walk in walks))


@lru_cache(4096)
def _points(member_id: str, count: int) -> tuple[int, ...]:
    return tuple(hash64("member", member_id, index) for index in range(count))


@lru_cache(CACHED_RINGS)
def _clockwise(members: tuple[tuple[int, str, int], ...], shape: Shape) -> tuple[Walk, ...]:
    """For each bucket all members in the order in which they are met: the ring without bounds."""
    circle = sorted((point, number) for number, member_id, weight in members
                    for point in _points(member_id, weight * shape.vnodes))
    points = [point for point, _ in circle]
    owners = [number for _, number in circle]
    owners += owners
    distinct = sum(1 for _, _, weight in members if weight > 0)
    return tuple(_walk(owners, bisect_left(points, hash64("bucket", "", bucket)), distinct)
                 for bucket in range(shape.buckets))


def _walk(owners: list[int], start: int, distinct: int) -> Walk:
    met: dict[int, None] = {}
    position = start
    while len(met) < distinct:
        met[owners[position]] = None
        position += 1
    return tuple(met)


def _bounded(clockwise: tuple[Walk, ...], by_number: dict[int, Place], buckets: int) -> tuple[Walk, ...]:
    """Let no placeable member begin more walks than its bound; buckets choose in the order of their numbers."""
    weights = {number: place.weight for number, place in by_number.items() if place.placeable and place.weight > 0}
    total = sum(weights.values())
    room = {number: -(-11 * buckets * weight // (10 * total)) for number, weight in weights.items()}
    walks = []
    for walk in clockwise:
        # The bounds add up to more than the buckets, so there is room as long as anybody is placeable.
        first = next((number for number in walk if room.get(number, 0) > 0), None)
        if first is not None:
            room[first] -= 1
            walk = (first, *(number for number in walk if number != first))
        walks.append(walk)
    return tuple(walks)


def _desired(walk: Walk, by_number: dict[int, Place], replicas: int) -> Walk:
    """The first `replicas` placeable members, from different zones where there are enough zones.

    A member without a zone shares none with anybody.
    """
    placeable = [number for number in walk if by_number[number].placeable]
    zones: set[str] = set()
    chosen: list[int] = []
    passed_over: list[int] = []
    for number in placeable:
        zone = by_number[number].zone
        if zone and zone in zones:
            passed_over.append(number)
            continue
        zones.add(zone)
        chosen.append(number)
    wanted = frozenset((chosen + passed_over)[:replicas])
    return tuple(number for number in placeable if number in wanted)
