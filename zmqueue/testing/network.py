"""A network whose every misfortune is drawn from a seed: delay, loss, duplication, overtaking, cut links.

A link has a direction, and carries two kinds of traffic that can be cut apart from each other. While nothing
overtakes, what is sent over a link arrives in order, as over TCP. What is sent into a cut is lost, or held back until
the cut is mended, as in a socket's buffer.
"""

from __future__ import annotations

import enum
import random
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from zmqueue.testing.clock import VirtualTime

HELD_MAX = 200
"""Messages that a cut link holds back; the oldest are lost first."""


class Traffic(enum.StrEnum):
    """What a link carries."""

    DATA = "data"
    HEARTBEATS = "heartbeats"


@dataclass(frozen=True, slots=True)
class Weather:
    """How messages travel. Times in seconds, the rest probabilities (0 to 1) for each message."""

    delay_min: float = 0.0002
    delay_max: float = 0.001
    loss: float = 0.0
    duplication: float = 0.0
    overtaking: float = 0.0                # to be late, by up to `late_max`, and to be overtaken
    late_max: float = 0.2
    held: float = 0.5                      # to be held back by a cut link, instead of lost


Link = tuple[str, str]
"""(from, to): names of machines."""

Delivery = Callable[[], None]


class Network:
    """All links between machines, which are known by their names."""

    __slots__ = ("_busy_until", "_cuts", "_held", "_random", "_time", "lost", "messages", "weather")

    def __init__(self, time: VirtualTime, dice: random.Random, weather: Weather | None = None) -> None:
        self.weather = Weather() if weather is None else weather
        self.messages = 0
        self.lost = 0
        self._time = time
        self._random = dice
        self._cuts: dict[tuple[Link, Traffic], None] = {}
        self._held: dict[tuple[Link, Traffic], deque[Delivery]] = {}
        self._busy_until: dict[tuple[Link, Traffic], float] = {}

    def send(self, source: str, target: str, traffic: Traffic, deliver: Delivery) -> None:
        """Let one message travel; `deliver` is called once for each time that it arrives."""
        self.messages += 1
        link, dice, weather = ((source, target), traffic), self._random, self.weather
        if link in self._cuts:
            self._into_cut(link, deliver)
            return
        if weather.loss and dice.random() < weather.loss:
            self.lost += 1
            return
        self._travel(link, deliver)
        if weather.duplication and dice.random() < weather.duplication:
            self._travel(link, deliver)

    def _into_cut(self, link: tuple[Link, Traffic], deliver: Delivery) -> None:
        if self._random.random() >= self.weather.held:
            self.lost += 1
            return
        held = self._held.setdefault(link, deque())
        held.append(deliver)
        if len(held) > HELD_MAX:
            held.popleft()
            self.lost += 1

    def _travel(self, link: tuple[Link, Traffic], deliver: Delivery) -> None:
        weather, dice = self.weather, self._random
        when = self._time.now + weather.delay_min + (weather.delay_max - weather.delay_min) * dice.random()
        if weather.overtaking and dice.random() < weather.overtaking:
            when += weather.late_max * dice.random()
        else:
            when = max(when, self._busy_until.get(link, 0.0))
            self._busy_until[link] = when
        self._time.at(when, deliver)

    # --- cuts ---

    def cut(self, source: str, target: str, *traffic: Traffic) -> None:
        """Cut one direction of a link, for the given traffic or for all."""
        for kind in traffic or Traffic:
            self._cuts[(source, target), kind] = None

    def part(self, some: Iterable[str], others: Iterable[str], *traffic: Traffic) -> None:
        """Cut every link, both ways, between two groups."""
        there = list(others)
        for one in some:
            for other in there:
                self.cut(one, other, *traffic)
                self.cut(other, one, *traffic)

    def is_cut(self, source: str, target: str, traffic: Traffic = Traffic.DATA) -> bool:
        """True while nothing of that kind gets from one to the other."""
        return ((source, target), traffic) in self._cuts

    def rejoin(self, some: Iterable[str], others: Iterable[str]) -> None:
        """Mend the cuts between two groups, whoever made them; what was held back there is on its way again."""
        there = list(others)
        for one in some:
            for link in [pair for other in there for pair in ((one, other), (other, one))]:
                for kind in Traffic:
                    self._cuts.pop((link, kind), None)
                    self._release((link, kind))

    def heal(self) -> None:
        """Mend all cuts; what was held back is on its way again."""
        self._cuts.clear()
        for link in list(self._held):
            self._release(link)

    def _release(self, link: tuple[Link, Traffic]) -> None:
        for deliver in self._held.pop(link, ()):
            self._travel(link, deliver)
