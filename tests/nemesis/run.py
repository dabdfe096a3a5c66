"""One run: the cluster and its programs start, faults strike and are healed, all is drained, and the judge speaks."""

from __future__ import annotations

import contextlib
import random
import sys
import threading
import time
import traceback
from collections.abc import Iterator

import zmqueue
from tests.nemesis.book import Book, Call, read_folder
from tests.nemesis.crew import Crew
from tests.nemesis.faults import FAULTS, Fault, Strike
from tests.nemesis.hosts import Loopback, Network, why_not
from tests.nemesis.judge import Judge
from tests.nemesis.look import look
from tests.nemesis.outcome import Outcome, Plan
from tests.nemesis.rig import NotNow, Rig

CALM_FIRST_S = 6.0                     # before the first fault
CALM_S = (1.5, 3.5)                    # between two
OVERTIME_S = 30.0                      # per kind: for those that have not struck when the time is over
DRAIN_S = 60.0                         # without any progress: then what is left is not worked off
AT_ONCE = (1, 1, 1, 2, 2, 3)           # kinds of one episode
CREW = {"producer": 2, "worker": 3, "reader": 1}
RATE = 50.0                            # single submits per second of one producer; its batches come beside


class Run:
    """One run. `outcome` is filled as it goes."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.outcome = Outcome()
        self._dice = random.Random(plan.seed)
        self._history = plan.folder / "history"
        self._faults: dict[str, Fault] = {}

    def play(self) -> Outcome:
        """All of it; whatever was started is gone afterwards."""
        began = time.monotonic()
        self._history.mkdir(parents=True)
        reason = why_not()
        if reason:
            say(f"no hosts of their own: {reason}")
        with contextlib.ExitStack() as stack:
            network: Network | Loopback = Loopback() if reason else Network()
            stack.enter_context(network)
            rig = Rig(network, self.plan.folder, self.plan.nodes, random.Random(self._dice.random()))
            stack.callback(rig.end)
            self._prepare(rig, stack)
            rig.start()
            if missing := rig.await_whole():
                raise zmqueue.NodeFailed(f"the cluster was not whole at its start: {missing}")
            crew = rig.crew = Crew(self._history, rig.clients, rig.seeds, random.Random(self._dice.random()))
            crew.environment |= rig.program_environment
            stack.callback(crew.end)
            for role, count in CREW.items():
                for _ in range(count):
                    crew.start(role, RATE)
            self._strike(rig)
            self._finish(rig, crew)
            self.outcome.notes = rig.notes
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _prepare(self, rig: Rig, stack: contextlib.ExitStack) -> None:
        for kind in self.plan.kinds:
            fault = FAULTS[kind]()
            try:
                reason = fault.prepare(rig)
            except RuntimeError as error:
                reason = str(error)
            if reason:
                self.outcome.skipped[kind] = reason
                say(f"{kind} is skipped: {reason}")
            else:
                self._faults[kind] = fault
                stack.callback(fault.close)

    # --- faults ---

    def _strike(self, rig: Rig) -> None:
        """Episodes of faults with calm in between, until the time is over and each kind has struck, within bounds."""
        until = time.monotonic() + self.plan.seconds
        self._calm(CALM_FIRST_S)
        for episode in self._episodes():
            struck = self._faults.keys() <= {strike.kind for strike in self.outcome.strikes}
            if time.monotonic() >= until + (0.0 if struck else OVERTIME_S * len(self._faults)):
                return
            if any(self._faults[kind].destroys for kind in episode):
                if missing := rig.await_whole():
                    rig.note(f"{episode} was put off: {missing}")
                    continue
            self._play(rig, episode)
            self._calm(self._dice.uniform(*CALM_S))

    def _episodes(self) -> Iterator[list[str]]:
        """All kinds in turn, shuffled each time; one or several at once, of those that destroy data one."""
        while self._faults:
            deck = self._dice.sample(sorted(self._faults), len(self._faults))
            while deck:
                episode = [deck.pop()]
                for _ in range(self._dice.choice(AT_ONCE) - 1):
                    fit = [kind for kind in deck if self._beside(kind, episode)]
                    if fit:
                        episode.append(fit[-1])
                        deck.remove(fit[-1])
                yield episode

    def _beside(self, kind: str, episode: list[str]) -> bool:
        """Whether the kind may strike together with these."""
        fault, others = self._faults[kind], [self._faults[other] for other in episode]
        return not (any(one.alone for one in (fault, *others))
                    or (fault.destroys and any(other.destroys for other in others)))

    def _play(self, rig: Rig, episode: list[str]) -> None:
        threads = []
        for kind in episode:
            strike = Strike(kind, on_begin=lambda strike: say(f"{strike.kind}: {strike.texts[-1]}"))
            thread = threading.Thread(target=self._one, args=(rig, strike, random.Random(self._dice.random())),
                                      name=kind, daemon=True)
            thread.start()
            threads.append(thread)
        for thread in threads:
            thread.join()

    def _one(self, rig: Rig, strike: Strike, dice: random.Random) -> None:
        try:
            self._faults[strike.kind].run(rig, dice, strike)
        except NotNow as reason:
            rig.note(f"{strike.kind} did not strike: {reason}")
        except Exception:
            self.outcome.errors.append(f"{strike.kind}: {traceback.format_exc()}")
            say(self.outcome.errors[-1])
        finally:
            if strike.begun:
                strike.ended = time.monotonic()
                self.outcome.strikes.append(strike)
                say(f"{strike.kind}: healed after {strike.ended - strike.begun:.1f} s")

    def _calm(self, seconds: float) -> None:
        began = time.monotonic()
        time.sleep(seconds)
        self.outcome.calm.append((began, time.monotonic()))

    # --- the end ---

    def _finish(self, rig: Rig, crew: Crew) -> None:
        """Faults are off: until all is whole and drained, within bounds; then look at everything, and judge."""
        outcome = self.outcome
        began = time.monotonic()
        say("no more faults")
        outcome.errors += crew.stop("producer")
        outcome.not_whole = rig.await_whole()
        outcome.whole_after_s = time.monotonic() - began
        left = self._drain(rig)
        if left != 0 and not outcome.not_whole:
            many = "nobody knows how many" if left is None else left
            outcome.not_whole = f"{many} messages are left, and none was worked off for {DRAIN_S:g} s"
        outcome.errors += crew.stop("reader", "worker")
        tokens = Judge(self._calls).tokens
        say(f"a last look at {len(tokens)} messages")
        with contextlib.closing(Book(self._history / "look.jsonl")) as book, zmqueue.Client(*rig.seeds) as client:
            unanswered = look(client, book, tokens)
        if unanswered and not outcome.not_whole:
            outcome.not_whole = f"nobody answered for {len(unanswered)} messages"
        judge = Judge(self._calls)
        outcome.fates, outcome.verdict = judge.fates, judge.judge()

    def _drain(self, rig: Rig) -> int | None:
        """Wait until all is worked off, for as long as there is progress; how many messages are left."""
        least: int | None = None
        deadline = time.monotonic() + DRAIN_S
        while (waiting := rig.waiting()) != 0 and time.monotonic() < deadline:
            if waiting is not None and (least is None or waiting < least):
                least, deadline = waiting, time.monotonic() + DRAIN_S
            time.sleep(0.2)                # polls; the deadline is above
        return waiting

    def _calls(self) -> Iterator[Call]:
        return read_folder(self._history)


def say(text: str) -> None:
    """To whoever watches."""
    print(f"{time.monotonic():.1f} {text}", file=sys.stderr, flush=True)
