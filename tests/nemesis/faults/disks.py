"""Faults of disks that say so: full, and failing to sync."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.nodes import last_word
from tests.nemesis.rig import NotNow, Rig, available, root_only

MiB = 1 << 20
DISK_BYTES = 512 * MiB
RESERVE = "16MiB"                      # the least that a node takes: a small disk is soon full
STOPS_S = 20.0                         # a node whose sync fails ends within that, under load


class DiskFull(Fault):
    """A file takes all that is free on the disk of a node, or all but what messages fill in some seconds."""

    kind = "disk-full"
    limit_s = 20.0                         # its buckets refuse submits for as long as it is full: beyond that, these
    hold_s = (4.0, 10.0)

    def prepare(self, rig: Rig) -> str:
        if reason := root_only():
            return reason
        for node in rig.nodes[-rig.minority:]:
            node.mount(DISK_BYTES)
            node.arguments += ["--disk-reserve", RESERVE]
        return ""

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1, [node for node in rig.nodes if node.disk_bytes]) as (node,):
            filler = node.folder / "filler"
            left = dice.choice((0, 0, 4 * MiB, 20 * MiB))
            try:
                filled = fill(filler, left)
                strike.begin(f"{node.name}: {filled >> 20} MiB filled, {left >> 20} MiB left")
                yield
            finally:
                filler.unlink(missing_ok=True)
            if not node.running:
                rig.note(f"{node.name} did not live through a full disk: {last_word(node)}")
                rig.revive(node)


def fill(path: Path, left: int) -> int:
    """Make a file of all that is free but so much; how large it is."""
    with path.open("wb") as file:
        disk = os.fstatvfs(file.fileno())
        size = disk.f_bavail * disk.f_frsize - left
        if size <= 0:
            raise NotNow(f"the disk of {path} has no {left} bytes")
        os.posix_fallocate(file.fileno(), 0, size)
    return size


class FailingSync(Fault):
    """Syncs of a node fail: it must end by itself with a word about it, and be well after a start."""

    kind = "fsync"
    limit_s = 20.0
    hold_s = (0.0, 2.0)

    def prepare(self, rig: Rig) -> str:
        if missing := available("strace", "strace"):
            return missing
        tried = subprocess.run([*strace(Path(os.devnull)), "true"], capture_output=True, text=True, check=False)
        return "" if tried.returncode == 0 else f"strace does not work here: {tried.stderr.strip()}"

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1) as (node,):
            tracer = subprocess.Popen([*strace(node.folder.with_suffix(".strace")), "-p", str(node.pid)],
                                      stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            try:
                strike.begin(f"{node.name}: syncs fail")
                if not node.ended(STOPS_S):
                    raise AssertionError(f"{node.name} went on for {STOPS_S:g} s although its syncs fail")
            finally:
                tracer.send_signal(signal.SIGINT)
                tracer.wait(10.0)
                if node.running:
                    node.kill()
            if "StoreFailed" not in node.log and "commit" not in last_word(node):
                raise AssertionError(f"the last word of {node.name} does not name the commit: {last_word(node)}")
            yield
            rig.revive(node)


def strace(log: Path) -> list[str]:
    """A command that has each sync fail of what follows, or of the process that it is attached to."""
    return ["strace", "-f", "-o", str(log), "-e", "trace=fsync,fdatasync,msync",
            "-e", "inject=fsync,fdatasync,msync:error=EIO"]
