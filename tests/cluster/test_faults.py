"""Real processes are killed, paused, restarted, joined and stopped while requests flow: nothing confirmed is lost."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path

from tests.cluster.rig import Flow, buckets_of, cluster, eventually, lost

RATE = 200.0                           # submits per second: enough to see a gap, and kind to a shared machine


def test_a_killed_node_is_replaced_in_seconds_and_nothing_is_lost(tmp_path: Path) -> None:
    with cluster(tmp_path) as three, three.client() as client:
        victim = three.busiest(client)
        buckets = buckets_of(client, victim.endpoint)
        with Flow(client, 32, RATE) as flow:
            flow.await_count(300)
            killed = time.monotonic()
            victim.kill()
            eventually(lambda: flow.gap(buckets, killed) < 90 and time.monotonic() - killed > 4.0, 20.0, lambda: "")
        assert not flow.failed
        assert flow.gap(buckets, killed) < 5.0, "by default a dead node is noticed at once, a silent one after 1 s"
        assert lost(client, [token for _, _, token in flow.confirmed]) == []
        victim.start()
        three.await_whole(client, 3)


def test_a_paused_node_is_replaced_and_comes_back_without_harm(tmp_path: Path) -> None:
    with cluster(tmp_path) as three, three.client() as client:
        victim = three.busiest(client)
        buckets = buckets_of(client, victim.endpoint)
        with Flow(client, 32, RATE) as flow:
            flow.await_count(300)
            paused = time.monotonic()
            victim.signal(signal.SIGSTOP)
            threading.Event().wait(5.0)    # longer than suspicion: the others go on without it
            victim.signal(signal.SIGCONT)
            three.await_whole(client, 3, 40.0)
        assert not flow.failed
        assert flow.gap(buckets, paused) < 8.0
        assert lost(client, [token for _, _, token in flow.confirmed]) == []


def test_all_nodes_killed_at_once_lose_nothing(tmp_path: Path) -> None:
    with cluster(tmp_path) as three:
        with three.client() as client:
            tickets = client.submit_many("jobs", [f"{n}" for n in range(1_000)])
            message, = client.lease("jobs", wait=5.0)
            message.ack("answer")
        for node in three.nodes:
            node.kill()
        for node in three.nodes:
            node.start(wait=0)
        for node in three.nodes:
            node.await_serving()
        with three.client() as client:
            three.await_whole(client, 3)
            assert lost(client, [ticket.token for ticket in tickets]) == []
            assert client.result(message.token, timeout=10.0) == "answer"


def test_a_fourth_node_joins_and_leaves_while_requests_flow(tmp_path: Path) -> None:
    with cluster(tmp_path) as made, made.client() as client:
        with Flow(client, 32, RATE) as flow:
            flow.await_count(200)
            made.grow(1)
            made.await_whole(client, 4, 40.0)
            joined = {member.endpoint: member for member in client.members().members}[made.nodes[3].endpoint]
            assert joined.primary + joined.backup > 0
            assert made.nodes[3].stop() == 0
            eventually(lambda: client.members().buckets_without_primary == 0, 20.0, lambda: str(client.members()))
        assert not flow.failed
        assert flow.slowest < 5.0
        assert lost(client, [token for _, _, token in flow.confirmed]) == []
