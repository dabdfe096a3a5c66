"""How what lies in the outbox of one bucket gets to another one: the source's end, as its primary sees it (Q4).

The source sends what is committed, in the order of its numbers, one batch at a time on each link, and again until it is
answered; the target (`reception`) takes the next numbers in one entry with their messages, and answers when that is
committed; then the source deletes them, by an entry of its own log. Nothing here is kept: whoever becomes primary
begins with the rows. A target that takes nothing now (it is full, or short of disk or of replicas) is asked again,
later and later.

A bucket sends to itself, and to others of the same node, in the same way, but for the network.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from zmqueue.core import outbox
from zmqueue.core.ledger import Ledger
from zmqueue.core.operations import Delivered, messages_of, sent_lock
from zmqueue.core.outbox import Link
from zmqueue.core.packets import Forward, Mail, Taken
from zmqueue.core.state import ClusterState

if TYPE_CHECKING:
    from zmqueue.core.effects import Effects
    from zmqueue.core.limits import Limits

AGAIN_FIRST = 0.25
"""Seconds after which what was not answered, or was refused, is sent again for the first time..."""

AGAIN_MOST = 5.0
"""...and at most, after doubling each time."""


class Post:
    """One node's way from bucket to bucket; shared by its desks."""

    __slots__ = ("_effects", "_local", "_state", "flying_bytes", "limits", "me", "refused")

    def __init__(self, effects: Effects, state: ClusterState, limits: Limits) -> None:
        self.me = ""                       # this node's id; set by the engine
        self.limits = limits
        self.flying_bytes = 0              # sent by the buckets of this node, and not answered yet
        self.refused = 0                   # how often a target took less than it was sent
        self._effects = effects
        self._state = state
        self._local: deque[Mail] = deque()

    def agreed(self, state: ClusterState) -> None:
        """A cluster state was installed."""
        self._state = state

    def primary(self, bucket: int) -> str:
        """The id of the node that is primary of a bucket; "": there is none."""
        number = self._state.primary(bucket)
        member = None if number is None else self._state.member(number)
        return "" if member is None else member.id

    def adopted(self, bucket: int) -> bool:
        """True where the bucket may lack what it once confirmed: it went on from another copy (C12)."""
        return self._state.generations[bucket] > 1

    def send(self, node: str, mail: Mail) -> None:
        """Send to another node, or to this one."""
        if node == self.me:
            self._local.append(mail)
        else:
            self._effects.send(node, mail)

    def received(self) -> list[Mail]:
        """What buckets of this node sent to buckets of this node."""
        received = list(self._local)
        self._local.clear()
        return received

    def warn(self, kind: str, **facts: object) -> None:
        """Tell the operator."""
        self._effects.warn(kind, **facts)


class _Line:
    """A link on which parcels lie, as the source's primary knows it."""

    __slots__ = ("again_at", "first", "last", "number", "pause", "sent", "size", "to", "upto", "warned")

    def __init__(self, first: int, last: int) -> None:
        self.first = first                 # the lowest number that lies there,
        self.last = last                   # and the highest
        self.upto = first - 1              # the target told that it has committed these
        self.sent = 0                      # the last number that flies; 0: nothing does
        self.size = 0                      # bytes that fly
        self.number = 0                    # of the Forward that was sent last: an answer names it
        self.to = ""                       # to which node
        self.again_at = 0.0
        self.pause = AGAIN_FIRST
        self.warned = False


