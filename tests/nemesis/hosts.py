"""Hosts made of network namespaces: each has an address of its own, and drops what comes from another where told to.

All hang on one bridge. A direction is cut where packets arrive: the kernel looks at our rules before it looks whether
a packet is for this host, so a `blackhole` drops it without a word, as a cable would; the sender learns nothing. Rules
may name a port: so heartbeats can be cut and data not.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
"""Where programs on any host find `tests`."""

PREFIX = "zqn"
"""Of the names of all that is made here; the process id follows. A Linux interface's name has 15 characters."""

LOCAL_AT = 1_000
"""Where the rule "is it for this host?" goes, behind ours."""


class Host:
    """One namespace. `before`: what runs a command in it."""

    def __init__(self, name: str, namespace: str, address: str) -> None:
        self.name, self.namespace, self.address = name, namespace, address
        self.before: tuple[str, ...] = ("ip", "netns", "exec", namespace) if namespace else ()
        self._preferences = itertools.count(10)

    @contextlib.contextmanager
    def deaf(self, to: Host, ports: Sequence[int] = ()) -> Iterator[None]:
        """Drop what comes from that host: all of it, or what goes to or comes from these of its TCP ports."""
        matches: list[tuple[str, ...]] = [("ipproto", "tcp", end, str(port))
                                          for port in ports for end in ("dport", "sport")]
        rules: list[str] = []
        try:
            for match in matches or [()]:
                preference = str(next(self._preferences))
                assert int(preference) < LOCAL_AT, "a rule behind the local table drops nothing"
                rules.append(preference)
                self._ip("rule", "add", "pref", preference, "iif", "e0", "from", to.address, *match, "blackhole")
            yield
        finally:
            for preference in rules:
                self._ip("rule", "del", "pref", preference)

    @contextlib.contextmanager
    def slow(self, rate: str) -> Iterator[None]:
        """Send no faster than that (as tc writes it), with a short queue whose end is dropped."""
        run(*self.before, "tc", "qdisc", "replace", "dev", "e0", "root", "tbf", "rate", rate, "burst", "16kb",
            "latency", "200ms")
        try:
            yield
        finally:
            run(*self.before, "tc", "qdisc", "del", "dev", "e0", "root")

    def cut(self, to: Host, port: int | None = None) -> int:
        """End the established TCP connections with that host (or those to and from its port); how many there were."""
        port_too = [] if port is None else ["and", "(", "dport", "=", f":{port}", "or", "sport", "=", f":{port}", ")"]
        ended = run(*self.before, "ss", "-H", "-K", "-t", "state", "established", "dst", to.address, *port_too)
        return len(ended.splitlines())

    def _ip(self, *arguments: str) -> None:
        run("ip", "-n", self.namespace, *arguments)


class Network:
    """The bridge and its hosts; gone at the end, whatever happens. This process reaches all hosts, at any time."""

    def __init__(self) -> None:
        self.prefix = f"{PREFIX}{os.getpid()}"
        self.hosts: list[Host] = []
        self._net = ""
        self._bridge = f"{self.prefix}b"

    def __enter__(self) -> Network:
        sweep()
        taken = run("ip", "-4", "-o", "addr")
        self._net = next(net for net in (f"10.213.{number}" for number in range(os.getpid() % 200, 256))
                         if f" {net}." not in taken)
        try:
            run("ip", "link", "add", "name", self._bridge, "type", "bridge")
            run("ip", "addr", "add", f"{self._net}.254/24", "dev", self._bridge)
            run("ip", "link", "set", self._bridge, "up")
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        remove(self.prefix)

    def host(self, name: str) -> Host:
        """One more."""
        number = len(self.hosts) + 1
        host = Host(name, f"{self.prefix}-{name}", f"{self._net}.{number}")
        self.hosts.append(host)
        outer = f"{self.prefix}.{number}"
        run("ip", "netns", "add", host.namespace)
        run("ip", "link", "add", outer, "type", "veth", "peer", "name", "e0", "netns", host.namespace)
        run("ip", "link", "set", outer, "master", self._bridge, "up")
        run("ip", "-n", host.namespace, "link", "set", "lo", "up")
        run("ip", "-n", host.namespace, "link", "set", "e0", "up")
        run("ip", "-n", host.namespace, "addr", "add", f"{host.address}/24", "dev", "e0")
        run("ip", "-n", host.namespace, "rule", "add", "pref", str(LOCAL_AT), "lookup", "local")
        run("ip", "-n", host.namespace, "rule", "del", "pref", "0")
        return host


class Loopback:
    """What stands for a network where namespaces cannot be made: addresses of this machine, and no fault of a link."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []

    def __enter__(self) -> Loopback:
        return self

    def __exit__(self, *_: object) -> None:
        """Nothing was made."""

    def host(self, name: str) -> Host:
        """One more address."""
        host = Host(name, "", f"127.213.{os.getpid() % 256}.{len(self.hosts) + 1}")
        self.hosts.append(host)
        return host


def why_not() -> str:
    """Why there can be no namespaces here; empty: there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    if shutil.which("ip") is None:
        return "there is no `ip` (apt-get install iproute2)"
    name = f"{PREFIX}{os.getpid()}-try"
    try:
        run("ip", "netns", "add", name)
        run("ip", "netns", "del", name)
    except RuntimeError as error:
        return f"network namespaces cannot be made: {error}"
    return ""


def sweep() -> None:
    """Remove what a run left behind that was killed before it could."""
    names = re.findall(rf"\b({PREFIX}(\d+))[-b]", run("ip", "netns") + run("ip", "-o", "link"))
    for prefix, owner in sorted(set(names)):
        if not os.path.exists(f"/proc/{owner}"):
            remove(prefix)


def remove(prefix: str) -> None:
    """End what still runs in the namespaces of this prefix, and remove these and the bridge."""
    for namespace in re.findall(rf"^({prefix}-\S+)", run("ip", "netns"), re.MULTILINE):
        for process in run("ip", "netns", "pids", namespace).split():
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(process), 9)
        run("ip", "netns", "del", namespace)
    # A namespace's own end of a pair goes with it, but when the kernel finds the time.
    for link in re.findall(rf"^\d+: ({prefix}[.b]\d*)[@:]", run("ip", "-o", "link"), re.MULTILINE):
        with contextlib.suppress(RuntimeError):
            run("ip", "link", "del", link)


def run(*command: str) -> str:
    """Run a command; its output. Raises RuntimeError with what it said where it fails."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout
