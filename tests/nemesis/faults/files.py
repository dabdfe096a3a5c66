"""Faults of disks that say nothing: a bit that flipped, a file that is shorter, a directory that is an old one.

Each destroys data of one node, and strikes only while all replicas are well; before it counts as healed, the node's
data is known to be sound, or the node was replaced.
"""

from __future__ import annotations

import contextlib
import random
import shutil
import signal
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.hosts import ROOT
from tests.nemesis.nodes import RigNode, last_word
from tests.nemesis.rig import NotNow, Rig

META_PAGES = 2
REFUSES_S = 20.0                       # a node whose file is cut says so within that


def used_pages(path: Path) -> tuple[int, int]:
    """The size of a page and the number of pages in use, as LMDB's newest meta page says (lmdb.c, MDB_meta)."""
    with path.open("rb") as file:
        head = file.read(256)
        page_bytes, = struct.unpack_from("<I", head, 16 + 24)
        file.seek(page_bytes)
        metas = [head, file.read(256)]
    newest = max(metas, key=lambda meta: struct.unpack_from("<Q", meta, 16 + 128)[0])
    return page_bytes, struct.unpack_from("<Q", newest, 16 + 120)[0] + 1


def sound(node: RigNode) -> bool:
    """Whether `zmqueue doctor` finds nothing wrong in the directory of a node that does not run."""
    done = subprocess.run([sys.executable, "-m", "zmqueue", "doctor", "--data", str(node.data)], cwd=ROOT,
                          capture_output=True, text=True, check=False)
    return done.returncode == 0


class BitFlip(Fault):
    """Bits of a node's data file flip, while it runs or while it is stopped."""

    kind = "bit-flip"
    limit_s = 25.0
    hold_s = (6.0, 12.0)
    destroys = alone = True

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1) as (node,):
            stopped = dice.random() < 0.5
            if stopped:
                node.kill()
            count = dice.choice((1, 1, 10, 100))
            flip(node.data_file, count, dice)
            strike.begin(f"{node.name}, {'stopped' if stopped else 'running'}: {count} bits flipped")
            if stopped:
                node.start(*rig.how(node))
            yield
            if not node.running:
                rig.note(f"{node.name} ended with status {node.status} after {count} bits had flipped: "
                         f"{last_word(node)}")
            node.kill()
            if sound(node):
                rig.revive(node)
            else:
                rig.note(f"{node.name} is replaced: its data is not sound after {count} bits had flipped")
                rig.replace(node)
            rig.await_whole()


def flip(path: Path, count: int, dice: random.Random) -> None:
    """Flip one bit in each of so many pages in use, but for the two that name all others."""
    page_bytes, pages = used_pages(path)
    with path.open("r+b") as file:
        for _ in range(count):
            at = dice.randrange(META_PAGES, pages) * page_bytes + dice.randrange(page_bytes)
            file.seek(at)
            byte = file.read(1)[0]
            file.seek(at)
            file.write(bytes([byte ^ 1 << dice.randrange(8)]))


class Truncate(Fault):
    """A node's data file loses its end: the node must refuse it, and is replaced."""

    kind = "truncate"
    limit_s = 25.0
    hold_s = (0.0, 2.0)
    destroys = alone = True

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1) as (node,):
            running = dice.random() < 0.3
            if not running:
                node.kill()
            page_bytes, pages = used_pages(node.data_file)
            keep = dice.randrange(pages) * page_bytes
            with node.data_file.open("r+b") as file:
                file.truncate(keep)
            strike.begin(f"{node.name}, {'running' if running else 'stopped'}: {keep} bytes left of {pages} pages")
            yield
            node.kill()
            node.start(*rig.how(node))
            if node.serves(REFUSES_S):
                raise AssertionError(f"{node.name} serves on a file of {keep} bytes where {pages} pages were in use")
            if not node.ended() or (node.status or 0) < 0:
                rig.note(f"{node.name} did not refuse a file that is cut: status {node.status}, {last_word(node)}")
            rig.replace(node)


class OldCopy(Fault):
    """A node's directory is put back to what it was some time ago, as from a backup: it is refused, or catches up."""

    kind = "old-copy"
    limit_s = 25.0
    hold_s = (6.0, 10.0)
    destroys = True

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1) as (node,):
            old = node.folder / "old"
            shutil.rmtree(old, ignore_errors=True)
            node.signal(signal.SIGSTOP)
            try:
                time.sleep(0.05)           # a write under way ends
                shutil.copytree(node.data, old)
            finally:
                node.signal(signal.SIGCONT)
            restarted = dice.random() < 0.5
            time.sleep(dice.uniform(2.0, 5.0))
            if restarted:                  # its incarnation tells on the copy then
                node.kill()
                node.start(*rig.how(node))
                node.serves()
                time.sleep(1.0)
            node.kill()
            if why := rig.irreplaceable(node):
                rig.revive(node)
                raise NotNow(f"{node.name} keeps its disk: {why}")
            node.wipe()
            old.rename(node.data)
            since = "restarted since" if restarted else "not restarted since"
            strike.begin(f"{node.name}: an old copy in the place of its data, {since}")
            node.start(*rig.how(node))
            yield
            if not node.running:
                rig.note(f"{node.name} refused an old copy: {last_word(node)}")
                rig.replace(node)
            elif missing := rig.await_whole(30.0):
                rig.note(f"{node.name} runs on an old copy, and is not taken in: {missing}")
                rig.replace(node)
