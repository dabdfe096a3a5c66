"""The handover: one wake-up for a batch, nothing lost between two threads, closed loops, dead threads."""

from __future__ import annotations

import asyncio
import threading
from typing import Any

import pytest

from tests.aio.conftest import Run
from zmqueue.aio.handover import Handover
from zmqueue.client.calls import AskCall, Call
from zmqueue.errors import Closed


def ignore(call: Call[Any]) -> None:
    """Withdraws nothing."""


def test_what_is_put_while_the_loop_is_busy_costs_one_wake_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    async def program() -> None:
        loop = asyncio.get_running_loop()
        handover, got, wakes = Handover(loop, ignore), list[int](), list[object]()
        wake = loop.call_soon_threadsafe

        class Counting:
            def call_soon_threadsafe(self, action: Any) -> None:
                wakes.append(action)
                wake(action)

        monkeypatch.setattr(handover, "loop", Counting())
        for round_ in range(3):
            thread = threading.Thread(target=lambda: [handover.put(lambda: got.append(1)) for _ in range(1000)])
            thread.start()
            thread.join()                                    # the loop is busy with waiting here
            assert len(wakes) == round_ + 1
            await asyncio.sleep(0.01)
        assert len(got) == 3000

    run(program())


def test_nothing_that_is_put_is_overlooked(run: Run) -> None:
    async def program() -> None:
        handover, got = Handover(asyncio.get_running_loop(), ignore), list[int]()
        done = asyncio.Event()

        def put() -> None:
            for number in range(20_000):
                handover.put(lambda number=number: got.append(number))  # type: ignore[misc]
            handover.put(done.set)

        thread = threading.Thread(target=put)
        thread.start()
        while not done.is_set():
            await asyncio.sleep(0)                           # look as often as can be, at every moment of the other's
        thread.join()
        assert got == list(range(20_000))

    run(program())


def test_what_is_put_while_the_loop_looks_is_looked_at_as_well(run: Run) -> None:
    async def program() -> None:
        handover, done = Handover(asyncio.get_running_loop(), ignore), asyncio.Event()
        handover.put(lambda: handover.put(lambda: handover.put(done.set)))
        async with asyncio.timeout(5.0):
            await done.wait()

    run(program())


def test_a_closed_loop_does_no_harm(run: Run) -> None:
    async def program() -> Handover:
        return Handover(asyncio.get_running_loop(), ignore)

    handover = run(program())
    assert not handover.put(lambda: None) and not handover.put(lambda: None)


@pytest.mark.parametrize("finished_first", [True, False])
def test_what_was_waited_for_in_a_loop_that_is_closed_is_withdrawn(run: Run, finished_first: bool) -> None:
    withdrawn: list[Call[Any]] = []
    call = AskCall(bytes(24), 1e9)

    async def program() -> Handover:
        handover = Handover(asyncio.get_running_loop(), withdrawn.append)
        handover.wait(call)
        return handover

    handover = run(program())
    if finished_first:
        call.fail(Closed("the end"))
    else:
        handover.dissolve()
    assert withdrawn == [call]


def test_nobody_waits_for_a_thread_that_has_gone(run: Run) -> None:
    async def program() -> None:
        handover = Handover(asyncio.get_running_loop(), ignore)
        call = AskCall(bytes(24), 1e9, settled=True)
        future = handover.wait(call)
        threading.Timer(0.05, lambda: handover.put(handover.abandon)).start()
        async with asyncio.timeout(5.0):
            await future
        assert isinstance(call.error, Closed)

    run(program())
