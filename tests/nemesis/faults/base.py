"""What a fault is: it strikes, holds for a while, and is healed, whatever happens."""

from __future__ import annotations

import contextlib
import random
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar

from tests.nemesis.rig import Rig


@dataclass(slots=True)
class Strike:
    """One time that a fault struck. Moments of the monotonic clock."""

    kind: str
    begun: float = 0.0                     # 0: not yet
    ended: float = 0.0
    texts: list[str] = field(default_factory=list)
    on_begin: Callable[[Strike], None] = field(default=lambda strike: None)

    def begin(self, text: str) -> None:
        """From now on it harms; may be called for each of several steps."""
        if not self.begun:
            self.begun = time.monotonic()
        self.texts.append(text)
        self.on_begin(self)


class Fault(ABC):
    """A kind of fault. `limit_s`: how long a submit may wait for its confirmation because of it alone, as stated."""

    kind: ClassVar[str]
    limit_s: ClassVar[float]
    hold_s: ClassVar[tuple[float, float]] = (2.0, 6.0)
    destroys: ClassVar[bool] = False       # data of a node: one at a time, and only of a cluster that is whole
    alone: ClassVar[bool] = False          # beside others, the disk that it harms might come to be the last one in-sync

    def prepare(self, rig: Rig) -> str:
        """Before the nodes start: what the fault needs of them; or why it cannot strike here."""
        return ""

    def close(self) -> None:
        """At the end of the run, when all nodes are gone."""
        return

    @contextlib.contextmanager
    @abstractmethod
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        """Strike; and heal at the end. Raises NotNow where it cannot strike as things are."""

    def run(self, rig: Rig, dice: random.Random, strike: Strike) -> None:
        """Strike, hold, heal."""
        with self.on(rig, dice, strike):
            time.sleep(dice.uniform(*self.hold_s))
        strike.ended = time.monotonic()
