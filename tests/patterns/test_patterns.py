"""The three patterns on clusters of three node processes, of which the busiest is killed while they are at work."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqueue
from tests.cluster.rig import Cluster, cluster, eventually
from zmqueue.patterns.long_polling import hold, wait_for
from zmqueue.patterns.short_polling import RETRY_AFTER_S_MAX, Look, poll, retry_after, submit_request
from zmqueue.patterns.worker_pool import pool, serve


@pytest.fixture
def three(tmp_path: Path) -> Iterator[Cluster]:
    """Three nodes that a test may kill."""
    with cluster(tmp_path) as made:
        yield made


def upper(work: zmqueue.Work) -> str:
    """A handler for threads and processes."""
    if work.payload == "never":
        raise zmqueue.Reject("never")
    return str(work.payload).upper()


class Gate:
    """A handler that begins at once and ends when it is told to."""

    def __init__(self) -> None:
        self.begun, self.opened = threading.Event(), threading.Event()

    def __call__(self, message: zmqueue.Message) -> str:
        self.begun.set()
        assert self.opened.wait(60.0)
        return str(message.payload)


def test_short_polling_shows_each_state_and_survives_the_death_of_a_node(three: Cluster) -> None:
    gate = Gate()
    with three.client() as client:
        drawn = client.new_id()
        token = submit_request(client, "pages", "hello", token=drawn)
        assert token == drawn == submit_request(client, "pages", "hello", token=drawn)
        first = poll(client, token)
        assert (first.look, first.final, first.retry_after) == (Look.LOADING, False, retry_after(0))
        with pool(client, {"pages": gate}, threads=2):
            assert gate.begun.wait(30.0)
            three.busiest(client).kill()
            assert poll(client, token, 3).look is Look.LOADING
            gate.opened.set()
            eventually(lambda: poll(client, token).final, 30.0, lambda: "it did not end")
        page = poll(client, token)
        assert (page.look, page.result, page.retry_after) == (Look.READY, "hello", None)


def test_short_polling_tells_failed_and_unknown(three: Cluster) -> None:
    with three.client() as client:
        token = submit_request(client, "pages", "never")
        with pool(client, {"pages": upper}):
            eventually(lambda: poll(client, token).final, 30.0, lambda: "it did not end")
        page = poll(client, token)
        assert (page.look, page.error) == (Look.FAILED, "never")
        assert poll(client, client.new_id()).look is Look.UNKNOWN
        with pytest.raises(zmqueue.BadToken):
            poll(client, "no token")


def test_the_pauses_grow_to_a_limit() -> None:
    pauses = [retry_after(polls) for polls in (0, 1, 2, 5, 10, 1_000_000)]
    assert pauses == sorted(pauses) and pauses[0] < 1.0 and pauses[-1] == RETRY_AFTER_S_MAX


def test_a_long_poll_goes_on_through_the_death_of_a_node(three: Cluster) -> None:
    gate = Gate()
    with three.client() as client:
        token = client.submit("slow", "worth it").token
        with pool(client, {"slow": gate}, threads=1):
            assert gate.begun.wait(30.0)
            assert not hold(client, token, 0.2).ended
            results: list[object] = []
            waiter = threading.Thread(target=lambda: results.append(wait_for(client, token, 60.0)))
            waiter.start()
            three.busiest(client).kill()
            gate.opened.set()
            waiter.join(60.0)
        assert results == ["worth it"]
        assert hold(client, token).result == "worth it"


def test_a_long_poll_waits_for_a_cluster_that_is_away_and_comes_back(three: Cluster) -> None:
    with three.client() as client:
        token = client.submit("slow", "patience").token
        results: list[object] = []
        waiter = threading.Thread(target=lambda: results.append(wait_for(client, token, 90.0)))
        for node in three.nodes:
            node.kill()
        waiter.start()
        for node in three.nodes:
            node.start(wait=0)
        for node in three.nodes:
            node.await_serving()
        with pool(client, {"slow": upper}):
            waiter.join(90.0)
        assert results == ["PATIENCE"]


def test_a_long_poll_ends_with_the_end_of_the_request_or_of_its_time(three: Cluster) -> None:
    with three.client() as client:
        token = client.submit("slow", "never").token
        began = time.monotonic()
        with pytest.raises(zmqueue.ResultTimeout):
            wait_for(client, token, 0.3)
        assert 0.25 < time.monotonic() - began < 10.0
        with pool(client, {"slow": upper}), pytest.raises(zmqueue.RequestFailed, match="never"):
            wait_for(client, token, 60.0)
        assert hold(client, token).error == "never"


@pytest.mark.parametrize("kind", ["threads", "processes"])
def test_a_pool_works_all_off_though_a_node_dies(kind: str, three: Cluster) -> None:
    with three.client(timeout=60.0) as client:
        texts = [f"text {number}" for number in range(300)]
        tickets = client.submit_many("texts", texts)
        with pool(client, {"texts": upper}, **{kind: 2}):
            tickets[0].result(timeout=60.0)
            three.busiest(client).kill()
            assert [ticket.result(timeout=60.0) for ticket in tickets] == [text.upper() for text in texts]


def test_a_worker_program_that_is_killed_hands_its_work_to_another(three: Cluster, tmp_path: Path) -> None:
    program = tmp_path / "worker.py"
    program.write_text(textwrap.dedent("""
        import sys, time
        from zmqueue.patterns.worker_pool import serve

        def handle(message):
            print(message.token, flush=True)
            time.sleep(float(sys.argv[1]))
            return sys.argv[2]

        if __name__ == "__main__":
            statistics = serve(sys.argv[3:], {"texts": handle}, threads=1)
            print("done", statistics.done)
    """), encoding="utf-8")

    def start(seconds: str, name: str) -> subprocess.Popen[str]:
        return subprocess.Popen([sys.executable, str(program), seconds, name, *three.seeds], stdout=subprocess.PIPE,
                                text=True, env=dict(os.environ))

    with three.client() as client:
        ticket = client.submit("texts", "x")
        first = start("100", "first")
        second = None
        try:
            assert first.stdout is not None and first.stdout.readline().strip() == ticket.token
            first.kill()
            second = start("0", "second")
            assert ticket.result(timeout=60.0) == "second"
            assert ticket.status().deliveries == 2
            second.send_signal(signal.SIGTERM)
            assert "done 1" in second.communicate(timeout=30.0)[0]
            assert second.returncode == 0
        finally:
            for process in (first, second):
                if process is not None:
                    process.kill()
                    process.communicate()


def test_threads_or_processes_but_not_both() -> None:
    with zmqueue.Client("tcp://127.0.0.1:1") as client, pytest.raises(ValueError, match="threads=1 and processes=1"):
        pool(client, {"texts": upper}, threads=1, processes=1)
    with pytest.raises(ValueError, match="at least one handler"):
        serve(["tcp://127.0.0.1:1"], {})


def test_results_of_all_kinds_come_back(three: Cluster) -> None:
    values: list[object] = [None, "text", b"bytes", 1, [1, {"a": None}], {}]
    with three.client() as client, pool(client, {"echo": lambda message: message.payload}):
        for value in values:
            assert wait_for(client, submit_request(client, "echo", value), 30.0) == value, json.dumps(str(value))
