"""The clients have the same methods, with the same parameters; one is awaited."""

from __future__ import annotations

import inspect

import pytest

import zmqueue
import zmqueue.aio

OTHERWISE = {"close": "aclose"}
ONLY_SYNC = {"submit_soon"}            # asyncio has tasks


def public(kind: type) -> dict[str, object]:
    return {name: found for name, found in inspect.getmembers(kind) if not name.startswith("_")}


@pytest.mark.parametrize("name", ["Client", "Ticket", "Message", "Worker"])
def test_each_public_name_of_the_sync_client_is_there_and_is_awaited_exactly_where_it_waits(name: str) -> None:
    sync, awaited = public(getattr(zmqueue, name)), public(getattr(zmqueue.aio, name))
    assert {OTHERWISE.get(name, name) for name in sync.keys() - ONLY_SYNC} == awaited.keys()
    for method, found in sync.items():
        if method in ONLY_SYNC or not inspect.isfunction(found):
            continue
        other = awaited[OTHERWISE.get(method, method)]
        assert inspect.isfunction(other)
        assert list(inspect.signature(found).parameters.values()) == list(inspect.signature(other).parameters.values())
        returned = str(inspect.signature(other).return_annotation)
        waits = inspect.iscoroutinefunction(other) or returned.startswith("AsyncIterator")
        assert waits is (found is not other), f"{method} waits in one of them only"
