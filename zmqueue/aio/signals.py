"""SIGTERM and SIGINT as something to wait for, in an event loop."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

from zmqueue.client.interrupts import SIGNALS


@contextlib.contextmanager
def signals(loop: asyncio.AbstractEventLoop, told: Callable[[], None]) -> Iterator[None]:
    """While entered in the main thread, `told()` is called in the loop for each of them; elsewhere never.

    Afterwards they mean what they meant before (in `asyncio.run`, SIGINT cancels the main task).
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    for number in SIGNALS:
        loop.add_signal_handler(number, told)
    try:
        yield
    finally:
        for number, handler in before.items():
            loop.remove_signal_handler(number)
            if handler is not None:                      # None: it was not set from Python
                signal.signal(number, handler)
