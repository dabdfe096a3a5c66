"""Many leases settled by one call: each has its own outcome, and those of one bucket travel together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from zmqueue.client.calls import Call, LeaseSayCall
from zmqueue.client.core import ClientCore
from zmqueue.client.leasing import Holding
from zmqueue.core.operations import Settle
from zmqueue.errors import LeaseLost, ZmqueueError


class SettleManyCall(Call[list[ZmqueueError | None]]):
    """Ends when the fate of each is known: with the error of those that do not hold, None for the others."""

    __slots__ = ("_left", "_parts")

    def __init__(self, settles: Sequence[tuple[Holding, Settle]], deadline: float) -> None:
        super().__init__(deadline)
        self._parts = [(holding, LeaseSayCall("settle", (holding.id, holding.fencing), deadline, self._one_ended,
                                              settle=settle)) for holding, settle in settles]
        self._left = len(self._parts)

    def begin(self, core: ClientCore, now: float) -> None:
        """Send them."""
        if not self._parts:
            self.finish([])
        for holding, part in self._parts:
            if holding.lost:
                part.fail(LeaseLost(f"the lease of {holding.token} is not yours any more"))
            else:
                core.say(holding, part, now)

    def _one_ended(self, _: Any) -> None:
        self._left -= 1
        if not self._left:
            self.finish([part.error for _, part in self._parts])

    def expire(self, now: float) -> None:
        """Its parts expire, each with what is known of it."""

    def abort(self, error: ZmqueueError) -> None:
        for _, part in self._parts:
            part.abort(error)

    def withdraw(self, now: float) -> None:
        """It goes on: the work is done, and not to say so would only have it done again."""
        for _, part in self._parts:
            part.withdraw(now)
