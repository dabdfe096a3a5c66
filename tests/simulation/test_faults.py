"""Each fault does what its name says, on a cluster in calm weather."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

import pytest

from tests.simulation.faults.damage import DamageFaults
from tests.simulation.faults.failpoints import name_of
from tests.simulation.faults.network import NetworkFaults
from tests.simulation.faults.processes import ProcessFaults
from tests.simulation.faults.scene import Scene
from tests.simulation.tuning import Sizes, tuned
from tests.simulation.workload import Load, Workload
from zmqueue.core.effects import Address, Note
from zmqueue.core.host import ALARM
from zmqueue.core.packets import Ack, Append, Packet
from zmqueue.core.room import PLENTY, Room
from zmqueue.core.tables import Table
from zmqueue.store import StoreFailed
from zmqueue.testing import (
    Disk,
    Failpoint,
    Fuse,
    InMemory,
    Medium,
    Observer,
    OnLmdb,
    VirtualCluster,
    VirtualNode,
    VirtualTime,
    Weather,
)


def scene(nodes: int, seed: int = 1) -> Scene:
    """A whole cluster with some programs, and chance."""
    cluster = VirtualCluster(seed, nodes)
    workload = Workload(cluster, Load.draw(random.Random(seed)), random.Random(seed))
    cluster.run(1.0)
    return Scene(cluster, workload, random.Random(seed))


def test_in_a_ring_of_majorities_each_node_sees_another_majority() -> None:
    for nodes in (5, 7):
        here = scene(nodes)
        assert NetworkFaults(here).kinds()["ring of majorities"]()
        network = here.cluster.network
        seen = {frozenset(other for other in here.nodes if not network.is_cut(name, other)) for name in here.nodes}
        assert len(seen) == nodes
        assert all(nodes // 2 < len(majority) < nodes for majority in seen)
    assert not NetworkFaults(scene(3)).kinds()["ring of majorities"]()


def test_a_zombie_primary_wakes_after_its_leases_and_its_clients_are_set_free_again() -> None:
    here = scene(3)
    assert ProcessFaults(here).kinds()["zombie primary"]()
    zombie, = (node for node in here.nodes.values() if node.paused)
    network, settings = here.cluster.network, here.cluster.settings
    alone = [client for client in here.cluster.clients
             if any(network.is_cut(client, other) for other in here.nodes)]
    assert alone and not any(network.is_cut(client, zombie.name) for client in alone)
    here.cluster.run(settings.lease_ms / 1_000)
    assert [node for node in here.nodes.values() if node.paused] == [zombie]
    here.cluster.run(settings.lease_ms / 1_000 + settings.suspicion_ms / 1_000 + 1.5)
    assert not any(node.paused for node in here.nodes.values())
    assert not any(network.is_cut(client, other) for client in here.cluster.clients for other in here.nodes)


def test_a_crash_of_a_minority_leaves_a_majority() -> None:
    for nodes, left in ((3, 2), (4, 3), (5, 3)):
        here = scene(nodes)
        assert ProcessFaults(here).kinds()["crash of a minority"]()
        assert len(here.cluster.running) == left
    assert not ProcessFaults(scene(2)).kinds()["crash of a minority"]()


class Sent(Observer):
    """What left a node, until it died."""

    def __init__(self) -> None:
        self.packets: list[tuple[str, Packet]] = []
        self.ended: list[str] = []
        self.notes: list[str] = []

    def left(self, node: VirtualNode, to: Address, packets: Sequence[Packet]) -> None:
        self.packets += [(node.name, packet) for packet in packets]

    def noted(self, node: VirtualNode, note: Note) -> None:
        self.notes.append(note.kind)

    def stopped(self, node: VirtualNode) -> None:
        self.ended.append(node.name)


@pytest.mark.parametrize("point", Failpoint, ids=name_of)
def test_a_process_dies_at_its_failpoint_and_the_cluster_becomes_whole_again(point: Failpoint) -> None:
    """Every name is reached: somebody starts, submits, and joins with snapshots on the way."""
    blown: list[Failpoint] = []
    sizes = Sizes(keep_entries=0, compact_entries=1, pinned_entries=0, chunk_rows=1)
    with tuned(sizes):
        cluster = VirtualCluster(1, 3)
        client = cluster.client()
        for _ in range(30):
            call = client.submit("q", [b"x"])
            assert cluster.run_until(lambda: call.finished)     # noqa: B023
        for node in cluster.nodes.values():
            node.lay(Fuse(point, blown=partial(blown.append, point)))
        newcomer = cluster.add_node()
        newcomer.lay(Fuse(point, blown=partial(blown.append, point)))
        newcomer.start()
        client.submit("q", [b"x"])
        cluster.run(5.0)
        assert blown
        for node in cluster.nodes.values():
            node.clear()
            if not node.running:
                node.start()
        assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)


def test_after_a_commit_and_before_its_promises_nothing_of_them_has_left() -> None:
    sent = Sent()
    cluster = VirtualCluster(1, 3, observers=[sent], weather=Weather(held=0.0))
    client = cluster.client()
    backup = backup_of_all(cluster)
    backup.lay(Fuse(Failpoint.AFTER_COMMIT))
    sent.packets.clear()
    call = client.submit("q", [b"x"])
    assert cluster.run_until(lambda: backup.name in sent.ended, 10.0)
    assert any(isinstance(packet, Append) and packet.entries for _, packet in sent.packets)
    assert not any(name == backup.name and isinstance(packet, Ack) and packet.verified for name, packet in sent.packets)
    assert cluster.run_until(lambda: call.finished, 20.0) and call.error is None


def backup_of_all(cluster: VirtualCluster) -> VirtualNode:
    """A node that is primary of the fewest buckets."""
    state = cluster.state
    assert state is not None
    primaries = Counter(state.primary(bucket) for bucket in range(state.buckets))
    member = min(state.members, key=lambda member: primaries[member.number])
    return next(node for node in cluster.nodes.values() if node.id == member.id)


# --- disks ------------------------------------------------------------------------------------------------------------


MEDIA: tuple[Callable[[], Medium], ...] = (InMemory, OnLmdb)


@pytest.mark.parametrize("make", MEDIA)
@pytest.mark.parametrize("fault", ("write", "sync", "full"))
def test_a_node_whose_disk_fails_stops_and_a_restart_finds_what_is_on_it(make: Callable[[], Medium],
                                                                         fault: str) -> None:
    made: list[Medium] = []

    def make_one() -> Medium:
        made.append(make())
        return made[-1]
    cluster = VirtualCluster(1, 3, make_medium=make_one)
    node, client = backup_of_all(cluster), cluster.client()
    node.disk.full = fault == "full"
    node.disk.store.fail_next_write, node.disk.store.fail_next_commit = fault == "write", fault == "sync"
    call = client.submit("q", [b"x"] * 20)
    assert cluster.run_until(lambda: call.finished, 20.0) and call.error is None
    assert not node.running and node.ended
    node.start()
    assert node.running is (fault != "full")       # while it is full, not even an incarnation can be written
    node.disk.full = False
    if not node.running:
        node.start()
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    for medium in made:
        if isinstance(medium, OnLmdb):
            medium.close()


def test_a_failed_sync_leaves_all_of_the_batch_or_nothing() -> None:
    for make in MEDIA:
        kept = set[bool]()
        for seed in range(12):
            medium = make()
            time = VirtualTime()
            disk = Disk(time, random.Random(seed), medium=medium)
            disk.store.put(Table.META, b"a", b"1")
            disk.store.fail_next_commit = True
            errors: list[StoreFailed] = []
            disk.sync(lambda: None, errors.append)
            time.run(1.0)
            assert errors
            assert disk.crash() == (disk.store.get(Table.META, b"a") == b"1")
            kept.add(disk.store.get(Table.META, b"a") == b"1")
            if isinstance(medium, OnLmdb):
                medium.close()
        assert kept == {True, False}


def test_a_short_disk_takes_no_submits_until_there_is_room_again() -> None:
    cluster = VirtualCluster(1, 1)
    node, client = cluster.nodes["n1"], cluster.client()
    node.disk.room = Room(0, False, "short")
    cluster.run(0.2)
    call = client.submit("q", [b"x"], 1.0)
    assert cluster.run_until(lambda: call.finished) and call.error is not None
    node.disk.room = PLENTY
    cluster.run(0.1)                       # the node measures it again
    call = client.submit("q", [b"x"])
    assert cluster.run_until(lambda: call.finished) and call.error is None


def test_a_wiped_disk_under_an_old_name_is_a_new_member() -> None:
    cluster = VirtualCluster(1, 3)
    node = cluster.nodes["n1"]
    before = node.id
    node.crash()
    cluster.run(3.0)
    node.wipe()
    node.start()
    assert cluster.run_until(cluster.is_whole, 120.0, every=0.1)
    assert node.id != before and cluster.state is not None and cluster.state.by_id(node.id) is not None


def test_an_in_sync_replica_on_an_old_disk_is_noticed_and_nothing_confirmed_is_lost() -> None:
    sent = Sent()
    cluster = VirtualCluster(1, 3, observers=[sent])
    node, client = backup_of_all(cluster), cluster.client()
    image = node.disk.image()
    call = client.submit("q", [b"x"] * 20)
    assert cluster.run_until(lambda: call.finished) and call.error is None
    cluster.run(0.5)
    node.crash()
    node.restore(image)
    node.start()
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    assert any(kind.startswith(ALARM) for kind in sent.notes)
    asked = [client.ask(item.id) for item in call.items if item.id is not None]
    assert cluster.run_until(lambda: all(ask.finished for ask in asked)) and len(asked) == 20
    assert all(ask.error is None for ask in asked)


def test_a_disk_of_an_earlier_epoch_is_refused_aloud() -> None:
    sent = Sent()
    cluster = VirtualCluster(1, 3, observers=[sent])
    node = cluster.nodes["n2"]
    image = node.disk.image()
    cluster.add_node().start()
    assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
    cluster.run(1.0)
    node.crash()
    node.restore(image)
    node.start()
    cluster.run(1.0)
    assert "refused a peer that shows less than it had shown" in sent.notes


def test_a_flipped_bit_lies_on_the_disk_after_the_next_sync_and_is_found() -> None:
    """In the records of a node that has company in each of its buckets; on both kinds of disk."""
    for make in MEDIA:
        made: list[Medium] = []

        def make_one(make: Callable[[], Medium] = make, made: list[Medium] = made) -> Medium:
            made.append(make())
            return made[-1]
        with tuned(Sizes(scrub_rest=0.5)):
            cluster = VirtualCluster(1, 3, make_medium=make_one)
            dishonest: set[str] = set()
            here = Scene(cluster, Workload(cluster, Load.draw(random.Random(1)), random.Random(1)), random.Random(1))
            faults = DamageFaults(here, dishonest)
            cluster.run(1.0)
            faults.kinds()["flipped bit"]()
            assert not faults.unfound()
            assert cluster.run_until(lambda: bool(dishonest), 10.0)     # noqa: B023
            assert here.struck["flipped bit"] == 1
            assert cluster.run_until(lambda: not faults.unfound(), 60.0, every=0.1)     # noqa: B023
            assert cluster.run_until(cluster.is_whole, 60.0, every=0.1)
        for medium in made:
            if isinstance(medium, OnLmdb):
                medium.close()


def test_where_nobody_else_has_a_copy_no_bit_flips() -> None:
    assert not DamageFaults(scene(1), set()).kinds()["flipped bit"]()
