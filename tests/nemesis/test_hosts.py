"""Hosts are cut off from each other as told, and from nobody else."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.nemesis import hosts
from tests.nemesis.hosts import Host, Network

pytestmark = pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not() or "hosts can be made")

PORTS = (7400, 7401)

LISTEN = """
import socket, sys
listeners = [socket.create_server((sys.argv[1], int(port))) for port in sys.argv[2:]]
print("listening", flush=True)
sys.stdin.read()
"""

CONNECT = """
import socket, sys
socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=float(sys.argv[3]))
"""

Pair = tuple[Host, Host]


@contextlib.contextmanager
def listening(host: Host) -> Iterator[None]:
    process = subprocess.Popen([*host.before, sys.executable, "-c", LISTEN, host.address, *map(str, PORTS)], text=True,
                               stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        process.stdout.readline()
        yield
    finally:
        process.kill()
        process.communicate()


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Two hosts, each listening on both ports."""
    with Network() as network:
        one, other = network.host("one"), network.host("other")
        with listening(one), listening(other):
            yield one, other


def reaches(source: Host, target: Host, port: int = PORTS[0], timeout: float = 5.0) -> bool:
    return subprocess.run([*source.before, sys.executable, "-c", CONNECT, target.address, str(port), str(timeout)],
                          stderr=subprocess.DEVNULL, check=False).returncode == 0


def test_a_host_that_is_deaf_to_another_is_not_reached_until_it_is_healed(pair: Pair) -> None:
    one, other = pair
    assert reaches(one, other)
    with other.deaf(one):
        assert not reaches(one, other, timeout=0.5)
        assert not reaches(other, one, timeout=0.5), "answers are packets, too"
        assert reaches(other, other)
    assert reaches(one, other)


def test_one_port_can_be_cut_and_the_other_not(pair: Pair) -> None:
    one, other = pair
    with other.deaf(one, PORTS[1:]):
        assert not reaches(one, other, PORTS[1], timeout=0.5)
        assert reaches(one, other, PORTS[0])


def test_a_network_is_gone_at_its_end(pair: Pair) -> None:
    one, _ = pair
    prefix = one.namespace.rsplit("-", 1)[0]
    assert prefix in hosts.run("ip", "netns")
    hosts.remove(prefix)
    assert prefix not in hosts.run("ip", "netns") + hosts.run("ip", "-o", "link")
