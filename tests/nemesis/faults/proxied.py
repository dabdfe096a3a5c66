"""Faults between programs, nodes and one node behind a proxy: messages come late, twice, or not at all."""

from __future__ import annotations

import contextlib
import os
import random
import subprocess
import sys
from collections.abc import Iterator

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.hosts import ROOT
from tests.nemesis.nodes import DATA_PORT, PROXY_PORT
from tests.nemesis.rig import Rig

ORDERS = ((0.05, 0.0, 0.0), (0.4, 0.0, 0.0), (0.02, 0.1, 0.0), (0.02, 0.0, 0.3), (0.1, 0.3, 0.2), (0.0, 1.0, 0.0))
"""The longest delay in seconds, the share that is dropped, and the share that comes twice."""


class Proxy(Fault):
    """One node is reached through a proxy, by nodes and programs alike."""

    kind = "proxy"
    limit_s = 25.0
    hold_s = (3.0, 8.0)

    def __init__(self) -> None:
        self._process: subprocess.Popen[str] | None = None

    def prepare(self, rig: Rig) -> str:
        node = rig.nodes[1]
        node.advertised = PROXY_PORT
        host = node.host.address
        ends = f"{host}:{PROXY_PORT}", f"{host}:{DATA_PORT}"
        process = self._process = subprocess.Popen(
            [*node.host.before, sys.executable, "-m", "tests.nemesis.proxy", *ends],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1, start_new_session=True,
            env={**os.environ, "PYTHONPATH": str(ROOT)})
        assert process.stdout is not None
        return "" if process.stdout.readline() else "the proxy does not listen"

    def close(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.communicate()

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        node = rig.nodes[1]
        with rig.harm(1, [node]):
            orders = dice.choice(ORDERS)
            try:
                self._order(*orders)
                strike.begin(f"messages to and from {node.name}: up to %g s late, %g dropped, %g twice" % orders)
                yield
            finally:
                self._order(0.0, 0.0, 0.0)

    def _order(self, *orders: float) -> None:
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        print(*orders, file=process.stdin, flush=True)
        process.stdout.readline()          # it has them
