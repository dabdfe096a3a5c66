"""The judge: holds what programs wrote down against what the cluster promises, as docs/guarantees.md says it.

It knows nothing of the product but what its programs were told. A total queue: all that was confirmed comes out, once
in effect, right, and nothing else does; a negative answer is true; an end is an end; a lease has one holder, and a
settle under an older one is refused. Beside what it looks for itself, each message's calls are counted as a total queue
and held against the specification of a message, by the simulator's own checkers; and so are the programs' rings.
"""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from tests.nemesis import payloads
from tests.nemesis.book import Call
from tests.nemesis.payloads import Do
from tests.nemesis.records import Delivery, Fate, Read, Settle, acts_of
from tests.simulation.checkers import Violation
from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.rings import RingBook
from tests.simulation.checkers.sequential import Specification, check_linear
from tests.simulation.checkers.told import Told
from tests.simulation.checkers.total_queue import Report, TotalQueue

ENDED = ("done", "dead", "cancelled", "expired")
SHOWN = 50
"""Findings of one kind that are written out; all are counted."""

SPECIFICATION = Specification(mortal=False)
"""With `usage.ATTEMPTS` and the settings of the rig, nothing dies of deliveries that faults ended."""


@dataclass(slots=True)
class Verdict:
    """What was found. `findings`: of each kind some, in words."""

    acknowledged: int = 0
    delivered: int = 0
    redelivered: int = 0
    lost: int = 0
    wrong: int = 0
    duplicated: int = 0
    violations: int = 0
    indefinite: int = 0
    refused: int = 0
    refusals: int = 0                      # answers; a submit that was refused may be repeated
    reads: int = 0
    rings: int = 0                         # that were compared with another program's of the same epoch
    queue: Report = field(default_factory=Report)
    findings: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    @property
    def clean(self) -> bool:
        return not (self.lost or self.wrong or self.duplicated or self.violations) and self.queue.clean

    def violation(self, checker: str, what: str) -> None:
        self.violations += 1
        self.note(checker, what)

    def note(self, kind: str, what: str) -> None:
        if len(self.findings[kind]) < SHOWN:
            self.findings[kind].append(what)


