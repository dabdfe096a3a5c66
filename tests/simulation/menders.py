"""A program that takes dead letters in hand: it mends some, gives up others, and holds some until it is lost.

It is an operator's, and no part of what programs are promised, so the recorder does not hear of it: to their submitters
the letters stay dead. The books of committed entries do.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zmqueue.client.leasing import Holding
from zmqueue.core.letters import name_of
from zmqueue.core.operations import How
from zmqueue.testing import VirtualClient, VirtualCluster

SLOTS = 3
LEASE_MS = 600


class Mender:
    """One such program, which begins anew now and then. `pause`: seconds that it lives, on average."""

    def __init__(self, cluster: VirtualCluster, queues: Sequence[str], pause: float, dice: random.Random) -> None:
        self._over_at: float | None = None
        self._cluster, self._pause, self._dice = cluster, pause, dice
        self._lines = [name_of(queue) for queue in queues]
        self._begin()

    @property
    def pending(self) -> int:
        """1 while what it has in hand may not have returned yet: its farewell may be lost, and then it is silence that
        tells."""
        patience = self._cluster.settings.session_ms / 1_000 + 1.0
        return int(self._over_at is not None and self._cluster.time.now < self._over_at + patience)

    def calm(self) -> None:
        """Lay down what it has in hand, and take nothing any more."""
        self._over_at = self._cluster.time.now
        if self._client.running:
            self._client.close()

    def _begin(self) -> None:
        self._client = client = self._cluster.client()
        _, slots = VirtualClient.work(client, self._lines, SLOTS, lambda holding: self._take(client, holding),
                                      lease_ms=self._dice.choice((0, LEASE_MS)))
        self._slots = slots
        self._cluster.time.after(self._pause * 2 * self._dice.random(), lambda: self._end(client))

    def _end(self, client: VirtualClient) -> None:
        if self._over_at is not None:
            return
        if self._dice.random() < 0.5:
            client.crash()
        else:
            client.close()
        self._begin()

    def _take(self, client: VirtualClient, holding: Holding) -> None:
        roll, slots = self._dice.random(), self._slots
        if roll < 0.2:
            return                         # its handler hangs

        def say() -> None:
            if not client.running or holding.lost:
                return
            if roll < 0.4:
                VirtualClient.give_back(client, holding)
            else:
                VirtualClient.settle(client, holding, self._dice.choice((How.ACK, How.NACK, How.REJECT)))
            client.freed(slots)
        self._cluster.time.after(self._dice.random(), say)
