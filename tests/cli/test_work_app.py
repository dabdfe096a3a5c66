"""`zmqueue work module:app`: the tasks of an app in processes, recycled, drained, restarted when their code changes."""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import zmqueue
from tests.cli.running import environment

TASKS = '''
from __future__ import annotations

import os
import time

import zmqueue

app = zmqueue.App(queue="work")
other = "no app"


@app.task
def answer(number: int) -> list[int]:
    return [number + 1, os.getpid()]


@app.task(queue="slow")
def nap(seconds: float) -> str:
    zmqueue.current().progress("asleep") if seconds < 60 else None
    time.sleep(seconds)
    return "rested"


@app.task(queue="slow")
def parent(count: int) -> int:
    return sum(answer.submit(number).result()[0] for number in range(count))
'''


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqueue.Node]:
    folder = tmp_path_factory.mktemp("work") / "node"
    with zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True, settings=zmqueue.Settings(buckets=4)) as node:
        yield node


@pytest.fixture
def client(node: zmqueue.Node) -> Iterator[zmqueue.Client]:
    with zmqueue.Client(node.endpoint) as client:
        yield client


@contextmanager
def working(node: zmqueue.Node, folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """A worker for the tasks in that folder."""
    (folder / "shop").mkdir(exist_ok=True)
    (folder / "shop" / "tasks.py").write_text(TASKS)
    command = [sys.executable, "-m", "zmqueue", "work", "shop.tasks:app", *arguments]
    root = str(Path(zmqueue.__file__).parents[1])
    worker = subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=environment([node.endpoint], PYTHONPATH=root))
    try:
        yield worker
    finally:
        worker.kill()
        worker.communicate()


def call(client: zmqueue.Client, task: str, queue: str, **arguments: object) -> zmqueue.Ticket:
    """A submit as another language would make it: a JSON object, and a header."""
    return client.submit(queue, arguments, headers={"zmqueue-task": task})


def drained(worker: subprocess.Popen[str]) -> dict[str, int]:
    """What it says that it did, after SIGTERM."""
    worker.send_signal(signal.SIGTERM)
    out, err = worker.communicate(timeout=30.0)
    assert worker.returncode == 0, err
    said: dict[str, int] = json.loads(out)
    return said


def test_an_app_is_worked_in_processes_that_are_replaced(client: zmqueue.Client, node: zmqueue.Node,
                                                         tmp_path: Path) -> None:
    options = ("--executor", "process", "--concurrency", "2", "--recycle-after", "2", "--queues", "work", "--json")
    with working(node, tmp_path, *options) as worker:
        answers = [call(client, "answer", "work", number=number).result(30.0) for number in range(9)]
        assert [number for number, _ in answers] == list(range(1, 10))
        assert len({process for _, process in answers}) >= 5
        left = call(client, "nap", "slow", seconds=0.0)                # of a queue that it does not work
        said = drained(worker)
    assert (said["done"], said["failed"], said["given_back"]) == (9, 0, 0)
    assert left.status().state == "ready"


def test_a_task_submits_tasks_from_its_process(client: zmqueue.Client, node: zmqueue.Node, tmp_path: Path) -> None:
    with working(node, tmp_path, "--executor", "process", "--concurrency", "2", "--json") as worker:
        assert call(client, "parent", "slow", count=3).result(60.0) == 6
        assert drained(worker)["done"] >= 4


def test_sigterm_lets_what_runs_end_and_gives_back_what_does_not(client: zmqueue.Client, node: zmqueue.Node,
                                                                 tmp_path: Path) -> None:
    with working(node, tmp_path, "--concurrency", "2", "--grace", "2", "--queues", "slow", "--json") as worker:
        quick, long = call(client, "nap", "slow", seconds=1.0), call(client, "nap", "slow", seconds=120.0)
        assert next(iter(quick.stream())).data == "asleep"
        poll(lambda: long.status().state == "leased")
        began = time.monotonic()
        drained(worker)
        assert time.monotonic() - began < 20.0
    assert quick.status().result == "rested"
    assert client.status(long.token).state == "ready"                  # at once, and not when a lease has ended
    client.lease("slow", wait=5.0)[0].reject()


def test_a_worker_starts_anew_when_its_code_changes(client: zmqueue.Client, node: zmqueue.Node, tmp_path: Path) -> None:
    pytest.importorskip("watchfiles")
    with working(node, tmp_path, "--queues", "work", "--autoreload") as worker:
        _, first = call(client, "answer", "work", number=1).result(30.0)
        changes = itertools.count()

        def changed() -> bool:                               # again, where it was changed before it was watched
            text = TASKS.replace("number + 1", "number + 100") + f"# {next(changes)}\n"
            (tmp_path / "shop" / "tasks.py").write_text(text)
            answered: bool = call(client, "answer", "work", number=1).result(30.0)[0] == 101
            return answered

        poll(changed)
        assert not _lives(first)
        worker.send_signal(signal.SIGTERM)
        _, err = worker.communicate(timeout=30.0)
        assert f"changed: {os.path.join('shop', 'tasks.py')}" in err


def poll(condition: Callable[[], object], seconds: float = 30.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.05)


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
