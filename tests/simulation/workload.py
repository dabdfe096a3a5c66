"""Clients and workers that use a cluster as programs do, with chance in the place of their reasons.

A producer submits, repeats with the same id what had no answer (and, by whim, what had one), and asks how its messages
are. A worker takes messages, works for a while, and settles them: done, again, never, or not at all.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from tests.simulation.checkers import published
from tests.simulation.menders import Mender
from tests.simulation.operators import Operator
from tests.simulation.publishers import Publisher
from tests.simulation.schedulers import Scheduler
from tests.simulation.whims import Whimsical
from zmqueue.client.calls import SubmitCall
from zmqueue.client.chains import JOIN, carried_on
from zmqueue.client.leasing import Holding
from zmqueue.client.streaming import FollowCall
from zmqueue.core.ids import bucket_of, parse_token
from zmqueue.core.operations import How, Parcel
from zmqueue.core.requests import Ask
from zmqueue.errors import SubmitManyFailed, SubmitTimeout
from zmqueue.testing import VirtualClient, VirtualCluster

QUEUES = ("red", "blue")

FIRST_PROBE = 1 << 32
"""Above the numbers of all requests that a client draws itself."""


@dataclass(frozen=True, slots=True)
class Load:
    """How much of what. Times in seconds."""

    producers: int
    workers: int
    pause: float                           # of a producer between two submits, on average
    batch_max: int
    body_bytes_max: int
    slots: int                             # of a worker
    handle_max: float                      # how long a handler runs at most
    nack: float                            # probabilities, per message
    reject: float
    give_back: float
    forget: float                          # the handler hangs: the lease is never settled
    extend: float
    tell: float                            # a handler tells of progress
    follow: float                          # seconds between two questions after progress; 0: nobody follows
    publish: float                         # seconds between two words under a topic; 0: nobody publishes
    then: float                            # an ack queues the next messages
    again: float                           # a confirmed submit is repeated
    ask: float                             # a producer asks after a message, per submit
    delay: float                           # a submit is for later
    probe: float                           # seconds between two probes; 0: nobody probes
    lease_ms: int                          # of workers' leases; 0: the cluster's default
    impatience: float                      # seconds between two leases that are soon waited for no longer; 0: none
    whims: float                           # seconds between two wishes of a whimsical program; 0: there is none
    schedules: float                       # seconds between two words about schedules; 0: there are none
    words: float                           # seconds between two words of an operator about queues; 0: none
    mend: float                            # seconds that a program lives which takes up dead letters; 0: none

    @staticmethod
    def draw(dice: random.Random) -> Load:
        """By chance."""
        def sometimes(*values: float) -> float:
            return dice.choice((0.0, 0.0, *values))
        return Load(
            producers=dice.choice((1, 1, 2)), workers=dice.choice((1, 1, 2, 3)), pause=dice.choice((0.05, 0.15, 0.4)),
            batch_max=dice.choice((1, 3, 8)), body_bytes_max=dice.choice((8, 64, 600)), slots=dice.choice((1, 3, 8)),
            handle_max=dice.choice((0.01, 0.1, 1.0)), nack=sometimes(0.05, 0.3), reject=sometimes(0.05),
            give_back=sometimes(0.1), forget=sometimes(0.02, 0.1), extend=sometimes(0.1, 0.4), then=sometimes(0.1, 0.3),
            publish=dice.choice((0.0, 0.0, 0.3)),
            again=sometimes(0.1, 0.3), ask=dice.choice((0.1, 0.5, 1.0)), delay=sometimes(0.1),
            probe=dice.choice((0.0, 0.02, 0.1)), lease_ms=dice.choice((0, 0, 400)),
            impatience=dice.choice((0.0, 0.0, 0.05, 0.3)),
            tell=dice.choice((0.0, 0.3, 0.8)), follow=dice.choice((0.0, 0.03, 0.1)),
            schedules=dice.choice((0.0, 0.5, 2.0)),
            words=dice.choice((0.0, 0.0, 0.3, 1.0)), whims=dice.choice((0.0, 0.0, 0.1, 0.3)),
            mend=dice.choice((0.0, 0.0, 1.0, 3.0)))


class Producer:
    """One program that submits and asks."""

    def __init__(self, cluster: VirtualCluster, load: Load, dice: random.Random) -> None:
        self.client = cluster.client()
        self.done = False                  # submits no more
        self._cluster, self._load, self._dice = cluster, load, dice
        self.pending = 0                   # submits that are not finished, and repeats that are planned
        self.stored: dict[bytes, bool] = {}    # id -> False: each submit of it was definitely refused
        self.known: list[bytes] = []       # ids that may be asked after
        self._bodies: dict[bytes, tuple[str, bytes]] = {}
        self._plan()

    def _plan(self) -> None:
        self._cluster.time.after(self._load.pause * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        if self.done or not self.client.running:
            return
        dice, load = self._dice, self._load
        queue = dice.choice(QUEUES)
        bodies = [dice.randbytes(dice.randrange(load.body_bytes_max)) for _ in range(dice.randint(1, load.batch_max))]
        delay_ms = dice.randrange(1, 2_000) if dice.random() < load.delay else 0
        self.pending += 1
        self.client.submit(queue, bodies, dice.choice((0.3, 2.0, 10.0)), delay_ms=delay_ms, notify=self._submitted)
        if dice.random() < load.ask and self.known:
            self.client.ask(dice.choice(self.known), dice.choice((0.2, 3.0)), settled=dice.random() < 0.5)
        self._plan()

    def _submitted(self, call: SubmitCall) -> None:
        """Of each message: it is known, or it is asked for again, under the same id."""
        self.pending -= 1
        errors = call.error.errors if isinstance(call.error, SubmitManyFailed) else {0: call.error}
        for index, item in enumerate(call.items):
            if item.id is None:
                continue
            error, self._bodies[item.id] = errors.get(index), (call.queue, item.draft.payload)
            self.stored[item.id] = self.stored.get(item.id, False) or error is None or not error.definite
            if error is None:
                self.known.append(item.id)
                if not self.done and self._dice.random() < self._load.again:
                    self._repeat(item.id, self._dice.random() * 3.0)
            elif isinstance(error, SubmitTimeout) and self._dice.random() < 0.7:
                self._repeat(parse_token(error.token), self._dice.random())

    def _repeat(self, message_id: bytes, pause: float) -> None:
        queue, body = self._bodies[message_id]
        self.pending += 1

        def repeat() -> None:
            if self.client.running:
                self.client.submit(queue, [body], 3.0, message_id=message_id, notify=self._submitted)
        self._cluster.time.after(pause, repeat)


class Worker:
    """One program that works."""

    def __init__(self, cluster: VirtualCluster, load: Load, dice: random.Random) -> None:
        self.client = cluster.client()
        self._words: list[Parcel] = []     # that some part of a join is done, said last
        self.diligent = False              # works fast, and settles everything: for the end of a run
        self._cluster, self._load, self._dice = cluster, load, dice
        self._slots = self.client.work((*QUEUES, *published.QUEUES), load.slots, self._begin, lease_ms=load.lease_ms)[1]

    def _begin(self, holding: Holding) -> None:
        longest = 0.01 if self.diligent else self._load.handle_max
        if not self.diligent and self._dice.random() < self._load.tell:
            for number in range(self._dice.randint(1, 6)):
                self._cluster.time.after(self._dice.random() * longest, partial(self._tell, holding, number))
        self._cluster.time.after(self._dice.random() * longest, lambda: self._end(holding))

    def _tell(self, holding: Holding, number: int) -> None:
        if self.client.running and not holding.lost:
            data = b"%s %d %d" % (self.client.identity, holding.fencing, number)
            self.client.tell(holding, data, self._dice.choice((0.3, 10.0)))

    def work_off(self) -> None:
        """From now on, do everything that is there, fast."""
        self.diligent = True
        self.client.freed(self._slots, 16)

    def _end(self, holding: Holding) -> None:
        client, load, dice = self.client, self._load, self._dice
        if not client.running:
            return
        client.freed(self._slots)
        roll = 1.0 if self.diligent else dice.random()
        if any(name == JOIN for name, _ in holding.submission.headers):
            # A join waits until its parts are done: none of them dies. (The rest is more than rounding takes.)
            roll = max(roll, load.nack + load.reject + 1e-6)
        for limit, act in (
                (load.nack, lambda: client.settle(holding, How.NACK, error="again", delay_ms=dice.choice((0, 0, 300)))),
                (load.reject, lambda: client.settle(holding, How.REJECT, error="never")),
                (load.give_back, lambda: client.give_back(holding)),
                (load.forget, self._forget(holding)),
                (load.extend, lambda: self._extend(holding))):
            if roll < limit:
                act()
                return
            roll -= limit
        client.settle(holding, How.ACK, b"%s %d %s" % (client.identity, holding.fencing, dice.randbytes(4)),
                      timeout=dice.choice((0.5, 10.0)), then=[*self._next(), *self._again(holding)])

    def _next(self) -> list[Parcel]:
        """What an ack queues: less than one message on average, so that it comes to an end."""
        dice = self._dice
        if self.diligent or dice.random() >= self._load.then:
            return []
        if dice.random() < 0.15:
            return [self.client.join(*self._message(), [self._message() for _ in range(dice.randint(1, 4))])]
        return [self.client.parcel(*self._message()) for _ in range(dice.choice((1, 1, 2, 3)))]

    def _again(self, holding: Holding) -> list[Parcel]:
        """Word to joins that was said before, with another ack."""
        repeated = self._words if self._dice.random() < 0.3 else []
        self._words = carried_on(holding.submission, 0, b"", 0) or self._words
        return repeated

    def _message(self) -> tuple[str, bytes]:
        return self._dice.choice(QUEUES), self._dice.randbytes(self._dice.randrange(self._load.body_bytes_max))

    def _forget(self, holding: Holding) -> Callable[[], object]:
        def forget() -> None:
            holding.renew = False          # its handler is stuck, and nobody renews its lease
        return forget

    def _extend(self, holding: Holding) -> None:
        self.client.extend(holding, 600)
        self._slots.free -= 1
        self._cluster.time.after(self._dice.random(), lambda: self._end(holding))


class Prober:
    """Asks every node, whoever is primary, after what was confirmed most lately: a node that does not know that it is
    deposed must not deny it. A client that knows its way would seldom ask the wrong one."""

    def __init__(self, cluster: VirtualCluster, load: Load, dice: random.Random, workload: Workload) -> None:
        self.client = cluster.client()
        self._cluster, self._load, self._dice, self._workload = cluster, load, dice, workload
        self._request = FIRST_PROBE
        self._probe()

    def _probe(self) -> None:
        self._cluster.time.after(self._load.probe * 2 * self._dice.random(), self._probe)
        known = self._dice.choice(self._workload.producers).known
        if not known:
            return
        message_id = known[-1] if self._dice.random() < 0.7 else self._dice.choice(known)
        bucket = bucket_of(message_id, self._cluster.settings.buckets)
        for node in self._cluster.running:
            self._request += 1
            self.client.post(node.endpoint, [Ask(self._request, bucket, message_id, 0, True)])


class Impatient:
    """Leases, and waits no longer, at any moment, also just after the grant: what it was or is granted goes back."""

    def __init__(self, cluster: VirtualCluster, load: Load, dice: random.Random) -> None:
        self.client = cluster.client()
        self.done = False                  # leases no more
        self._cluster, self._load, self._dice = cluster, load, dice
        self._plan()

    def _plan(self) -> None:
        self._cluster.time.after(self._load.impatience * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        if self.done:
            return
        dice = self._dice
        call = self.client.lease(dice.choice(QUEUES), dice.randint(1, 8), dice.choice((0.0, 1.0)))
        patience = dice.random() * dice.choice((0.002, 0.02, 0.5))
        self._cluster.time.after(patience, lambda: self.client.withdraw(call))
        self._plan()


class Follower:
    """Follows one message after the other, from the front or from where somebody else may have been."""

    def __init__(self, cluster: VirtualCluster, load: Load, dice: random.Random, workload: Workload) -> None:
        self.client = cluster.client()
        self.done = False                  # follows no more
        self._cluster, self._load, self._dice, self._workload = cluster, load, dice, workload
        self._plan()

    def _plan(self) -> None:
        self._cluster.time.after(self._load.follow * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        known = self._dice.choice(self._workload.producers).known
        if self.done:
            return
        if known:
            self._follow(self._dice.choice(known[-20:]), self._dice.choice((0, 0, 0, 1, 3)))
        self._plan()

    def _follow(self, message_id: bytes, after: int) -> None:
        self.client.follow(message_id, after, self._dice.choice((0.1, 3.0)), partial(self._told, message_id))

    def _told(self, message_id: bytes, call: FollowCall) -> None:
        events = None if call.error is not None else call.value
        if events is not None and events.events and not self.done:
            self._follow(message_id, events.events[-1][0])


class Workload:
    """All programs of one run. When one of them crashes, another takes its place."""

    def __init__(self, cluster: VirtualCluster, load: Load, dice: random.Random) -> None:
        self._cluster, self._load, self._dice = cluster, load, dice
        self.producers = [Producer(cluster, load, self._own()) for _ in range(load.producers)]
        self.workers = [Worker(cluster, load, self._own()) for _ in range(load.workers)]
        self._gone: list[Producer] = []
        if load.probe:
            Prober(cluster, load, self._own(), self)
        self._schedulers = [Scheduler(cluster, ("hourly", "nightly"), load.schedules,
                                      self._own())] if load.schedules else []
        self._followers = [Follower(cluster, load, self._own(), self)] if load.follow else []
        self._impatient = [Impatient(cluster, load, self._own())] if load.impatience else []
        self._whimsical = [Whimsical(cluster, QUEUES, load.whims, self._own())] if load.whims else []
        self._publishers = [Publisher(cluster, load.publish, self._own())] if load.publish else []
        self._menders = [Mender(cluster, QUEUES, load.mend, self._own())] if load.mend else []
        self._operators = [Operator(cluster, QUEUES, load.words, self._own())] if load.words else []

    def _own(self) -> random.Random:
        return random.Random(self._dice.getrandbits(64))

    def crash_one(self) -> None:
        """One program dies, or ends in order, and another is started."""
        programs: list[Producer | Worker] = [*self.producers, *self.workers]
        gone = self._dice.choice(programs)
        end(gone.client, crash=self._dice.random() < 0.7)
        if isinstance(gone, Producer):
            self._gone.append(gone)
            self.producers[self.producers.index(gone)] = Producer(self._cluster, self._load, self._own())
        else:
            self.workers[self.workers.index(gone)] = Worker(self._cluster, self._load, self._own())

    @property
    def whimsical(self) -> bool:
        """True where messages may have few attempts, and may expire."""
        return bool(self._whimsical)

    @property
    def pending(self) -> int:
        """Submits whose fate is not known yet to programs that live, queues that may be paused, and schedules that
        there may be."""
        programs: list[Producer | Operator | Scheduler | Mender] = [
            *self.producers, *self._operators, *self._schedulers, *self._menders]
        return sum(program.pending for program in programs)

    def refused(self) -> list[bytes]:
        """The ids of which a program was told, definitely, that they are not stored (Q2)."""
        return [message_id for producer in (*self._gone, *self.producers)
                for message_id, stored in producer.stored.items() if not stored]

    def calm(self) -> None:
        """Submit no more, and work off what is there."""
        for producer in self.producers:
            producer.done = True
        for impatient in self._impatient:
            impatient.done = True
        for publisher in self._publishers:
            publisher.done = True
        for whimsical in self._whimsical:
            whimsical.done = True
        for follower in self._followers:
            follower.done = True
        for scheduler in self._schedulers:
            scheduler.calm()
        for mender in self._menders:
            mender.calm()
        for operator in self._operators:
            operator.calm()
        for worker in self.workers:
            worker.work_off()


def end(client: VirtualClient, *, crash: bool) -> None:
    """End a program."""
    if crash:
        client.crash()
    else:
        client.close()
