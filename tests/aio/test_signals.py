"""Signals in an event loop: told while it is asked for, and as before afterwards."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from types import FrameType

import pytest

from tests.aio.conftest import Run
from zmqueue.aio.signals import signals


@pytest.fixture
def mine() -> Iterator[list[int]]:
    """What a handler of the program's own was told."""
    told: list[int] = []

    def handler(number: int, frame: FrameType | None) -> None:
        told.append(number)

    before = signal.signal(signal.SIGTERM, handler)
    yield told
    signal.signal(signal.SIGTERM, before)


def test_signals_are_told_to_the_loop_and_afterwards_to_whom_they_went_before(run: Run, mine: list[int]) -> None:
    async def program() -> None:
        told = asyncio.Event()
        interrupt = signal.getsignal(signal.SIGINT)
        for number in (signal.SIGTERM, signal.SIGINT):
            told.clear()
            with signals(asyncio.get_running_loop(), told.set):
                os.kill(os.getpid(), number)
                async with asyncio.timeout(5.0):
                    await told.wait()
        assert mine == []
        os.kill(os.getpid(), signal.SIGTERM)
        async with asyncio.timeout(5.0):
            while not mine:
                await asyncio.sleep(0.01)
        assert signal.getsignal(signal.SIGINT) is interrupt

    run(program())
