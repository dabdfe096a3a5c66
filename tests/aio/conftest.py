"""A real node, a cluster of fakes, and event loops that complain to the test."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest

import zmqueue
from tests.client.contract.conftest import uvloop_loop
from tests.client.serving import Served

Run = Callable[[Coroutine[Any, Any, Any]], Any]
"""Run a coroutine in a new loop; the test fails where tasks are left over, or the loop complains of anything."""

LOOPS: dict[str, Callable[[], asyncio.AbstractEventLoop]] = {
    "asyncio": asyncio.new_event_loop, "uvloop": uvloop_loop}


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqueue.Node]:
    """One node that serves."""
    folder = tmp_path_factory.mktemp("aio")
    with zmqueue.Node(folder / "node", listen="tcp://127.0.0.1:0", found=True,
                      settings=zmqueue.Settings(buckets=8)) as node:
        yield node


@pytest.fixture
def served() -> Iterator[Served]:
    """Three nodes that are fakes."""
    with Served(3) as served:
        yield served


@pytest.fixture(params=list(LOOPS))
def run(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> Iterator[Run]:
    """In each kind of loop."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    complaints: list[dict[str, Any]] = []

    def run(coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def whole() -> Any:
            asyncio.get_running_loop().set_exception_handler(lambda loop, context: complaints.append(context))
            try:
                return await coroutine
            finally:
                left = asyncio.all_tasks() - {asyncio.current_task()}
                if left:
                    complaints.append({"message": f"tasks left over: {left}"})

        with asyncio.Runner(loop_factory=LOOPS[request.param]) as runner:
            return runner.run(whole())

    yield run
    assert complaints == []
    assert [record.message for record in caplog.records if record.name == "asyncio"] == []


_numbers = itertools.count()


@pytest.fixture
def queue() -> str:
    """A queue that nobody else uses."""
    return f"aio-{next(_numbers)}"
