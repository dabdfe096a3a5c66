"""A node goes while a client is at work: nothing is lost and nothing hangs, whichever client it is."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import zmqueue
from tests.client.contract.faces import Adapter, beside

QUICK = zmqueue.Settings(buckets=8, suspicion_ms=400, heartbeat_ms=50)
COUNT = 400


def test_submits_work_and_results_go_on_when_a_node_stops(adapter: Adapter, tmp_path: Path) -> None:
    first = zmqueue.Node(tmp_path / "a", listen="tcp://127.0.0.1:0", settings=QUICK, found=True)
    with first:
        others = [zmqueue.Node(tmp_path / name, listen="tcp://127.0.0.1:0", settings=QUICK, join=[first.endpoint])
                  for name in "bc"]
        with others[0], others[1], adapter.client(others[0].endpoint, others[1].endpoint, timeout=30.0) as client:
            _work_through_a_stop(adapter, client, first)


def _work_through_a_stop(adapter: Adapter, client: Any, stopped: zmqueue.Node) -> None:
    def handler(work: Any) -> object:
        time.sleep(0.001)
        return work.payload * 2

    with adapter.worker(client, {"q": handler}, concurrency=8):
        tickets = [client.submit("q", number) for number in range(COUNT // 4)]
        stopping = beside(stopped.stop)
        results = beside(lambda: list(client.results([ticket.token for ticket in tickets], 60.0)))
        more = [client.submit("q", number) for number in range(COUNT // 4, COUNT)]
        assert [ticket.result(60.0) for ticket in more] == [number * 2 for number in range(COUNT // 4, COUNT)]
        found = {result.token: result.get() for result in results.result(60.0)}
        assert [found[ticket.token] for ticket in tickets] == [number * 2 for number in range(COUNT // 4)]
        stopping.result(30.0)