class Judge:
    """Reads the history, then judges it. `history()` gives its calls, in any order, as often as asked."""

    UNEXPECTED = "nothing comes out that did not go in"
    STALE = "a settle under an older lease is refused"
    ORDER = "fencing numbers grow"
    BROKEN = "errors are zmqueue's own"

    def __init__(self, history: Callable[[], Iterable[Call]]) -> None:
        self.verdict = Verdict()
        self.fates: dict[str, Fate] = {}
        self._heads: dict[str, str] = {}                         # token -> head
        self._deliveries: defaultdict[str, list[Delivery]] = defaultdict(list)
        self._settles: defaultdict[str, list[Settle]] = defaultdict(list)
        self._reads: defaultdict[str, list[Read]] = defaultdict(list)
        self._told: Told[str] = Told()
        self._rings = RingBook()
        # Submits come first: a message may be handed out, and ended, before its submitter has heard of it.
        for call in history():
            if call.call == "submit":
                self._submit(call)
        for call in history():
            self._take(call)

    @property
    def tokens(self) -> list[str]:
        """All that are known: what a last look has to ask after."""
        return list(self._heads)

    # --- reading ---

    def _take(self, call: Call) -> None:
        asked, told = call.asked, call.told
        if call.outcome == "broken" or "broken" in told.get("outcomes", ()):
            self.verdict.violation(self.BROKEN, f"{call.program}: {call.call} ended with {told}")
        match call.call:
            case "lease":
                for token, fencing, head in told.get("messages") or ():
                    self._delivery(call, token, fencing, head)
            case "settle":
                self._settles[asked["token"]].append(Settle(
                    asked["fencing"], asked["who"], asked["how"], asked["result"], call.begun, call.ended,
                    call.outcome))
            case "ring":
                self._ring(call)
            case "read" if call.outcome == "confirmed":
                self._reads[asked["token"]].append(Read(
                    call.program, told["state"], told["result"], call.begun, call.ended))
                self.verdict.reads += 1

    def _submit(self, call: Call) -> None:
        heads = call.asked["heads"]
        tokens = call.told.get("tokens") or [call.asked.get("token")] * len(heads)
        outcomes = call.told.get("outcomes") or [call.outcome] * len(heads)
        for head, token, outcome in zip(heads, tokens, outcomes, strict=True):
            fate = self.fates.setdefault(head, Fate(call.begun))
            fate.begun = min(fate.begun, call.begun)
            fate.attempts += 1
            fate.answered_at = max(fate.answered_at, call.ended)
            if token:
                fate.token = token
                self._heads[token] = head
            if outcome == "refused":
                fate.refusals += 1
                self.verdict.refusals += 1
                continue
            fate.perhaps_from = min(fate.perhaps_from, call.begun)
            if outcome == "confirmed":
                fate.confirmed_at = min(fate.confirmed_at, call.ended)

    def _ring(self, call: Call) -> None:
        try:
            self._rings.add((call.asked["lineage"], call.asked["epoch"]), call.program, call.asked["digest"])
        except Violation as found:
            self.verdict.violation(found.checker, found.what)

    def _delivery(self, call: Call, token: str, fencing: int, head: str) -> None:
        who = call.asked["who"]
        try:
            self._told.grant(token, fencing, f"{who} at {call.ended:.3f}")
        except Violation as found:
            self.verdict.violation(found.checker, found.what)
        self._deliveries[token].append(Delivery(fencing, who, head, call.begun, call.ended))
        # A batch whose program was killed leaves heads without tokens.
        if head not in self.fates or self._heads.setdefault(token, head) != head:
            self.verdict.violation(self.UNEXPECTED, f"{who} was handed {token}: {head[:80]!r}, submitted was "
                                                    f"{self._heads.get(token)!r}")

    # --- judging ---

    def judge(self) -> Verdict:
        """Judge each message, by the ends of the calls about it."""
        for by_token in (self._deliveries, self._settles, self._reads):
            for calls in by_token.values():
                calls.sort(key=lambda call: call.ended)
        verdict, found = self.verdict, Counter(head for head in self._heads.values())
        for head, count in found.items():
            if count > 1:
                verdict.violation(Answers.SETTLED, f"{head} has {count} tokens")
        for head, fate in self.fates.items():
            verdict.acknowledged += fate.confirmed
            verdict.refused += fate.refused
            verdict.indefinite += not fate.confirmed and not fate.refused
            if fate.confirmed and not self._reads[fate.token]:
                self._lost(head, "and nobody could read it in the end")
        for token, head in self._heads.items():
            if head in self.fates:
                self._message(token, head, self.fates[head])
        self._count()
        verdict.rings = self._rings.compared
        verdict.delivered = len(self._deliveries)
        verdict.redelivered = sum(len(handed) - 1 for handed in self._deliveries.values())
        return verdict

    def _lost(self, head: str, what: str) -> None:
        self.verdict.lost += 1
        self.verdict.note(Ending.LOST, f"{head} was confirmed, {what}")

    def _message(self, token: str, head: str, fate: Fate) -> None:
        deliveries, settles = self._deliveries.get(token, []), self._settles.get(token, [])
        self._leases(head, deliveries)
        accepted = self._accepted(head, deliveries, settles)
        self._answers(token, head, fate, settles, accepted)
        if fate.refused and (deliveries or any(read.state != "unknown" for read in self._reads[token])):
            self.verdict.violation(Ending.DEFINITE, f"{head} was refused {fate.refusals} times, and is stored")

    def _leases(self, head: str, deliveries: list[Delivery]) -> None:
        """Each lease is newer than all whose grant was known before it was asked for."""
        highest: list[tuple[float, int]] = []                    # (known at, the highest until then), both growing
        for delivery in deliveries:
            known = max((fencing for ended, fencing in highest if ended < delivery.begun), default=0)
            if delivery.fencing <= known:
                self.verdict.violation(self.ORDER, f"{head} was handed out under {delivery.fencing} after {known}")
            highest.append((delivery.ended, delivery.fencing))

    def _accepted(self, head: str, deliveries: list[Delivery], settles: list[Settle]) -> Settle | None:
        """The settle that ended it, as far as a worker was told so."""
        confirmed = [settle for settle in settles if settle.outcome == "confirmed"]
        for one, other in itertools.combinations(confirmed, 2):
            if one.fencing == other.fencing and (one.how, one.result) != (other.how, other.result):
                self.verdict.violation(self.STALE, f"{head}: {one.how} and {other.how} hold, both under {one.fencing}")
        ends = {settle.fencing: settle for settle in confirmed if settle.how in ("ack", "reject")}
        self.verdict.duplicated += max(0, len(ends) - 1)
        if len(ends) > 1:
            self.verdict.note("settled twice", f"{head} ended under {sorted(ends)}")
        for settle in confirmed:
            newer = [delivery for delivery in deliveries
                     if delivery.fencing > settle.fencing and delivery.ended < settle.begun]
            if newer:
                self.verdict.violation(self.STALE, f"{head}: {settle.how} under {settle.fencing} holds, after "
                                                   f"{newer[0].who} had it under {newer[0].fencing}")
        if not ends:
            return None
        end = ends[min(ends)]
        after = [delivery for delivery in deliveries if delivery.fencing > end.fencing]
        if after:
            self.verdict.violation(Answers.SETTLED, f"{head} ended under {end.fencing}, and was handed out to "
                                                    f"{after[0].who} under {after[0].fencing}")
        return end

    def _answers(self, token: str, head: str, fate: Fate, settles: list[Settle], accepted: Settle | None) -> None:
        """What readers were told: nothing before it is so, nothing else afterwards, and the end is right."""
        verdict, reads = self.verdict, self._reads[token]
        ended_at = accepted.ended if accepted is not None else float("inf")
        right = True
        for read in reads:
            if read.state == "unknown":
                if fate.confirmed_at < read.begun:
                    verdict.violation(Answers.LINEAR, f"{head}: {read.program} was told that it is unknown")
                continue
            if read.state not in ENDED:
                if ended_at < read.begun:
                    verdict.violation(Answers.LINEAR, f"{head}: {read.program} was told {read.state} after its end")
                continue
            ended_at = min(ended_at, read.ended)
            try:
                self._told.over(token, read.state, read.result)
            except Violation as found:
                verdict.violation(found.checker, found.what)
            if right and not self._right(head, read.state, read.result):
                right = False
                verdict.wrong += 1
                verdict.note("wrong", f"{head} ended as {read.state} with {read.result}")
        if reads and fate.confirmed:
            last = reads[-1].state
            if last == "unknown":
                self._lost(head, "and is unknown in the end")
            elif last not in ENDED:
                self._lost(head, f"and is still {last} in the end")
        self._whose(token, head, settles, accepted)

    def _right(self, head: str, state: str, result: object) -> bool:
        if payloads.do_of(head) is Do.REJECT:
            return state == "dead"
        return state == "done" and isinstance(result, dict) and result.get("answer") == payloads.answer(head)

    def _whose(self, token: str, head: str, settles: list[Settle], accepted: Settle | None) -> None:
        """The end that is told is the one that was accepted, and one that somebody asked for."""
        told = self._told.ended.get(token)
        if told is None:
            return
        state, result = told
        how = "ack" if state == "done" else "reject"
        if accepted is not None and (accepted.how, accepted.result) != (how, result):
            self.verdict.violation(Answers.SETTLED, f"{head} ended as {state} {result}, accepted was {accepted.how} "
                                                    f"{accepted.result}")
        if not any((settle.how, settle.result) == (how, result) for settle in settles):
            self.verdict.violation(self.UNEXPECTED, f"{head} ended as {state} {result}, which nobody asked for")

    # --- by the simulator's checkers ---

    def _count(self) -> None:
        """Each message as a part of a total queue, and by its specification."""
        verdict, total = self.verdict, TotalQueue()
        for token in dict.fromkeys([*self._heads, *self._deliveries, *self._reads]):
            head = self._heads.get(token, "")
            history = acts_of(self.fates.get(head), self._deliveries.get(token, ()), self._settles.get(token, ()),
                              self._reads.get(token, ()), head)
            total.add(token, history)
            try:
                check_linear(token, history, SPECIFICATION)
            except Violation as found:
                verdict.violation(found.checker, f"{head}: {found.what}")
        for kind, what in total.findings:
            verdict.note(kind, what)
        verdict.queue = total.report
