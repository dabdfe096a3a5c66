"""One node's disk changes or loses a record under a cluster at work: it is never served, and the copy is made anew."""

from __future__ import annotations

import pytest

from zmqueue.client.calls import SubmitCall
from zmqueue.client.leasing import Holding
from zmqueue.core import scrub
from zmqueue.core.copies import COPIED, Copies
from zmqueue.core.engine import Engine
from zmqueue.core.ids import RANDOM_BYTES, bucket_of, make_id
from zmqueue.core.keys import copy_prefix
from zmqueue.core.operations import How, Options, Submission
from zmqueue.core.requests import Progress, Request, Submit
from zmqueue.core.state import Agreed
from zmqueue.core.sums import sum_of
from zmqueue.core.tables import Table, rows, span
from zmqueue.store import MemoryStore
from zmqueue.testing import VirtualClient, VirtualCluster
from zmqueue.testing.node import VirtualNode

BUCKET_TABLES = tuple(table for table in (Table.LOG, *COPIED) if table is not Table.OUTBOX)
"""All but one: what lies in an outbox is taken within milliseconds (tests/core/test_scrub.py has rows there)."""


@pytest.fixture(autouse=True)
def restless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A scrub that begins at once and rests shortly."""
    monkeypatch.setattr(scrub, "FIRST_AFTER", 1.0)
    monkeypatch.setattr(scrub, "REST", 1.0)


def engine_of(node: VirtualNode) -> Engine:
    assert node.engine is not None
    return node.engine


def store_of(node: VirtualNode) -> MemoryStore:
    store = node.disk.store
    assert isinstance(store, MemoryStore)
    return store


def sole_id(call: SubmitCall) -> bytes:
    """The id of the one message that was submitted."""
    submission = call.items[0].submission
    assert submission is not None
    return submission.id


def with_everything(seed: int) -> tuple[VirtualCluster, dict[bytes, bytes], list[Holding]]:
    """A cluster whose copies have rows in every table; its messages, id -> payload; and what a worker holds."""
    cluster = VirtualCluster(seed=seed, nodes=3, settings=Agreed(buckets=2, vnodes=16))
    producer, worker = cluster.client(), cluster.client()
    known: dict[bytes, bytes] = {}
    for number in range(30):
        payload = b"job %d" % number
        call = producer.submit("jobs", [payload], delay_ms=4_000 if number < 8 else 0)
        assert cluster.run_until(lambda call=call: call.finished) and call.error is None  # type: ignore[misc]
        known[sole_id(call)] = payload
    taken: list[Holding] = []
    worker.work(["jobs"], 16, taken.append)
    assert cluster.run_until(lambda: len(taken) == 16)
    for number, holding in enumerate(taken[:12]):
        dies = number % 3 == 0
        settled = worker.settle(holding, How.REJECT if dies else How.ACK,
                                then=() if dies else [worker.parcel("next", b"step")])
        assert cluster.run_until(lambda settled=settled: settled.finished)  # type: ignore[misc]
    for number, holding in enumerate(taken[12:]):
        tell(cluster, producer, Progress(FIRST_REQUEST + number, bucket_of(holding.id, 2), holding.id, holding.fencing,
                                         1, ((0, b"half of it"),)))
    tell(cluster, producer, in_line(producer.core.routing.cluster_wall(producer.now)))
    assert cluster.run_until(lambda: all(victims(cluster, table) for table in BUCKET_TABLES), 10.0, every=0.1)
    return cluster, known, taken


FIRST_REQUEST = 1 << 33
"""Above the numbers of all requests that clients draw."""


def tell(cluster: VirtualCluster, client: VirtualClient, packet: Request) -> None:
    """Send it to every node: whoever is primary goes by it."""
    for node in cluster.running:
        client.post(node.endpoint, [packet])


def in_line(wall: int) -> Submit:
    """Messages of one group, with keys and an expiry, in a queue that nobody works on."""
    ids = [make_id(wall, 0, bytes((number,)) * RANDOM_BYTES) for number in range(4)]
    options = tuple((number, Options(expires=wall + 600_000, group="line", unique=str(number))) for number in range(4))
    return Submit(FIRST_REQUEST - 1, 0, "lines", tuple(Submission(message_id, b"x") for message_id in ids), options)


def settle_down(cluster: VirtualCluster) -> None:
    """Until everything that was written is durable."""
    assert cluster.run_until(lambda: not any(store_of(node).dirty for node in cluster.running))


def victims(cluster: VirtualCluster, table: Table) -> list[tuple[VirtualNode, bytes]]:
    """Durable rows of a table, in live copies, one of a node."""
    settle_down(cluster)
    found = []
    for node in cluster.running:
        positions = Copies(store_of(node))
        keys = [key for bucket in positions.buckets for key, _ in rows(
            store_of(node), table, *span(copy_prefix(positions.position(bucket).copy)))]
        if keys:
            found.append((node, keys[len(keys) // 2]))
    return found


def facts(node: VirtualNode) -> dict[str, int]:
    return engine_of(node).facts()


def check_whole(cluster: VirtualCluster, node: VirtualNode, known: dict[bytes, bytes], taken: list[Holding]) -> None:
    """The node found it, and has a fresh copy; replicas are equal; what is handed out is what was submitted; and all
    that was not taken yet is."""
    assert cluster.run_until(lambda: facts(node)["repaired"] == 1 and cluster.is_whole(), 60.0, every=0.1)
    assert (facts(node)["corrupt"], facts(node)["damaged"]) == (1, 0)
    reader = cluster.client()
    first = {holding.id for holding in taken}
    reader.work(["jobs"], 64, taken.append)
    assert cluster.run_until(lambda: {holding.id for holding in taken} == known.keys(), 60.0, every=0.1)
    assert all(holding.submission.payload == known[holding.id] for holding in taken)
    assert first <= known.keys()
    cluster.run(1.0)
    for bucket in range(2):
        machines = [engine_of(each).replicas[bucket].machine for each in cluster.running]
        assert len({machine.sum for machine in machines}) == 1
        for each, machine in zip(cluster.running, machines, strict=True):
            assert machine.sum == sum_of(store_of(each), machine.copy)
    assert not any(facts(each)["diverged"] for each in cluster.running)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("table", BUCKET_TABLES)
def test_a_flipped_record_is_never_served_and_the_copy_is_made_anew(table: Table, which: int) -> None:
    cluster, known, taken = with_everything(seed=which)
    node, key = victims(cluster, table)[which]
    store_of(node).flip(table, key, 38)
    check_whole(cluster, node, known, taken)


@pytest.mark.parametrize("which", range(3))
@pytest.mark.parametrize("table", BUCKET_TABLES)
def test_a_record_that_vanished_is_missed_and_the_copy_is_made_anew(table: Table, which: int) -> None:
    cluster, known, taken = with_everything(seed=which)
    node, key = victims(cluster, table)[which]
    store_of(node).vanish(table, key)
    check_whole(cluster, node, known, taken)


def test_records_of_all_nodes_in_buckets_of_their_own_are_mended_at_once() -> None:
    cluster, known, taken = with_everything(seed=7)
    settle_down(cluster)
    for node, bucket in zip(cluster.running, (0, 1), strict=False):
        copy = Copies(store_of(node)).position(bucket).copy
        key = next(iter(rows(store_of(node), Table.BODIES, *span(copy_prefix(copy)))))[0]
        store_of(node).flip(Table.BODIES, key, 50)
    for node in cluster.running[:2]:
        check_whole(cluster, node, known, taken)


def test_a_bucket_whose_every_copy_is_damaged_stands_still_and_says_so_and_the_other_goes_on() -> None:
    cluster, known, _ = with_everything(seed=3)
    lost = bucket_of(next(iter(known)), 2)
    settle_down(cluster)
    for node in cluster.running:
        copy = Copies(store_of(node)).position(lost).copy
        key = next(iter(rows(store_of(node), Table.COUNTS, *span(copy_prefix(copy)))))[0]
        store_of(node).flip(Table.COUNTS, key, 50)
    cluster.run(20.0)
    halted = [why for node in cluster.running for why in [engine_of(node).replicas[lost].halted] if why]
    assert len(halted) == 1 and f"bucket {lost} stands still" in halted[0]
    client = cluster.client()
    for message_id in known:
        ask = client.ask(message_id, timeout=3.0)
        assert cluster.run_until(lambda ask=ask: ask.finished)  # type: ignore[misc]
        if bucket_of(message_id, 2) == lost:
            assert "stands still" in str(ask.error)
        else:
            assert ask.error is None


def test_a_damaged_row_of_the_node_itself_ends_it() -> None:
    cluster, _, _ = with_everything(seed=5)
    node = cluster.running[0]
    position = next(iter(rows(store_of(node), Table.BUCKETS, b"\x00", b"\xff" * 3)))[0]
    store_of(node).flip(Table.BUCKETS, position, 50)
    node.crash()
    node.start()
    assert not node.running and "needs" in node.ended
