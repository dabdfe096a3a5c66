"""The worker: runs, results, failures, killed processes, draining; over real sockets, against fake nodes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqueue
from tests.client.serving import Served
from zmqueue.client.executors import Outcome, error_text, perform
from zmqueue.client.foreman import retry_delay
from zmqueue.core.operations import How, Kind


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(3) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[zmqueue.Client]:
    with zmqueue.Client(*served.endpoints) as client:
        yield client


def poll(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a state of the world."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def double(work: Any) -> object:
    return work.payload * 2


def facts(work: Any) -> object:
    return [work.payload, work.queue, work.headers["a"], work.deliveries, work.fencing, os.getpid()]


def die_once(work: Any) -> object:
    if work.deliveries == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return work.error


def at_once(deliveries: int) -> float:
    return 0.0


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_the_same_handler_runs_in_threads_and_in_processes(client: zmqueue.Client, executor: Any) -> None:
    ticket = client.submit("q", {"x": 1}, headers={"a": "b"})
    with zmqueue.Worker(client, {"q": facts}, concurrency=2, executor=executor):
        payload, queue, header, deliveries, fencing, process = ticket.result(30.0)
    assert (payload, queue, header, deliveries, fencing) == ({"x": 1}, "q", "b", 1, 1)
    assert (process == os.getpid()) is (executor == "thread")


def test_a_killed_process_costs_only_its_own_message_which_runs_again(client: zmqueue.Client) -> None:
    deadly = client.submit("deadly", "x")
    others = client.submit_many("q", range(10))
    with zmqueue.Worker(client, {"deadly": die_once, "q": double}, concurrency=2, executor="process",
                        retry_delay=at_once) as worker:
        assert deadly.result(30.0) == "lost: the process that ran it died (killed, or crashed)"
        assert [ticket.result(30.0) for ticket in others] == [number * 2 for number in range(10)]
        assert worker.statistics.failed == 1


def test_a_handlers_end_is_an_outcome() -> None:
    work = zmqueue.Work("x", "token", "q")

    def leave(work: zmqueue.Work) -> None:
        sys.exit("enough")

    def reject(work: zmqueue.Work) -> None:
        raise zmqueue.Reject

    assert perform(double, work) == Outcome(How.ACK, Kind.TEXT, b"xx")
    assert perform(lambda work: object(), work).how is How.NACK
    assert perform(leave, work).error.startswith("SystemExit: enough")
    assert perform(reject, work) == Outcome(How.REJECT, error="rejected by its handler")
    assert len(error_text(ValueError("x" * 10_000))) == 4_000


def test_a_failed_message_rests_longer_each_time() -> None:
    assert [retry_delay(deliveries) for deliveries in (1, 2, 3, 20, 10_000)] == [0.1, 0.2, 0.4, 60.0, 60.0]


def test_a_worker_goes_on_after_all_nodes_were_deaf(served: Served, client: zmqueue.Client) -> None:
    with zmqueue.Worker(client, {"q": double}, concurrency=2):
        assert client.submit("q", 1).result(10.0) == 2
        served.drop = {0, 1, 2}
        time.sleep(1.0)                                      # long enough for requests to fall silent
        served.drop = set()
        assert client.submit("q", 2).result(20.0) == 4


def test_run_in_a_thread_ends_when_it_is_stopped(client: zmqueue.Client) -> None:
    worker = zmqueue.Worker(client, {"q": double})
    thread = threading.Thread(target=worker.run)
    thread.start()
    assert client.submit("q", 1).result(10.0) == 2
    worker.stop()
    thread.join(5.0)
    assert not thread.is_alive()


PROGRAM = """
import sys, time, zmqueue

def handler(work):
    print("begun", flush=True)
    time.sleep(float(work.payload))
    return "done"

if __name__ == "__main__":
    with zmqueue.Client(*sys.argv[2:]) as client:
        zmqueue.Worker(client, {"q": handler}, concurrency=1, executor=sys.argv[1], grace=20).run()
    print("end", flush=True)
"""


@pytest.mark.parametrize("executor", ["thread", "process"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_a_program_that_works(served: Served, client: zmqueue.Client, tmp_path: Path, executor: str,
                                              number: signal.Signals) -> None:
    ticket = client.submit("q", "0.5")
    process = _program(tmp_path, executor, served)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    process.send_signal(number)
    out, err = process.communicate(timeout=20)
    assert (process.returncode, out, err) == (0, "end\n", "")
    assert ticket.result(5.0) == "done"


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_a_second_signal_ends_it_at_once(served: Served, client: zmqueue.Client, tmp_path: Path, executor: str) -> None:
    client.submit("q", "60")
    process = _program(tmp_path, executor, served)
    assert process.stdout is not None and process.stdout.readline() == "begun\n"
    began = time.monotonic()
    process.send_signal(signal.SIGTERM)
    time.sleep(0.3)                                          # two signals at once may arrive as one
    process.send_signal(signal.SIGTERM)
    out, _ = process.communicate(timeout=20)
    assert process.returncode == 0 and out == "end\n" and time.monotonic() - began < 10.0


def _program(folder: Path, executor: str, served: Served) -> subprocess.Popen[str]:
    path = folder / "works.py"
    path.write_text(PROGRAM)
    package = str(Path(zmqueue.__file__).parent.parent)
    return subprocess.Popen([sys.executable, str(path), executor, *served.endpoints], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": package})
