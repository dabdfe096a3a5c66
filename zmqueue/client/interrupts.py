"""Interrupts: SIGTERM and SIGINT as something to wait for, in the main thread of a program that only works.

A handler may run between any two instructions of the main thread, so it takes no lock: it counts, and writes a byte.
"""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGINT)


class Interrupts:
    """While entered in the main thread, counts the signals that ask the program to end; elsewhere counts none."""

    def __init__(self) -> None:
        self.count = 0
        self._ears, self._bell = socket.socketpair()
        self._ears.setblocking(False)
        self._bell.setblocking(False)
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Interrupts:
        if threading.current_thread() is threading.main_thread():
            for number in SIGNALS:
                self._before[number] = signal.signal(number, self._interrupted)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)
        self._before.clear()
        self._ears.close()
        self._bell.close()

    def _interrupted(self, number: int, frame: FrameType | None) -> None:
        self.count += 1
        self.poke()

    def poke(self) -> None:
        """End a wait."""
        with contextlib.suppress(OSError):
            self._bell.send(b"!")

    def wait(self, seconds: float) -> None:
        """Wait for a signal or a poke, at most so long."""
        select.select([self._ears], [], [], seconds)
        with contextlib.suppress(OSError):
            self._ears.recv(64)
