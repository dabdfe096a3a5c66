"""Drives a ClientCore against the fake cluster in virtual time: every packet takes 1 ms, unless a test stops it."""

from __future__ import annotations

import heapq
import itertools
import math
import random
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from tests.client.fakes import FakeCluster
from zmqueue.client.calls import AskCall, Call, Draft, LeaseSayCall, SubmitCall
from zmqueue.client.core import ClientCore
from zmqueue.client.leasing import Holding, LeaseCall
from zmqueue.core.answers import Reply
from zmqueue.core.operations import NO_OPTIONS, How, Kind, Options, Settle
from zmqueue.core.packets import Envelope, Heartbeat, decode, encode
from zmqueue.core.requests import Request
from zmqueue.core.state import Agreed

P = TypeVar("P")

FLIGHT_S = 0.001
NODES = ["tcp://a:1", "tcp://b:1", "tcp://c:1"]


class Rig:
    """One client, some nodes, and the time."""

    def __init__(self, nodes: list[str] | None = None, seeds: list[str] | None = None,
                 settings: Agreed | None = None) -> None:
        self.nodes = nodes or NODES
        self.cluster = FakeCluster(self.nodes, settings)
        self.core = ClientCore(seeds or self.nodes, random.Random(7).randbytes)
        self.now = 100.0
        self.dead: set[str] = set()                          # nodes that hear nothing
        self.mute: Callable[[str, Reply], bool] = lambda node, reply: False      # answers that are lost
        self.unreachable: set[str] = set()                   # nodes that cannot be written to
        self.sent: list[tuple[float, str, list[Request]]] = []
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # --- time ---

    def at(self, when: float, action: Callable[[], None]) -> None:
        heapq.heappush(self._events, (when, next(self._order), action))

    def turn(self) -> None:
        """What the transport does once."""
        self.core.tick(self.now, 1_000_000 + int(self.now * 1000))
        for endpoint, packets in self.core.take(self.now):
            if endpoint in self.unreachable:
                self.core.on_unsent(endpoint, packets, self.now)
                continue
            self.sent.append((self.now, endpoint, packets))
            if endpoint not in self.dead:
                self.at(self.now + FLIGHT_S, partial(self._arrive, endpoint, packets))

    def _arrive(self, node: str, packets: list[Request]) -> None:
        if node in self.dead:
            return
        for packet in packets:
            request = decode(encode(packet))
            replies = [reply for reply in self.cluster.handle(node, request)  # type: ignore[arg-type]
                       if not self.mute(node, reply)]
            envelope = self.cluster.envelope()
            if replies:
                self.at(self.now + FLIGHT_S, partial(self._answer, node, envelope, replies))

    def _answer(self, node: str, envelope: Envelope, replies: list[Reply]) -> None:
        self.core.on_packets(node, envelope, replies, self.now)

    def run(self, seconds: float = 0.0, until: Callable[[], bool] = lambda: False) -> None:
        """Let that much time pass, or less if the condition comes true; at 0 s, what happens at once."""
        end = self.now + seconds
        turns = 0
        while not until():
            self.turn()
            turns += 1
            assert turns < 200_000, "the client never rests"
            if until():
                return
            due = [when for when in (self._events[0][0] if self._events else None, self.core.next_tick())
                   if when is not None]
            upcoming = max(min(due, default=math.inf), self.now)
            if upcoming > end:
                break
            self.now = upcoming
            while self._events and self._events[0][0] <= self.now:
                heapq.heappop(self._events)[2]()
        else:
            return
        self.now = end

    def until_done(self, *calls: Call[Any], seconds: float = 60.0) -> None:
        self.run(seconds, lambda: all(call.finished for call in calls))
        assert all(call.finished for call in calls), "a call is not finished"

    # --- requests ---

    def ready(self) -> Rig:
        """Let the client learn the state."""
        self.run(1.0, lambda: self.core.routing.state is not None)
        self.sent.clear()
        self.cluster.log.clear()
        return self

    def submit(self, count: int = 1, *, queue: str = "q", timeout: float = 10.0, body: bytes = b"x",
               message_id: bytes | None = None, options: Options = NO_OPTIONS) -> SubmitCall:
        drafts = [Draft(body, Kind.BYTES, message_id=message_id, options=options) for _ in range(count)]
        call = SubmitCall(queue, drafts, self.now + timeout, many=count > 1)
        self.core.submit(call, self.now)
        return call

    def ask(self, message_id: bytes, timeout: float = 30.0, *, settled: bool = False) -> AskCall:
        call = AskCall(message_id, self.now + timeout, settled=settled)
        self.core.ask(call, self.now)
        return call

    def lease(self, max_: int = 1, wait: float = 0.0, queue: str = "q", timeout: float = 10.0) -> LeaseCall:
        call = LeaseCall(queue, max_, 0, self.now + wait, self.now + wait + timeout)
        self.core.lease(call, self.now)
        return call

    def settle(self, holding: Holding, how: How = How.ACK, timeout: float = 10.0) -> LeaseSayCall:
        settle = Settle(holding.id, holding.fencing, how, Kind.TEXT, b"result" if how is How.ACK else b"")
        call = LeaseSayCall("settle", (holding.id, holding.fencing), self.now + timeout, settle=settle)
        self.core.say(holding, call, self.now)
        return call

    def heartbeat(self, node: str, *, wall: int | None = None) -> None:
        found = next(member for member in self.cluster.state.members if member.endpoint == node)
        state = self.cluster.state
        self.core.on_heartbeat(Heartbeat(state.cluster_id, state.lineage, found.id, found.number, 1, state.epoch, 0, (),
                                         1_000_000 + int(self.now * 1000) if wall is None else wall), self.now)

    def packets(self, kind: type[P], node: str | None = None) -> list[P]:
        """What the client sent of that kind (to that node)."""
        return [packet for _, endpoint, packets in self.sent for packet in packets
                if isinstance(packet, kind) and node in (None, endpoint)]
