"""Clocks that lie: wall clocks that jump and flicker, and oscillators that run fast or slow (Q1)."""

from __future__ import annotations

from tests.simulation.faults.scene import Scene, Strike
from zmqueue.testing import LocalClock

SKEWS_MS = (0, 200, -200, 5_000, -5_000, 60_000, -60_000)
"""How wrong a wall clock is. A delayed message is late by as much (Q1), and the end of a run waits for it."""

STROBE_S = 2.0
"""Seconds for which a wall clock flickers, at most."""


class ClockFaults:
    """Faults of nodes' clocks; a program's wall clock may jump too, since ids carry the time when they were drawn."""

    def __init__(self, scene: Scene) -> None:
        self._scene, self._dice = scene, scene.dice

    def kinds(self) -> dict[str, Strike]:
        """By name."""
        return {"clock jump": self._jump, "clock drift": self._drift, "clock strobe": self._strobe,
                "clock jump of a program": self._program}

    def mend(self) -> None:
        """All clocks are right again."""
        clocks = [node.clock for node in self._scene.nodes.values()]
        for clock in (*clocks, *(client.clock for client in self._scene.cluster.clients.values())):
            clock.set_rate(1.0)
            clock.skew_ms = 0

    def _skew(self) -> int:
        return self._dice.choice(SKEWS_MS)

    def _jump(self) -> bool:
        self._scene.victim().clock.skew_ms = self._skew()
        return True

    def _program(self) -> bool:
        self._scene.cluster.clients[self._dice.choice(list(self._scene.cluster.clients))].clock.skew_ms = self._skew()
        return True

    def _drift(self) -> bool:
        self._scene.victim().clock.set_rate(self._dice.choice((1.0, 1.01, 0.99, 1.1, 0.9)))
        return True

    def _strobe(self) -> bool:
        """Back and forth, many times a second, as under two daemons that each set it right."""
        clock, skew = self._scene.victim().clock, self._skew() or 1_000
        self._flicker(clock, skew, self._scene.cluster.time.now + STROBE_S * self._dice.random(),
                      self._dice.choice((0.005, 0.05, 0.2)))
        return True

    def _flicker(self, clock: LocalClock, skew: int, end: float, pause: float) -> None:
        over = self._scene.cluster.time.now >= end
        clock.skew_ms = 0 if over or clock.skew_ms else skew
        if not over:
            self._scene.later(pause, lambda: self._flicker(clock, skew, end, pause))
