"""Processes that are replaced between two messages: after so many, or when they hold too much."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

import zmqueue
from tests.client.serving import Served
from zmqueue.client.recycling import Recycling, memory_held

HELD: list[bytes] = []
MEBIBYTE = 1 << 20


@pytest.fixture
def client() -> Iterator[zmqueue.Client]:
    with Served(1) as served, zmqueue.Client(*served.endpoints) as client:
        yield client


def process(work: Any) -> object:
    return os.getpid()


def keep(work: Any) -> object:
    HELD.append(b"x" * work.payload)                         # is never let go
    return [os.getpid(), len(HELD)]


def test_a_process_is_replaced_after_so_many_messages_and_none_is_lost(client: zmqueue.Client) -> None:
    tickets = client.submit_many("q", range(7))
    with zmqueue.Worker(client, {"q": process}, concurrency=1, executor="process", recycle_after=3) as worker:
        processes = [ticket.result(30.0) for ticket in tickets]
        assert worker.statistics.done == 7 and worker.statistics.failed == 0
    assert sorted(Counter(processes).values()) == [1, 3, 3]


def test_a_process_is_replaced_after_the_message_that_made_it_too_large(client: zmqueue.Client) -> None:
    limit = 300 * MEBIBYTE
    tickets = [client.submit("q", size) for size in (1, 400 * MEBIBYTE, 1)]
    with zmqueue.Worker(client, {"q": keep}, concurrency=1, executor="process", memory_limit=limit):
        (first, one), (second, two), (third, anew) = [ticket.result(30.0) for ticket in tickets]
    assert first == second != third
    assert [one, two, anew] == [1, 2, 1]


def test_limits_are_told_apart_and_need_processes(client: zmqueue.Client) -> None:
    assert Recycling(3, 100).reason(2, 100) == ""
    assert "recycle_after" in Recycling(3, 100).reason(3, 100)
    assert "memory_limit" in Recycling(3, 100).reason(1, 101)
    assert MEBIBYTE < memory_held() < 1 << 36
    with pytest.raises(ValueError, match="executor='process'"):
        zmqueue.Worker(client, {"q": process}, recycle_after=3)
    with pytest.raises(ValueError, match="allowed is 1 to"):
        zmqueue.Worker(client, {"q": process}, executor="process", recycle_after=0)
    with pytest.raises(ValueError, match="allowed is 1048576 to"):
        zmqueue.Worker(client, {"q": process}, executor="process", memory_limit=512)
