"""A cluster of real node processes on loopback, for tests: started by `zmqueue node`, ended by their process id."""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import zmqueue
from zmqueue.core.state import ClusterState


class NodeProcess:
    """One `zmqueue node`. Its data directory and its port outlive the process.

    `before`: a command that runs it elsewhere (in a namespace, say) and becomes it. `program`: another one that takes
    the same arguments and says the same line.
    """

    def __init__(self, folder: Path, *arguments: str, listen: str = "tcp://127.0.0.1:0", before: Sequence[str] = (),
                 program: str = "zmqueue") -> None:
        self.folder = folder
        self.arguments = arguments
        self.endpoint = ""
        self._command = [*before, sys.executable, "-m", program, "node", "--data", str(folder), "--listen", listen]
        self.process: subprocess.Popen[str] | None = None
        self.log = folder.with_suffix(".log")

    def start(self, *arguments: str, wait: float = 30.0) -> NodeProcess:
        """Start it; with `wait`, until it has said that it serves."""
        with self.log.open("a") as log:
            self.process = subprocess.Popen(
                [*self._command, *(arguments or self.arguments)],
                stdout=subprocess.PIPE, stderr=log, text=True, bufsize=1)
        if wait:
            self.await_serving(wait)
        return self

    def await_serving(self, wait: float = 30.0) -> None:
        """Read the line that says where it serves."""
        assert self.process is not None and self.process.stdout is not None
        ready, _, _ = select.select([self.process.stdout], [], [], wait)
        line = self.process.stdout.readline() if ready else ""
        found = re.search(r"tcp://[^\s\"]+", line)
        assert found, f"the node said {line!r} within {wait} s; its log:\n{self.log.read_text()[-3000:]}"
        self.endpoint = found[0]

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.poll() is None

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        """SIGKILL: nothing is handed over, nothing flushed."""
        self.signal(signal.SIGKILL)
        self.end()

    def stop(self, wait: float = 20.0) -> int:
        """SIGTERM: it hands its buckets over; its exit status."""
        self.signal(signal.SIGTERM)
        assert self.process is not None
        status = self.process.wait(wait)
        self.end()
        return status

    def end(self) -> None:
        """Make sure that the process is gone."""
        if self.process is None:
            return
        if self.process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, signal.SIGCONT)
            self.process.kill()
        self.process.wait(10.0)
        if self.process.stdout is not None:
            self.process.stdout.close()


class Cluster:
    """Node processes of one cluster."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[NodeProcess] = []

    def grow(self, count: int, *arguments: str) -> Cluster:
        """Add nodes: the first founds the cluster, the others join."""
        for _ in range(count):
            how = ["--join", self.nodes[0].endpoint] if self.nodes else ["--found"]
            node = NodeProcess(self.folder / f"node{len(self.nodes)}", *how, *arguments)
            self.nodes.append(node)
            node.start()
        return self

    @property
    def seeds(self) -> list[str]:
        return [node.endpoint for node in self.nodes]

    def client(self, timeout: float = 20.0) -> zmqueue.Client:
        return zmqueue.Client(*self.seeds, timeout=timeout)

    def whole(self, client: zmqueue.Client, members: int) -> bool:
        """True where that many members are up and every bucket has all its replicas in-sync and a primary."""
        view = client.members()
        up = [member for member in view.members if member.status == "up"]
        return (len(up) == members and view.buckets_without_primary == 0
                and (view.buckets_short == 0 or members < view.replicas))

    def await_whole(self, client: zmqueue.Client, members: int, wait: float = 30.0) -> None:
        eventually(lambda: self.whole(client, members), wait, lambda: f"not whole: {client.members()}")

    def busiest(self, client: zmqueue.Client) -> NodeProcess:
        """The node that is primary of most buckets."""
        members = sorted(client.members().members, key=lambda member: member.primary)
        return next(node for node in self.nodes if node.endpoint == members[-1].endpoint)

    def end(self) -> None:
        for node in self.nodes:
            node.end()


@contextlib.contextmanager
def cluster(folder: Path, nodes: int = 3, *arguments: str) -> Iterator[Cluster]:
    """A cluster that is whole, and gone afterwards."""
    made = Cluster(folder)
    try:
        made.grow(nodes, *arguments)
        with made.client() as client:
            made.await_whole(client, nodes)
        yield made
    finally:
        made.end()


def eventually(true: Callable[[], bool], wait: float, otherwise: Callable[[], str]) -> None:
    """Wait until something is true, looking often; fail with what is there instead."""
    deadline = time.monotonic() + wait
    while not true():
        assert time.monotonic() < deadline, otherwise()
        threading.Event().wait(0.02)


class Flow:
    """Submits that flow, each confirmed one remembered with its moment and its bucket."""

    def __init__(self, client: zmqueue.Client, buckets: int, per_second: float) -> None:
        self.confirmed: list[tuple[float, int, str]] = []        # (when, bucket, token)
        self.failed: list[BaseException] = []
        self.slowest = 0.0
        self._client, self._buckets, self._pause = client, buckets, 1.0 / per_second
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._open = 0
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Flow:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join(30.0)
        eventually(lambda: self._open == 0, 30.0, lambda: f"{self._open} submits without an answer")

    def _run(self) -> None:
        from zmqueue.core.ids import bucket_of, parse_token
        due = time.monotonic()
        while not self._ended.is_set():
            began = time.monotonic()
            with self._lock:
                self._open += 1
            future = self._client.submit_soon("flow", b"x" * 256, id=self._client.new_id(), timeout=30.0)

            def done(future: object, began: float = began) -> None:
                now = time.monotonic()
                error = future.exception()       # type: ignore[attr-defined]
                with self._lock:
                    self._open -= 1
                    if error is not None:
                        self.failed.append(error)
                        return
                    token = future.result().token       # type: ignore[attr-defined]
                    self.confirmed.append((now, bucket_of(parse_token(token), self._buckets), token))
                    self.slowest = max(self.slowest, now - began)

            future.add_done_callback(done)
            due += self._pause
            self._ended.wait(max(0.0, due - time.monotonic()))

    def gap(self, buckets: set[int], since: float) -> float:
        """The longest time between two confirmed submits over these buckets, seconds, from a second before `since`."""
        moments = sorted(at for at, bucket, _ in self.confirmed if bucket in buckets and at >= since - 1.0)
        return max((later - earlier for earlier, later in itertools.pairwise(moments)), default=99.0)

    def await_count(self, count: int, wait: float = 30.0) -> None:
        eventually(lambda: len(self.confirmed) >= count, wait, lambda: f"{len(self.confirmed)} of {count}")


def state_of(client: zmqueue.Client) -> ClusterState:
    """The cluster state, as any client fetches it."""
    state = client._core.routing.state
    assert isinstance(state, ClusterState)
    return state


def buckets_of(client: zmqueue.Client, endpoint: str) -> set[int]:
    """The buckets that the node is primary of, by the state that the client knows."""
    client.members()
    state = state_of(client)
    return {bucket for bucket in range(state.buckets)
            if (number := state.primary(bucket)) is not None
            and (member := state.member(number)) is not None and member.endpoint == endpoint}


def lost(client: zmqueue.Client, tokens: list[str]) -> list[str]:
    """The tokens that the cluster does not know (any more)."""
    missing = []
    for token in tokens:
        try:
            client.status(token, timeout=20.0)
        except zmqueue.UnknownToken:
            missing.append(token)
    return missing
