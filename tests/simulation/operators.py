"""An operator that pauses queues and declares policies, at any moment, and leaves nothing paused in the end."""

from __future__ import annotations

import random
from collections.abc import Sequence

from msgspec.structs import replace

from zmqueue.client.declaring import Decide, PolicyCall
from zmqueue.core.policies import Backoff, Overflow, Policy, Shape
from zmqueue.testing import VirtualCluster

PATIENCE_S = 10.0
"""Of the operator, for one word."""


class Operator:
    """One person at one client; says one thing after another."""

    def __init__(self, cluster: VirtualCluster, queues: Sequence[str], pause: float, dice: random.Random) -> None:
        self.client = cluster.client()
        self.agreed = 0                              # words that held
        self._cluster, self._queues, self._pause, self._dice = cluster, queues, pause, dice
        self._left: list[str] | None = None          # in the end: queues that may be paused yet
        self._plan()

    @property
    def pending(self) -> int:
        """Queues that may be paused, in the end."""
        return 0 if self._left is None else len(self._left)

    def calm(self) -> None:
        """Resume everything, and say nothing more."""
        self._left = list(self._queues)

    def _plan(self) -> None:
        self._cluster.time.after(self._pause * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        if self._left is not None:
            if self._left:
                self._say(self._left[0], _resumed)
            return
        queue = self._dice.choice(self._queues)
        self._say(queue, self._dice.choice((_paused, _paused, _resumed, _declared(self._dice), lambda policy: None)))

    def _say(self, queue: str, decide: Decide) -> None:
        def ended(call: PolicyCall) -> None:
            if call.error is None:
                self.agreed += 1
                if self._left is not None and decide is _resumed and queue in self._left:
                    self._left.remove(queue)
            self._plan()

        self.client.agree(queue, decide, PATIENCE_S, notify=ended)


def _paused(policy: Policy) -> Policy:
    return replace(policy, paused=True)


def _resumed(policy: Policy) -> Policy:
    return replace(policy, paused=False)


def _declared(dice: random.Random) -> Decide:
    """Some policy or other, that keeps a pause."""
    backoff = Backoff(Shape.EXPONENTIAL, (dice.choice((10, 100)),), 500, dice.choice((0, 50)))
    policy = Policy(attempts=dice.choice((0, 2, 5)), losses=dice.choice((0, 3)), backoff=backoff,
                    messages_max=dice.choice((0, 0, 1, 20)), overflow=dice.choice(tuple(Overflow)))
    return lambda found: replace(policy, paused=found.paused)
