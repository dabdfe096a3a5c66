"""One node of the rig: its host, its directory or disk, and its process, which comes and goes."""

from __future__ import annotations

import re
import select
import shutil
import signal
import time
from pathlib import Path

from tests.cluster.rig import NodeProcess
from tests.nemesis.hosts import ROOT, Host, run

DATA_PORT, HEARTBEAT_PORT = 7400, 7401
PROXY_PORT = 7410                      # in the place of the data port, for nodes behind a proxy
DATA_PORTS = (DATA_PORT, PROXY_PORT)

SERVE_S = 60.0                         # a node that may serve does within that, on a busy machine


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
        self.over = False                      # the run ends: it is not started any more, whatever a fault wants
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
        if self.over:
            raise RuntimeError(f"the run is over: {self.name} is not started")
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


def last_word(node: RigNode) -> str:
    """The last line that a node said."""
    lines = [line for line in node.log.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
