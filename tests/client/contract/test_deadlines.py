"""Hard limits: a handler that has had its time, or whose request is cancelled, is stopped where that can be done."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter


@pytest.fixture
def client(adapter: Adapter, node: zmqueue.Node) -> Iterator[Any]:
    with adapter.client(node.endpoint) as client:
        yield client


def poll(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a state of the world."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)


def stuck(work: Any) -> object:
    """Says which process it is, and stays until that is killed; at the second word returns."""
    if isinstance(work.payload, str):
        return work.payload
    Path(work.payload["file"]).write_text(str(os.getpid()), encoding="utf-8")
    time.sleep(60.0)
    return None


def alive(process: int) -> bool:
    """Is there such a process?"""
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True


def written(file: Path) -> int:
    """The process that was written down; 0: none yet."""
    return int(file.read_text(encoding="utf-8") or 0) if file.exists() else 0


def test_a_coroutine_is_cancelled_when_its_deadline_has_passed(adapter: Adapter, client: Any, queue: str,
                                                              request: pytest.FixtureRequest) -> None:
    if request.node.callspec.params["adapter"] == "sync":
        pytest.skip("it has no coroutines")
    cancelled = []

    async def handler(message: Any) -> None:
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            cancelled.append(message.token)
            raise

    ticket = client.submit(queue, 1, deadline=0.1, attempts=1)
    with adapter.worker(client, {queue: handler}) as worker:
        with pytest.raises(zmqueue.RequestFailed, match=r"its deadline has passed: it ran for more than 0\.1 s"):
            ticket.result(10.0)
        assert cancelled == [ticket.token]
        poll(lambda: worker.statistics == zmqueue.WorkerStatistics(failed=1))


def test_a_thread_cannot_be_stopped_so_its_message_fails_and_its_slot_stays_taken(adapter: Adapter, client: Any,
                                                                                 queue: str) -> None:
    gate = threading.Event()
    ran, lost = [], []

    def handler(work: Any) -> str:                           # a plain function: each kind runs it in threads
        ran.append(work.payload)
        if work.payload == 1:
            gate.wait(30.0)
            lost.append(getattr(work, "lost", True))         # what has no lease cannot look
        return "late"

    late = client.submit(queue, 1, deadline=0.1, attempts=1, priority=9)
    with adapter.worker(client, {queue: handler}, concurrency=1) as worker:
        with pytest.raises(zmqueue.RequestFailed, match="its deadline has passed"):
            late.result(10.0)
        other = client.submit(queue, 2)
        poll(lambda: worker.statistics == zmqueue.WorkerStatistics(failed=1, running=1))
        assert ran == [1] and other.status().state == "ready"
        gate.set()
        assert other.result(10.0) == "late"
        poll(lambda: worker.statistics == zmqueue.WorkerStatistics(failed=1, done=1))
    assert late.status().state == "dead" and lost == [True]


def test_a_process_is_killed_when_its_deadline_has_passed_and_another_takes_its_place(
        adapter: Adapter, client: Any, queue: str, tmp_path: Path) -> None:
    file = tmp_path / "process"
    with adapter.worker(client, {queue: stuck}, executor="process", concurrency=1) as worker:
        assert client.submit(queue, "warm").result(20.0) == "warm"           # starting takes longer than the deadline
        ticket = client.submit(queue, {"file": str(file)}, deadline=0.5, attempts=1)
        with pytest.raises(zmqueue.RequestFailed, match="its deadline has passed"):
            ticket.result(20.0)
        process = written(file)
        assert process
        poll(lambda: not alive(process))
        assert client.submit(queue, "again").result(20.0) == "again"
        poll(lambda: worker.statistics == zmqueue.WorkerStatistics(failed=1, done=2))


def test_a_process_is_killed_when_its_request_is_cancelled_where_that_is_wished(
        adapter: Adapter, client: Any, queue: str, tmp_path: Path) -> None:
    file = tmp_path / "process"
    with adapter.worker(client, {queue: stuck}, executor="process", concurrency=1, on_cancel="kill") as worker:
        ticket = client.submit(queue, {"file": str(file)})
        poll(lambda: written(file))
        assert ticket.cancel() is True
        with pytest.raises(zmqueue.RequestFailed, match="broken off: the process that ran it was killed") as caught:
            ticket.result(20.0)
        assert caught.value.state == "cancelled" and caught.value.deliveries == 1
        poll(lambda: not alive(written(file)))
        assert client.submit(queue, "again").result(20.0) == "again"
        poll(lambda: worker.statistics == zmqueue.WorkerStatistics(cancelled=1, done=1))


def test_only_processes_of_the_workers_own_can_be_killed(adapter: Adapter, client: Any, queue: str) -> None:
    with pytest.raises(ValueError, match="it needs executor='process'"):
        adapter.worker(client, {queue: stuck}, on_cancel="kill")
    with pytest.raises(ValueError, match="allowed are 'tell' and 'kill'"):
        adapter.worker(client, {queue: stuck}, on_cancel="stop")
