"""The handover: what the client's thread has done comes to an event loop, by one wake-up for as much as is there.

Waking a loop from another thread costs a system call and a turn of the loop. So only the first thing that is put down
wakes it; what comes until the loop looks is taken along.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any

from zmqueue.client.calls import Call
from zmqueue.errors import Closed

Action = Callable[[], object]


class Handover:
    """To one loop. `put` may be called from any thread; everything else belongs to the loop's."""

    def __init__(self, loop: asyncio.AbstractEventLoop, withdraw: Callable[[Call[Any]], None]) -> None:
        """`withdraw`: told of each call whose caller is gone with the loop."""
        self.loop = loop
        self._withdraw = withdraw
        self._put: deque[Action] = deque()
        self._woken = False                              # the loop will look
        self._waiting: dict[asyncio.Future[None], Call[Any]] = {}

    def put(self, action: Action) -> bool:
        """Have the loop do it soon. False where the loop is closed, so that nobody ever will."""
        self._put.append(action)
        if self._woken:
            return True
        self._woken = True                               # before the loop can look, and unset it
        try:
            self.loop.call_soon_threadsafe(self._look)
        except RuntimeError:                             # closed; whoever waited there is gone with it
            self._woken = False
            self._put.clear()
            return False
        return True

    def _look(self) -> None:
        self._woken = False                              # first: what is put from now on wakes it again
        for _ in range(len(self._put)):
            self._put.popleft()()

    def wait(self, call: Call[Any]) -> asyncio.Future[None]:
        """A future that is done when the call is finished. Ask for it before the call can begin."""
        future: asyncio.Future[None] = self.loop.create_future()
        self._waiting[future] = call

        def ended(_: Call[Any]) -> None:
            if not self.put(partial(self._finished, future)):
                self._withdraw(call)

        call.notify = ended
        return future

    def leave(self, future: asyncio.Future[None]) -> None:
        """Its caller waits no longer, was cancelled, say."""
        call = self._waiting.pop(future, None)
        if call is not None:
            self._withdraw(call)

    def dissolve(self) -> None:
        """The loop is closed, and whoever waited there is gone with it."""
        for future in list(self._waiting):
            self.leave(future)

    def took(self, future: asyncio.Future[None]) -> None:
        """Its caller has what came of it."""
        self._waiting.pop(future, None)

    def _finished(self, future: asyncio.Future[None]) -> None:
        if not future.done():                            # it may have been cancelled
            future.set_result(None)

    def abandon(self) -> None:
        """The client's thread has ended, and finishes no calls any more (where it crashed, it may have left some)."""
        for future, call in list(self._waiting.items()):
            call.abort(Closed("the client's thread has ended"))
            self._finished(future)
