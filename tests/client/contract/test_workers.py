"""What a worker does with messages, whichever client it works for."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

import zmqueue
from tests.client.contract.faces import Adapter

LONG_S = 60.0          # a lease that no test waits for


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


def at_once(deliveries: int) -> float:
    return 0.0


def double(work: Any) -> object:
    return work.payload * 2


def test_a_handler_sees_the_message_and_what_it_returns_is_the_result(adapter: Adapter, client: Any,
                                                                      queue: str) -> None:
    def facts(work: Any) -> object:
        return [work.payload, work.queue, work.headers["a"], work.deliveries, work.fencing, work.token]

    ticket = client.submit(queue, {"x": 1}, headers={"a": "b"})
    with adapter.worker(client, {queue: adapter.handler(facts)}):
        assert ticket.result(20.0) == [{"x": 1}, queue, "b", 1, 1, ticket.token]


def test_many_messages_of_several_queues_are_worked_off_and_none_twice(adapter: Adapter, client: Any,
                                                                       queue: str) -> None:
    ran: list[object] = []
    handler = adapter.handler(lambda work: ran.append(work.payload))
    client.submit_many(queue, range(1000))
    client.submit_many(queue + "-b", range(1000, 1500))
    with adapter.worker(client, {queue: handler, queue + "-b": handler}, concurrency=20) as worker:
        poll(lambda: worker.statistics.done == 1500)
    assert sorted(ran) == list(range(1500))  # type: ignore[type-var]  # they are numbers
    assert worker.statistics == zmqueue.WorkerStatistics(done=1500)


def test_it_leases_no_more_than_its_concurrency(adapter: Adapter, client: Any, queue: str) -> None:
    running: list[int] = []
    most: list[int] = []
    gate = threading.Event()

    def handler(work: Any) -> None:                          # a plain function: each kind runs it in threads
        running.append(work.payload)
        most.append(len(running))
        gate.wait(10.0)
        running.remove(work.payload)

    client.submit_many(queue, range(12))
    with adapter.worker(client, {queue: handler}, concurrency=3) as worker:
        poll(lambda: len(running) == 3)
        assert [view.leased for view in client.queues() if view.name == queue] == [3]
        gate.set()
        poll(lambda: worker.statistics.done == 12)
    assert max(most) == 3


@pytest.mark.parametrize("plain", [True, False])
def test_failures_are_tried_again_and_rejects_are_dead(adapter: Adapter, client: Any, queue: str, plain: bool) -> None:
    errors: list[str] = []

    def handler(work: Any) -> str:
        if work.payload == "never":
            raise zmqueue.Reject("no such picture")
        errors.append(work.error)
        if work.deliveries < 3:
            raise ValueError("not yet")
        return "done"

    ticket, never = client.submit(queue, "x"), client.submit(queue, "never")
    chosen = handler if plain else adapter.handler(handler)
    with adapter.worker(client, {queue: chosen}, retry_delay=at_once) as worker:
        assert ticket.result(20.0) == "done"
        with pytest.raises(zmqueue.RequestFailed, match="no such picture"):
            never.result(20.0)
        poll(lambda: (worker.statistics.done, worker.statistics.failed, worker.statistics.rejected) == (1, 2, 1))
    assert errors[0] == "" and errors[1].startswith("ValueError: not yet\nTraceback") and "handler" in errors[1]


def test_what_cannot_be_a_result_is_an_error_of_the_handler(adapter: Adapter, client: Any, queue: str) -> None:
    large, wrong = client.submit(queue, "large"), client.submit(queue, "wrong", attempts=1)
    handler = adapter.handler(lambda work: bytes(2 << 20) if work.payload == "large" else object())
    with adapter.worker(client, {queue: handler}):
        with pytest.raises(zmqueue.RequestFailed, match="result is 2,097,152 bytes; the limit is 1,048,576"):
            large.result(20.0)
        with pytest.raises(zmqueue.RequestFailed, match="TypeError: a payload or result is bytes, str"):
            wrong.result(20.0)


@pytest.mark.parametrize("executor", ["process", "pool"])
def test_plain_handlers_run_wherever_the_executor_says(adapter: Adapter, client: Any, queue: str,
                                                       executor: str) -> None:
    ticket = client.submit(queue, 21)
    with ThreadPoolExecutor(2) as pool, \
            adapter.worker(client, {queue: double}, executor=pool if executor == "pool" else executor, concurrency=2):
        assert ticket.result(30.0) == 42


def test_stopping_lets_what_runs_end_and_gives_back_the_rest(adapter: Adapter, client: Any, queue: str) -> None:
    begun, gate = threading.Event(), threading.Event()

    def handler(work: Any) -> str:
        begun.set()
        gate.wait(10.0)
        return "done"

    tickets = client.submit_many(queue, range(5))
    worker = adapter.worker(client, {queue: handler}, concurrency=1, lease=LONG_S)
    worker.start()
    assert begun.wait(10.0)
    threading.Timer(0.2, gate.set).start()
    worker.stop()
    assert sorted(ticket.status().state for ticket in tickets) == ["done"] + ["ready"] * 4
    assert worker.statistics.done == 1
    with pytest.raises(RuntimeError, match="started once"):
        worker.start()
    worker.stop()


def test_stopping_without_draining_gives_back_what_runs_at_once(adapter: Adapter, client: Any, queue: str) -> None:
    begun, gate = threading.Event(), threading.Event()

    def handler(work: Any) -> None:
        begun.set()
        gate.wait(20.0)

    client.submit(queue, "x")
    worker = adapter.worker(client, {queue: handler}, lease=LONG_S)
    worker.start()
    assert begun.wait(10.0)
    began = time.monotonic()
    worker.stop(drain=False)
    assert len(client.lease(queue, wait=10.0)) == 1
    assert time.monotonic() - began < 3.0
    gate.set()


def test_a_lease_is_renewed_for_as_long_as_its_handler_runs(adapter: Adapter, client: Any, queue: str) -> None:
    runs: list[int] = []

    def handler(work: Any) -> str:
        runs.append(work.deliveries)
        time.sleep(3.0)                                      # longer than the lease; it blocks an event loop
        return "done"

    ticket = client.submit(queue, "x")
    with adapter.worker(client, {queue: adapter.handler(handler)}, lease=1.0):
        assert ticket.result(20.0) == "done"
    assert runs == [1]


def test_a_worker_whose_client_is_closed_says_so(adapter: Adapter, node: zmqueue.Node, queue: str) -> None:
    client = adapter.client(node.endpoint)
    worker = adapter.worker(client, {queue: double})
    threading.Timer(0.3, client.close).start()
    with pytest.raises(zmqueue.Closed, match="closed while its worker ran"):
        worker.run()
    with pytest.raises(zmqueue.Closed):
        adapter.worker(client, {queue: double}).start()


def test_what_is_wrong_with_a_worker_is_said_at_once(adapter: Adapter, client: Any) -> None:
    with pytest.raises(ValueError, match="at least one handler"):
        adapter.worker(client, {})
    with pytest.raises(TypeError, match="the handler of queue 'q' is not callable: int"):
        adapter.worker(client, {"q": 1})  # type: ignore[dict-item]
    with pytest.raises(ValueError, match="concurrency is 0; allowed is 1 to 1000"):
        adapter.worker(client, {"q": double}, concurrency=0)
    with pytest.raises(ValueError, match="executor is 'fiber'; allowed are"):
        adapter.worker(client, {"q": double}, executor="fiber")
    with pytest.raises(TypeError, match=r"Worker\(\) has no option 'threads'; allowed are concurrency, executor"):
        adapter.worker(client, {"q": double}, threads=3)
