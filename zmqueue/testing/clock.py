"""Virtual time: what is to happen, by when; and the clocks of single machines, which need not agree.

Nothing sleeps: time jumps to the next event. Events of one moment happen in the order in which they were planned.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable

Action = Callable[[], None]

MOMENT_EVENTS_MAX = 50_000
"""Events of one moment of virtual time: many machines together have some hundreds. Where something always has one more
thing to do at once, time would not go on, and the run would never end."""

START_WALL_MS = 1_700_000_000_000
"""The wall clock when virtual time begins: an ordinary day in 2023."""


class RanAway(Exception):
    """A run does more than it may: more events than were allowed, or time does not go on."""


class VirtualTime:
    """The one time of a simulation, seconds from 0, and the events that wait for it."""

    __slots__ = ("_heap", "_moment", "_order", "now", "steps", "steps_max")

    def __init__(self) -> None:
        self.now = 0.0
        self.steps = 0                     # events that have happened
        self.steps_max: float = math.inf   # events after which the run is stopped
        self._moment = 0                   # events that had happened when the present moment began
        self._heap: list[tuple[float, int, Action]] = []
        self._order = 0

    def at(self, when: float, action: Action) -> None:
        """Plan an event; one that should have been is the next."""
        self._order += 1
        heapq.heappush(self._heap, (max(when, self.now), self._order, action))

    def after(self, delay: float, action: Action) -> None:
        """Plan an event `delay` seconds from now."""
        self.at(self.now + delay, action)

    def step(self) -> bool:
        """Let the next event happen; False where nothing is planned. Raises RanAway."""
        if not self._heap:
            return False
        when, _, action = heapq.heappop(self._heap)
        if when > self.now:
            self.now, self._moment = when, self.steps
        elif self.steps - self._moment >= MOMENT_EVENTS_MAX:
            raise RanAway(f"{MOMENT_EVENTS_MAX:,} events happened at {when:.6f}, and {len(self._heap):,} are planned: "
                          "time does not go on")
        if self.steps >= self.steps_max:
            raise RanAway(f"{self.steps:,} events happened in {self.now:.3f} virtual seconds; the limit is that many")
        self.steps += 1
        action()
        return True

    def run(self, seconds: float) -> None:
        """Let everything happen that is planned for the next `seconds`."""
        end = self.now + seconds
        while self._heap and self._heap[0][0] <= end:
            self.step()
        self.now = end

    def run_until(self, condition: Callable[[], bool], limit: float, every: float = 0.0) -> bool:
        """Let time pass until the condition holds, at most `limit` seconds; say whether it does.

        `every`: the condition is looked at that often at most, for one that is dear to evaluate.
        """
        end = self.now + limit
        look_at = self.now
        while True:
            if self.now >= look_at:
                if condition():
                    return True
                look_at = self.now + every
            if not self._heap or self._heap[0][0] > end:
                self.now = max(self.now, end)
                return condition()
            self.step()


class LocalClock:
    """One machine's clocks. Its monotonic clock may run fast or slow, its wall clock may be wrong and may jump."""

    __slots__ = ("_base", "_mark", "_time", "rate", "skew_ms")

    def __init__(self, time: VirtualTime, *, start: float = 0.0, rate: float = 1.0, skew_ms: int = 0) -> None:
        self._time = time
        self._base = start                 # what the monotonic clock showed
        self._mark = time.now              # at this moment
        self.rate = rate
        self.skew_ms = skew_ms

    def monotonic(self) -> float:
        """Seconds; never goes back."""
        return self._base + (self._time.now - self._mark) * self.rate

    def wall(self) -> int:
        """Milliseconds since 1970, as this machine believes."""
        return START_WALL_MS + self.skew_ms + int(self._time.now * 1_000)

    def set_rate(self, rate: float) -> None:
        """Run faster or slower from now on."""
        self._base, self._mark, self.rate = self.monotonic(), self._time.now, rate

    def when(self, monotonic: float) -> float:
        """The virtual time at which this clock surely shows `monotonic`."""
        return self._mark + (monotonic - self._base) / self.rate + 1e-6
