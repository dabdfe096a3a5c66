"""Faults of what a node has on its disk, and of the shell that drives it (R18, C11)."""

from __future__ import annotations

import pytest

from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.states import States
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core.scrub import Scrub
from zmqueue.store import memory
from zmqueue.store.records import FRAME_BYTES
from zmqueue.testing.disk import Disk
from zmqueue.testing.node import VirtualNode


def incarnations_do_not_grow(patch: pytest.MonkeyPatch) -> None:
    """A restarted node runs as the incarnation that it was before."""
    rewrite(patch, Disk, "begin", ("self.label.incarnation += 1", "self.label.incarnation = 1"))
    rewrite(patch, VirtualNode, "start", (
        "self.nonce = self._random.getrandbits(63)", "self.nonce = self.nonce or self._random.getrandbits(63)"))


def checksums_are_ignored(patch: pytest.MonkeyPatch) -> None:
    """A record is taken for what was written, whatever its checksum says."""
    patch.setattr(memory, "unseal", lambda table, key, sealed: sealed[FRAME_BYTES:])


def rows_are_not_counted(patch: pytest.MonkeyPatch) -> None:
    """The scrub looks at each row that is there, and not whether all of them are."""
    rewrite(patch, Scrub, "_judge", ("elif found != known:", "elif False:"))


def acks_do_not_wait_for_the_sync(patch: pytest.MonkeyPatch) -> None:
    """The shell sends what promises a batch before that is on the disk."""
    rewrite(patch, VirtualNode, "_perform", (
        "self._send(effects.now, ", "self._send(effects.now + effects.durable, "))
    rewrite(patch, VirtualNode, "_after_sync", (
        "self._send(effects.durable, ", "self._send(effects.durable if effects.hold else [], "))


DISK = [
    mutant(checksums_are_ignored, "R15", schedule="flipped_bit"),
    mutant(rows_are_not_counted, "R15", schedule="vanished_record"),
    mutant(acks_do_not_wait_for_the_sync, "R5", Logs.IN_SYNC, States.NAME),
    mutant(incarnations_do_not_grow, "R2", Logs.IDENTITY, Logs.IN_SYNC, Logs.PREFIXES, States.NAME, deep=True),
]
