"""Tasks on a real node: workers with threads, processes and an event loop; another version's messages."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterator
from typing import Any

import pytest

import tests.app.tasks as ours
import zmqueue
import zmqueue.aio


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqueue.Node]:
    folder = tmp_path_factory.mktemp("app") / "node"
    with zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True, settings=zmqueue.Settings(buckets=4)) as node:
        yield node


@pytest.fixture
def app(node: zmqueue.Node) -> Iterator[zmqueue.App]:
    """The application's, on this node."""
    before, ours.app._seeds = ours.app._seeds, (node.endpoint,)
    yield ours.app
    ours.app.close()
    ours.app._seeds = before


@pytest.mark.parametrize("executor", ["thread", "process"])
def test_tasks_run_in_threads_and_in_processes(app: zmqueue.App, executor: Any) -> None:
    size = ours.Size(width=2, height=3)
    tickets = [ours.area.submit(size), ours.area.submit(size, scale=2)]
    elsewhere, failed = ours.where.submit(), ours.fail.submit("gone")
    with app.worker("plain", concurrency=2, executor=executor, retry_delay=lambda deliveries: 0.0) as worker:
        assert [ticket.result() for ticket in tickets] == [6, 12]
        assert ours.doubled.submit(size).result() == ours.Size(width=4, height=6)
        process, *others = elsewhere.result()
        with pytest.raises(zmqueue.RequestFailed) as caught:
            failed.result()
        assert list(ours.area.map([size] * 20, range(1, 21))) == [6 * number for number in range(1, 21)]
        assert worker.statistics.given_back == 0
    assert (process == os.getpid()) is (executor == "thread")
    assert others == ["where", 1, 1, "where"]
    assert (caught.value.error_type, caught.value.error_text, caught.value.deliveries) == ("LookupError", "gone", 2)
    assert caught.value.traceback is not None and "raise LookupError(text)" in caught.value.traceback


def test_coroutine_tasks_and_plain_ones_share_a_queue(app: zmqueue.App) -> None:
    async def main() -> list[Any]:
        tickets = [await ours.later.aio.submit(1), await ours.sooner.aio.submit(1)]
        async with app.aio_worker(concurrency=4):
            size = ours.Size(width=1, height=1)
            found: list[Any] = [await ticket.result() for ticket in tickets]
            found += [value async for value in ours.later.aio.map(range(10))]
            return [*found, await (await ours.area.aio.submit(size)).result()]

    assert asyncio.run(main()) == [2, 2, *range(1, 11), 1]


@pytest.mark.parametrize("queue", ["counted", "mixed"])
def test_progress_is_followed_while_a_task_runs(app: zmqueue.App, queue: str) -> None:
    task = ours.counted if queue == "counted" else ours.counted_beside
    ticket = task.submit(3)

    async def beside() -> list[Any]:
        async with app.aio_worker("mixed"):
            return [event.data async for event in task.aio.ticket(ticket.token).stream()]

    if queue == "mixed":
        assert asyncio.run(beside()) == [0, 1, 2, "three", 3]
        return
    with app.worker("counted"):
        assert [event.data for event in ticket.stream()] == [0, 1, 2, "three", 3]
    with pytest.raises(ValueError, match="yields progress, which another process has no way to tell"):
        app.worker("counted", executor="process")


def test_a_plain_worker_refuses_what_it_could_not_run(app: zmqueue.App) -> None:
    with pytest.raises(ValueError, match="'later' is a coroutine function"):
        app.worker()
    with pytest.raises(ValueError, match="no task of this app is in queue 'other'; there are counted, mixed, plain"):
        app.worker("other")
    with pytest.raises(ValueError, match="give the plain ones a queue of their own"):
        asyncio.run(_aio_worker(app, "mixed", executor="process"))
    local = zmqueue.App()
    with pytest.raises(ValueError, match="has no tasks"):
        local.worker()
    local.task(lambda: None)
    with pytest.raises(ValueError, match="cannot be found in another process"):
        local.worker(executor="process")


async def _aio_worker(app: zmqueue.App, *queues: str, **options: Any) -> zmqueue.aio.Worker:
    return app.aio_worker(*queues, **options)


def test_a_worker_of_an_older_version_leaves_what_it_does_not_know_to_a_newer_one(
        node: zmqueue.Node, caplog: pytest.LogCaptureFixture) -> None:
    with zmqueue.App(node.endpoint, queue="rolling") as old, zmqueue.App(node.endpoint, queue="rolling") as new:
        @old.task(name="greet")
        def greet_before(name: str) -> str:
            return f"hello {name}"

        @new.task
        def greet(name: str, loudly: bool = False) -> str:
            return f"hello {name}".upper() if loudly else f"hello {name}"

        @new.task
        def leave() -> str:
            return f"bye in delivery {zmqueue.current().deliveries}"

        with old.worker(concurrency=1) as older:
            unknown = leave.options(attempts=1).submit()
            changed = greet.options(attempts=1).submit("ann", loudly=True)
            assert greet.submit("ann").result() == "hello ann"         # whoever fits may run it
            _poll(lambda: older.statistics.given_back >= 2)
            assert greet.submit("bob").result() == "hello bob"         # what rests is in nobody's way
            with new.worker(concurrency=1):
                assert unknown.result() == "bye in delivery 1"
                assert changed.result() == "HELLO ANN"
            statistics = older.statistics
    assert statistics.failed == statistics.rejected == 0
    assert statistics.given_back < 20                                  # it does not spin
    assert any("knows no task 'leave'" in record.getMessage() for record in caplog.records)


def test_a_worker_with_an_event_loop_gives_back_what_it_does_not_know(node: zmqueue.Node) -> None:
    with zmqueue.App(node.endpoint, queue="loops") as old, zmqueue.App(node.endpoint, queue="loops") as new:
        @old.task
        async def known() -> None: ...

        @new.task(attempts=1)
        async def unknown() -> int:
            return zmqueue.current().deliveries

        async def main() -> int:
            ticket = await unknown.aio.submit()
            async with old.aio_worker() as older:
                while not older.statistics.given_back:
                    await asyncio.sleep(0.01)
                async with new.aio_worker():
                    return await ticket.result()

        assert asyncio.run(main()) == 1


def test_a_task_queues_another_with_its_result(node: zmqueue.Node) -> None:
    with zmqueue.App(node.endpoint, queue="orders") as app:
        @app.task(attempts=2)
        def order(token: str) -> str:
            zmqueue.current().then(bill.options(id=token).to(7))
            if zmqueue.current().deliveries == 1:
                raise ValueError("not yet")
            return "ordered"

        @app.task
        def bill(number: int) -> int:
            return number

        token = app.client.new_id()
        with app.worker(retry_delay=lambda deliveries: 0.0):
            assert order.submit(token).result() == "ordered"
            assert bill.ticket(token).result() == 7


def test_clients_that_an_app_made_are_made_anew_after_close(app: zmqueue.App) -> None:
    first = app.client
    app.close()
    assert first.closed and not app.client.closed
    own = zmqueue.Client("tcp://127.0.0.1:1")
    zmqueue.App(client=own).close()
    assert not own.closed
    own.close()


def _poll(condition: Any, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.01)
