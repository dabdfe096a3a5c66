"""Faults in programs: workers and producers that die or freeze, a fork, and a handler that holds the interpreter."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator

import zmqueue
from tests.nemesis.embedded import QUEUE
from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.rig import NotNow, Rig

FROZEN_S = (0.5, 8.0)                  # the rig's sessions last 5 s
HOLD_MS = (1_000, 6_000)
FORK_S = 400.0                         # a program that forks ends within that, whatever else is on


class Client(Fault):
    """A worker or a producer is killed, or frozen, some of them for longer than its session lasts."""

    kind = "client"
    limit_s = 5.0
    hold_s = (0.0, 1.0)

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        program = rig.crew.pick(dice.choice(("worker", "worker", "producer")))
        if dice.random() < 0.6:
            strike.begin(f"SIGKILL {program.name}")
            program.signal(signal.SIGKILL)
            rig.crew.replace(program)
        else:
            seconds = dice.uniform(*FROZEN_S)
            strike.begin(f"SIGSTOP {program.name} for {seconds:.1f} s")
            program.signal(signal.SIGSTOP)
            time.sleep(seconds)
            program.signal(signal.SIGCONT)
        yield


class Fork(Fault):
    """A program forks while it uses its client: the child's copy refuses, a new one works, the parent's goes on."""

    kind = "fork"
    limit_s = 5.0
    hold_s = (0.0, 0.0)

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        program = rig.crew.start("forker", module="tests.nemesis.forker")
        strike.begin(f"{program.name} forks")
        ended = program.wait(FORK_S)
        status = program.process.poll()
        said = program.log.read_text("utf-8", "replace")[-1_000:]
        rig.crew.dismiss(program)
        if not ended or status:
            raise AssertionError(f"{program.name} " + (f"ended with status {status}" if ended else "did not end")
                                 + f": {said}")
        yield


class HeldInterpreter(Fault):
    """In a program that embeds a node, a handler holds the interpreter's lock: the node's threads stand still."""

    kind = "gil"
    limit_s = 20.0
    hold_s = (0.0, 0.0)

    def prepare(self, rig: Rig) -> str:
        rig.nodes[0].program = "tests.nemesis.embedded"
        return ""

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        node = rig.nodes[0]
        with rig.harm(1, [node]), zmqueue.Client(*rig.seeds) as client:
            hold_ms = dice.randint(*HOLD_MS)
            try:
                ticket = client.submit(QUEUE, hold_ms)
                began, ended = ticket.result(60.0)
            except zmqueue.ZmqueueError as error:
                raise NotNow(f"no handler ran in {node.name}: {error!r}") from error
            strike.begin(f"{node.name}: a handler held the interpreter for {ended - began:.1f} s")
            strike.begun = began
            yield
