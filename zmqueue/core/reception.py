"""How the primary of a bucket takes what another bucket's outbox holds for it: the next numbers only, each once (Q4).

The number and the messages are one entry, so a repeat finds the number taken, however late it comes. What cannot be
taken now stays where it is, and whatever follows it: the answer says why, and the source asks again. How many messages
the policy of its queue allows holds nothing back: the ack that carried it was confirmed, and a join that has taken the
last place would wait for its own parts.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from zmqueue.core import outbox
from zmqueue.core.choosing import completed
from zmqueue.core.forwarding import Post
from zmqueue.core.intake import Intake
from zmqueue.core.joins import numbered
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Office, Refusal
from zmqueue.core.operations import (
    UNIQUE_PREFIX,
    Batch,
    Forwarded,
    Options,
    Parcel,
    Submission,
    messages_of,
    taken_lock,
    unique_lock,
)
from zmqueue.core.packets import Forward, Taken

NO_REFUSAL = 0, ""


class Reception:
    """The target's end of all links to one bucket."""

    __slots__ = ("_intake", "_ledger", "_office", "_post", "_waiting")

    def __init__(self, intake: Intake, ledger: Ledger, post: Post) -> None:
        self._intake = intake
        self._ledger = ledger
        self._office = ledger.office
        self._post = post
        self._waiting: set[tuple[int, int]] = set()    # links of which a packet waits for the commit of something

    def close(self) -> None:
        """The term ended; who waited is told so by the ledger."""
        self._waiting.clear()

    def take(self, node: str, packet: Forward, now: float) -> None:
        """Take what is new of it, as much as can be taken now, and answer when that is committed."""
        link = packet.source, packet.generation
        ledger, machine = self._ledger, self._ledger.machine
        if link in self._waiting:
            return                         # it comes again, if it is still of interest then
        last = outbox.last_taken(machine.tables, machine.copy, *link)
        parcels = packet.parcels[max(0, last + 1 - packet.first):]
        if seq := ledger.locked_until([taken_lock(*link), *self._names(parcels)]):
            self._waiting.add(link)
            ledger.waiting.add(_Again(self, node, packet), now, seq=seq)
            return
        skipped = packet.first - last - 1
        if skipped > 0 and (known := self._known(packet, last)) != packet.first - 1:
            if known is not None:
                self._answer(node, packet, known, now)
        elif not parcels:
            self._answer(node, packet, last, now)
        else:
            try:
                self._take(node, packet, parcels, max(0, skipped), now)
            except Refusal as refusal:
                self._answer(node, packet, last, now, (refusal.code, refusal.text))

    def again(self, node: str, packet: Forward, now: float) -> None:
        """What a packet waited for is committed. Whom to believe may be another one by now (Q4e)."""
        self._waiting.discard((packet.source, packet.generation))
        if self._post.primary(packet.source) == node:
            self.take(node, packet, now)

    def _known(self, packet: Forward, last: int) -> int | None:
        """Up to which number all is taken, where the packet begins above the next one; None: that cannot be.

        What is below `floor` was deleted at the source, so this bucket had confirmed it. Where it does not know of it,
        it went on from a copy that did not have it (C12), and goes on behind it; else this node is not primary any
        more, and does not know.
        """
        if packet.floor <= last + 1:
            return last
        if self._post.adopted(packet.target):
            return packet.floor - 1
        self._post.warn("a bucket was sent messages after a gap, and takes none of them", source=packet.source,
                        target=packet.target, taken=last, next=packet.floor)
        return None

    def _take(self, node: str, packet: Forward, parcels: Sequence[Parcel], skipped: int, now: float) -> None:
        """Put the next numbers into the log, with all that is to be stored of them. Raises Refusal where not even the
        first ones can be taken."""
        office, ledger = self._office, self._ledger
        size = sum(len(parcel.message.payload) for parcel in parcels)
        office.check_room(size)
        first = packet.first + len(packet.parcels) - len(parcels)
        next_number, refusal = first, NO_REFUSAL
        picking = _Picking(ledger, office.wall, ledger.replica.at(now), parcels)
        taken: dict[str, tuple[int, int]] = {}         # by queue, in this entry: (bytes, messages)
        for queue, run in _runs(parcels):
            if messages := picking.new_ones(run):
                if taken and queue not in taken and queue not in ledger.machine.counts:
                    break                  # the name of a new queue is counted when it is applied: it begins an entry
                before = taken.get(queue, (0, 0))
                length, number = sum(len(message.payload) for message, _ in messages), len(messages)
                try:
                    self._intake.check_acceptable((queue,), before[0] + length, before[1] + number)
                except Refusal as full:
                    if next_number == first:
                        raise
                    refusal = full.code, full.text
                    break
                office.will_write(length, number)
                taken[queue] = before[0] + length, before[1] + number
                picking.take(queue, messages)
            next_number += len(run)
        arrived = tuple((parcel.message.id, parcel.part) for parcel in parcels[:next_number - first] if parcel.part)
        operation = Forwarded(ledger.replica.at(now), packet.source, packet.generation, first, next_number - 1,
                              tuple(picking.batches), arrived, skipped)
        seq = ledger.append(operation, messages_of(operation), now)
        self._answer(node, packet, next_number - 1, now, refusal, seq, size)

    def _answer(self, node: str, packet: Forward, last: int, now: float, refusal: tuple[int, str] = NO_REFUSAL,
                seq: int = 0, size: int = 0) -> None:
        """Say up to where all is taken, when that is committed, and on enough disks (R11)."""
        taken = Taken(packet.source, packet.generation, packet.target, packet.number, last, *refusal)
        self._ledger.waiting.add(_Answering(self._office, self._post, node, taken, size), now, seq=seq, enough=True)

    def _names(self, parcels: Sequence[Parcel]) -> list[bytes]:
        """What must not be locked."""
        names = [parcel.message.id for parcel in parcels if not parcel.part]
        names += [unique_lock(parcel.queue, parcel.options) for parcel in parcels
                  if parcel.options is not None and parcel.options.unique]
        return names


