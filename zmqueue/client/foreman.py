"""The foreman: leases messages for a worker's free slots, keeps count, and sends what became of them.

Both workers have one; they differ in how handlers run. It has a session of its own, so that what the worker holds
returns as soon as it ends or dies. Results are sent without waiting for one another; those that wait for the same
bucket go together. Its methods may be called from any thread; the client's thread does the work.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from zmqueue.client.calls import LeaseSayCall
from zmqueue.client.executors import Declined, End, Outcome
from zmqueue.client.face import Face
from zmqueue.client.leased import Leased
from zmqueue.client.leasing import Holding, Slots, Subscription
from zmqueue.client.session import Session
from zmqueue.core.operations import How, Settle
from zmqueue.errors import BodyTooLarge, LeaseLost, ZmqueueError

log = logging.getLogger("zmqueue.worker")

SETTLE_S = 600.0                       # a result is offered for this long: the cluster may be away for a while
UNSETTLED_MAX = 1_000                  # results on their way; beyond, slots stay taken until some are confirmed
BREAK_S = 5.0                          # what is broken off has this long to end before the message fails without it
RESTING_MAX = 1_000                    # messages that rest before they go back; beyond, each keeps its slot
SAY_AGAIN_S = 60.0                     # the same reason for giving back is told this often
SAID_MAX = 1_000                       # reasons remembered for that
RETRY_DELAY_S, RETRY_DELAY_S_MAX = 0.1, 60.0     # a failed message rests, longer each time


def retry_delay(deliveries: int) -> float:
    """Seconds for which a message rests after its handler failed in that delivery: 0.1, 0.2, 0.4 ... 60."""
    return min(RETRY_DELAY_S * 2.0 ** min(deliveries - 1, 20), RETRY_DELAY_S_MAX)


@dataclass(frozen=True, slots=True)
class WorkerStatistics:
    """What a worker did since it was made. Counts of runs; the last two are how it is now."""

    done: int = 0                      # results confirmed
    failed: int = 0                    # handlers that raised: tried again
    cancelled: int = 0                 # handlers that did not succeed after their request was cancelled
    rejected: int = 0                  # handlers that raised Reject: dead letters
    lost: int = 0                      # leases that were not ours any more when the run ended
    unconfirmed: int = 0               # results that no node confirmed; the message will be delivered again
    given_back: int = 0                # not run: another worker may (an unknown task, say); no attempt was used up
    running: int = 0
    settling: int = 0                  # results on their way


@dataclass(frozen=True, slots=True)
class Turns:
    """How queues share a worker's slots: in their order, by weights (by name; 1 where none is given), or evenly."""

    strict: bool = False
    weights: Mapping[str, float] = field(default_factory=dict)


