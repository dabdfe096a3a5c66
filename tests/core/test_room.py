"""A disk that is nearly full: submits are refused, definitely and with the reason; everything else goes on."""

from __future__ import annotations

from tests.core.fakes import WALL, Node
from tests.core.replication_rig import BUCKET, World
from tests.core.test_snapshot import compacted, small_steps  # noqa: F401, snapshots in small steps here too
from zmqueue.core.answers import Code, Confirmed, Granted, Refused
from zmqueue.core.changes import ReplicaDropped, ReplicaSynced
from zmqueue.core.ids import places_of
from zmqueue.core.operations import How, Settle, Submission
from zmqueue.core.packets import Packet
from zmqueue.core.requests import Ask, Lease, Settling, Submit
from zmqueue.core.room import PLENTY, Room, written_bytes

FULL = Room(0, text="/var/q has no room: free some")
SESSION = b"s" * 16


def message(node: Node, number: int, payload: bytes = b"x") -> Submission:
    return Submission(node.an_id(number, places_of(0, 1)[0], WALL), payload)


def submit(node: Node, *numbers: int, payload: bytes = b"x") -> Packet:
    return node.call(Submit(1, 0, "jobs", tuple(message(node, number, payload) for number in numbers)))


def test_a_node_that_is_short_of_disk_refuses_submits_with_the_reason() -> None:
    node = Node()
    node.front.office.measured(FULL)
    assert submit(node, 1) == Refused(1, Code.DISK_FULL, FULL.text)
    assert not node.replica.log
    node.front.office.measured(PLENTY)
    assert submit(node, 1) == Confirmed(1)


def test_everything_but_submits_goes_on() -> None:
    node = Node()
    assert submit(node, 1) == Confirmed(1)
    node.front.office.measured(FULL)
    granted = node.call(Lease(2, "jobs", 10, SESSION, 1, 0))
    assert isinstance(granted, Granted)
    grant, = granted.grants
    settle = Settle(grant.submission.id, grant.fencing, How.ACK, 3, b"result")
    assert node.call(Settling(3, 0, (settle,))) == Confirmed(3)
    assert node.call(Ask(4, 0, grant.submission.id, 0, True)) is not None


def test_what_is_stored_already_is_confirmed_and_only_what_is_new_is_refused() -> None:
    node = Node()
    assert submit(node, 1, 2) == Confirmed(1)
    node.front.office.measured(FULL)
    assert submit(node, 1, 2) == Confirmed(1)
    assert submit(node, 1, 3) == Confirmed(1, ((1, Code.DISK_FULL, FULL.text),))


def test_a_replica_that_is_short_of_disk_stops_the_submits_of_its_buckets() -> None:
    node = Node()
    node.replica.short_peer = "feed" * 4
    refused = submit(node, 1)
    assert isinstance(refused, Refused)
    assert refused.code == Code.DISK_FULL and "feed" * 4 in refused.text


def test_submits_between_two_measurements_cannot_outgrow_what_was_measured() -> None:
    node = Node()
    each = written_bytes(1_000, 1)
    node.front.office.measured(Room(3 * each))
    taken = [isinstance(submit(node, number, payload=b"x" * 1_000), Confirmed) for number in range(1, 6)]
    assert taken == [True, True, True, False, False]
    node.front.office.measured(Room(each))
    assert submit(node, 4, payload=b"x" * 1_000) == Confirmed(1)


def test_a_request_that_is_too_large_for_what_is_left_says_so() -> None:
    node = Node()
    node.front.office.measured(Room(10_000))
    refused = submit(node, 1, payload=b"x" * 5_000)
    assert isinstance(refused, Refused) and "21,024" in refused.text and "10,000" in refused.text
    assert submit(node, 2) == Confirmed(1)


# --- among replicas ---


def test_a_primary_knows_which_replica_of_a_bucket_is_short_of_disk() -> None:
    world = World(3)
    world.run()
    primary, backup, other = (world[number] for number in world.order())
    assert primary.replica.short_peer == ""
    primary.host.short = frozenset({backup.number})
    assert primary.replica.short_peer == backup.id
    assert other.replica.short_peer == "", "only a primary is asked"
    world.agree(ReplicaDropped(BUCKET, backup.number, world.state.terms[BUCKET]))
    world.tell()
    assert primary.replica.short_peer == "", "a learner that does not count holds nobody up"


def test_a_learner_that_is_short_of_disk_is_not_counted_until_it_has_room() -> None:
    world = World(3)
    world.run()
    primary, _, learner = (world[number] for number in world.order())
    primary.host.short = frozenset({learner.number})
    world.agree(ReplicaDropped(BUCKET, learner.number, world.state.terms[BUCKET]))
    world.tell()
    primary.append(1)
    world.run(60)
    assert learner.replica.commit == 1, "it follows the log as far as it likes"
    assert primary.asks(ReplicaSynced) == []
    assert primary.replica.short_peer == ""
    primary.host.short = frozenset()
    world.run(60)
    assert len(primary.asks(ReplicaSynced)) == 1


def test_a_node_below_half_its_reserve_takes_in_no_copies_until_it_has_room() -> None:
    world, primary, _, learner = compacted()
    learner.host.low = True
    before = learner.replica.commit
    primary.append(100)
    world.run(100)
    assert learner.replica.commit == before
    assert primary.replica.commit == primary.replica.end, "nobody waits for it"
    learner.host.low = False
    world.run(300)
    assert learner.replica.commit == primary.replica.commit


def test_it_takes_no_log_in_either_while_it_is_a_learner() -> None:
    world = World(3)
    world.run()
    primary, _, learner = (world[number] for number in world.order())
    world.agree(ReplicaDropped(BUCKET, learner.number, world.state.terms[BUCKET]))
    world.tell()
    learner.host.low = True
    primary.append(1)
    world.run(100)
    assert learner.replica.end == 0 and primary.replica.commit == 1
    learner.host.low = False
    world.run(100)
    assert learner.replica.commit == 1


def test_an_in_sync_replica_below_half_its_reserve_goes_on() -> None:
    world = World(3)
    world.run()
    primary, backup, _ = (world[number] for number in world.order())
    backup.host.low = True
    primary.append(1)
    world.run(4)
    assert backup.replica.commit == primary.replica.commit == 1
