"""Endpoints as people write them."""

from __future__ import annotations

import pytest

from zmqueue.core.endpoints import parse_endpoint


@pytest.mark.parametrize(("text", "host", "port"), [
    ("tcp://127.0.0.1:7400", "127.0.0.1", 7400),
    ("tcp://[::1]:7400", "[::1]", 7400),
    ("tcp://node-a.example:1", "node-a.example", 1),
])
def test_an_endpoint_is_read_as_it_is_written(text: str, host: str, port: int) -> None:
    endpoint = parse_endpoint(text, "listen")
    assert (endpoint.host, endpoint.port, str(endpoint)) == (host, port, text)


@pytest.mark.parametrize("text", ["", "127.0.0.1:7400", "udp://a:1", "tcp://a", "tcp://:7400", "tcp://a:70000",
                                  "tcp://a:0", "tcp://a b:1", "tcp://::1:7400", "tcp://a:-1"])
def test_what_is_no_endpoint_is_refused_with_what_was_found(text: str) -> None:
    with pytest.raises(ValueError, match="join is ") as caught:
        parse_endpoint(text, "join")
    assert repr(text) in str(caught.value)


@pytest.mark.parametrize("text", ["tcp://0.0.0.0:1", "tcp://*:1", "tcp://[::]:1"])
def test_wildcards_are_told_apart(text: str) -> None:
    assert parse_endpoint(text, "listen").wildcard
    assert not parse_endpoint("tcp://127.0.0.1:1", "listen").wildcard
