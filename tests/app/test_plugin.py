"""The fixtures that users' tests get, in a pytest of their own."""

from __future__ import annotations

import importlib.metadata
import os
import subprocess
import sys
from pathlib import Path

import zmqueue

TESTS = '''
from __future__ import annotations

import pytest

import zmqueue

app = zmqueue.App()


@app.task
def double(number: int) -> int:
    return number * 2


def test_a_task_runs_on_real_nodes(zmqueue_client):
    with zmqueue.App(client=zmqueue_client) as app:
        task = app.task(double.function)
        with app.worker():
            assert task.submit(2).result() == 4
    assert len(zmqueue_client.members().members) == 1


@pytest.mark.zmqueue(nodes=3, buckets=4, replicas=2, suspicion_ms=500)
def test_a_cluster_survives_a_stop(zmqueue_cluster, zmqueue_client):
    ticket = zmqueue_client.submit("q", b"x")
    zmqueue_cluster.nodes[0].stop()
    assert zmqueue_client.status(ticket.token).state == "ready"
    view = zmqueue_client.members()
    assert (view.buckets, view.replicas) == (4, 2)


@pytest.mark.zmqueue(seed=5)
def test_time_is_virtual(zmqueue_virtual):
    call = zmqueue_virtual.client().submit("q", [b"x"])
    assert zmqueue_virtual.run_until(lambda: call.finished) and call.error is None
    before = zmqueue_virtual.time.now
    zmqueue_virtual.run(20.0)
    assert zmqueue_virtual.time.now == before + 20.0 and len(zmqueue_virtual.nodes) == 3


@pytest.mark.zmqueue(3)
def test_a_mark_takes_names_only(zmqueue_virtual):
    pass


@pytest.mark.zmqueue(bucket=3)
def test_a_setting_that_there_is_not_is_told(zmqueue_client):
    pass
'''


def test_the_plugin_gives_clusters_and_a_client(tmp_path: Path) -> None:
    program = tmp_path / "test_users.py"
    program.write_text(TESTS)
    found = {entry.value for entry in importlib.metadata.entry_points(group="pytest11")}
    named = [] if "zmqueue.pytest_plugin" in found else ["-p", "zmqueue.pytest_plugin"]      # an older editable install
    environment = {**os.environ, "PYTHONPATH": str(Path(zmqueue.__file__).parents[1])}
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "--strict-markers", *named, str(program)]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=100,
                          check=False)
    assert "3 passed, 2 errors" in done.stdout, done.stdout + done.stderr
    assert "takes names only" in done.stdout and "bucket" in done.stdout


def test_the_plugin_imports_nothing_before_it_is_needed() -> None:
    code = ("import sys, zmqueue.pytest_plugin;"
            "print([name for name in ('zmq', 'lmdb', 'msgspec', 'pydantic') if name in sys.modules])")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
