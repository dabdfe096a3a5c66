"""One seed, one run: a cluster, its programs, its faults and its checkers; then calm, and all must end well."""

from __future__ import annotations

import random
import traceback
from collections import Counter
from dataclasses import dataclass, field

from tests.simulation.bounds import RAN_AWAY, STEPS_MAX, bounded
from tests.simulation.checkers import Beyond, Violation
from tests.simulation.checkers.answers import Answers
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.logs import Logs
from tests.simulation.checkers.parcels import Parcels
from tests.simulation.checkers.pauses import Pauses
from tests.simulation.checkers.published import Copies
from tests.simulation.checkers.rings import Rings
from tests.simulation.checkers.sequential import Specification
from tests.simulation.checkers.states import States
from tests.simulation.checkers.streams import Streams
from tests.simulation.checkers.ticks import Ticks
from tests.simulation.checkers.total_queue import Report
from tests.simulation.faults import Faults
from tests.simulation.last_look import LastLook
from tests.simulation.recorder import Recorder
from tests.simulation.tuning import Sizes, tuned
from tests.simulation.workload import Load, Workload
from zmqueue.core.state import Agreed
from zmqueue.testing import InMemory, OnLmdb, Pace, RanAway, VirtualCluster

LMDB_SHARE = 0.05
"""In how many runs the disks are LMDB itself, which takes longer."""

CALM_MAX = 150.0
"""Virtual seconds after the last fault within which everything must be well: a replica that flapped is not trusted
again for up to a minute (R17), and a member that went down again and again not for half the grace (C9)."""

SCRUB_MAX = 150.0
"""...and as many more where bits have flipped: the scrub rests for a minute between two rounds."""


FRAMES_SHOWN = 12
"""Of a run that ran away: where it was, the innermost last."""


@dataclass(slots=True)
class Outcome:
    """What came of one seed."""

    seed: int
    checker: str = ""                      # what was violated; empty: nothing
    what: str = ""
    beyond: str = ""                       # why the run ended without a verdict; empty: it did not
    steps: int = 0
    virtual_s: float = 0.0
    calm_s: float = 0.0                    # virtual seconds until all was well again
    epochs: int = 0
    commits: int = 0
    confirmed: int = 0
    delivered: int = 0
    settled: int = 0
    negatives: int = 0
    snapshots: int = 0
    published: int = 0                     # times that copies were put into queues
    carried: int = 0                       # messages that settles queued
    pauses: int = 0                        # of queues, as nodes installed them
    fired: int = 0                         # messages that schedules queued
    followed: int = 0                      # events that programs which follow were told
    rings: int = 0                         # rings that were compared with another peer's of the same epoch
    queue: Report = field(default_factory=Report)      # what went in and came out; empty: the run did not come so far
    faults: Counter[str] = field(default_factory=Counter)
    trace_sha256: str = ""
    trace: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not self.checker

    @property
    def command(self) -> str:
        """What repeats the run."""
        return f"python -m tests.simulate --seeds 1 --start {self.seed} --trace"


def draw_settings(dice: random.Random) -> Agreed:
    """Settings by chance, small enough that everything happens within seconds."""
    return Agreed(
        buckets=dice.choice((2, 4, 8)), replicas=dice.choice((2, 3, 3, 3, 5)), min_in_sync=dice.choice((1, 2, 2, 2, 3)),
        vnodes=16, heartbeat_ms=100, suspicion_ms=dice.choice((400, 1_000)),
        replica_timeout_ms=dice.choice((400, 1_000)), grace_ms=dice.choice((2_500, 8_000)),
        session_ms=dice.choice((800, 2_500)), lease_ms=dice.choice((800, 3_000)),
        deliveries_max=dice.choice((0, 3, 10)))


