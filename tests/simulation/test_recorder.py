"""What programs call and are told is written down as it was for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.simulation.checkers import Violation
from tests.simulation.checkers.history import How, Seen, What
from tests.simulation.checkers.sequential import Specification
from tests.simulation.last_look import LastLook
from tests.simulation.recorder import Histories, Recorder
from zmqueue.client.leasing import Holding
from zmqueue.core import operations
from zmqueue.core.ids import make_id
from zmqueue.testing import VirtualCluster

STRANGE = make_id(1_700_000_000_000, 7, bytes(15))


class Scene:
    """A whole cluster of three, a producer and a worker."""

    def __init__(self) -> None:
        self.recorder = Recorder()
        self.cluster = VirtualCluster(observers=[self.recorder], make_client=self.recorder.client)
        self.producer = self.cluster.client()
        self.held: list[Holding] = []

    def submit(self, *bodies: bytes) -> list[bytes]:
        call = self.producer.submit("jobs", list(bodies))
        assert self.cluster.run_until(lambda: call.finished)
        assert call.value is not None
        return [item.id for item in call.value if item.id is not None]

    def work(self) -> None:
        self.worker = self.cluster.client()
        self.worker.work(["jobs"], 8, self.held.append)
        self.cluster.run(1.0)

    @property
    def histories(self) -> Histories:
        return self.recorder.histories(doubled=False)

    def look(self) -> LastLook:
        return LastLook(self.cluster, self.recorder, Specification(mortal=False))


@pytest.fixture
def scene() -> Iterator[Scene]:
    yield Scene()


def test_a_message_has_its_whole_life_in_its_history(scene: Scene) -> None:
    first, second = scene.submit(b"a", b"b")
    scene.work()
    done = scene.worker.settle(scene.held[0], operations.How.ACK, b"result")
    scene.worker.settle(scene.held[1], operations.How.REJECT)
    assert scene.cluster.run_until(lambda: done.finished)
    scene.cluster.run(1.0)
    look = scene.look()
    look.ask()
    report = look.judge(doubled=False)
    assert (report.submitted, report.acknowledged, report.delivered, report.settled) == (2, 2, 2, 2)
    acts = {message_id: [(act.what, act.how, act.seen, act.result) for act in acts]
            for message_id, acts in scene.histories.items()}
    one, other = (scene.held[index].id for index in (0, 1))
    assert {one, other} == {first, second}
    assert acts[one] == [(What.SUBMIT, None, None, None), (What.GRANT, None, None, None),
                         (What.SETTLE, How.ACK, None, b"result"), (What.READ, None, Seen.DONE, b"result")]
    assert acts[other][2:] == [(What.SETTLE, How.REJECT, None, None), (What.READ, None, Seen.DEAD, None)]


def test_what_a_program_did_not_live_to_see_has_no_end(scene: Scene) -> None:
    message_id, = scene.submit(b"a")
    scene.work()
    call = scene.producer.submit("jobs", [b"b"], message_id=message_id)
    scene.worker.settle(scene.held[0], operations.How.ACK)
    scene.cluster.run(0.0005)                      # the packets are under way
    scene.producer.crash()
    scene.worker.crash()
    scene.cluster.run(1.0)
    assert not call.finished
    certain = [(act.what, act.certain) for act in scene.histories[message_id]]
    assert sorted(certain, key=str) == sorted([
        (What.SUBMIT, True), (What.GRANT, True), (What.SUBMIT, False), (What.SETTLE, False)], key=str)


def test_what_is_refused_did_not_happen_unless_the_network_doubled_it(scene: Scene) -> None:
    message_id, = scene.submit(b"a")
    scene.work()
    first = scene.worker.settle(scene.held[0], operations.How.ACK)
    assert scene.cluster.run_until(lambda: first.finished)
    second = scene.worker.settle(scene.held[0], operations.How.REJECT)
    assert scene.cluster.run_until(lambda: second.finished)
    assert first.error is None and second.error is not None and second.error.definite
    assert [act.how for act in scene.histories[message_id] if act.what is What.SETTLE] == [How.ACK]
    doubled = scene.recorder.histories(doubled=True)[message_id]
    assert [(act.how, act.certain) for act in doubled if act.what is What.SETTLE] == [
        (How.ACK, True), (How.REJECT, False)]


def test_what_a_settle_carries_is_put_in_where_it_holds(scene: Scene) -> None:
    scene.submit(b"a", b"b")
    scene.work()
    kept, dropped = (scene.worker.parcel("more", body) for body in (b"kept", b"dropped"))
    scene.worker.settle(scene.held[0], operations.How.ACK, then=[kept])
    gone = scene.worker.settle(scene.held[1], operations.How.REJECT)
    assert scene.cluster.run_until(lambda: gone.finished)
    late = scene.worker.settle(scene.held[1], operations.How.ACK, then=[dropped])
    assert scene.cluster.run_until(lambda: late.finished)
    assert late.error is not None and late.error.definite
    assert [act.promised for act in scene.histories[kept.message.id]] == [True]
    assert dropped.message.id not in scene.histories


def test_who_asks_after_what_nobody_put_in_is_told_that_it_is_unknown(scene: Scene) -> None:
    scene.producer.ask(STRANGE)
    scene.cluster.run(1.0)
    assert [act.seen for act in scene.histories[STRANGE]] == [Seen.UNKNOWN]
    assert list(scene.recorder.submitted) == []


def test_a_cluster_that_does_not_answer_is_not_well(scene: Scene) -> None:
    scene.submit(b"a")
    for node in scene.cluster.nodes.values():
        node.crash()
    with pytest.raises(Violation, match="a program asks after"):
        scene.look().ask()
