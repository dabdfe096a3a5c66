"""A real node for the whole suite, and each client in turn."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Iterator

import pytest

import zmqueue
from tests.client.contract.faces import Adapter, Loop, Plain


def uvloop_loop() -> asyncio.AbstractEventLoop:
    """A loop of uvloop's."""
    import uvloop  # optional

    loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    return loop


KINDS: dict[str, Callable[[], Adapter]] = {
    "sync": Plain, "asyncio": lambda: Loop(asyncio.new_event_loop), "uvloop": lambda: Loop(uvloop_loop)}


@pytest.fixture(scope="session")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[zmqueue.Node]:
    """One node that serves."""
    folder = tmp_path_factory.mktemp("contract")
    with zmqueue.Node(folder / "node", listen="tcp://127.0.0.1:0", found=True,
                      settings=zmqueue.Settings(buckets=8)) as node:
        yield node


@pytest.fixture(params=list(KINDS))
def adapter(request: pytest.FixtureRequest) -> Iterator[Adapter]:
    """Each kind of client."""
    if request.param == "uvloop":
        pytest.importorskip("uvloop")
    with KINDS[request.param]() as adapter:
        yield adapter


_numbers = itertools.count()


@pytest.fixture
def queue() -> str:
    """A queue that nobody else uses."""
    return f"contract-{next(_numbers)}"
