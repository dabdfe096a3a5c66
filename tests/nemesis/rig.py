"""The rig: the cluster's nodes, each on a host and with a disk of its own, and who of them is harmed at present."""

from __future__ import annotations

import contextlib
import os
import random
import re
import select
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import zmqueue
from tests.cluster.rig import NodeProcess
from tests.nemesis.crew import Crew
from tests.nemesis.hosts import ROOT, Host, Loopback, Network, run
from zmqueue.client.views import MembersView

DATA_PORT, HEARTBEAT_PORT = 7400, 7401
PROXY_PORT = 7410                      # in the place of the data port, for nodes behind a proxy
DATA_PORTS = (DATA_PORT, PROXY_PORT)

SETTINGS = """\
grace_ms = 8_000           # a node that is replaced gives its place up soon
lease_ms = 6_000           # a pause may be longer than that
"""

SERVE_S = 60.0                         # a node that may serve does within that, on a busy machine
WHOLE_S = 120.0                        # a replica that flapped is not trusted again for up to a minute (R17)
FORGET_S = 30.0                        # beyond the grace, a member that is gone can be forgotten
HARM_S = 60.0                          # a fault waits that long for its turn to harm nodes


class NotNow(Exception):
    """The fault cannot strike as things are."""


class RigNode:
    """One node: its host, its directory, and its process, which comes and goes."""

    def __init__(self, name: str, host: Host, folder: Path, settings: Path) -> None:
        self.name, self.host, self.folder = name, host, folder
        self.id = ""                           # as it said when it last served
        self.program = "zmqueue"
        self.arguments: list[str] = []
        self.environment: dict[str, str] = {}
        self.advertised: int | None = None     # another port, where a proxy listens
        self.gone = False                      # not a member, and not meant to be
        self.disk_bytes = 0                    # of its own file system; 0: it lies in the run's folder
        self._settings = settings
        self._process: NodeProcess | None = None
        folder.mkdir(parents=True, exist_ok=True)

    @property
    def data(self) -> Path:
        """Its directory. Its disk may be a file system of its own, one level up."""
        return self.folder / "data"

    @property
    def data_file(self) -> Path:
        return self.data / "store" / "data.mdb"

    @property
    def endpoint(self) -> str:
        return f"tcp://{self.host.address}:{self.advertised or DATA_PORT}"

    @property
    def pid(self) -> int:
        assert self._process is not None and self._process.process is not None
        return self._process.process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.running

    @property
    def status(self) -> int | None:
        """The exit status, once the process has ended."""
        return None if self._process is None or self._process.process is None else self._process.process.poll()

    def ended(self, wait: float = 10.0) -> bool:
        """Wait until it has ended by itself; False where it goes on."""
        deadline = time.monotonic() + wait
        while self.running and time.monotonic() < deadline:
            time.sleep(0.05)               # polls; the deadline is above
        return not self.running

    @property
    def log(self) -> str:
        """What it said on standard error, over all its starts."""
        path = self.folder.with_suffix(".log")
        return path.read_text("utf-8", "replace") if path.exists() else ""

    def start(self, *how: str) -> None:
        """Start it; does not wait."""
        process = NodeProcess(
            self.data, *how, "--heartbeat-port", str(HEARTBEAT_PORT), "--config", str(self._settings),
            "--log-level", "info", *self.arguments, *(["--advertise", self.endpoint] if self.advertised else []),
            listen=f"tcp://{self.host.address}:{DATA_PORT}", program=self.program,
            before=("env", f"PYTHONPATH={ROOT}", *(f"{name}={value}" for name, value in self.environment.items()),
                    *self.host.before))
        process.log = self.folder.with_suffix(".log")
        with process.log.open("a") as log:
            log.write(f"--- {time.monotonic():.3f} starts {' '.join(how)}\n")
        self._process = process.start(wait=0)

    def serves(self, wait: float = SERVE_S) -> bool:
        """Wait until it has said that it serves; False where it does not, or ends."""
        process = self._process
        assert process is not None and process.process is not None and process.process.stdout is not None
        ready, _, _ = select.select([process.process.stdout], [], [], wait)
        found = re.search(r"node (\w+) serves at tcp://", process.process.stdout.readline() if ready else "")
        self.id = found[1] if found else self.id
        return found is not None

    def signal(self, number: signal.Signals) -> None:
        if self._process is not None and self.running:
            self._process.signal(number)

    def kill(self) -> None:
        """SIGKILL, and wait."""
        if self._process is not None:
            self._process.end()

    def stop(self) -> None:
        """SIGTERM: it hands its buckets over."""
        if self._process is not None and self.running:
            self._process.stop(wait=30.0)

    def wipe(self) -> None:
        """Its data is gone; it must not run."""
        assert not self.running
        shutil.rmtree(self.data, ignore_errors=True)

    def mount(self, size: int) -> None:
        """Give it a disk of that many bytes."""
        run("mount", "-t", "tmpfs", "-o", f"size={size}", "nemesis", str(self.folder))
        self.disk_bytes = size

    def unmount(self) -> None:
        if self.disk_bytes:
            run("umount", "-l", str(self.folder))
            self.disk_bytes = 0