Chosen = tuple[Submission, Options | None]


class _Picking:
    """Which of some parcels are to be stored: not those that are known here, and one for each `unique` key."""

    __slots__ = ("_at", "_known", "_ledger", "_wall", "batches")

    def __init__(self, ledger: Ledger, wall: int, at: int, parcels: Sequence[Parcel]) -> None:
        ids = [parcel.message.id for parcel in parcels if not parcel.part]
        self.batches: list[Batch] = []
        self._ledger = ledger
        self._wall = wall
        self._at = at
        self._known: set[bytes] = ledger.machine.known(ids) if ids else set()

    def new_ones(self, run: Sequence[Parcel]) -> list[Chosen]:
        """Those that are to be stored, with their options, of parcels for one queue."""
        found: list[Chosen] = []
        known = set(self._known)
        policy = self._ledger.office.policy(run[0].queue)
        for parcel in run:
            message = parcel.message
            if parcel.part or message.id in known:
                continue
            options = completed(message, parcel.options, policy, self._wall)
            if options is not None and options.unique:
                lock = unique_lock(parcel.queue, options)
                if lock in known or self._ledger.machine.holder(lock[UNIQUE_PREFIX:], self._at):
                    continue
                known.add(lock)
            if options is not None:
                options = numbered(options, self._ledger.replica.generation, self._ledger.office.settings.buckets)
            known.add(message.id)
            found.append((replace(message, due=0) if 0 < message.due <= self._wall else message, options))
        return found

    def take(self, queue: str, messages: Sequence[Chosen]) -> None:
        """They are stored."""
        self._known.update(message.id for message, _ in messages)
        self._known.update(unique_lock(queue, options) for _, options in messages if options and options.unique)
        self.batches.append(Batch(queue, tuple(message for message, _ in messages), tuple(
            (index, options) for index, (_, options) in enumerate(messages) if options is not None)))


def _runs(parcels: Sequence[Parcel]) -> list[tuple[str, list[Parcel]]]:
    """Parcels in their order, those for one queue that follow each other together."""
    found: list[tuple[str, list[Parcel]]] = []
    for parcel in parcels:
        if not found or found[-1][0] != parcel.queue:
            found.append((parcel.queue, []))
        found[-1][1].append(parcel)
    return found


class _Answering:
    """An answer to another bucket, until it may leave."""

    __slots__ = ("_node", "_office", "_post", "_size", "_taken")

    def __init__(self, office: Office, post: Post, node: str, taken: Taken, size: int) -> None:
        self._office = office
        self._post = post
        self._node = node
        self._taken = taken
        self._size = size
        office.pending_bytes += size

    def done(self, now: float) -> None:
        self._office.pending_bytes -= self._size
        self._post.send(self._node, self._taken)

    def failed(self) -> None:
        """The source asks whoever is primary then."""
        self._office.pending_bytes -= self._size


class _Again:
    """A packet that names something of which nobody knows yet whether it is committed: judged when that is known."""

    __slots__ = ("_node", "_packet", "_reception")

    def __init__(self, reception: Reception, node: str, packet: Forward) -> None:
        self._reception = reception
        self._node = node
        self._packet = packet

    def done(self, now: float) -> None:
        self._reception.again(self._node, self._packet, now)

    def failed(self) -> None:
        return