class Run:
    """A run that is under way."""

    def __init__(self, seed: int, keep: int, on_lmdb: bool | None) -> None:
        self.dice = dice = random.Random(seed)
        self._lmdb_disks: list[OnLmdb] = []
        drawn = dice.random() < LMDB_SHARE
        self.on_lmdb = drawn if on_lmdb is None else on_lmdb
        self.sizes = Sizes.draw(dice)
        settings = draw_settings(dice)
        self.states = States()
        self.pauses = Pauses()
        self.logs = Logs(self.states, settings.buckets)
        self.answers = Answers(self.logs, settings.buckets)
        self.parcels = Parcels(self.logs, settings.buckets)
        self.copies = Copies(self.logs)
        self.rings, self.recorder = Rings(), Recorder()
        self.streams = Streams()
        self.ticks = Ticks(self.states, self.logs)
        self.queue = Report()
        self.cluster = VirtualCluster(
            dice.getrandbits(64), 0, settings=settings, pace=Pace(tick=dice.choice((0.02, 0.035, 0.05))),
            observers=(self.states, self.rings, self.logs, self.answers, self.pauses, self.recorder, self.streams),
            trace_keep=keep, make_client=self.recorder.client,
            make_medium=self._make_lmdb_disk if self.on_lmdb else InMemory)
        self.cluster.time.steps_max = STEPS_MAX
        self.faults: Faults | None = None
        self.calm_since = 0.0

    def _make_lmdb_disk(self) -> OnLmdb:
        disk = OnLmdb()
        self._lmdb_disks.append(disk)
        return disk

    def close(self) -> None:
        """Remove the directories of its disks, where they have some."""
        for disk in self._lmdb_disks:
            disk.close()

    def play(self) -> None:
        """Everything. Raises Violation."""
        dice, cluster = self.dice, self.cluster
        for _ in range(dice.choice((1, 2, 3, 3, 3, 3, 4, 5, 5, 6, 7))):
            cluster.add_node().start()
            cluster.run(0.3 * dice.random())
        if dice.random() < 0.7:
            cluster.run_until(cluster.is_whole, 20.0, every=0.1)
        workload = Workload(cluster, Load.draw(dice), random.Random(dice.getrandbits(64)))
        self.faults = faults = Faults(cluster, workload, random.Random(dice.getrandbits(64)),
                                      lambda: self.states.latest, self.logs.dishonest)
        cluster.run(dice.choice((4.0, 8.0, 15.0)))
        faults.stop()
        workload.calm()
        self.calm_since = cluster.time.now
        cluster.run(faults.scene.latest)         # what comes late may be a submit
        ending = Ending(cluster, self.states, self.logs, self.answers, lambda: workload.pending,
                        lambda: faults.unfound() or self.parcels.unfound())
        doubled = faults.scene.doubled
        ending.check(CALM_MAX + (SCRUB_MAX if faults.struck["flipped bit"] else 0.0),
                     lambda: [] if doubled else workload.refused())
        self.streams.check_rows(cluster)
        look = LastLook(cluster, self.recorder, Specification(
            mortal=cluster.settings.deliveries_max > 0 or workload.whimsical, expires=workload.whimsical))
        look.ask()
        self.queue = look.judge(doubled=doubled)


def run_seed(seed: int, keep: int = 200, *, always: bool = False, on_lmdb: bool | None = None) -> Outcome:
    """Run one seed. The last `keep` events of a run that failed, or of any with `always`, are in its trace.

    `on_lmdb`: the nodes' disks are LMDB, or are not; by default the seed decides. The run is the same on either.
    """
    run, outcome = Run(seed, keep, on_lmdb), Outcome(seed)
    try:
        with tuned(run.sizes), bounded():
            run.play()
    except Violation as violation:
        outcome.checker, outcome.what = violation.checker, violation.what
    except Beyond as beyond:
        outcome.beyond = str(beyond)
    except (RanAway, MemoryError) as error:
        outcome.checker, outcome.what = RAN_AWAY, f"{error!r}\n{traceback.format_exc(-FRAMES_SHOWN)}"
    except Exception as error:
        outcome.checker, outcome.what = "no exception", f"{error!r}\n{traceback.format_exc()}"
    finally:
        run.close()
    cluster = run.cluster
    outcome.steps, outcome.virtual_s = cluster.time.steps, cluster.time.now
    outcome.calm_s = cluster.time.now - run.calm_since if run.calm_since else 0.0
    outcome.epochs, outcome.commits = len(run.states.chosen), run.logs.commits
    outcome.confirmed, outcome.delivered = len(run.answers.confirmed), run.answers.delivered
    outcome.settled, outcome.negatives = run.answers.settled, run.answers.negatives
    outcome.snapshots, outcome.rings, outcome.queue = run.logs.snapshots, run.rings.book.compared, run.queue
    if run.faults is not None:
        outcome.faults = run.faults.struck
    outcome.followed, outcome.fired = run.streams.followed, run.ticks.fired
    outcome.pauses, outcome.carried = run.pauses.pauses, run.parcels.queued
    outcome.published = len(run.copies.published)
    outcome.faults["on LMDB"] += run.on_lmdb
    outcome.faults["beyond the promise"] += bool(outcome.beyond)
    outcome.trace_sha256 = cluster.trace.sha256
    if always or not outcome.passed:
        outcome.trace = cluster.trace.lines()
    return outcome
