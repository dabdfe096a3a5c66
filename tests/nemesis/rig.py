"""The rig: the cluster's nodes, each on a host and with a disk of its own, and who of them is harmed at present."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import zmqueue
from tests.nemesis.crew import Crew
from tests.nemesis.hosts import ROOT, Loopback, Network
from tests.nemesis.nodes import RigNode, last_word
from zmqueue.client.views import MembersView

SETTINGS = """\
grace_ms = 8_000           # a node that is replaced gives its place up soon
lease_ms = 6_000           # a pause may be longer than that
deliveries_max = 10_000    # nothing dies of deliveries that faults ended: lost ones count apart from failed ones
"""

WHOLE_S = 120.0                        # a replica that flapped is not trusted again for up to a minute (R17)
FORGET_S = 30.0                        # beyond the grace, a member that is gone can be forgotten
SERVED_S = 15.0                        # a node that was killed is taken down, and its buckets are served, within that
HARM_S = 60.0                          # a fault waits that long for its turn to harm nodes


class NotNow(Exception):
    """The fault cannot strike as things are."""


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
            node.over = True
        for node in [*self.nodes, self.spare]:
            with contextlib.suppress(OSError, subprocess.TimeoutExpired):
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

    def irreplaceable(self, node: RigNode) -> str:
        """Why the disk of a node that does not run may not be lost now; empty: the others serve all that it held.

        What was confirmed is promised while one in-sync disk is left. Where links were slow a moment ago, a bucket's
        in-sync set may have shrunk to this node: to take that disk away would be no fault, but the operator's word.
        """
        deadline = time.monotonic() + SERVED_S
        while True:
            view = self.members()
            if view is None:
                missing = "no node answers"
            elif any(member.id == node.id and member.status == "up" for member in view.members):
                missing = "it is not taken down yet"
            elif view.buckets_without_primary or not view.majority:
                missing = f"{view.buckets_without_primary} buckets are in-sync on no other node that is up"
            else:
                return ""
            if time.monotonic() > deadline:
                return missing
            time.sleep(0.2)                # polls; the deadline is above

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
        if why := self.irreplaceable(node):
            self.note(f"{node.name} is replaced although it should not be: {why}")
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


def available(command: str, package: str) -> str:
    """Why there is no such command; empty: there is."""
    return "" if shutil.which(command) else f"there is no `{command}` (apt-get install {package})"


def root_only() -> str:
    return "" if os.geteuid() == 0 else "needs root"
