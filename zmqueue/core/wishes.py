"""How the primary of a bucket does what is wished of messages that nobody has in hand: cancel, requeue, purge, erase.

Each is judged by how the message is in applied state, and repeated it is answered as before: what is so already needs
nothing. Where the state forbids it, the answer says so, after a read barrier (R10).
"""

from __future__ import annotations

from functools import partial

from zmqueue.core.answers import Code
from zmqueue.core.ledger import Ledger
from zmqueue.core.office import Refusal
from zmqueue.core.operations import Cancelled, Erased, Operation, Progressed, Purged, Requeued, State
from zmqueue.core.records import ERASED, Record, Special
from zmqueue.core.requests import Cancel, Erase, Progress, Purge, Requeue

Wish = Cancel | Requeue | Purge | Erase

_UNKNOWN = Code.UNKNOWN_TOKEN, "no such message is known here: it was never accepted, or is forgotten"


class Wishes:
    """What is asked for in one bucket. A request that names a locked message waits as a whole until that is
    unlocked."""

    __slots__ = ("_ledger", "_office")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._office = ledger.office

    def wish(self, client: bytes, packet: Wish, now: float) -> None:
        """Do it for those of the messages for which it can be done, and say which the others are."""
        check_generation(self._office.settings.generation)
        ledger = self._ledger
        if seq := ledger.locked_until(packet.ids):
            ledger.again(client, packet.request, seq, partial(self.wish, client, packet), now, 0)
            return
        wanted, faults = [], []
        for index, message_id in enumerate(packet.ids):
            match _judge(packet, index, ledger.machine.find(message_id)):
                case True:
                    wanted.append(message_id)
                case (code, text):
                    faults.append((index, code, text))
        seq = 0
        if wanted:
            ids = tuple(dict.fromkeys(wanted))
            seq = ledger.append(self._operation(packet, ids, now), ids, now)
        # That a letter is in its queue again, or is not dead at all, may be what a deposed primary sees.
        ledger.confirm(client, packet.request, faults, seq, now, barrier=isinstance(packet, Requeue))

    def _operation(self, packet: Wish, ids: tuple[bytes, ...], now: float) -> Operation:
        at = self._ledger.replica.at(now)
        match packet:
            case Cancel():
                return Cancelled(at, ids, self._office.rules(self._ledger.machine.queues(ids)))
            case Requeue():
                return Requeued(at, ids)
            case Purge():
                return Purged(at, ids)
            case Erase():
                return Erased(at, ids)

    def progress(self, client: bytes, packet: Progress, now: float) -> None:
        """Write down how far the handler of a lease is. A repeat is known by its index."""
        check_generation(self._office.settings.generation)
        ledger, limits = self._ledger, self._office.limits
        if seq := ledger.locked_until((packet.id,)):
            ledger.again(client, packet.request, seq, partial(self.progress, client, packet), now,
                         sum(len(data) for _, data in packet.events))
            return
        record = ledger.machine.touched(packet.id)
        if record is None or not ledger.holds((packet.id, packet.fencing)):
            text = "the lease has ended: drop what was done under it"
            ledger.confirm(client, packet.request, [(0, Code.LEASE_LOST, text) if record else (0, *_UNKNOWN)], 0, now)
            return
        so_far, told = (record.events, record.told) if isinstance(record, Special) else (0, 0)
        events = packet.events[max(0, told + 1 - packet.index):]
        if packet.index > told + 1:
            fault = Code.BAD_REQUEST, f"event {packet.index} of this delivery, and {told} are known: tell them in order"
            ledger.confirm(client, packet.request, [(0, *fault)], 0, now)
            return
        if so_far + len(events) > limits.events_max:
            fault = Code.BAD_REQUEST, (f"the message has {so_far:,} events, and these are {len(events):,} more; the "
                                       f"limit is {limits.events_max:,} (limits.events_max): tell less often")
            ledger.confirm(client, packet.request, [(0, *fault)], 0, now)
            return
        seq = 0
        if events:
            operation = Progressed(ledger.replica.at(now), packet.id, packet.fencing, events)
            seq = ledger.append(operation, (packet.id,), now)
        ledger.confirm(client, packet.request, (), seq, now)


def check_generation(generation: int) -> None:
    """Refuse what members of an earlier version could not read."""
    if generation < 3:
        raise Refusal(Code.NOT_ALLOWED, "this needs a cluster whose members all run this version: upgrade the others "
                                        "(zmqueue members shows them)")


_Verdict = tuple[int, str]


def _judge(packet: Wish, index: int, record: Record | None) -> bool | _Verdict:
    """True: to be done; False: it is so already; else why it cannot be."""
    if record is None:
        return _UNKNOWN
    state = record.state
    match packet:
        case Cancel():
            if not state.terminal:
                return not (isinstance(record, Special) and record.cancelling)
            return False if state is State.CANCELLED else _cannot(state, "it has ended, and cannot be cancelled")
        case Requeue():
            if not state.terminal or _since(packet, index, record):
                return False
            return True if state is State.DEAD else _cannot(state, "only dead letters are requeued")
        case Purge():
            if state is State.PURGED:
                return False
            if _since(packet, index, record):
                return Code.ENDED, "the message was requeued since it was found: look again"
            return True if state is State.DEAD else _cannot(state, "only dead letters are purged")
        case Erase():
            if state is not State.DONE:
                return _cannot(state, "it has no result to forget")
            return not (isinstance(record, Special) and record.keep == ERASED)


def _since(packet: Requeue | Purge, index: int, record: Record) -> bool:
    """True where the letter was requeued since it was found: a repeat must not take it for the one that was meant."""
    if not packet.requeued or packet.requeued[index] < 0:
        return False
    return (record.requeued if isinstance(record, Special) else 0) > packet.requeued[index]


def _cannot(state: State, why: str) -> _Verdict:
    if state is State.MENDING:
        return Code.ENDED, "the dead letter is leased by somebody who looks at it: try again when that has ended"
    return Code.ENDED, f"the message is {state.name.lower()}: {why}"
