"""Schedules of dead letters and searches: a cluster that sweeps while its nodes die, and the face of one node."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Sequence

from tests.core.fakes import WALL, Node
from tests.core.test_finding import a_node, kill, lease, numbers, page, question, search, settle, submit
from tests.simulation.checkers import Violation
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.states import States
from zmqueue.client.calls import LeaseSayCall
from zmqueue.client.leasing import Holding
from zmqueue.client.sweeping import Swept
from zmqueue.client.wishing import Wish
from zmqueue.core.operations import How, Operation, Requeued, State
from zmqueue.core.packets import Packet
from zmqueue.core.requests import EndSession, Requeue
from zmqueue.core.state import Agreed
from zmqueue.errors import ZmqueueError
from zmqueue.testing import Observer, VirtualClient, VirtualCluster, Weather

RULES = "a dead letter is kept until somebody's word, and each word holds once"
BUCKETS, LETTERS = 4, 60
STORM = Weather(delay_max=0.01, loss=0.05, duplication=0.2, overtaking=0.3, late_max=1.0)
ECHOES_S = 1.5, 4.0, 10.0
"""Seconds after which each requeue comes once more, everywhere: time enough to die again."""

DEAD = "jobs!dead"


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(RULES, what)


class _Echo(Observer):
    """A network that keeps each requeue, and delivers it again to every node, much later."""

    def __init__(self) -> None:
        self.cluster: VirtualCluster | None = None
        self._kept: set[tuple[str, int]] = set()

    def asked(self, client: VirtualClient, endpoint: str, packets: Sequence[Packet]) -> None:
        for packet in packets:
            if isinstance(packet, Requeue) and (client.name, packet.request) not in self._kept:
                self._kept.add((client.name, packet.request))
                self._later(client, packet)

    def _later(self, client: VirtualClient, packet: Requeue) -> None:
        cluster = self.cluster
        assert cluster is not None

        def deliver() -> None:
            for node in cluster.running:
                client.post(node.endpoint, [packet])
        for seconds in ECHOES_S:
            cluster.time.after(seconds, deliver)


class _Sweeping:
    """A cluster with dead letters, whose only worker finds each of them as bad as before."""

    def __init__(self, seed: int) -> None:
        agreed = Agreed(buckets=BUCKETS, vnodes=16, generation=3)
        states = States()
        self.logs = Logs(states, BUCKETS)
        self.logs.on_committed.append(self._committed)
        self.requeued: Counter[bytes] = Counter()
        echo = _Echo()
        self.cluster = VirtualCluster(seed, settings=agreed, observers=(states, self.logs, echo), weather=STORM)
        echo.cluster = self.cluster
        self.ran = 0
        self.worker = self.cluster.client()
        _, self.slots = self.worker.work(["jobs"], 20, self._work)
        call = self.cluster.client().submit("jobs", [b"%d" % number for number in range(LETTERS)], timeout=60.0)
        assert self.cluster.run_until(lambda: call.finished and self.count(State.DEAD) == LETTERS, 60.0)

    def _committed(self, bucket: int, seq: int, operation: Operation) -> None:
        if isinstance(operation, Requeued):
            self.requeued.update(operation.ids)

    def _work(self, holding: Holding) -> None:
        self.ran += 1
        self.worker.settle(holding, How.REJECT, error="as bad as before", timeout=60.0)
        self.worker.freed(self.slots)

    def count(self, state: State) -> int:
        return sum(life.state is state for model in self.logs.models for life in model.lives.values())

    def sweep(self) -> Swept:
        """Requeue all, while each node in turn dies and returns."""
        ended: list[Swept | ZmqueueError] = []
        self.cluster.client().sweep("requeue", Wish.REQUEUE, "jobs", ended.append, timeout=120.0)
        self.kill_nodes(0.02)
        assert self.cluster.run_until(lambda: bool(ended), 120.0), "the sweep ends"
        swept, = ended
        assert isinstance(swept, Swept), swept
        return swept


    def kill_nodes(self, pause: float) -> None:
        """Each in turn dies, `pause` seconds after the cluster was whole, and returns."""
        for node in list(self.cluster.nodes.values()):
            self.cluster.run(pause)
            node.crash()
            self.cluster.run(1.0)
            node.start()
            self.cluster.run_until(self.cluster.is_whole, 60.0, every=0.1)


def swept_while_nodes_die() -> None:
    """All letters are requeued while nodes are killed, and each of them is dead again within a moment, so that whatever
    is repeated meets its next death."""
    scene = _Sweeping(seed=1)
    swept = scene.sweep()
    scene.cluster.run(max(ECHOES_S) + 1.0)
    twice = sum(many > 1 for many in scene.requeued.values())
    require(not twice, f"{twice} letters were requeued twice by one sweep")
    require(len(scene.requeued) == swept.done == LETTERS and not swept.not_done,
            f"of {LETTERS} letters {len(scene.requeued)} were requeued, {swept.done} as it was told")
    assert scene.cluster.run_until(lambda: scene.count(State.DEAD) == LETTERS, 60.0), "each dies again"


def letters_in_hand_while_nodes_die() -> None:
    """Workers take letters up, mend some, give up others and hold some as long as they live, while nodes are killed.
    In the end all are mended, none twice, and none ran."""
    scene = _Sweeping(seed=2)
    cluster, mended, dice = scene.cluster, Counter[bytes](), random.Random(2)
    mender = cluster.client()
    ran, dying = scene.ran, True

    def mend(holding: Holding) -> None:
        if dying and dice.random() < 0.1:
            return                                   # nobody settles it, until its session is lost
        how = dice.choice((How.ACK, How.ACK, How.NACK))

        def said(call: LeaseSayCall) -> None:
            if how is How.ACK and call.error is None:
                mended[holding.id] += 1
        mender.settle(holding, how, timeout=60.0, notify=said)
        cluster.time.after(0.2, lambda: mender.freed(slots))

    _, slots = mender.work([DEAD], 8, mend, lease_ms=2_000)
    scene.kill_nodes(0.5)
    mender.crash()
    dying, mender = False, cluster.client()
    _, slots = mender.work([DEAD], 40, mend, lease_ms=2_000)
    cluster.run_until(lambda: scene.count(State.PURGED) == LETTERS, 300.0, every=1.0)
    left = LETTERS - scene.count(State.PURGED)
    require(not left, f"{left} of {LETTERS} letters cannot be mended")
    require(scene.ran == ran, "a letter in hand ran as a job")
    require(max(mended.values()) == 1, "a letter was mended twice")


def an_id(node: Node, number: int = 1) -> bytes:
    return node.an_id(number, drawn=WALL + 1_000 * number)


def dead(count: int) -> Node:
    node = a_node()
    submit(node, *range(1, count + 1))
    kill(node, count)
    return node


def letters_page_by_page() -> None:
    """Small pages, put together, are what one large page holds."""
    node = dead(40)
    submit(node, *range(41, 60))
    for states, count in (((State.DEAD,), 40), ((), 59)):
        require(numbers(search(node, *states, limit=7)) == list(range(1, count + 1)), "a page leaves something out")


def search_at_one_who_may_be_deposed() -> None:
    """R10: nobody has confirmed that this node is primary yet."""
    node = dead(1)
    node.send(question(State.DEAD))
    require(node.replies() == [], "a page is given before it is known that no other node is primary")


def letter_of_a_lost_session() -> None:
    """Somebody looks at a letter, and dies."""
    node = dead(2)
    require(len(lease(node, 1, DEAD)) == 1, "dead letters are not handed out")
    node.call(EndSession(1, b"s" * 16))
    require(len(page(node, question(State.DEAD)).messages) == 2, "a letter is lost with the session that looked at it")


def letter_in_hand_in_vain() -> None:
    """A worker cannot repair a letter, and asks for the next one."""
    node = dead(1)
    [grant] = lease(node, 1, DEAD)
    settle(node, grant, How.NACK)
    require(lease(node, 1, DEAD) == (), "a letter that cannot be repaired is handed out again and again")


def letter_requeued_beneath_a_hand() -> None:
    """Somebody looks at a letter while another one requeues it."""
    node = dead(1)
    [grant] = lease(node, 1, DEAD)
    try:
        node.call(Requeue(1, 0, (an_id(node),)))
        require(lease(node) == (), "a letter is run while somebody has it in hand")
        settle(node, grant, How.ACK)
    except AssertionError as error:
        if isinstance(error, Violation):
            raise
        raise Violation(RULES, f"a letter in hand is requeued: {error}") from error


def repeated_requeue() -> None:
    """A requeue comes again when its letter has died again."""
    node = dead(1)
    packet = Requeue(1, 0, (an_id(node),), (0,))
    node.call(packet)
    kill(node)
    node.call(packet)
    require(lease(node) == (), "a repeated requeue brings back a letter that died again")


SCHEDULES: dict[str, Callable[[], None]] = {schedule.__name__: schedule for schedule in (
    swept_while_nodes_die, letters_in_hand_while_nodes_die, letters_page_by_page, search_at_one_who_may_be_deposed,
    letter_of_a_lost_session, letter_in_hand_in_vain, letter_requeued_beneath_a_hand, repeated_requeue)}
