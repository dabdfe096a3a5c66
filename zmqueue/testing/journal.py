"""What happened in a run: a hash over all of it, and the last of it in words.

Two runs are the same if their hashes are. Lines are put into words only when somebody reads them.
"""

from __future__ import annotations

import hashlib
from collections import deque

from zmqueue.testing.clock import VirtualTime

BYTES_SHOWN = 12
"""Bytes of a long value that a line shows."""


class Trace:
    """The events of one run."""

    __slots__ = ("_hash", "_lines", "_time", "events")

    def __init__(self, time: VirtualTime, keep: int = 400) -> None:
        self.events = 0
        self._time = time
        self._hash = hashlib.sha256()
        self._lines: deque[tuple[float, str, str, tuple[object, ...]]] = deque(maxlen=keep)

    def add(self, who: str, what: str, *facts: object, data: bytes = b"") -> None:
        """Note an event; `data` goes into the hash, `facts` into the words."""
        self.events += 1
        self._hash.update(b"%d %s %s %s\n" % (round(self._time.now * 1e6), who.encode(), what.encode(), data))
        self._lines.append((self._time.now, who, what, facts))

    @property
    def sha256(self) -> str:
        """The hash over all events so far, in hex."""
        return self._hash.hexdigest()

    def lines(self, most: int | None = None) -> list[str]:
        """The last events, oldest first."""
        lines = list(self._lines)
        if most is not None:
            lines = lines[-most:]
        return [f"{when:10.6f}  {who:<4} {what}{''.join(f' {shown(fact)}' for fact in facts)}"
                for when, who, what, facts in lines]


def shown(fact: object) -> str:
    """A value in few words."""
    if isinstance(fact, bytes):
        return fact.hex() if len(fact) <= BYTES_SHOWN else f"{fact[:4].hex()}..{fact[-4:].hex()}"
    if isinstance(fact, tuple | list):
        return "[" + ", ".join(shown(part) for part in fact[:8]) + (", ..]" if len(fact) > 8 else "]")
    fields = getattr(fact, "__struct_fields__", None)
    if fields is not None:
        return type(fact).__name__ + "(" + " ".join(
            f"{name}={shown(getattr(fact, name))}" for name in fields) + ")"
    return str(fact)
