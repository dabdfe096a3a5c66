"""Plain messages: what a primary decides of them leaves the same rows, byte for byte, in a node of the last release."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

from tests.core.fakes import WALL, FakeTables
from tests.formats import apply
from tests.formats.versions import PREVIOUS
from zmqueue.core import operations
from zmqueue.core.ids import make_id
from zmqueue.core.machine import Machine
from zmqueue.core.operations import (
    Extended,
    Forgotten,
    Held,
    How,
    Kind,
    Leased,
    Operation,
    Returned,
    Ripened,
    Settle,
    Settled,
    Submission,
    Submitted,
    Why,
)

LOGS, STEPS = 30, 60


class Plain:
    """A primary of the first generation: it decides by what the rows say, and by chance."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)
        self.machine = Machine(FakeTables(), apply.COPY)
        self.log: list[str] = []
        self.at = 1_000
        self.drawn = 0

    def go_on(self) -> None:
        """One decision, applied."""
        self.at += self.chance.choice((1, 1, 50, 400))
        operation = self.decide()
        if operation is not None:
            data = operations.encode(operation)
            self.log.append(data.hex())
            self.machine.apply(len(self.log), operations.decode(data))

    def decide(self) -> Operation | None:
        chance, at = self.chance, self.at
        ready = self.machine.ready(queue := chance.choice(("a", "b")), None, chance.randint(1, 3))
        held: list[Held] = [(message_id, record.fencing) for message_id, record in self.machine.leased()]
        some = tuple(chance.sample(held, min(len(held), chance.randint(1, 3))))
        match chance.randrange(8):
            case 0 | 1:
                return Submitted(at, queue, tuple(self.new_message() for _ in range(chance.randint(1, 4))))
            case 2 | 3 if ready:
                return Leased(at, b"s" * 16, at, tuple((each[1], each[2] + 1) for each in ready), at + 500)
            case 4 if some:
                settles = tuple(self.settle(held) for held in some)
                return Settled(at, settles, tuple(WALL + at + 300 if settle.delay else 0 for settle in settles), 3, 900)
            case 5 if some:
                return Returned(at, some, chance.choice(tuple(Why)), 3, 900)
            case 6 if some:
                return Extended(at, some, at + 700)
            case 7 if ripe := self.machine.ripe(WALL + at, 3):
                return Ripened(at, tuple(ripe))
            case _ if old := self.machine.forgettable(at, 3):
                return Forgotten(at, tuple(old))
        return None

    def new_message(self) -> Submission:
        self.drawn += 1
        due = self.chance.choice((0, 0, WALL + self.at + 200))
        return Submission(make_id(WALL, 0, self.drawn.to_bytes(15, "big")), b"body", Kind.TEXT,
                          self.chance.randrange(3), due, (("a", "b"),), self.chance.choice((0, 2)))

    def settle(self, held: Held) -> Settle:
        how = self.chance.choice(tuple(How))
        return Settle(*held, how, Kind.BYTES, b"result" if how is How.ACK else b"",
                      "" if how is How.ACK else "it failed", self.chance.choice((0, 300)) if how is How.NACK else 0)


def test_the_last_release_has_the_same_rows_after_the_same_operations() -> None:
    logs = []
    for seed in range(LOGS):
        primary = Plain(seed)
        for _ in range(STEPS):
            primary.go_on()
        logs.append(primary.log)
    done = subprocess.run([*PREVIOUS.before, sys.executable, str(Path(apply.__file__))],
                          input="".join("\n".join((*log, "", "")) for log in logs),
                          capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stderr
    theirs = [block.splitlines() for block in done.stdout.split("\n\n")]
    for seed, (log, rows) in enumerate(zip(logs, theirs, strict=False)):
        assert rows == apply.rows_of(log), f"seed {seed}"
    kinds = {type(operations.decode(bytes.fromhex(line))).__name__ for log in logs for line in log}
    assert kinds == {"Submitted", "Leased", "Extended", "Settled", "Returned", "Ripened", "Forgotten"}
    assert len(theirs) >= LOGS and sum(map(len, theirs)) > LOGS * 20
