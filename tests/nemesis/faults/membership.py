"""Members that come and go: one joins and leaves, one is lost with its disk and replaced by an empty one."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator

from tests.nemesis.faults.base import Fault, Strike
from tests.nemesis.rig import Rig


class Join(Fault):
    """A node more joins, gets its share, and leaves in order."""

    kind = "join"
    limit_s = 8.0
    hold_s = (2.0, 5.0)

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        spare = rig.spare
        strike.begin("a node joins")
        spare.start(*rig.how(spare))
        try:
            if not spare.serves():
                rig.note("the node that joins was not taken up in time")
            if missing := rig.await_whole():
                rig.note(f"after a node had joined: {missing}")
            yield
            strike.begin("it leaves")
            spare.stop()
            if why := rig.irreplaceable(spare):
                rig.note(f"the node that leaves is lost although it should not be: {why}")
        finally:
            spare.kill()
            spare.wipe()
        if spare.id:
            rig.forget(spare.id)


class Replace(Fault):
    """A node is killed, its disk is lost, and an empty one takes its place at the same address."""

    kind = "replace"
    limit_s = 20.0
    hold_s = (0.0, 3.0)
    destroys = True

    @contextlib.contextmanager
    def on(self, rig: Rig, dice: random.Random, strike: Strike) -> Iterator[None]:
        with rig.harm(1) as (node,):
            strike.begin(f"{node.name} is lost")
            node.kill()
            yield
            if why := rig.irreplaceable(node):
                rig.note(f"{node.name} keeps its disk: {why}")
                rig.revive(node)
            else:
                rig.replace(node)