class Sending:
    """The source's end of all links of one bucket."""

    __slots__ = ("_ledger", "_lines", "_post")

    def __init__(self, ledger: Ledger, post: Post) -> None:
        self._ledger = ledger
        self._post = post
        self._lines: dict[Link, _Line] = {}

    @property
    def waiting(self) -> int:
        """How many parcels lie in the outbox."""
        return sum(line.last - line.first + 1 for line in self._lines.values())

    def close(self) -> None:
        """The term ended."""
        for line in self._lines.values():
            self._landed(line)
        self._lines.clear()

    def open(self) -> None:
        """A new term: begin with what lies there."""
        machine = self._ledger.machine
        machine.posted.clear()
        for link, first in outbox.links(machine.tables, machine.copy):
            self._lines[link] = _Line(first, outbox.last_sent(machine.tables, machine.copy, link))

    # --- what comes ---

    def posted(self, now: float) -> None:
        """Entries were applied: what they put into the outbox is committed, and leaves."""
        machine = self._ledger.machine
        if not machine.posted:
            return
        for link in sorted(machine.posted):
            last = outbox.last_sent(machine.tables, machine.copy, link)
            line = self._lines.get(link)
            if line is None:
                first = outbox.first_on(machine.tables, machine.copy, link)
                line = self._lines[link] = _Line(first, last)
            line.last = last
            self._send(link, line, now)
        machine.posted.clear()

    def told(self, packet: Taken, now: float) -> None:
        """The target has committed everything up to a number."""
        link = packet.target, packet.generation
        line = self._lines.get(link)
        if line is None or packet.last < line.first - 1:
            return                         # it is late, or from a primary that does not know that it was deposed
        if packet.number != line.number and packet.last <= line.upto:
            return                         # an answer to what was sent before
        self._landed(line)
        line.upto = min(packet.last, line.last)    # C12: a branch of this bucket that was given up may have sent more
        if packet.code:
            self._refused(link, line, packet, now)
        else:
            line.pause, line.again_at, line.warned = AGAIN_FIRST, now, False
        self._delete(link, line, now)
        self._send(link, line, now)

    def _refused(self, link: Link, line: _Line, packet: Taken, now: float) -> None:
        self._post.refused += 1
        if not line.warned:
            line.warned = True
            self._post.warn("a bucket does not take what is queued by settles of another one; it is tried again",
                            source=self._ledger.bucket, target=link[0], waiting=line.last - line.upto,
                            why=packet.text)
        line.again_at = now + line.pause
        line.pause = min(2 * line.pause, AGAIN_MOST)

    def delivered(self, operation: Delivered, now: float) -> None:
        """What the target has is deleted here."""
        link = operation.target, operation.generation
        line = self._lines.get(link)
        assert line is not None and line.first == operation.first, "what is deleted lay here"
        line.first = operation.last + 1
        line.upto = max(line.upto, operation.last)     # deleted by the tail of an earlier term, perhaps
        if line.first > line.last:
            self._landed(line)
            del self._lines[link]
        else:
            self._delete(link, line, now)
            self._send(link, line, now)

    def tick(self, now: float) -> None:
        """Send again what had no answer, and at once where another node is to be asked."""
        for link, line in self._lines.items():
            if line.sent and (now >= line.again_at or self._post.primary(link[0]) != line.to):
                line.pause = min(2 * line.pause, AGAIN_MOST)
                self._landed(line)
                line.again_at = now
            self._delete(link, line, now)
            self._send(link, line, now)

    # --- what leaves ---

    def _send(self, link: Link, line: _Line, now: float) -> None:
        """Send the next batch, unless one flies, or its time has not come. All that lies there is committed."""
        if line.sent or line.upto >= line.last or now < line.again_at:
            return
        post, limits, machine = self._post, self._post.limits, self._ledger.machine
        node = post.primary(link[0])
        if not node or post.flying_bytes >= limits.flying_bytes_max:
            return
        first = line.upto + 1
        parcels, size = outbox.parcels(machine.tables, machine.copy, link, first, limits.forwarded_batch_max,
                                       limits.forwarded_bytes_max)
        line.number += 1
        line.to, line.sent, line.size = node, first + len(parcels) - 1, size
        line.again_at = now + line.pause
        post.flying_bytes += size
        post.send(node, Forward(self._ledger.bucket, link[1], link[0], line.number, line.first, first, tuple(parcels)))

    def _landed(self, line: _Line) -> None:
        """Nothing flies any more."""
        self._post.flying_bytes -= line.size
        line.sent = line.size = 0

    def _delete(self, link: Link, line: _Line, now: float) -> None:
        """Have deleted what the target has: one entry at a time on each link."""
        ledger, lock = self._ledger, sent_lock(*link)
        if line.upto < line.first or lock in ledger.locks:
            return
        last = min(line.upto, line.first + self._post.limits.forwarded_batch_max - 1)
        operation = Delivered(ledger.replica.at(now), *link, line.first, last)
        ledger.append(operation, messages_of(operation), now)
