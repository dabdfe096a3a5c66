"""Faults of clocks: a node's wall clock jumps, and jumps to and fro."""

from __future__ import annotations

import contextlib
import glob
import random
import time
from collections.abc import Iterator
from pathlib import Path

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.nodes import RigNode
from tests.nemesis.rig import Rig

LIBRARY = "/usr/lib/*/faketime/libfaketimeMT.so.1"
JUMPS_S = (-86_400, -3_600, -600, -5, 5, 600, 1_800)
"""Forward less than the rig's messages are remembered (24 h) and deduplicated (1 h): what is older may be refused."""


class Clock(Fault):
    """The wall clock of a node is wrong, or flickers; its monotonic clock goes on as a sane machine's does."""

    kind = "clock"
    limit_s = 20.0
    hold_s = (2.0, 6.0)

    def prepare(self, rig: Rig) -> str:
        found = glob.glob(LIBRARY)
        if not found:
            return "there is no libfaketime (apt-get install faketime)"
        rig.program_environment["NEMESIS_DELAYS"] = "0"
        for node in rig.nodes:
            set_clock(node, 0)
            node.environment |= {"LD_PRELOAD": found[0], "FAKETIME_TIMESTAMP_FILE": str(file_of(node)),
                                 "FAKETIME_CACHE_DURATION": "1", "FAKETIME_DONT_FAKE_MONOTONIC": "1",
                                 "DONT_FAKE_MONOTONIC": "1", "FAKETIME_DISABLE_SHM": "1"}
        return ""

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        victims = dice.sample(rig.nodes, dice.randint(1, len(rig.nodes)))
        try:
            for _ in range(dice.choice((1, 1, 4))):
                jumps = {node.name: dice.choice(JUMPS_S) for node in victims}
                for node in victims:
                    set_clock(node, jumps[node.name])
                strike.begin(f"wall clocks off by seconds: {jumps}")
                time.sleep(1.5)            # the library looks once a second
            yield
        finally:
            for node in rig.nodes:
                set_clock(node, 0)


def file_of(node: RigNode) -> Path:
    return node.folder.with_suffix(".clock")


def set_clock(node: RigNode, offset: int) -> None:
    """In one step: it is read at any moment."""
    new = file_of(node).with_suffix(".clock.new")
    new.write_text(f"{offset:+d}\n")
    new.rename(file_of(node))