class Rig:
    """All nodes. Faults run in threads, and take the nodes that they harm from here: never more than a minority."""

    def __init__(self, network: Network | Loopback, folder: Path, nodes: int, dice: random.Random) -> None:
        self.network, self.folder = network, folder
        self.isolated = isinstance(network, Network)
        settings = folder / "settings.toml"
        settings.write_text(SETTINGS)
        self.clients = network.host("clients")
        self.nodes = [RigNode(f"node{number}", network.host(f"node{number}"), folder / f"node{number}", settings)
                      for number in range(nodes)]
        self.spare = RigNode("spare", network.host("spare"), folder / "spare", settings)
        self.spare.gone = True
        self.crew: Crew                    # set once the nodes run
        self.program_environment: dict[str, str] = {}
        self.notes: list[str] = []
        self._dice = dice
        self._harmed: set[str] = set()
        self._free = threading.Condition()
        self._client: zmqueue.Client | None = None

    # --- life ---

    def start(self) -> None:
        """Found the cluster, and have all nodes join."""
        for node in self.nodes:
            node.start(*self.how(node))
            if not node.serves():
                raise zmqueue.NodeFailed(f"{node.name} does not serve: {node.log[-2_000:]}")
        self._client = zmqueue.Client(*self.seeds, timeout=5.0)

    def end(self) -> None:
        """End all nodes; their data stays, but for what lies on disks of their own."""
        if self._client is not None:
            self._client.close()
        for node in [*self.nodes, self.spare]:
            with contextlib.suppress(Exception):
                node.kill()
        for node in [*self.nodes, self.spare]:
            with contextlib.suppress(RuntimeError):
                node.unmount()

    def how(self, node: RigNode) -> Sequence[str]:
        """The first founds, where there is no cluster; the others are told where to join."""
        if node is self.nodes[0] and self._client is None:
            return ["--found"]
        return [word for other in self.nodes if other is not node for word in ("--join", other.endpoint)]

    @property
    def seeds(self) -> list[str]:
        return [node.endpoint for node in self.nodes]

    # --- how it is ---

    def members(self) -> MembersView | None:
        """As the nodes show it; None where none answers."""
        assert self._client is not None
        try:
            return self._client.members(timeout=3.0)
        except zmqueue.ZmqueueError:
            return None

    def whole(self) -> str:
        """What is missing for the cluster to be whole; empty: nothing."""
        view = self.members()
        if view is None:
            return "no node answers"
        up = {member.endpoint for member in view.members if member.status == "up"}
        missing = [node.name for node in self.nodes if not node.gone and node.endpoint not in up]
        if missing or not view.majority:
            return f"{', '.join(missing) or 'a majority'} is not up"
        catching_up = [member.endpoint for member in view.members if member.catching_up]
        if view.buckets_without_primary or view.buckets_short or catching_up:
            return (f"{view.buckets_without_primary} buckets have no primary, {view.buckets_short} are short, catching "
                    f"up: {catching_up}")
        return ""

    def await_whole(self, wait: float = WHOLE_S) -> str:
        """Wait until it is; what was missing to the last."""
        deadline = time.monotonic() + wait
        while missing := self.whole():
            if time.monotonic() > deadline:
                return missing
            time.sleep(0.2)                # polls; the deadline is above
        return ""

    def waiting(self) -> int | None:
        """How many messages have not ended; None where that cannot be told."""
        assert self._client is not None
        try:
            return sum(queue.ready + queue.delayed + queue.leased for queue in self._client.queues(timeout=5.0))
        except zmqueue.ZmqueueError:
            return None

    def note(self, text: str) -> None:
        """For the verdict: what was seen that is no violation."""
        self.notes.append(f"{time.monotonic():.3f} {text}")
        print(f"  {text}", file=sys.stderr, flush=True)

    # --- harm ---

    @property
    def minority(self) -> int:
        return (len(self.nodes) - 1) // 2

    @contextlib.contextmanager
    def harm(self, count: int = 1, of: Sequence[RigNode] | None = None) -> Iterator[list[RigNode]]:
        """Take so many nodes that nobody harms now (of these): together no more than a minority, or all at once.

        Raises NotNow where that does not come about in time.
        """
        names = [node.name for node in (self.nodes if of is None else of)]
        most = len(self.nodes) if count == len(self.nodes) else self.minority

        def free() -> list[str]:
            unharmed = [name for name in names if name not in self._harmed]
            return unharmed if len(unharmed) >= count and len(self._harmed) + count <= most else []

        with self._free:
            if not self._free.wait_for(free, HARM_S):
                raise NotNow(f"no {count} of {names} could be harmed beside {sorted(self._harmed)}")
            taken = self._dice.sample(free(), count)
            self._harmed.update(taken)
        try:
            yield [node for node in self.nodes if node.name in taken]
        finally:
            with self._free:
                self._harmed.difference_update(taken)
                self._free.notify_all()

    def revive(self, node: RigNode) -> None:
        """Have it run again on the directory that it has; where it cannot, replace it, as an operator would."""
        if node.running:
            node.signal(signal.SIGCONT)
            return
        node.start(*self.how(node))
        if not node.serves() and not node.running:
            self.note(f"{node.name} does not start again: {last_word(node)}")
            self.replace(node)

    def replace(self, node: RigNode) -> None:
        """An empty directory in the place of its own: a new member at the same address, and the old one is forgotten.

        Waits until all is whole. The old member's vote has to go: else the next failure finds too many that are gone.
        """
        gone = node.id
        node.kill()
        node.wipe()
        node.start(*self.how(node))
        if not node.serves():
            self.note(f"{node.name}, replaced, is not taken up: {last_word(node)}")
        if missing := self.await_whole():
            self.note(f"after {node.name} was replaced: {missing}")
        self.forget(gone)

    def forget(self, node_id: str) -> None:
        """An operator's word: this member will not come back."""
        deadline = time.monotonic() + FORGET_S
        while True:
            done = subprocess.run(
                [sys.executable, "-m", "zmqueue", "forget", node_id, "--seeds", ",".join(self.seeds), "--timeout", "5"],
                cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode == 0:
                return
            if time.monotonic() > deadline:
                self.note(f"{node_id} could not be forgotten: {done.stderr.strip()}")
                return
            time.sleep(0.5)                # paces the repetition; it has to be out first


def last_word(node: RigNode) -> str:
    """The last line that a node said."""
    lines = [line for line in node.log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"


def available(command: str, package: str) -> str:
    """Why there is no such command; empty: there is."""
    return "" if shutil.which(command) else f"there is no `{command}` (apt-get install {package})"


def root_only() -> str:
    return "" if os.geteuid() == 0 else "needs root"
