"""A request is followed from a shell."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

import zmqueue as library
from tests.cli.running import zmqueue


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[str]]:
    """One node."""
    folder: Path = tmp_path_factory.mktemp("stream")
    with library.Node(folder / "node", listen="tcp://127.0.0.1:0", found=True) as node:
        yield [node.endpoint]


def told(seeds: list[str], queue: str, *events: object) -> tuple[library.Client, library.Message]:
    client = library.Client(*seeds)
    client.submit(queue, b"x")
    message, = client.lease(queue, wait=5.0)
    for event in events:
        message.progress(event)
    return client, message


def test_each_event_is_a_line_and_the_end_is_the_last(seeds: list[str]) -> None:
    client, message = told(seeds, "jobs", "half", {"percent": 75}, b"\xff", "two\nlines")
    with client:
        message.ack("done")
        ran = zmqueue("stream", message.token, seeds=seeds)
        assert ran.status == 0
        assert ran.text.splitlines() == ["1\thalf", '2\t{"percent": 75}', "3\t\\xff", '4\t"two\\nlines"', "5\tdone"]
        after = zmqueue("stream", message.token, "--after", "4", seeds=seeds)
        assert (after.status, after.text) == (0, "5\tdone")


def test_with_json_each_line_is_a_document(seeds: list[str]) -> None:
    client, message = told(seeds, "json", "half", b"\xff")
    with client:
        message.reject("no luck")
        ran = zmqueue("stream", message.token, "--json", seeds=seeds)
    assert ran.status == 1
    assert [json.loads(line) for line in ran.text.splitlines()] == [
        {"index": 1, "kind": "progress", "data": "half", "delivery": 1},
        {"index": 2, "kind": "progress", "data": None, "data_base64": "/w==", "delivery": 1},
        {"index": 3, "kind": "error", "data": "no luck", "delivery": 0}]


def test_a_time_that_is_over_says_where_to_go_on(seeds: list[str]) -> None:
    client, message = told(seeds, "late", "half")
    with client:
        ran = zmqueue("stream", message.token, "--timeout", "0.2", seeds=seeds)
    assert (ran.status, ran.text) == (1, "1\thalf")
    assert "--after 1" in ran.err
