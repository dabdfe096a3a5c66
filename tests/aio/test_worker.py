"""The asyncio worker: tasks, their cancellation, blocked loops, signals, the end of things."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import zmqueue
import zmqueue.aio
from tests.aio.conftest import Run
from tests.client.serving import Served
from zmqueue.core.operations import State
from zmqueue.core.requests import EndSession

LONG_S = 300.0         # a lease that no test waits for


async def poll(condition: Callable[[], object], seconds: float = 20.0) -> None:
    """Wait for a state of the world."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)


def at_once(deliveries: int) -> float:
    return 0.0


def test_handlers_run_at_once_up_to_the_concurrency(run: Run, node: zmqueue.Node, queue: str) -> None:
    running, most = set[int](), list[int]()
    gate = asyncio.Event()

    async def handler(message: zmqueue.aio.Message) -> int:
        running.add(message.payload)
        most.append(len(running))
        await gate.wait()
        running.remove(message.payload)
        return int(message.payload) * 2

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            tickets = await client.submit_many(queue, range(120))
            async with zmqueue.aio.Worker(client, {queue: handler}, concurrency=50):
                await poll(lambda: len(running) == 50)
                assert [view.leased for view in await client.queues() if view.name == queue] == [50]
                gate.set()
                assert await asyncio.gather(*(ticket.result() for ticket in tickets)) == list(range(0, 240, 2))
        assert max(most) == 50

    run(program())


def test_a_handler_is_cancelled_when_its_lease_is_lost_and_the_slot_is_free_again(run: Run, served: Served) -> None:
    cancelled: list[str] = []
    begun = asyncio.Event()

    async def handler(message: zmqueue.aio.Message) -> str:
        if message.payload != "lost":
            return "done"
        begun.set()
        try:
            await asyncio.sleep(60.0)
        except asyncio.CancelledError:
            cancelled.append(message.token)
            assert message.lost
            raise
        return "never"

    async def program() -> None:
        async with zmqueue.aio.Client(*served.endpoints) as client:
            ticket = await client.submit("q", "lost")
            async with zmqueue.aio.Worker(client, {"q": handler}, concurrency=1) as worker:
                await begun.wait()
                message_id = next(iter(served.cluster.stored))
                served.cluster.session_lost.add(message_id)          # the next keepalive is told
                await poll(lambda: worker.statistics.lost == 1)
                served.cluster.session_lost.clear()
                assert cancelled == [ticket.token] and worker.statistics.running == 0
                assert await (await client.submit("q", "next")).result(5.0) == "done"

    run(program())


def test_stopping_without_draining_cancels_handlers_and_others_have_their_messages_at_once(
        run: Run, node: zmqueue.Node, queue: str) -> None:
    states: list[str] = []

    async def handler(message: zmqueue.aio.Message) -> str:
        states.append("begun")
        try:
            await asyncio.sleep(60.0)
        finally:
            await asyncio.sleep(0.01)                            # a clean-up takes a while
            states.append("cleaned up")
        return "never"

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            await client.submit_many(queue, range(3))
            worker = zmqueue.aio.Worker(client, {queue: handler}, lease=LONG_S)
            await worker.start()
            await poll(lambda: len(states) == 3)
            began = time.monotonic()
            await worker.stop(drain=False)
            assert states == ["begun"] * 3 + ["cleaned up"] * 3 and worker.statistics.running == 0
            assert len(await client.lease(queue, max=3, wait=5.0)) == 3
            assert time.monotonic() - began < 2.0

    run(program())


def test_a_handler_that_ends_well_though_it_is_cancelled_has_its_result_kept(run: Run, node: zmqueue.Node,
                                                                             queue: str) -> None:
    begun = asyncio.Event()

    async def handler(message: zmqueue.aio.Message) -> str:
        begun.set()
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60.0)
        return "just in time"

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            ticket = await client.submit(queue, "x")
            worker = zmqueue.aio.Worker(client, {queue: handler}, lease=LONG_S)
            await worker.start()
            await begun.wait()
            await worker.stop(drain=False)
            assert await ticket.result(5.0) == "just in time" and worker.statistics.done == 1

    run(program())


