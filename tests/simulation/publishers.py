"""A program that binds queues to topics, and then publishes, with repeats: each bound queue gets one copy."""

from __future__ import annotations

import random
from typing import Any

from tests.simulation.checkers.published import BOUND, QUEUES, expected
from zmqueue.client.publishing import PublishCall, binding
from zmqueue.core.ids import parse_token
from zmqueue.errors import SubmitTimeout
from zmqueue.testing import VirtualCluster

TOPICS = ("orders", "orders.eu", "orders.eu.paid", "bills", "bills.us")
PATIENCE_S = 10.0


class Publisher:
    """One program at one client."""

    def __init__(self, cluster: VirtualCluster, pause: float, dice: random.Random) -> None:
        self.client = cluster.client()
        self.done = False                  # publishes no more
        self._cluster, self._pause, self._dice = cluster, pause, dice
        self._unbound = list(QUEUES)
        self._bind()

    def _bind(self) -> None:
        """One queue after the other; publish when every primary goes by it."""
        if not self._unbound:
            self._plan()
        elif not self.done:
            self.client.agree(self._unbound[0], binding(BOUND[self._unbound[0]]), PATIENCE_S, notify=self._bound)

    def _bound(self, call: Any) -> None:
        if call.error is None:
            self._unbound.pop(0)
        self._cluster.time.after(0.1, self._bind)

    def _plan(self) -> None:
        self._cluster.time.after(self._pause * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        if self.done:
            return
        topic = self._dice.choice(TOPICS)
        self._publish(topic, topic.encode() + b" " + self._dice.randbytes(8), None)
        self._plan()

    def _publish(self, topic: str, body: bytes, message_id: bytes | None) -> None:
        def told(call: PublishCall) -> None:
            again = call.item.submission.id
            if call.error is None:
                expected(again, topic, call.value or [])
            elif not isinstance(call.error, SubmitTimeout):
                return
            else:
                again = parse_token(call.error.token)
            if not self.done and self._dice.random() < 0.3:
                self._cluster.time.after(self._dice.random(), lambda: self._publish(topic, body, again))

        self.client.publish(topic, body, self._dice.choice((0.3, 5.0)), message_id=message_id, notify=told)
