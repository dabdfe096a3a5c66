"""The fault detector: rules C8, C9, C10, with a clock made of numbers."""

from __future__ import annotations

import msgspec
import pytest

from tests.core.test_state_changes import cluster, down, up
from zmqueue.core.changes import apply
from zmqueue.core.state import ClusterState
from zmqueue.core.suspicion import FaultDetector

VOTERS = (1, 2, 3)


class Listener:
    """Node 1 of three, whose loop ticks every 50 ms; `hearing` maps who publishes to whom it suspects."""

    def __init__(self) -> None:
        self.now = 100.0
        self.state = cluster(3)
        self.detector = FaultDetector(1.0, 30.0, self.now)
        self.detector.installed(None, self.state, 1, self.now)

    def run(self, seconds: float, hearing: dict[int, tuple[int, ...]], disk_age_ms: int = 0) -> None:
        for _ in range(round(seconds / 0.05)):
            self.now += 0.05
            self.detector.tick(self.now)
            for number, suspects in hearing.items():
                self.detector.heard(number, self.now, 1, self.state.epoch, disk_age_ms, suspects)

    def install(self, state: ClusterState) -> None:
        self.detector.installed(self.state, state, 1, self.now)
        self.state = state

    def suspects(self) -> set[int]:
        return set(self.detector.suspects(self.now))

    def majority_suspects(self, number: int) -> bool:
        return self.detector.majority_suspects(number, self.now, VOTERS)

    def majority_hears(self, number: int) -> bool:
        return self.detector.majority_hears(number, self.now, VOTERS)


@pytest.fixture
def node() -> Listener:
    listener = Listener()
    listener.run(5, {2: (), 3: ()})
    return listener


def test_nobody_is_suspected_while_all_are_heard(node: Listener) -> None:
    assert node.suspects() == set()


def test_a_member_silent_for_a_timeout_is_suspected(node: Listener) -> None:
    node.run(0.9, {2: ()})
    assert node.suspects() == set()
    node.run(0.2, {2: ()})
    assert node.suspects() == {3}


def test_a_suspected_member_that_is_heard_is_suspected_no_more(node: Listener) -> None:
    node.run(2, {2: ()})
    node.run(0.05, {2: (), 3: ()})
    assert node.suspects() == set()


def test_a_refused_connection_makes_suspect_at_once(node: Listener) -> None:
    node.detector.refused(3, node.now)
    assert node.suspects() == {3}
    node.run(0.05, {3: ()})
    assert node.suspects() == set()


def test_a_young_node_suspects_nobody() -> None:
    node = Listener()
    node.run(2.9, {})
    assert node.suspects() == set()
    node.run(0.2, {})
    assert node.suspects() == {2, 3}


def test_a_node_that_was_stalled_suspects_nobody_until_it_has_listened_for_a_timeout(node: Listener) -> None:
    node.now += 5
    assert node.suspects() == set()                     # before the tick that notices it, too
    node.run(0.9, {})
    assert node.suspects() == set()
    node.run(0.3, {})
    assert node.suspects() == {2, 3}


def test_a_stalled_node_takes_no_old_heartbeat_for_a_majority(node: Listener) -> None:
    node.now += 5
    node.detector.heard(2, node.now, 1, 1, 0, (3,))
    node.detector.heard(3, node.now, 1, 1, 0, (2,))
    assert not node.majority_suspects(2) and not node.majority_suspects(3)


def test_a_hung_disk_is_silence(node: Listener) -> None:
    """C9: else a primary with a hung disk and a live loop blocks its buckets for ever."""
    node.run(1.2, {2: (), 3: ()}, disk_age_ms=1_001)
    assert node.suspects() == {2, 3}
    node.run(0.05, {2: (), 3: ()}, disk_age_ms=999)
    assert node.suspects() == set()


def test_one_suspicious_voter_of_three_is_no_majority(node: Listener) -> None:
    node.run(2, {2: ()})
    assert node.suspects() == {3} and not node.majority_suspects(3)
    node.run(0.1, {2: (3,)})
    assert node.majority_suspects(3)


def test_old_suspicions_do_not_count(node: Listener) -> None:
    node.run(2, {2: (3,)})
    assert node.majority_suspects(3)
    node.run(1.1, {})
    assert not node.majority_suspects(3)                # what 2 said is older than a timeout


def test_a_cut_off_node_convinces_nobody(node: Listener) -> None:
    node.run(10, {})
    assert node.suspects() == {2, 3}
    assert not node.majority_suspects(2) and not node.majority_suspects(3)


def test_those_without_a_vote_do_not_count(node: Listener) -> None:
    node.run(2, {2: (3,)})
    assert not node.detector.majority_suspects(3, node.now, (1, 4, 5))


def test_a_member_is_heard_by_a_majority_that_does_not_suspect_it(node: Listener) -> None:
    assert node.majority_hears(3)
    node.run(0.1, {2: (3,), 3: ()})
    assert node.majority_hears(3)                       # 1 and 3 itself
    node.run(1.5, {2: (3,)})
    assert not node.majority_hears(3)


def test_a_late_heartbeat_of_an_earlier_incarnation_is_not_heard(node: Listener) -> None:
    node.detector.heard(3, node.now, 2, 1, 0, ())
    node.run(1.2, {2: (), 3: ()})                       # all of incarnation 1
    assert node.suspects() == {2, 3} - {2}


def test_a_member_that_goes_down_again_and_again_waits_longer_each_time(node: Listener) -> None:
    """C9: 2**k timeouts after the k-th MemberDown, at most half the grace of 30 s."""
    assert node.detector.may_return(3, node.now)
    waits = []
    for _ in range(6):
        node.install(apply(node.state, [down(node.state, 3)]))
        began = node.now
        while not node.detector.may_return(3, node.now):
            node.now += 0.5
        waits.append(node.now - began)
        node.install(apply(node.state, [up(node.state, 3)]))
    assert waits == [2, 4, 8, 15, 15, 15]
    node.now += 600
    assert node.detector.may_return(3, node.now)


def test_a_new_member_is_not_suspected_before_a_timeout(node: Listener) -> None:
    everyone = node.state
    node.install(msgspec.structs.replace(everyone, epoch=everyone.epoch + 1, members=everyone.members[:2],
                                         in_sync=((1, 2),) * everyone.buckets))
    assert node.detector.sighting(3) is None
    node.run(5, {2: ()})
    node.install(msgspec.structs.replace(everyone, epoch=everyone.epoch + 2))
    assert node.suspects() == set()
    node.run(1.1, {2: ()})
    assert node.suspects() == {3}


def test_a_node_knows_whether_it_hears_a_majority(node: Listener) -> None:
    assert node.detector.hears_majority(node.now, VOTERS)
    node.run(1.2, {2: ()})
    assert node.detector.hears_majority(node.now, VOTERS)
    node.run(1.2, {})
    assert not node.detector.hears_majority(node.now, VOTERS)