def test_what_was_handed_out_and_not_begun_when_the_worker_stops_goes_back_unbegun(run: Run, node: zmqueue.Node,
                                                                                  queue: str) -> None:
    begun: list[object] = []

    async def handler(message: zmqueue.aio.Message) -> None:
        begun.append(message.payload)

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            await client.submit(queue, "x")
            worker = zmqueue.aio.Worker(client, {queue: handler}, lease=LONG_S)
            await worker.start()
            end = time.monotonic() + 10.0
            while not worker.statistics.running:                 # the loop is blocked, so nothing can begin
                assert time.monotonic() < end
                time.sleep(0.001)
            await worker.stop()
            message, = await client.lease(queue, wait=5.0)
            assert begun == [] and message.deliveries == 1

    run(program())


def test_draining_waits_for_what_runs_and_a_short_grace_cancels_it(run: Run, node: zmqueue.Node, queue: str,
                                                                   caplog: pytest.LogCaptureFixture) -> None:
    begun: list[object] = []

    async def handler(message: zmqueue.aio.Message) -> str:
        begun.append(message.payload)
        await asyncio.sleep(message.payload)
        return "done"

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            short, long = [await client.submit(queue, seconds) for seconds in (0.3, 60.0)]
            worker = zmqueue.aio.Worker(client, {queue: handler}, lease=LONG_S)
            await worker.start()
            await poll(lambda: len(begun) == 2)
            await worker.stop(grace=1.0)
            assert await short.result(5.0) == "done"
            message, = await client.lease(queue, wait=5.0)
            assert message.token == long.token and message.deliveries == 2
            assert "1 handlers did not end within 1 s" in caplog.text

    run(program())


def test_a_handler_that_will_not_be_cancelled_cannot_hold_up_the_stop(run: Run, node: zmqueue.Node, queue: str,
                                                                      monkeypatch: pytest.MonkeyPatch,
                                                                      caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("zmqueue.aio.worker.CANCEL_S", 0.3)
    begun, release = asyncio.Event(), asyncio.Event()

    async def handler(message: zmqueue.aio.Message) -> None:
        begun.set()
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            await client.submit(queue, "x")
            worker = zmqueue.aio.Worker(client, {queue: handler}, lease=LONG_S)
            await worker.start()
            await begun.wait()
            began = time.monotonic()
            await worker.stop(drain=False)
            assert 0.25 < time.monotonic() - began < 2.0 and "go on though they were cancelled" in caplog.text
            message, = await client.lease(queue, wait=5.0)
            await message.ack()
            release.set()
            await poll(lambda: worker.statistics.lost == 1)

    run(program())


def test_somebody_elses_cancellation_of_a_handlers_task_gives_the_message_back(run: Run, node: zmqueue.Node,
                                                                              queue: str) -> None:
    deliveries: list[int] = []

    async def handler(message: zmqueue.aio.Message) -> str:
        deliveries.append(message.deliveries)
        if len(deliveries) == 1:
            task = asyncio.current_task()
            assert task is not None
            task.cancel()
            await asyncio.sleep(60.0)
        return "done"

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, \
                zmqueue.aio.Worker(client, {queue: handler}, concurrency=1, lease=LONG_S) as worker:
            assert await (await client.submit(queue, "x")).result(10.0) == "done"
            await poll(lambda: worker.statistics == zmqueue.WorkerStatistics(done=1))

    run(program())
    assert deliveries == [1, 1], "what is given back does not count as a delivery"


def test_what_a_handler_raises_is_its_failure_and_never_the_loops(run: Run, node: zmqueue.Node, queue: str) -> None:
    errors: list[str] = []

    async def handler(message: zmqueue.aio.Message) -> str:
        errors.append(message.error.partition("\n")[0])
        match message.deliveries:
            case 1:
                sys.exit("enough")
            case 2:
                inner: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                inner.cancel()
                await inner
            case 3:
                async with asyncio.TaskGroup() as group:
                    group.create_task(asyncio.wait_for(asyncio.sleep(60.0), 0.01))
            case 4:
                async with asyncio.timeout(0.01):
                    await asyncio.sleep(60.0)
        return "done"

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, \
                zmqueue.aio.Worker(client, {queue: handler}, retry_delay=at_once) as worker:
            assert await (await client.submit(queue, "x")).result(10.0) == "done"
            await poll(lambda: worker.statistics.done == 1)
            assert worker.statistics.failed == 4

    run(program())
    names = [error.partition(":")[0] for error in errors]
    assert names == ["", "SystemExit", "asyncio.exceptions.CancelledError", "ExceptionGroup", "TimeoutError"]


def test_a_message_can_be_extended_and_settled_by_its_handler(run: Run, node: zmqueue.Node, queue: str) -> None:
    class Handler:
        async def __call__(self, message: zmqueue.aio.Message) -> None:
            await message.extend(LONG_S)
            await message.ack("mine")

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, \
                zmqueue.aio.Worker(client, {queue: Handler()}):
            assert await (await client.submit(queue, "x")).result(10.0) == "mine"

    run(program())


def test_a_loop_blocked_beyond_lease_and_session_costs_no_second_run(run: Run, node: zmqueue.Node, queue: str) -> None:
    runs: list[int] = []

    async def handler(message: zmqueue.aio.Message) -> str:
        runs.append(message.deliveries)
        time.sleep(7.0)                                          # longer than the session's 5 s, and than the lease
        return "done"

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, \
                zmqueue.aio.Worker(client, {queue: handler}, lease=2.0):
            assert await (await client.submit(queue, "x")).result(20.0) == "done"

    run(program())
    assert runs == [1]


def test_plain_handlers_go_on_while_the_loop_is_blocked(run: Run, node: zmqueue.Node, queue: str) -> None:
    ran: list[int] = []

    def handler(work: zmqueue.Work) -> None:
        ran.append(work.payload)

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, \
                zmqueue.aio.Worker(client, {queue: handler}, concurrency=2):
            await client.submit_many(queue, range(10))
            end = time.monotonic() + 10.0
            while len(ran) < 10:                                 # without an await
                assert time.monotonic() < end
                time.sleep(0.01)

    run(program())


def test_many_workers_share_and_none_runs_a_message_twice(run: Run, node: zmqueue.Node, queue: str) -> None:
    ran: list[int] = []

    async def handler(message: zmqueue.aio.Message) -> None:
        ran.append(message.payload)
        await asyncio.sleep(0.001)

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, \
                zmqueue.aio.Worker(client, {queue: handler}, concurrency=20) as first, \
                zmqueue.aio.Worker(client, {queue: handler}, concurrency=20) as second:
            await client.submit_many(queue, range(1000))
            await poll(lambda: first.statistics.done + second.statistics.done == 1000)

    run(program())
    assert sorted(ran) == list(range(1000))


def test_storms_of_starts_and_stops_lose_nothing_and_leave_nothing_behind(run: Run, node: zmqueue.Node,
                                                                         queue: str) -> None:
    async def handler(message: zmqueue.aio.Message) -> object:
        await asyncio.sleep(0.001 * (message.payload % 7))
        return message.payload

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            # A handler that a stop cuts off counts as lost, and the first message is in hand at most of the stops.
            tickets = await client.submit_many(queue, range(300), losses=10_000)
            for number in range(25):
                worker = zmqueue.aio.Worker(client, {queue: handler}, concurrency=10, lease=LONG_S)
                await worker.start()
                await asyncio.sleep(0.002 * (number % 6))
                await worker.stop(drain=number % 3 == 0)
                assert worker.statistics.running == 0 and worker._runs == {}
            async with asyncio.timeout(30.0), zmqueue.aio.Worker(client, {queue: handler}, concurrency=10):
                assert await asyncio.gather(*(ticket.result() for ticket in tickets)) == list(range(300))

    run(program())


def test_a_cancelled_run_cancels_its_handlers_and_gives_back(run: Run, node: zmqueue.Node, queue: str) -> None:
    begun = asyncio.Event()

    async def handler(message: zmqueue.aio.Message) -> None:
        begun.set()
        await asyncio.sleep(60.0)

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            await client.submit(queue, "x")
            task = asyncio.create_task(zmqueue.aio.Worker(client, {queue: handler}, lease=LONG_S).run())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(await client.lease(queue, wait=5.0)) == 1

    run(program())


def test_run_ends_when_the_worker_is_stopped_and_not_before_it_is_drained(run: Run, node: zmqueue.Node,
                                                                          queue: str) -> None:
    begun, ended = asyncio.Event(), list[str]()

    async def handler(message: zmqueue.aio.Message) -> None:
        begun.set()
        await asyncio.sleep(0.2)
        ended.append("handler")

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            await client.submit(queue, "x")
            worker = zmqueue.aio.Worker(client, {queue: handler})
            running = asyncio.create_task(worker.run())
            running.add_done_callback(lambda _: ended.append("run"))
            await begun.wait()
            await worker.stop()
            await running
            assert ended == ["handler", "run"]

    run(program())


def test_a_worker_whose_loop_was_closed_gives_back_what_comes(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(message: zmqueue.aio.Message) -> None:
        await asyncio.sleep(60.0)

    client = zmqueue.aio.Client(*served.endpoints)
    loop = asyncio.new_event_loop()
    worker = zmqueue.aio.Worker(client, {"q": handler})
    loop.run_until_complete(worker.start())
    loop.close()                                                 # and nobody stopped the worker

    async def program() -> None:
        await client.submit("q", "x")
        await poll(lambda: any(isinstance(packet, EndSession) for _, packet in served.cluster.log))
        await client.aclose()

    asyncio.run(program())


PROGRAM = """
import asyncio, sys, zmqueue.aio

async def handler(message):
    print("begun", flush=True)
    await asyncio.sleep(float(message.payload))
    return "done"

async def main():
    async with zmqueue.aio.Client(*sys.argv[2:]) as client:
        await zmqueue.aio.Worker(client, {"q": handler}, concurrency=1, grace=20).run()
    print("end", flush=True)
    await asyncio.sleep(60.0)                                    # until SIGINT, which means again what it meant

try:
    if sys.argv[1] == "uvloop":
        import uvloop
        uvloop.run(main())
    else:
        asyncio.run(main())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_drains_a_program_that_works(served: Served, tmp_path: Path, loop: str,
                                              number: signal.Signals) -> None:
    with zmqueue.Client(*served.endpoints) as client:
        ticket = client.submit("q", "0.5")
        process = _program(tmp_path, loop, served)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        process.send_signal(number)
        assert process.stdout.readline() == "end\n"
        assert ticket.result(5.0) == "done"
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20)
        assert (process.returncode, out, err) == (0, "interrupted\n", "")


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_second_signal_ends_it_at_once(served: Served, tmp_path: Path, loop: str) -> None:
    with zmqueue.Client(*served.endpoints) as client:
        client.submit("q", "60")
        process = _program(tmp_path, loop, served)
        assert process.stdout is not None and process.stdout.readline() == "begun\n"
        began = time.monotonic()
        process.send_signal(signal.SIGTERM)
        time.sleep(0.3)                                          # two signals at once may arrive as one
        process.send_signal(signal.SIGTERM)
        assert process.stdout.readline() == "end\n" and time.monotonic() - began < 5.0
        process.kill()
        process.communicate(timeout=20)
        stored, = served.cluster.stored.values()
        assert stored.state is not State.DONE


def _program(folder: Path, loop: str, served: Served) -> subprocess.Popen[str]:
    if loop == "uvloop":
        pytest.importorskip("uvloop")
    path = folder / "works.py"
    path.write_text(PROGRAM)
    package = str(Path(zmqueue.__file__).parent.parent)
    return subprocess.Popen([sys.executable, "-W", "error", str(path), loop, *served.endpoints],
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            env=os.environ | {"PYTHONPATH": package})


def test_no_signal_handler_is_set_outside_the_main_thread(served: Served) -> None:
    before = signal.getsignal(signal.SIGTERM)
    results: list[object] = []

    async def program() -> None:
        async with zmqueue.aio.Client(*served.endpoints) as client:
            worker = zmqueue.aio.Worker(client, {"q": lambda work: "done"})
            running = asyncio.create_task(worker.run())
            results.append(await (await client.submit("q", "x")).result(10.0))
            assert signal.getsignal(signal.SIGTERM) is before
            await worker.stop()
            await running

    thread = threading.Thread(target=lambda: asyncio.run(program()))
    thread.start()
    thread.join(20.0)
    assert results == ["done"] and not thread.is_alive()


def test_the_log_says_nothing_of_a_worker_that_only_works(run: Run, node: zmqueue.Node, queue: str,
                                                          caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)

    async def handler(message: zmqueue.aio.Message) -> None:
        await asyncio.sleep(0)

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client, zmqueue.aio.Worker(client, {queue: handler}):
            tickets = await client.submit_many(queue, range(100))
            await asyncio.gather(*(ticket.result() for ticket in tickets))

    run(program())
    assert [record.message for record in caplog.records if record.name.startswith("zmqueue")] == []
