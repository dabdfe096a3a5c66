"""A program that uses what a message may be told beside a plain submit: groups, keys, expiry, cancels, dead letters.

It speaks in packets of its own making, to every node and without waiting for answers: nodes that are not primary refuse
it, repeats are met with everything that a primary must know of what it was told before.
"""

from __future__ import annotations

import random
from collections.abc import Sequence

from zmqueue.core.ids import RANDOM_BYTES, bucket_of, make_id
from zmqueue.core.operations import Options, Scope, Submission
from zmqueue.core.requests import Cancel, Purge, Request, Requeue, Submit
from zmqueue.testing import VirtualCluster

GROUPS = ("amber", "coral", "jade")
KEYS = ("first", "second", "third")

FIRST_REQUEST = 1 << 33
"""Above the numbers of all requests that clients draw and probers use."""

REMEMBERED = 40
"""Messages that it may wish something of."""


class Whimsical:
    """One such program. `pause`: seconds between two of its wishes, on average."""

    def __init__(self, cluster: VirtualCluster, queues: Sequence[str], pause: float, dice: random.Random) -> None:
        self.client = cluster.client()
        self.done = False                  # submits no more
        self._cluster, self._queues, self._pause, self._dice = cluster, queues, pause, dice
        self._request = FIRST_REQUEST
        self._packets: list[Submit] = []
        self._ids: list[bytes] = []
        self._plan()

    def _plan(self) -> None:
        self._cluster.time.after(self._pause * 2 * self._dice.random(), self._act)

    def _act(self) -> None:
        if self.done or not self.client.running:
            return
        roll = self._dice.random()
        if roll < 0.5 or not self._ids:
            self._submit()
        elif roll < 0.6:
            self._tell(self._dice.choice(self._packets))
        else:
            self._wish()
        self._plan()

    def _submit(self) -> None:
        dice, buckets = self._dice, self._cluster.settings.buckets
        group = dice.choice((*GROUPS, ""))
        unique = dice.choice((*KEYS, "", "", ""))
        # What belongs together lies together: a group's place is its name's, a key's its own.
        place = _place(group or unique) if group or unique else dice.randrange(1 << 16)
        wall = self.client.core.routing.cluster_wall(self.client.now)
        messages, chosen = [], []
        for index in range(dice.choice((1, 1, 2, 4))):
            message_id = make_id(wall, place, dice.randbytes(RANDOM_BYTES))
            due = wall + dice.randrange(1, 1_500) if dice.random() < 0.2 else 0
            messages.append(Submission(message_id, dice.randbytes(dice.randrange(40)), due=due,
                                       priority=dice.choice((0, 0, 7)), attempts=dice.choice((0, 1, 1, 2))))
            expires = max(wall, due) + dice.randrange(1, 3_000) if dice.random() < 0.3 else 0
            scope = dice.choice(tuple(Scope)) if unique else Scope.DONE
            options = Options(expires, group, unique, scope, dice.randrange(1, 4_000) if scope == Scope.WINDOW else 0,
                              losses=dice.choice((0, 1, 2)))
            if options != Options():
                chosen.append((index, options))
        bucket = bucket_of(messages[0].id, buckets)
        self._request += 1
        packet = Submit(self._request, bucket, dice.choice(self._queues), tuple(messages), tuple(chosen))
        self._packets = [*self._packets, packet][-REMEMBERED:]
        self._ids = [*self._ids, *(message.id for message in messages)][-REMEMBERED:]
        self._tell(packet)

    def _wish(self) -> None:
        dice = self._dice
        kind = dice.choice((Cancel, Requeue, Requeue, Purge))
        first = dice.choice(self._ids)
        bucket = bucket_of(first, self._cluster.settings.buckets)
        near = [message_id for message_id in self._ids
                if bucket_of(message_id, self._cluster.settings.buckets) == bucket and message_id != first]
        many = dice.choice((0, 0, 1, 3)) if kind is Cancel else 12         # whatever is dead of what lies there
        ids = (first, *dice.sample(near, min(len(near), many)))
        self._request += 1
        self._tell(kind(self._request, bucket, ids))

    def _tell(self, packet: Request) -> None:
        for node in self._cluster.running:
            self.client.post(node.endpoint, [packet])


def _place(name: str) -> int:
    return sum(name.encode()) * 7_919 % (1 << 16)
