"""Collecting: asks after many requests at once, and hands out what has ended, as it ends.

A bounded number is asked after at a time. While there are more, each question waits only a moment at its node and has
its turn again later, so that requests which take long do not keep others from being noticed. What has come lies here
until it is taken, and counts as asked: so a slow taker bounds what is in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from zmqueue.client import limits
from zmqueue.client.calls import AskCall, Call
from zmqueue.client.timers import Action
from zmqueue.core.ids import token_of
from zmqueue.errors import ClusterUnreachable, ResultTimeout


class Collecting:
    """The questions after some messages. Belongs to the client's thread, but for `left`."""

    def __init__(self, ids: Sequence[bytes], deadline: float, ask: Callable[[AskCall, float], None],
                 soon: Callable[[Action], None]) -> None:
        """`ask` and `soon` are the core's."""
        self.deadline = deadline
        self.left = len(ids)                             # how many have not been taken; the taker's
        self._ask = ask
        self._soon = soon
        self._waiting = deque(ids)                       # not being asked after
        self._asked: dict[AskCall, None] = {}
        self._ended: list[AskCall] = []
        self._taker: TakeCall | None = None
        self._refilling = False
        self._over = False

    def take(self, call: TakeCall, now: float) -> None:
        """Finish the call with what has ended, as soon as there is any."""
        self._taker = call
        self._refill(now)
        self._give()

    def close(self, now: float) -> None:
        """Ask no more."""
        self._over = True
        self._waiting.clear()
        for call in list(self._asked):
            call.withdraw(now)
        self._ended.clear()

    def _refill(self, now: float) -> None:
        self._refilling = False
        if now >= self.deadline:
            for message_id in self._waiting:
                self._ended.append(_timed_out(message_id, self.deadline))
            self._waiting.clear()
            self._give()
        many = min(limits.COLLECTED_MAX - len(self._asked) - len(self._ended), len(self._waiting))
        until = self.deadline
        if many < len(self._waiting):
            until = min(until, now + limits.COLLECT_TURN_S)
        for _ in range(many):
            call = AskCall(self._waiting.popleft(), until, self._one_ended, settled=True)
            self._asked[call] = None
            self._ask(call, now)

    def _one_ended(self, call: AskCall) -> None:
        self._asked.pop(call, None)
        if self._over:
            return
        if isinstance(call.error, ResultTimeout | ClusterUnreachable) and call.deadline < self.deadline:
            self._waiting.append(call.id)                # its turn is over
            if not self._refilling:
                self._refilling = True
                self._soon(self._refill)
            return
        self._ended.append(call)
        self._give()

    def _give(self) -> None:
        call = self._taker
        if call is not None and not call.finished and self._ended:
            self._taker, ended, self._ended = None, self._ended, []
            call.finish(ended)


class TakeCall(Call[list[AskCall]]):
    """Waits for some of the questions to end."""

    __slots__ = ("collecting",)

    def __init__(self, collecting: Collecting, notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(collecting.deadline + limits.COLLECT_GRACE_S, notify)
        self.collecting = collecting

    def expire(self, now: float) -> None:
        self.finish([])                                  # the questions ended before; here is nothing to wait for


def _timed_out(message_id: bytes, deadline: float) -> AskCall:
    call = AskCall(message_id, deadline, settled=True)
    token = token_of(message_id)
    call.fail(ResultTimeout(f"request {token}: it was not seen to have ended in time, among so many", token))
    return call
