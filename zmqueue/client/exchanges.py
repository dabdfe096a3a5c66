"""Exchanges: requests on their way and what becomes of each; and the outbox that gathers what one turn sends.

An exchange ends in one of three ways: *answered*; *silent*, when no answer came in time or the connection was lost, so
that its fate is unknown; or *unsent*, when the transport could not even hand it over. A silent exchange is remembered
for a while, because a late answer is still the truth.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections import OrderedDict

from zmqueue.client import limits
from zmqueue.client.timers import Timers
from zmqueue.core.answers import Hint, Reply
from zmqueue.core.requests import Request


class Exchange(ABC):
    """One request, sent to one endpoint."""

    __slots__ = ("endpoint", "given_up", "request")

    endpoint: str
    request: int
    given_up: bool                               # it was silent: an answer that comes now is late

    @abstractmethod
    def answered(self, reply: Reply, now: float) -> None:
        """The answer, perhaps a late one."""

    @abstractmethod
    def silent(self, now: float) -> None:
        """No answer came in time: what was asked may have happened or not."""

    @abstractmethod
    def unsent(self, now: float) -> None:
        """It never left: what was asked has certainly not happened."""


class Exchanges:
    """All exchanges of one client, by the number of the request."""

    def __init__(self, timers: Timers) -> None:
        self._timers = timers
        self._open: dict[int, Exchange] = {}
        self._late: OrderedDict[int, Exchange] = OrderedDict()
        self._outbox: dict[str, list[Request]] = {}
        self._number = 0
        self.stray = 0                           # answers to nothing that is known here

    def begin(self, exchange: Exchange, endpoint: str) -> int:
        """Take a number for a request to that endpoint; `send` it next."""
        self._number += 1
        exchange.request, exchange.endpoint, exchange.given_up = self._number, endpoint, False
        self._open[self._number] = exchange
        return self._number

    def send(self, exchange: Exchange, packet: Request, patience: float, now: float) -> None:
        """Put the request into the outbox. Unanswered after `patience` seconds, it is silent."""
        self.post(exchange.endpoint, packet)
        self._timers.at(now + patience, lambda later: self._overdue(exchange, later))

    def post(self, endpoint: str, packet: Request) -> None:
        """Put a packet that expects no answer into the outbox."""
        waiting = self._outbox.get(endpoint)
        if waiting is None:
            self._outbox[endpoint] = [packet]
        else:
            waiting.append(packet)

    def take(self) -> list[tuple[str, list[Request]]]:
        """What is to be sent now: per endpoint one multipart message."""
        outbox, self._outbox = self._outbox, {}
        return list(outbox.items())

    def answered(self, reply: Reply, now: float) -> None:
        """Hand an answer to the exchange that it belongs to."""
        if isinstance(reply, Hint):
            return
        exchange = self._open.pop(reply.request, None) or self._late.pop(reply.request, None)
        if exchange is None:
            self.stray += 1
            return
        exchange.answered(reply, now)

    def unsent(self, packets: list[Request], now: float) -> None:
        """The transport could not hand these over."""
        for packet in packets:
            exchange = self._open.pop(getattr(packet, "request", 0), None)
            if exchange is not None:
                exchange.unsent(now)

    def lost(self, endpoint: str, now: float) -> None:
        """The connection broke: whatever was on its way may be lost."""
        for exchange in [found for found in self._open.values() if found.endpoint == endpoint]:
            self.give_up(exchange, now)

    def give_up(self, exchange: Exchange, now: float) -> None:
        """Wait for its answer no longer."""
        if self._open.pop(exchange.request, None) is None:
            return
        exchange.given_up = True
        self._late[exchange.request] = exchange
        if len(self._late) > limits.LATE_MAX:
            self._late.popitem(last=False)
        exchange.silent(now)

    def open(self) -> list[Exchange]:
        """All that are neither answered nor silent."""
        return list(self._open.values())

    def _overdue(self, exchange: Exchange, now: float) -> None:
        if self._open.get(exchange.request) is exchange:
            self.give_up(exchange, now)
