"""Schedules of what is on disks: whole virtual clusters, of which one disk is damaged by hand."""

from __future__ import annotations

from collections.abc import Callable

from tests.simulation.checkers import Violation
from zmqueue.core.ids import bucket_of
from zmqueue.core.keys import copy_prefix
from zmqueue.core.tables import Table
from zmqueue.store import MemoryStore
from zmqueue.store.records import FRAME_BYTES
from zmqueue.testing import VirtualClient, VirtualCluster

PAYLOAD = b"what was submitted"


def confirmed() -> tuple[VirtualCluster, VirtualClient, MemoryStore, bytes]:
    """A cluster with one confirmed message: (the cluster, a client, the disk of its primary, its key in BODIES)."""
    cluster = VirtualCluster(seed=1, nodes=3)
    client = cluster.client()
    submitted = client.submit("q", [PAYLOAD])
    assert cluster.run_until(lambda: submitted.finished) and submitted.error is None and cluster.state is not None
    cluster.run(1.0)
    message_id = submitted.items[0].id
    assert message_id is not None
    bucket = bucket_of(message_id, cluster.settings.buckets)
    number = cluster.state.primary(bucket)
    primary = None if number is None else cluster.node_of(number)
    assert primary is not None and primary.engine is not None
    store = primary.disk.store
    assert isinstance(store, MemoryStore)
    return cluster, client, store, copy_prefix(primary.engine.replicas[bucket].copy.number) + message_id


def flipped_bit() -> None:
    """A bit of a message's payload flips on its primary's disk, after it was confirmed and before it is handed out."""
    cluster, client, store, key = confirmed()
    row = store.get(Table.BODIES, key)
    assert row is not None
    store.flip(Table.BODIES, key, 8 * (FRAME_BYTES + row.index(PAYLOAD)))
    taken = client.lease("q", wait=30.0)
    assert cluster.run_until(lambda: taken.finished) and taken.value
    if taken.value[0].submission.payload != PAYLOAD:
        raise Violation("a record is served only as it was written", f"a worker got {taken.value[0].submission}")


def vanished_record() -> None:
    """A record is gone from one disk, as when a bit flips in a page above it; nobody asks after it."""
    cluster, _, store, key = confirmed()
    store.vanish(Table.BODIES, key)
    if not cluster.run_until(lambda: any(
            node.engine is not None and node.engine.facts()["repaired"] for node in cluster.running), 300.0, every=1.0):
        raise Violation("a record that vanished is missed", "after five minutes its copy is not made anew")


SCHEDULES: dict[str, Callable[[], None]] = {"flipped_bit": flipped_bit, "vanished_record": vanished_record}
