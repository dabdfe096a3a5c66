"""Faults of what a node has on its disk, and of the shell that drives it (R18, C11)."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.states import States
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.testing.disk import Disk
from zmqueue.testing.node import VirtualNode


def incarnations_do_not_grow(patch: pytest.MonkeyPatch) -> None:
    """A restarted node runs as the incarnation that it was before."""
    rewrite(patch, Disk, "begin", ("self.label.incarnation += 1", "self.label.incarnation = 1"))
    rewrite(patch, VirtualNode, "start", (
        "self.nonce = self._random.getrandbits(63)", "self.nonce = self.nonce or self._random.getrandbits(63)"))


DISK = [
    mutant(incarnations_do_not_grow, "R2", Logs.IDENTITY, Logs.IN_SYNC, Logs.PREFIXES, States.NAME, deep=True),
]
