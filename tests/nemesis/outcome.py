"""What was asked for and what came of it: the report of a run, and whether all held."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import msgspec

from tests.nemesis.faults import FAULTS, Strike
from tests.nemesis.judge import Verdict
from tests.nemesis.records import Fate

SETTLED_S = 1.5                        # after a fault is healed, waits still count as its own; calm lasts no less


@dataclass(slots=True)
class Plan:
    """What is asked for."""

    kinds: Sequence[str]
    seconds: float
    nodes: int
    folder: Path
    seed: int


@dataclass(slots=True)
class Outcome:
    """What came of it."""

    strikes: list[Strike] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    calm: list[tuple[float, float]] = field(default_factory=list)      # windows in which no fault was on
    errors: list[str] = field(default_factory=list)                    # of the rig, and of programs that ended wrong
    not_whole: str = "the run did not come so far"
    verdict: Verdict = field(default_factory=Verdict)
    fates: dict[str, Fate] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    whole_after_s: float | None = None
    seconds: float = 0.0


def report(plan: Plan, outcome: Outcome) -> dict[str, object]:
    """What the command's JSON promises, and some more."""
    verdict = outcome.verdict
    return {
        "acknowledged": verdict.acknowledged, "delivered": verdict.delivered, "lost": verdict.lost,
        "duplicated": verdict.duplicated, "redelivered": verdict.redelivered, "wrong": verdict.wrong,
        "violations": verdict.violations, "indefinite": verdict.indefinite, "refused": verdict.refused,
        "faults": _by_kind(outcome), "skipped": [{"kind": kind, "reason": reason}
                                                 for kind, reason in outcome.skipped.items()],
        "whole_at_end": not outcome.not_whole, "folder": str(plan.folder), "seconds": outcome.seconds,
        "nodes": plan.nodes, "seed": plan.seed, "reads": verdict.reads, "refusals": verdict.refusals,
        "queue": asdict(verdict.queue), "rings": verdict.rings,
        "calm_per_second": calm_rate(outcome), "not_whole": outcome.not_whole, "whole_after_s": outcome.whole_after_s,
        "never_struck": never_struck(plan, outcome), "errors": outcome.errors, "notes": outcome.notes,
        "findings": dict(verdict.findings)}


def held(plan: Plan, outcome: Outcome) -> bool:
    """Nothing is lost, wrong, violated or broken; all is whole; and every fault that was asked for struck."""
    return (outcome.verdict.clean and not outcome.not_whole and not outcome.errors
            and not never_struck(plan, outcome))


def never_struck(plan: Plan, outcome: Outcome) -> list[str]:
    struck = {strike.kind for strike in outcome.strikes}
    return [kind for kind in plan.kinds if kind not in struck]


def calm_rate(outcome: Outcome) -> float | None:
    """Confirmed submits per second while no fault was on."""
    seconds = sum(end - begin for begin, end in outcome.calm)
    confirmed = sorted(fate.confirmed_at for fate in outcome.fates.values() if fate.confirmed)
    count = sum(1 for at in confirmed if any(begin <= at <= end for begin, end in outcome.calm))
    return count / seconds if seconds else None


def _by_kind(outcome: Outcome) -> list[dict[str, object]]:
    """Of each kind: how often it struck, and the longest time that a submit was under way while it did, in its first
    call or in its repetitions, until it was confirmed or given up."""
    waits = sorted((fate.begun, end) for fate in outcome.fates.values()
                   if (end := min(fate.confirmed_at, fate.answered_at)) < float("inf"))    # its program saw the end
    found: dict[str, list[Strike]] = defaultdict(list)
    for strike in outcome.strikes:
        found[strike.kind].append(strike)
    return [{"kind": kind, "count": len(strikes),
             "longest_unavailable_ms": _longest(waits, strikes) * 1000,
             "longest_alone_ms": None if (alone := _longest(waits, [
                 strike for strike in strikes if _alone(strike, outcome.strikes)], -1.0)) < 0 else alone * 1000,
             "limit_ms": FAULTS[kind].limit_s * 1000}
            for kind, strikes in sorted(found.items())]


def _alone(strike: Strike, strikes: Sequence[Strike]) -> bool:
    """No fault of another kind was on while it was, or until it had settled."""
    return all(other.kind == strike.kind
               or other.begun > strike.ended + SETTLED_S or other.ended + SETTLED_S < strike.begun for other in strikes)


def _longest(waits: Sequence[tuple[float, float]], strikes: Sequence[Strike], least: float = 0.0) -> float:
    return max(itertools.chain([least], (
        end - begin for strike in strikes for begin, end in waits
        if begin <= strike.ended + SETTLED_S and strike.begun <= end)))


def write(plan: Plan, outcome: Outcome) -> None:
    """The verdict and the faults, beside the history."""
    text = msgspec.json.format(msgspec.json.encode(report(plan, outcome)), indent=2)
    (plan.folder / "verdict.json").write_bytes(text)
    with (plan.folder / "faults.jsonl").open("wb") as lines:
        for strike in sorted(outcome.strikes, key=lambda strike: strike.begun):
            lines.write(msgspec.json.encode({"kind": strike.kind, "begun": strike.begun, "ended": strike.ended,
                                             "texts": strike.texts}) + b"\n")
