"""The sizes inside the product, made small for a run, so that what is rare by size becomes common.

A log is compacted after thousands of entries, a snapshot has thousands of rows in a chunk, a copy is deleted after a
minute: runs of some seconds would never meet any of it. These are constants of the core and no settings, since nobody
who runs a cluster should turn them; the simulator puts others in their place while a run lasts.
"""

from __future__ import annotations

import inspect
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from zmqueue.core import (
    bucket_copy,
    copies,
    counting,
    log,
    peers,
    primary,
    replication,
    scrub,
    snapshot,
    suspicion,
)


@dataclass(frozen=True, slots=True)
class Sizes:
    """What is put in the place of the constants. Times in seconds."""

    keep_entries: int = log.KEEP_ENTRIES
    compact_entries: int = log.COMPACT_ENTRIES
    pinned_entries: int = log.PINNED_ENTRIES
    cache_entries: int = log.CACHE_ENTRIES
    append_entries: int = peers.APPEND_ENTRIES
    window_bytes: int = peers.WINDOW_BYTES
    chunk_rows: int = snapshot.CHUNK_ROWS
    sweep_rows: int = copies.SWEEP_ROWS
    delete_after: float = replication.DELETE_AFTER
    flap_wait_most: float = counting.FLAP_WAIT_MOST
    young: float = suspicion.YOUNG
    scrub_rest: float = scrub.REST         # before the first round as well
    scrub_rows: int = scrub.ROWS_A_TICK

    @staticmethod
    def draw(dice: random.Random) -> Sizes:
        """By chance; in some runs all is as it is."""
        if dice.random() < 0.2:
            return Sizes()
        keep = dice.choice((0, 4, 30, log.KEEP_ENTRIES))
        return Sizes(
            keep_entries=keep, compact_entries=dice.choice((1, 4, 30)), pinned_entries=keep + dice.choice((0, 20, 200)),
            cache_entries=dice.choice((1, 8, log.CACHE_ENTRIES)), append_entries=dice.choice((1, 2, 8, 512)),
            window_bytes=dice.choice((100, 2_000, peers.WINDOW_BYTES)), chunk_rows=dice.choice((1, 5, 40)),
            sweep_rows=dice.choice((1, 20, copies.SWEEP_ROWS)), delete_after=dice.choice((0.0, 1.0, 5.0)),
            flap_wait_most=dice.choice((0.0, 2.0, 8.0)), young=dice.choice((0.0, 1.0, suspicion.YOUNG)),
            scrub_rest=dice.choice((0.5, 2.0, 8.0, scrub.REST)), scrub_rows=dice.choice((1, 10, scrub.ROWS_A_TICK)))


@contextmanager
def tuned(sizes: Sizes) -> Iterator[None]:
    """Let the product have these sizes inside the block."""
    places: list[tuple[object, str, object]] = [
        (log, "COMPACT_ENTRIES", sizes.compact_entries), (log, "CACHE_ENTRIES", sizes.cache_entries),
        (primary, "PINNED_ENTRIES", sizes.pinned_entries), (primary, "APPEND_ENTRIES", sizes.append_entries),
        (peers, "WINDOW_BYTES", sizes.window_bytes), (snapshot, "CHUNK_ROWS", sizes.chunk_rows),
        (replication, "DELETE_AFTER", sizes.delete_after), (counting, "FLAP_WAIT_MOST", sizes.flap_wait_most),
        (suspicion, "YOUNG", sizes.young), (scrub, "REST", sizes.scrub_rest),
        (scrub, "FIRST_AFTER", sizes.scrub_rest), (scrub, "ROWS_A_TICK", sizes.scrub_rows),
        (bucket_copy.BucketCopy.compact, "__defaults__", _defaults(
            bucket_copy.BucketCopy.compact, entries_max=sizes.keep_entries)),
        (copies.Copies.sweep, "__defaults__", _defaults(copies.Copies.sweep, limit=sizes.sweep_rows))]
    before = [(where, name, getattr(where, name)) for where, name, _ in places]
    for where, name, value in places:
        setattr(where, name, value)
    try:
        yield
    finally:
        for where, name, value in before:
            setattr(where, name, value)


def _defaults(function: Callable[..., object], **others: int) -> tuple[object, ...]:
    """The function's default values, with others in the place of some."""
    parameters = inspect.signature(function).parameters.values()
    assert others.keys() <= {parameter.name for parameter in parameters}
    return tuple(others.get(parameter.name, parameter.default) for parameter in parameters
                 if parameter.default is not parameter.empty)
