"""What programs were told of messages, and may never be told otherwise: how one ended, and who holds which lease.

Kept by the moment of the telling in the simulation, and put together afterwards from programs' books of real runs.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, TypeVar

from tests.simulation.checkers import Violation

Key = TypeVar("Key", bound=Hashable)

RESULT = "a result never changes"
LEASE = "a lease is granted once"


class Told(Generic[Key]):
    """The book; `Key` is whatever names a message."""

    def __init__(self) -> None:
        self.ended: dict[Key, tuple[object, object]] = {}          # (state, result), as first told
        self.granted: dict[tuple[Key, int], object] = {}           # (message, fencing number) -> who holds it

    def over(self, key: Key, state: object, result: object) -> None:
        """Somebody was told that it ended so. Raises Violation where somebody was told otherwise."""
        told = self.ended.setdefault(key, (state, result))
        if told != (state, result):
            raise Violation(RESULT, f"{_text(key)} ended as {told}, and now as {(state, result)}")

    def grant(self, key: Key, fencing: int, taker: object) -> bool:
        """It was handed out; True where that was not known. Raises Violation where somebody else had this lease."""
        new = (key, fencing) not in self.granted
        if self.granted.setdefault((key, fencing), taker) != taker:
            raise Violation(LEASE, f"{_text(key)} is granted under {fencing} to two sessions")
        return new


def _text(key: object) -> str:
    return key.hex() if isinstance(key, bytes) else str(key)
