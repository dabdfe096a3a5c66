"""From a damaged copy to a fresh one: when it may be deleted, what is asked for until then, and when all is well again.

D1. A replica whose copy is damaged takes no part in its bucket, in any term: it serves, acks and appends nothing. It
asks for its own ReplicaDropped, and deletes the copy only under a state on its disk in which it is not in-sync and the
bucket's term is later than the one in which the copy was condemned. Then it is a learner that has nothing.

D2. Where it is the only in-sync replica that is up, nothing is asked for and nothing is deleted: the bucket stands
still, loudly, since what is left of it lies here.
"""

from __future__ import annotations

from zmqueue.core.changes import ReplicaDropped
from zmqueue.core.counting import REPEAT_EVERY
from zmqueue.core.damage import Mark
from zmqueue.core.host import Host
from zmqueue.core.state import ClusterState


class Mending:
    """One bucket's damage on this node; most of the time there is none."""

    __slots__ = ("_asked_at", "_bucket", "_host", "_told")

    def __init__(self, bucket: int, host: Host) -> None:
        self._bucket = bucket
        self._host = host
        self._asked_at = float("-inf")
        self._told = False                 # that the bucket stands still

    @property
    def mark(self) -> Mark | None:
        """What is known of the damage; None where there is none."""
        return self._host.marks.of(self._bucket)

    @property
    def damaged(self) -> bool:
        """True while a damaged copy lies here."""
        mark = self.mark
        return mark is not None and not mark.deleted

    def condemn(self, copy: int, term: int, what: str) -> None:
        """The live copy is found to be damaged, while the node runs."""
        self._host.marks.condemn(self._bucket, copy, term, what)
        self._host.alarm("a copy is damaged: it is made anew from another replica", bucket=self._bucket, copy=copy,
                         term=term, found=what)
        self._asked_at = float("-inf")

    def entered(self, state: ClusterState) -> None:
        """A state was installed: in its batch, delete the copy as soon as nothing hangs on it any more (D1)."""
        mark, bucket = self.mark, self._bucket
        if mark is None:
            return
        in_sync = self._host.number in state.in_sync[bucket]
        if not mark.deleted:
            if in_sync or state.terms[bucket] <= mark.term:
                return
            self._host.copies.delete(bucket)
            self._host.marks.deleted(bucket)
            self._told = False
            self._host.effects.note("the damaged copy is deleted", bucket=bucket, copy=mark.copy,
                                    term=state.terms[bucket])
        if in_sync or self._host.number not in state.desired(bucket):
            self._host.marks.repaired(bucket)
            self._host.effects.note("the bucket is whole here again" if in_sync else "no copy is needed here any more",
                                    bucket=bucket, term=state.terms[bucket])

    def tick(self, state: ClusterState, now: float) -> None:
        """Ask to be taken out of the bucket, or for a later term."""
        if not self.damaged:
            return
        if self.halts(state):
            if not self._told:
                self._told = True
                self._host.alarm(self.why(state), bucket=self._bucket, term=state.terms[self._bucket])
        elif state.up(self._host.number) and now - self._asked_at >= REPEAT_EVERY:
            self._asked_at = now
            self._host.ask(now, ReplicaDropped(self._bucket, self._host.number, state.terms[self._bucket]))

    def halts(self, state: ClusterState) -> bool:
        """True where the bucket stands still for it (D2)."""
        me, in_sync = self._host.number, state.in_sync[self._bucket]
        return (self.damaged and me in in_sync and state.up(me)
                and not any(state.up(number) for number in in_sync if number != me))

    def why(self, state: ClusterState) -> str:
        """What to tell somebody who wants something of the bucket; "" where it does not stand still."""
        mark = self.mark
        if mark is None or not self.halts(state):
            return ""
        return (f"bucket {self._bucket} stands still: its only in-sync copy is damaged ({mark.what}). Other buckets go "
                "on. Stop this node, and have the bucket adopted from one that holds an older copy (zmqueue adopt; "
                "docs/operating.md)")
