"""A total queue, in Jepsen's sense: what was put in against what came out, by what programs were told.

Put in is what a submit named that was not refused, or what a settle carries; acknowledged, where that was confirmed.
Out comes what a program was handed, and what a program knows to have ended. *Lost* was acknowledged, and the history
does not end with its end. *Unexpected* came out, and was never put in, or was put in as something else. *Duplicated*
ended more than once (and nobody requeued it), or was handed out twice under one lease. *Recovered* came out although
its submitter never heard that it went in; and what is handed out again under another lease is *redelivered*: neither is
a fault.

The history has to be of all programs, to an end at which all was worked off and asked after.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.simulation.checkers.history import Act, What

SHOWN = 20
"""Findings of one kind that are written out; all are counted."""


@dataclass(slots=True)
class Report:
    """Numbers of messages; of `redelivered`, of deliveries."""

    submitted: int = 0
    acknowledged: int = 0
    delivered: int = 0
    settled: int = 0                       # known to have ended
    recovered: int = 0
    redelivered: int = 0
    lost: int = 0
    unexpected: int = 0
    duplicated: int = 0

    @property
    def clean(self) -> bool:
        return not (self.lost or self.unexpected or self.duplicated)


@dataclass(slots=True)
class TotalQueue:
    """The count over all messages."""

    LOST = "what was acknowledged comes out"
    UNEXPECTED = "nothing comes out that was not put in"
    DUPLICATED = "nothing comes out twice"

    report: Report = field(default_factory=Report)
    findings: list[tuple[str, str]] = field(default_factory=list)      # (which of the above, in words)
    _noted: Counter[str] = field(default_factory=Counter)

    def add(self, token: str, history: Sequence[Act]) -> None:
        """Count one message: all calls about it, in any order."""
        report = self.report
        submits = [call for call in history if call.what is What.SUBMIT]
        grants = [call for call in history if call.what is What.GRANT]
        ends = [call for call in history if call.certain and ends_it(call)]
        acknowledged = any(call.certain or call.promised for call in submits)
        report.submitted += bool(submits)
        report.acknowledged += acknowledged
        report.delivered += bool(grants)
        report.settled += bool(ends)
        report.redelivered += max(0, len({call.fencing for call in grants}) - 1)
        if not submits:
            if grants or ends:
                report.unexpected += 1
                self._note(self.UNEXPECTED, f"{token} was never submitted: {(grants or ends)[0]}")
            return
        report.recovered += bool(not acknowledged and (grants or ends))
        if changed := [call for call in grants if call.payload not in {put.payload for put in submits}]:
            report.unexpected += 1
            self._note(self.UNEXPECTED, f"{token} was handed out changed: {changed[0]}")
        requeued = any(call.what is What.REQUEUE for call in history)
        if twice := twice_out(grants, [] if requeued else ends):
            report.duplicated += 1
            self._note(self.DUPLICATED, f"{token} {twice}")
        if acknowledged and (missing := why_lost(history, ends)):
            report.lost += 1
            self._note(self.LOST, f"{token} was acknowledged, {missing}")

    def _note(self, kind: str, what: str) -> None:
        self._noted[kind] += 1
        if self._noted[kind] <= SHOWN:
            self.findings.append((kind, what))


def ends_it(call: Act) -> bool:
    """True where that call tells its program that the message has ended."""
    match call.what:
        case What.SETTLE:
            return call.how is not None and call.how.end is not None
        case What.READ:
            return call.seen is not None and call.seen.end
        case _:
            return call.what is What.CANCEL


def twice_out(grants: Iterable[Act], ends: Iterable[Act]) -> str:
    """Why a message came out twice; empty: it did not."""
    leases = Counter(call.fencing for call in grants)
    if again := [fencing for fencing, times in sorted(leases.items()) if times > 1]:
        return f"was handed out {leases[again[0]]} times under {again[0]}"
    settled = sorted({call.fencing for call in ends if call.what is What.SETTLE})
    return f"ended under {settled}" if len(settled) > 1 else ""


def why_lost(history: Sequence[Act], ends: Sequence[Act]) -> str:
    """Why a message has not come out; empty: it has."""
    if not ends:
        return "and nobody knows of its end"
    known = min(call.ended for call in ends)
    reads = [call for call in history if call.what is What.READ and call.certain]
    last = max(reads, key=lambda call: call.begun, default=None)
    gone = last is not None and last.begun > known and not ends_it(last)
    return f"and in the end, after its end was known: {last}" if gone else ""