class Foreman:
    """`deliver(queue, holding)` is called in the client's thread for each message; it must return at once.

    What is delivered ends by `ended`, `give_back` or `let_go`. `changed()` is called when a run's end is settled, and
    when the nodes refuse for good; from any thread, and with no lock held. `interrupt(holding)` is called in the
    client's thread when the deadline of what runs has passed: True where it is being broken off, and will end.
    """

    def __init__(self, face: Face[Any, Any], queues: Iterable[str], turns: Turns, concurrency: int, lease_ms: int,
                 retry_delay: Callable[[int], float] | None, deliver: Callable[[str, Holding], None],
                 interrupt: Callable[[Holding], bool], changed: Callable[[], None]) -> None:
        self._face = face
        self._queues = tuple(queues)
        self._turns = turns
        self._lease_ms = lease_ms
        self._retry_delay = retry_delay
        self._hand_out = deliver
        self._interrupt = interrupt
        self._changed = changed
        self._slots = Slots(concurrency)                 # what follows belongs to the client's thread
        self._session: Session | None = None
        self._closing = False
        self._subscriptions: list[Subscription] = []
        self._resting: dict[Holding, bool] = {}          # declined, and not given back yet; does it keep its slot?
        self._runs: dict[Holding, str] = {}              # what was handed out; why it fails, once its deadline passed
        self._deadlines: dict[Holding, float] = {}
        self._next_look = math.inf
        self._failed: set[Holding] = set()               # of these, what was settled though it still runs
        self._over = False                               # the session is
        self._lock = threading.Lock()                    # guards what follows
        self._statistics = WorkerStatistics()
        self._owed = 0                                   # slots that stay taken until results are confirmed
        self._said: dict[str, float] = {}                # reasons for giving back, and when they were told
        self.error: ZmqueueError | None = None           # why the nodes hand out nothing, for good

    # --- from any thread ---

    def open(self) -> None:
        """Begin to lease."""
        self._face._check()
        self._face._transport.post(self._subscribe)

    def close(self) -> None:
        """Lease no more."""
        self._face._transport.post(self._unsubscribe)

    def end(self) -> None:
        """End the session: what is still held goes back at once."""
        self._face._transport.post(self._end_session)

    @property
    def statistics(self) -> WorkerStatistics:
        """What was done, and how it is."""
        with self._lock:
            return self._statistics

    @property
    def busy(self) -> bool:
        """True while something runs or is being settled."""
        now = self.statistics
        return bool(now.running or now.settling)

    def ended(self, message: Leased, outcome: End) -> None:
        """Its run is over: settle it."""
        if isinstance(outcome, Declined):
            self._decline(message, outcome)
            return
        settle = self._settlement(message, outcome)
        with self._lock:
            free = self._statistics.settling + self._owed < UNSETTLED_MAX
            self._owed += not free
            self._count(running=-1, settling=1)
        self._face._transport.post(self._settle, message._holding, settle, free)

    def give_back(self, holding: Holding) -> None:
        """It was not begun, or was broken off: let others have it."""
        self.let_go()
        self._face._transport.post(self._give_back, holding)

    def let_go(self) -> None:
        """It is not worked on any more, and stays held until the session ends."""
        with self._lock:
            self._count(running=-1)
        self._changed()

    def _decline(self, message: Leased, declined: Declined) -> None:
        now = time.monotonic()
        with self._lock:
            self._count(running=-1, given_back=1)
            told = self._said.get(declined.reason, -SAY_AGAIN_S)
            tell = now - told >= SAY_AGAIN_S
            if tell:
                if len(self._said) >= SAID_MAX:
                    self._said.clear()
                self._said[declined.reason] = now
        if tell:
            log.warning("request %s of %r goes back, for another worker to take: %s", message.token, message.queue,
                        declined.reason)
        self._face._transport.post(self._rest, message._holding, declined.pause)
        self._changed()

    def _settlement(self, message: Leased, outcome: Outcome) -> Settle:
        if outcome.how is How.ACK:
            try:
                return message.settle_encoded(outcome.kind, outcome.data, outcome.then)
            except (BodyTooLarge, ValueError) as error:                # it would be so again
                return message.settle_reject(str(error))
        if outcome.how is How.REJECT:
            return message.settle_reject(outcome.error)
        return message.settle_nack(self._rest_of(message), outcome.error)

    def _rest_of(self, message: Leased) -> float | None:
        """Seconds for which it rests after a failure: as the worker says, else as the message or its queue does, else
        longer each time; None: the nodes know."""
        if self._retry_delay is not None:
            return self._retry_delay(message.deliveries)
        return None if message.has_backoff else retry_delay(message.deliveries)

    def _count(self, **changes: int) -> None:
        now = self._statistics
        self._statistics = replace(now, **{name: getattr(now, name) + change for name, change in changes.items()})

    # --- in the client's thread ---

    def _subscribe(self, now: float) -> None:
        core = self._face._core
        self._session = core.open_session()
        for place, queue in enumerate(self._queues):
            subscription = Subscription(self._slots, partial(self._deliver, queue), self._refused,
                                        place=place if self._turns.strict else 0,
                                        weight=self._turns.weights.get(queue, 1.0) if self._turns.weights else None)
            self._subscriptions.append(subscription)
            core.subscribe(self._session, subscription, queue, self._lease_ms, now)

    def _deliver(self, queue: str, holding: Holding) -> None:
        self._runs[holding] = ""
        if holding.options is not None and holding.options.deadline:
            self._deadlines[holding] = time.monotonic() + holding.options.deadline / 1000
            self._look_at(self._deadlines[holding])
        with self._lock:
            self._count(running=1)
        self._hand_out(queue, holding)

    def _look_at(self, when: float) -> None:
        """Look at the deadlines then; one timer serves all, so that those of ended runs leave nothing behind."""
        if when < self._next_look:
            self._next_look = when
            self._face._core.at(when, self._look)

    def _look(self, now: float) -> None:
        if now < self._next_look:
            return                                       # a later look that an earlier one was put before
        self._next_look = math.inf
        for holding in [found for found, passes in self._deadlines.items() if passes <= now]:
            del self._deadlines[holding]
            self._overdue(holding, now)
        if self._deadlines:
            self._look_at(min(self._deadlines.values()))

    def _overdue(self, holding: Holding, now: float) -> None:
        """Its handler has had its time: what can be broken off is, and the message fails."""
        if self._over or holding.lost:
            return
        assert holding.options is not None
        self._runs[holding] = f"its deadline has passed: it ran for more than {holding.options.deadline / 1000:g} s"
        if self._interrupt(holding):
            self._face._core.at(now + BREAK_S, partial(self._fail, holding))
        else:
            self._fail(holding, now)

    def _fail(self, holding: Holding, now: float) -> None:
        """Its run cannot be ended, or goes on all the same: settle it, and let the run keep its slot."""
        if self._over or holding not in self._runs or holding.lost:
            return
        log.warning("request %s fails, %s; its handler still runs, and keeps its slot", holding.token,
                    self._runs[holding])
        self._failed.add(holding)
        with self._lock:
            self._count(settling=1)
        self._say(holding, self._nack(holding, self._runs[holding]), now)
        holding.lose()                                   # so that a handler which looks sees that it is over

    def _nack(self, holding: Holding, error: str) -> Settle:
        message = Leased(self._face, holding)
        return message.settle_nack(self._rest_of(message), error)

    def _run_over(self, holding: Holding) -> str | None:
        """Its run has ended: why it fails, whatever its outcome; None: it has failed, and that was said."""
        self._deadlines.pop(holding, None)
        overdue = self._runs.pop(holding, "")
        if holding not in self._failed:
            return overdue
        self._failed.remove(holding)
        return None

    def _refused(self, error: ZmqueueError) -> None:
        log.error("the nodes hand out nothing to this worker: %s", error)
        self.error = error
        self._changed()

    def _settle(self, holding: Holding, settle: Settle, free: bool, now: float) -> None:
        self._slots.free += free
        overdue = self._run_over(holding)
        if overdue is None:
            self._said_already(owed=not free)
            return
        if overdue and settle.how != How.ACK:
            settle = self._nack(holding, overdue)
        if holding.lost:
            call = self._settling(holding, settle, now)
            call.fail(LeaseLost(f"the lease of {holding.token} ended while its handler ran"))
        else:
            self._say(holding, settle, now)

    def _said_already(self, *, owed: bool) -> None:
        """What the handler came to does not count: the message has failed before."""
        with self._lock:
            self._count(settling=-1)
            if owed and self._owed:
                self._owed -= 1
                self._slots.free += 1
        self._changed()

    def _say(self, holding: Holding, settle: Settle, now: float) -> None:
        self._face._core.say(holding, self._settling(holding, settle, now), now)

    def _settling(self, holding: Holding, settle: Settle, now: float) -> LeaseSayCall:
        return LeaseSayCall("settle", (holding.id, holding.fencing), now + SETTLE_S,
                            partial(self._settled, holding, settle.how), settle=settle)

    def _settled(self, holding: Holding, how: int, call: LeaseSayCall) -> None:
        error = call.error
        again = error is None and how == How.NACK
        with self._lock:
            self._count(settling=-1, done=error is None and how == How.ACK, failed=again and not holding.cancelled,
                        cancelled=again and holding.cancelled,
                        rejected=error is None and how == How.REJECT, lost=isinstance(error, LeaseLost),
                        unconfirmed=error is not None and not isinstance(error, LeaseLost))
            if self._owed:
                self._owed -= 1
                self._slots.free += 1
        if error is not None:
            log.warning("the outcome of request %s does not count: %s", holding.token, error)
        self._changed()

    def _give_back(self, holding: Holding, now: float) -> None:
        self._slots.free += 1
        self._run_over(holding)
        if self._session is not None and not holding.lost:
            self._session.surplus(holding, now)

    def _rest(self, holding: Holding, pause: float, now: float) -> None:
        """Keep it for the pause, so that nobody meets it at once again; its slot is free meanwhile."""
        self._run_over(holding)
        keeps_slot = len(self._resting) >= RESTING_MAX
        self._slots.free += not keeps_slot
        self._resting[holding] = keeps_slot
        if self._closing:
            self._rested(holding, now)
        else:
            self._face._core.at(now + pause, partial(self._rested, holding))

    def _rested(self, holding: Holding, now: float) -> None:
        keeps_slot = self._resting.pop(holding, None)
        if keeps_slot is None:
            return
        self._slots.free += keeps_slot
        if self._session is not None and not holding.lost:
            self._session.surplus(holding, now)

    def _unsubscribe(self, now: float) -> None:
        self._closing = True
        for holding in list(self._resting):
            self._rested(holding, now)
        if self._session is not None:
            for subscription in self._subscriptions:
                self._session.unsubscribe(subscription)

    def _end_session(self, now: float) -> None:
        self._over = True
        if self._session is not None:
            self._face._core.end_session(self._session, now)
