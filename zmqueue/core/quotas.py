"""How full a queue may be: its limit, held by each node for the buckets that it serves.

No node asks another one. Each takes the part of the limit that its buckets are of all (rounded up), and holds what
stands in them together below that: what is ready, delayed or leased, and what is in the log and not applied yet. So the
whole queue holds at most its limit and one message less than there are nodes; more only where a full bucket has moved
to a node that serves others, until that is worked off. And one node may refuse while there is room on others.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple

from zmqueue.core.answers import Code
from zmqueue.core.operations import State
from zmqueue.core.policies import Overflow, Policy
from zmqueue.core.rates import WINDOW_S

if TYPE_CHECKING:
    from zmqueue.core.desk import Desk
    from zmqueue.core.office import Office

RETRY_MS_MIN = 50
"""A hint is never shorter: a client that comes again sooner only costs."""

RETRY_MS = 1_000
"""The hint where nothing has left the queue in the last minute, so that nobody can tell."""

_STANDING = tuple(state for state in State if not state.terminal)


class Room(NamedTuple):
    """What the queue takes now."""

    messages: int                          # so many
    code: Code = Code.QUEUE_FULL           # and why no more,
    text: str = ""
    retry_ms: int = 0                      # until when


class Quotas:
    """The limits of the queues on one node."""

    __slots__ = ("_desks", "_office")

    def __init__(self, office: Office, desks: Callable[[], Sequence[Desk]]) -> None:
        """`desks()`: those that serve."""
        self._office = office
        self._desks = desks

    def room(self, queue: str, policy: Policy, messages: int, now: float) -> Room:
        """How many of so many messages the queue takes."""
        code = Code.QUEUE_WAITS if policy.overflow is Overflow.BLOCK else Code.QUEUE_FULL
        if policy.age_ms_max:
            oldest = max((desk.ledger.machine.waited(queue, self._office.wall) for desk in self._desks()), default=-1)
            if oldest > policy.age_ms_max:
                return Room(0, code, f"a message of queue {queue!r} has waited for {oldest:,} ms; while one waits for "
                                     f"longer than {policy.age_ms_max:,} (its policy's age_max), none is taken: work "
                                     "it off", self._retry_ms(queue, now))
        if not policy.messages_max:
            return Room(messages)
        standing, share = self._standing(queue), self.share(policy.messages_max)
        free = max(0, share - standing)
        if free >= messages:
            return Room(messages)
        retry = self._retry_ms(queue, now)
        return Room(free, code, f"{standing:,} messages of queue {queue!r} stand in this node's buckets; its share of "
                                f"the {policy.messages_max:,} that may (its policy's messages_max) is {share:,}: "
                                f"try again in {retry:,} ms, or work them off", retry)

    def share(self, limit: int) -> int:
        """This node's part of a limit: as many parts as it serves buckets, rounded up."""
        return -(-limit * len(self._desks()) // self._office.settings.buckets)

    def _standing(self, queue: str) -> int:
        return sum(sum(desk.ledger.machine.count(queue, state) for state in _STANDING) + desk.ledger.arriving(queue)
                   for desk in self._desks())

    def _retry_ms(self, queue: str, now: float) -> int:
        """About when a place will be free, going by what ended in the last minute."""
        flow = self._office.rates.last(queue, now)
        ended = flow.settled + flow.dead
        return max(RETRY_MS_MIN, WINDOW_S * 1_000 // ended) if ended else RETRY_MS
