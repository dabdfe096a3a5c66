"""The demo's processes: nodes and workers, started here and ended by their ids, whatever happens."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import zmqueue

START_S = 30.0                         # a node that joins is taken up within some seconds, also on a busy machine
DRAIN_S = 10.0                         # workers have nothing left to do at the end

INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""Each of them ends the demo, and with it all that it started."""


@dataclass(frozen=True, slots=True)
class NodeProcess:
    """One `zmqueue node` that serves."""

    process: subprocess.Popen[str]
    id: str
    endpoint: str


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Interrupts wait until the block is over: one between the birth of a process and its entry in the list of those to
    be ended would leave it running for ever."""
    if threading.current_thread() is not threading.main_thread():
        yield                              # interrupts come to the main thread only
        return
    came: list[int] = []
    before = {number: signal.signal(number, lambda number, _: came.append(number)) for number in INTERRUPTS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if came:
        raise KeyboardInterrupt


class Processes:
    """All that the demo started. A context: at its end nothing of it runs any more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[NodeProcess] = []
        self._all: list[subprocess.Popen[str]] = []
        self._workers: list[subprocess.Popen[str]] = []

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, *_: object) -> None:
        """Workers drain and write down what they ran; the nodes, whose data is thrown away, need no farewell."""
        try:
            self.drain_workers()
        finally:
            for process in self._all:
                process.kill()
            for process in self._all:
                process.wait()
                if process.stdout is not None:
                    process.stdout.close()

    @property
    def seeds(self) -> list[str]:
        return [node.endpoint for node in self.nodes]

    def start_node(self) -> NodeProcess:
        """Start a node and wait until it serves: the first founds, the others join."""
        name = self.folder / f"node{len(self.nodes)}"
        how = ["--join", self.nodes[0].endpoint] if self.nodes else ["--found"]
        process = self._start(name.with_suffix(".log"), [
            "-m", "zmqueue", "node", "--data", str(name), "--listen", "tcp://127.0.0.1:0", "--json", *how])
        assert process.stdout is not None
        ready, _, _ = select.select([process.stdout], [], [], START_S)
        line = process.stdout.readline() if ready else ""
        if not line:
            words = name.with_suffix(".log").read_text("utf-8", "replace")[-2_000:]
            raise zmqueue.NodeFailed(f"a node did not serve within {START_S:g} s: {words or 'it said nothing'}")
        said = json.loads(line)
        self.nodes.append(NodeProcess(process, said["id"], said["endpoint"]))
        return self.nodes[-1]

    def start_worker(self) -> None:
        """Start a worker; it writes its runs to a file of its own."""
        name = self.folder / f"worker{len(self._workers)}"
        self._workers.append(self._start(name.with_suffix(".log"), [
            "-m", "zmqueue.cli.demo_work", ",".join(self.seeds), str(name.with_suffix(".runs"))]))

    def _start(self, log: Path, arguments: list[str]) -> subprocess.Popen[str]:
        """A session of its own: Ctrl-C is for the demo, which ends the others in order."""
        with log.open("wb") as written, _undisturbed():
            process: subprocess.Popen[Any] = subprocess.Popen(
                [sys.executable, *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=written,
                text=True, start_new_session=True, env={**os.environ, "PYTHONWARNINGS": "ignore"})
            self._all.append(process)
        return process

    def kill(self, node: NodeProcess) -> None:
        """SIGKILL: the node writes nothing more and says nothing more."""
        node.process.kill()
        node.process.wait()

    def drain_workers(self) -> None:
        """SIGTERM to all, then wait."""
        for worker in self._workers:
            worker.terminate()
        deadline = time.monotonic() + DRAIN_S
        for worker in self._workers:
            try:
                worker.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                continue                                 # it is killed at the end

    def runs(self) -> list[str]:
        """The token of each run of a handler, in all workers."""
        return [token for book in self.folder.glob("worker*.runs") for token in book.read_text("ascii").split()]
