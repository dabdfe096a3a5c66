"""Faults that stop processes: killed, paused, restarted one after the other."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.rig import Rig

ABOVE_LEASE_S = 9.0                    # the rig's leases last 6 s, its sessions 5 s


class Kill(Fault):
    """SIGKILL: one node, a minority, or all at once."""

    kind = "kill"
    limit_s = 20.0
    hold_s = (0.2, 5.0)

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        count = dice.choices((1, rig.minority, len(rig.nodes)), (5, 2, 2))[0]
        with rig.harm(count) as victims:
            strike.begin(f"SIGKILL {[node.name for node in victims]}")
            for node in victims:
                node.signal(signal.SIGKILL)
            for node in victims:
                node.kill()
            yield
            for node in victims:
                node.start(*rig.how(node))
            for node in victims:
                if not node.serves():
                    rig.revive(node)


class Pause(Fault):
    """SIGSTOP: shorter than the suspicion timeout, longer, or longer than a lease: a primary that does not know."""

    kind = "pause"
    limit_s = 20.0

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        seconds = dice.choice((dice.uniform(0.2, 0.8), dice.uniform(1.5, 5.0), ABOVE_LEASE_S))
        with rig.harm(dice.choice((1, rig.minority))) as victims:
            strike.begin(f"SIGSTOP {[node.name for node in victims]} for {seconds:.1f} s")
            try:
                for node in victims:
                    node.signal(signal.SIGSTOP)
                time.sleep(seconds)
                yield
            finally:
                for node in victims:
                    node.signal(signal.SIGCONT)
            for node in victims:
                if not node.running:
                    rig.revive(node)

    hold_s = (0.0, 0.0)


class Restart(Fault):
    """Each node in turn is stopped in order and started again, as for an upgrade."""

    kind = "restart"
    limit_s = 8.0
    hold_s = (0.0, 0.0)

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        for node in dice.sample(rig.nodes, len(rig.nodes)):
            with rig.harm(1, [node]):
                strike.begin(f"restart {node.name}")
                node.stop()
                rig.revive(node)
                if missing := rig.await_whole(30.0):
                    rig.note(f"30 s after the restart of {node.name}: {missing}")
        yield
