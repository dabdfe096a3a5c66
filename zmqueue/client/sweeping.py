"""Sweeps: what is found is requeued, purged or cancelled, page by page; and who has what in hand.

A sweep walks each bucket once, so a letter that dies again behind it is left for the next one. Broken off at any
moment, it is begun again and does what is left. It is written as a *course*: errands one after another, each of which
depends on what came of the one before; a client runs it in its own way of waiting.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict, TypeVar

from zmqueue.client import arguments, finding, limits
from zmqueue.client.core import ClientCore
from zmqueue.client.errands import Errand
from zmqueue.client.finding import FindCall, Found, Moment, Search
from zmqueue.client.wishing import Wish, WishCall
from zmqueue.core.answers import FoundMessage
from zmqueue.core.ids import token_of
from zmqueue.core.operations import State
from zmqueue.errors import Refused, UnknownToken, ZmqueueError

T = TypeVar("T")
Course = Generator[Errand[Any], Any, T]
"""Errands one after another; it is sent what came of each, and returns what the user gets."""

Progress = Callable[["Swept"], None]
"""Told how far a sweep is, after each page."""


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: how many requests it was done to, to how many it was not, and why (of the first 1,000 of these,
    by token). Where an error is not `definite`, it may have been done."""

    done: int
    not_done: int
    why: Mapping[str, ZmqueueError]


class Filters(TypedDict, total=False):
    """Which requests are meant: those that fit all of it."""

    since: Moment | None               # drawn then or later
    before: Moment | None              # drawn earlier
    headers: Mapping[str, str] | None  # all of these
    limit: int | None                  # at most so many
    progress: Progress | None          # told after each page
    timeout: float | None              # seconds to wait for each page's answers; default: the client's


@dataclass(frozen=True, slots=True)
class Held:
    """One lease: for how long it has been held, and lasts from now on unless it is renewed, in seconds."""

    token: str
    queue: str
    deliveries: int
    held: float | None                 # None: since before a failover
    until: float


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A session that holds leases, by its own name where it said one. A worker that holds none is not seen."""

    name: str | None
    session: str
    queues: dict[str, int]             # how many leases, by queue
    leases: list[Held] = field(default_factory=list)     # the longest held first


class Sweeps(ABC):
    """The part of a client that finds, and sweeps what was found."""

    _core: ClientCore

    @abstractmethod
    def _deadline(self, timeout: float | None) -> float:
        """Until when to wait."""

    # --- finding ---

    def _to_page(self, search: Search, timeout: float | None) -> Errand[list[FoundMessage]]:
        call = FindCall(search, self._deadline(timeout))
        return Errand(call, partial(self._core.find, call), lambda: search.took(call.outcome()))

    def _to_look(self, search: Search, timeout: float | None) -> Errand[list[Found]]:
        page = self._to_page(search, timeout)
        return Errand(page.call, page.begin,
                      lambda: [finding.view(message, payload=search.payloads) for message in page.end()])

    def _course_peek(self, queue: str, n: int, timeout: float | None) -> Course[list[Found]]:
        most = arguments.integer("n", n, 1, limits.FOUND_MESSAGES_MAX)
        search = finding.search(queue, ("dead",), payloads=True)
        search.once, search.page = True, most
        found: list[Found] = []
        while not search.over:
            found += yield self._to_look(search, timeout)
            found = sorted(found, key=lambda letter: letter.drawn)[:most]
        return found

    def _course_workers(self, timeout: float | None) -> Course[list[WorkerView]]:
        search = finding.search(states=("leased",))
        workers: dict[str, WorkerView] = {}
        while not search.over:
            for found in (yield self._to_look(search, timeout)):
                worker = workers.setdefault(found.session, WorkerView(found.worker, found.session, {}))
                worker.queues[found.queue] = worker.queues.get(found.queue, 0) + 1
                worker.leases.append(Held(found.token, found.queue, found.deliveries, found.held, found.until))
        for worker in workers.values():
            worker.leases.sort(key=lambda lease: -1.0 if lease.held is None else lease.held, reverse=True)
        return sorted(workers.values(), key=lambda worker: (worker.name or "", worker.session))

    # --- sweeping ---

    def _course_sweep(self, what: str, wish: Wish, queue: str | None, states: Iterable[str],
                      tokens: Iterable[str] | None, filters: Filters) -> Course[Swept]:
        """The errands of a sweep; what is wrong with the arguments is raised before the first one."""
        arguments.known(what, filters, Filters)
        if tokens is not None and not filters.keys() <= {"progress", "timeout"}:
            raise TypeError(f"{what}() takes tokens, or says which requests are meant, and not both")
        meant = frozenset(states)
        search = finding.search(None if tokens is not None else queue, () if tokens is not None else meant,
                                filters.get("since"), filters.get("before"), filters.get("headers"),
                                filters.get("limit"), tokens=tokens)
        name = arguments.queue_name(queue) if queue is not None else ""
        return self._sweep(search, wish, name, meant, filters.get("progress"), filters.get("timeout"))

    def _sweep(self, search: Search, wish: Wish, queue: str, meant: frozenset[str], progress: Progress | None,
               timeout: float | None) -> Course[Swept]:
        tally = _Tally()
        missing = dict.fromkeys(search.ids)
        while not search.over:
            wanted = []
            for message in (yield self._to_page(search, timeout)):
                missing.pop(message.id, None)
                if why := _not_meant(message, queue, meant):
                    tally.add({message.id: why})
                else:
                    wanted.append((message.id, message.requeued))
            if wanted:
                call = WishCall(wish, wanted, self._deadline(timeout))
                errors = yield Errand(call, partial(self._core.wish, call), call.outcome)
                tally.done += len(wanted) - len(errors)
                tally.add(errors)
            if progress is not None:
                progress(tally.so_far())
        if missing:
            tally.add({message_id: UnknownToken("no such request is known: it was never accepted, is forgotten, or "
                                                "was purged") for message_id in missing})
            if progress is not None:
                progress(tally.so_far())
        return tally.so_far()


class _Tally:
    """Counts what is done."""

    __slots__ = ("done", "not_done", "why")

    def __init__(self) -> None:
        self.done = self.not_done = 0
        self.why: dict[str, ZmqueueError] = {}

    def add(self, errors: Mapping[bytes, ZmqueueError]) -> None:
        """These are not done."""
        self.not_done += len(errors)
        for message_id, error in errors.items():
            if len(self.why) < limits.REASONS_MAX:
                self.why[token_of(message_id)] = error

    def so_far(self) -> Swept:
        return Swept(self.done, self.not_done, dict(self.why))


def _not_meant(message: FoundMessage, queue: str, meant: frozenset[str]) -> ZmqueueError | None:
    """Why a request that was named is left alone. Of those that were searched for, each is meant."""
    state = State(message.state).name.lower()
    if queue and message.queue.partition("!")[0] != queue:
        return Refused(f"the request is in queue {message.queue!r}, not in {queue!r}")
    if meant and state not in meant:
        return Refused(f"the request is {state}, not {' or '.join(sorted(meant))}")
    return None
