"""Faults of leases and of the sessions that hold them (Q1, Q5)."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.simulation.checkers.logs import Logs
from tests.simulation.mutants.planting import mutant, rewrite
from zmqueue.core.desk import Desk
from zmqueue.core.engine import Engine
from zmqueue.core.holdings import Holdings
from zmqueue.core.leasing import Leasing
from zmqueue.core.ledger import Ledger
from zmqueue.core.primary import PrimarySide
from zmqueue.core.sessions import Sessions


def leases_never_expire(patch: pytest.MonkeyPatch) -> None:
    """A lease that its worker neither settles nor renews stands for as long as the worker lives."""
    patch.setattr(Holdings, "expired", lambda self, at: [])


def replicated_leases_never_expire(patch: pytest.MonkeyPatch) -> None:
    """A new primary knows of the leases that it inherits, but not when they are over."""
    rewrite(patch, Ledger, "open", ("record.until, record.session", "1 << 62, record.session"))


def leases_expire_by_half(patch: pytest.MonkeyPatch) -> None:
    """A lease is taken back before its time is over."""
    rewrite(patch, Desk, "tick", ("ledger.holdings.expired(at)", "ledger.holdings.expired(at + 300)"))


def lost_sessions_keep_their_leases(patch: pytest.MonkeyPatch) -> None:
    """What a worker held that fell silent is not given back before its lease is over."""
    patch.setattr(Sessions, "silent", lambda self, now, session_ms: [])
    rewrite(patch, Leasing, "end_session", ("for desk in self._line:", "for desk in ():"))


def unclaimed_leases_are_kept(patch: pytest.MonkeyPatch) -> None:
    """What was granted in an answer that never arrived stays leased for as long as its session lives."""
    rewrite(patch, Leasing, "keepalive", ("<= packet.upto]", "< 0]"))


def repeated_requests_are_granted_anew(patch: pytest.MonkeyPatch) -> None:
    """A lease request that is repeated because its answer was lost is granted a second time."""
    rewrite(patch, Leasing, "lease", ("elif packet.number <= session.highest:", "elif False:"))


def bucket_time_is_the_wall_clock(patch: pytest.MonkeyPatch) -> None:
    """Entries carry the wall time of their primary instead of bucket time."""
    wall = [0]
    _note_wall(patch, Engine.tick, wall)
    _note_wall(patch, Engine.on_client, wall)
    patch.setattr(PrimarySide, "at", lambda self, now: wall[0])


def _note_wall(patch: pytest.MonkeyPatch, honest: Callable[..., None], wall: list[int]) -> None:
    """The wall time of the node that has its turn is always the last argument."""
    def noting(self: Engine, *more: object) -> None:
        assert isinstance(more[-1], int)
        wall[0] = more[-1]
        honest(self, *more)
    patch.setattr(Engine, honest.__name__, noting)


def bucket_time_begins_anew(patch: pytest.MonkeyPatch) -> None:
    """A new primary counts bucket time by its own clock, whatever the log says it was."""
    rewrite(patch, PrimarySide, "at", ("return self._at + int((now - self._entered) * 1_000)",
                                       "return int(now * 1_000)"))


SESSIONS = [
    mutant(leases_never_expire, "Q1", schedule="inherited_lease"),
    mutant(replicated_leases_never_expire, "Q1", schedule="inherited_lease"),
    mutant(leases_expire_by_half, "Q1", Logs.DECISIONS),
    mutant(lost_sessions_keep_their_leases, "Q5", schedule="lost_session"),
    mutant(unclaimed_leases_are_kept, "Q5", schedule="unclaimed_grant"),
    mutant(repeated_requests_are_granted_anew, "Q5", schedule="repeated_request"),
    mutant(bucket_time_is_the_wall_clock, "Q1", Logs.DECISIONS, deep=True),
    mutant(bucket_time_begins_anew, "Q1", Logs.DECISIONS),
]
