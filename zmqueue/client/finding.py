"""Searches: which requests are in which state, over all buckets, a page of each at a time.

A search remembers for each bucket where it goes on; that moves only with what was answered, so a page that is not
answered in time can be asked for again, of whoever is primary then, and nothing is missed or found twice.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.calls import Call, Item
from zmqueue.client.lanes import Lane
from zmqueue.core import answers
from zmqueue.core.answers import FoundMessage, Reply
from zmqueue.core.ids import bucket_of, drawn_at, parse_token, token_of
from zmqueue.core.operations import State
from zmqueue.core.records import Fate
from zmqueue.core.requests import Find, Request
from zmqueue.errors import ClusterUnreachable, NoAnswer, Refused

Moment = datetime | float
"""A point in time: a datetime (one without a zone is local time), or seconds since 1970."""

_STATES = {state.name.lower(): state for state in State if state.shown is state}


@dataclass(frozen=True, slots=True)
class Delivery:
    """One delivery that did not succeed. `outcome`: "failed", "rejected", "expired" or "lost"."""

    ended: datetime
    outcome: str
    error: str | None                      # its beginning


@dataclass(frozen=True, slots=True)
class Found:
    """One request that was found, as it was at the moment of the answer.

    `state` is "delayed", "ready", "leased", "done", "dead", "cancelled" or "expired". A dead letter that somebody has
    leased is "leased", and its queue is named QUEUE!dead. `headers`, `size` and `payload` are known until it has
    ended, and of dead letters. Times are by the clock of this machine.
    """

    token: str
    queue: str
    state: str
    priority: int
    drawn: datetime                        # when its id was drawn: shortly before its submit
    deliveries: int                        # that count
    failures: int                          # of these, how many ended with an error
    losses: int                            # and how many without a word
    requeued: int                          # how often it was given another try as a dead letter
    error: str | None                      # of the last delivery that did not succeed
    headers: dict[str, str]
    group: str | None
    due: datetime | None                   # while it is delayed
    ended: datetime | None
    history: tuple[Delivery, ...]          # the last five deliveries that did not succeed, the oldest first
    worker: str | None = None              # what the session that has leased it calls itself
    session: str | None = None             # that session, hexadecimal
    held: float | None = None              # seconds since it was leased; None: a failover lies between
    until: float | None = None             # seconds that the lease lasts from now on, unless it is renewed
    size: int = 0                          # of its payload, bytes
    payload: Any = None                    # where payloads were asked for


@dataclass(slots=True)
class _Place:
    """Where a search goes on in one bucket."""

    bucket: int
    ids: tuple[bytes, ...] = ()
    after: bytes = b""


@dataclass(slots=True)
class Search:
    """What is looked for, and how far the looking is."""

    queue: str = ""
    states: tuple[int, ...] = ()
    since: int = 0
    before: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    ids: tuple[bytes, ...] = ()
    left: int | None = None                # how many may be found yet; None: all
    payloads: bool = False
    page: int = limits.FOUND_MESSAGES_MAX  # how many in one page at most
    once: bool = False                     # one page of each bucket is enough
    _places: list[_Place] | None = field(default=None)

    @property
    def over(self) -> bool:
        """True where nothing is left to be asked."""
        return self._places == [] or self.left == 0

    def places(self, buckets: int) -> list[_Place]:
        """Where to ask next: different buckets. `buckets`: how many the cluster has."""
        if self._places is None:
            self._places = self._beginning(buckets)
        return self._places[:limits.FIND_BUCKETS_AT_ONCE]

    def _beginning(self, buckets: int) -> list[_Place]:
        if not self.ids:
            return [_Place(bucket) for bucket in range(buckets)]
        by_bucket: dict[int, list[bytes]] = {}
        for message_id in self.ids:
            by_bucket.setdefault(bucket_of(message_id, buckets), []).append(message_id)
        size = limits.FOUND_MESSAGES_MAX
        return [_Place(bucket, tuple(ids[first:first + size])) for bucket, ids in by_bucket.items()
                for first in range(0, len(ids), size)]

    def question(self, request: int, place: _Place) -> Find:
        """What the primary of a bucket is asked."""
        limit = self.page if self.left is None else min(self.left, self.page)
        return Find(request, place.bucket, self.queue, self.states, self.since, self.before, self.headers, place.after,
                    limit, self.payloads, place.ids)

    def took(self, pages: Sequence[tuple[_Place, answers.Found]]) -> list[FoundMessage]:
        """What these pages hold; the search goes on behind them."""
        assert self._places is not None
        messages = [message for _, page in pages for message in page.messages]
        for place, page in pages:
            if page.next and not self.once:
                place.after = page.next
            else:
                self._places.remove(place)
        if self.left is not None:
            messages = messages[:self.left]
            self.left -= len(messages)
        return messages


def search(queue: str | None = None, states: Iterable[str] = (), since: Moment | None = None,
           before: Moment | None = None, headers: Mapping[str, str] | None = None, limit: int | None = None,
           payloads: bool = False, tokens: Iterable[str] | None = None) -> Search:
    """What a caller looks for, checked. Raises ValueError, TypeError or BadToken."""
    if isinstance(states, str):
        raise TypeError(f"states are several names, ({states!r},) say, and not one text")
    names = tuple(states)
    if unknown := [name for name in names if name not in _STATES]:
        raise ValueError(f"there is no state {unknown[0]!r}; there are {', '.join(_STATES)}")
    found = Search(arguments.queue_name(queue) if queue is not None else "",
                   tuple(sorted({int(_STATES[name]) for name in names})),
                   _wall("since", since), _wall("before", before), arguments.header_pairs(headers),
                   payloads=payloads)
    if limit is not None:
        found.left = arguments.integer("limit", limit, 1, 1 << 31)
    if tokens is not None:
        found.ids = tuple(dict.fromkeys(parse_token(token) for token in tokens))
        found._places = None if found.ids else []
    return found


def _wall(what: str, moment: Moment | None) -> int:
    if moment is None:
        return 0
    seconds = moment.timestamp() if isinstance(moment, datetime) else arguments.seconds(what, moment)
    return max(1, round(seconds * 1000))


class FindItem(Item):
    """A page of one bucket."""

    __slots__ = ("call", "place")

    def __init__(self, call: FindCall, place: _Place) -> None:
        super().__init__()
        self.call = call
        self.place = place

    def accept(self, reply: Reply) -> None:
        self.done = True
        if isinstance(reply, answers.Found):
            self.call.page(self.place, reply)

    def refuse(self, error: Refused, now: float) -> bool:
        self.done = True
        self.call.fail(error)
        return True


class FindCall(Call[list[tuple[_Place, answers.Found]]]):
    """The next page of some buckets."""

    __slots__ = ("items", "pages", "search")

    def __init__(self, search: Search, deadline: float, notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(deadline, notify)
        self.search = search
        self.items: list[FindItem] = []
        self.pages: list[tuple[_Place, answers.Found]] = []

    def begin(self, buckets: int) -> list[FindItem]:
        """The items that are to be sent; none where all is found."""
        self.items = [FindItem(self, place) for place in self.search.places(buckets)]
        if not self.items:
            self.finish([])
        return self.items

    def page(self, place: _Place, found: answers.Found) -> None:
        """One of them is answered; with the last one the call ends."""
        self.pages.append((place, found))
        if len(self.pages) == len(self.items):
            self.pages.sort(key=lambda page: page[0].bucket)
            self.finish(self.pages)

    def expire(self, now: float) -> None:
        refusals = [item.refusal for item in self.items if item.refusal is not None and not item.done]
        if refusals:
            self.fail(refusals[0])
        elif not any(item.open for item in self.items):
            self.fail(ClusterUnreachable("nothing was asked: no node could be reached, or no bucket has a primary"))
        else:
            late = sorted({item.place.bucket for item in self.items if not item.done})
            self.fail(NoAnswer(f"no node answered in time what stands in buckets {', '.join(map(str, late))}"))

    def _end(self) -> None:
        for item in self.items:
            item.done = True                             # nobody waits for it: it is not asked again
        super()._end()


class FindLane(Lane):
    """Searches of one bucket: each its own packet."""

    on_its_way_max = 4
    batch_max = 1

    def packet(self, request: int, items: Sequence[Item], now: float) -> Request:
        item, = items
        assert isinstance(item, FindItem)
        return item.call.search.question(request, item.place)


def view(message: FoundMessage, *, payload: bool) -> Found:
    """What the user gets. `payload`: it was asked for."""
    now = datetime.now(UTC)

    def ago(ms: int) -> datetime:
        return now - timedelta(milliseconds=ms)

    has_payload = payload and (message.size > 0 or bool(message.payload) or message.state not in _WITHOUT_BODY)
    return Found(
        token_of(message.id), message.queue, State(message.state).name.lower(), message.priority,
        datetime.fromtimestamp(drawn_at(message.id) / 1000, UTC), message.deliveries, message.failures, message.losses,
        message.requeued, message.error or None, dict(message.headers), message.group or None,
        datetime.fromtimestamp(message.due / 1000, UTC) if message.due else None,
        ago(message.ended) if message.ended >= 0 else None,
        tuple(Delivery(ago(since), Fate(fate).name.lower(), error or None) for since, fate, error in message.history),
        message.worker or None, message.session.hex() or None, message.held / 1000 if message.held >= 0 else None,
        message.until / 1000 if message.session else None, message.size,
        payloads.decode(message.kind, message.payload) if has_payload else None)


_WITHOUT_BODY = frozenset((State.DONE, State.CANCELLED, State.EXPIRED))


