"""How the primary of a bucket ends and prolongs leases: by their holder's word, and without it.

A settle is good while its lease stands. Repeated, it is answered as before: what was settled under the same fencing
number in the same way is done. An older lease is refused, so a worker that was thought dead changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from msgspec.structs import replace

from zmqueue.core.answers import Code
from zmqueue.core.carrying import faults_of, parcels_bytes
from zmqueue.core.ledger import Ledger
from zmqueue.core.operations import AS_QUEUE_SAYS, Extended, Held, How, Returned, Rules, Settle, Settled, Why
from zmqueue.core.policies import delay_ms
from zmqueue.core.records import Special
from zmqueue.core.requests import Extend, GiveBack, Settling

_UNKNOWN = "no such message is known here: it was never accepted, or is forgotten"


class Endings:
    """The ends and extensions of the leases of one bucket. A request that names a locked message waits as a whole
    until that is unlocked, and is judged then."""

    __slots__ = ("_ledger", "_office")

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._office = ledger.office

    # --- by their holder's word ---

    def settle(self, client: bytes, packet: Settling, size: int, now: float) -> None:
        """End leases with a result or an error. `size`: the bytes that it holds in memory until it is answered."""
        ledger = self._ledger
        if seq := ledger.locked_until([settle.id for settle in packet.settles]):
            ledger.again(client, packet.request, seq, partial(self.settle, client, packet, size), now, size)
            return
        accepted, late = packet.settles, dict[int, tuple[int, str] | None](faults_of(packet.settles, self._office))
        for index, settle in enumerate(packet.settles):
            holding = ledger.holdings.get(settle.id)
            if holding is None or holding.fencing != settle.fencing:
                late[index] = self._late(settle)
        if late:
            accepted = tuple(settle for index, settle in enumerate(accepted) if index not in late)
        seq = self._settle(accepted, now) if accepted else 0
        faults = [(index, *fault) for index, fault in late.items() if fault]
        # What it carries is promised like a submit.
        ledger.confirm(client, packet.request, faults, seq, now, size,
                       enough=any(settle.then for settle in accepted))

    def _late(self, settle: Settle) -> tuple[int, str] | None:
        """The answer to a settle whose lease does not stand; None: it was settled just so before."""
        record = self._ledger.machine.find(settle.id)
        if record is not None and record.fencing == settle.fencing and record.how == settle.how:
            return None
        return self._gone((settle.id, settle.fencing))

    def _gone(self, lease: Held) -> tuple[int, str]:
        """What has become of a lease that does not stand."""
        record = self._ledger.machine.find(lease[0])
        if record is None:
            return Code.UNKNOWN_TOKEN, _UNKNOWN
        return Code.LEASE_LOST, (f"the lease with fencing number {lease[1]} has ended: the message is "
                                 f"{record.state.name.lower()}, its newest number is {record.fencing}: drop what was "
                                 "done under it")

    def _settle(self, settles: tuple[Settle, ...], now: float) -> int:
        office, ledger = self._office, self._ledger
        due = tuple(self._due(settle) if settle.how == How.NACK else 0 for settle in settles)
        ids = [settle.id for settle in settles]
        operation = Settled(ledger.replica.at(now), settles, due, office.settings.deliveries_max, office.keep_ms(),
                            self._rules(ids))
        if carried := sum(len(settle.then) for settle in settles):
            operation = replace(operation, generation=ledger.replica.generation, buckets=office.settings.buckets)
            office.will_write(parcels_bytes(settles, office), carried)
        return ledger.append(operation, ids, now)

    def _rules(self, ids: Sequence[bytes]) -> Rules:
        """Their queues are looked for only where any queue is declared."""
        office = self._office
        return office.rules(self._ledger.machine.queues(ids) if office.policies else ())

    def _due(self, settle: Settle) -> int:
        """The wall time until which a message rests after a failure; 0: it does not."""
        delay = settle.delay if settle.delay != AS_QUEUE_SAYS else self._backoff_ms(settle.id)
        return self._office.wall + delay if delay > 0 else 0

    def _backoff_ms(self, message_id: bytes) -> int:
        machine = self._ledger.machine
        record = machine.record(message_id)
        options = machine.body(message_id)[1] if isinstance(record, Special) else None
        backoff = (options.backoff if options else None) or self._office.policy(record.queue).backoff
        return delay_ms(backoff, record.failures + 1, message_id)

    def extend(self, client: bytes, packet: Extend, lease_ms: int, now: float) -> None:
        """Let leases last `lease_ms` from now."""
        ledger = self._ledger
        if seq := ledger.locked_until([message_id for message_id, _ in packet.leases]):
            ledger.again(client, packet.request, seq, partial(self.extend, client, packet, lease_ms), now, 0)
            return
        kept = [lease for lease in packet.leases if ledger.holds(lease)]
        faults = [(index, *self._gone(lease)) for index, lease in enumerate(packet.leases) if not ledger.holds(lease)]
        ledger.confirm(client, packet.request, faults, self.renew(kept, lease_ms, now), now)

    def give_back(self, client: bytes, packet: GiveBack, now: float) -> None:
        """Return leases that were not begun. For one that does not stand nothing needs doing."""
        ledger = self._ledger
        if seq := ledger.locked_until([message_id for message_id, _ in packet.leases]):
            ledger.again(client, packet.request, seq, partial(self.give_back, client, packet), now, 0)
            return
        held = [lease for lease in packet.leases if ledger.holds(lease)]
        ledger.confirm(client, packet.request, (), self.take_back(held, Why.GIVEN_BACK, now), now)

    # --- leases that stand and are not locked ---

    def renew(self, leases: Sequence[Held], lease_ms: int, now: float) -> int:
        """Extend them. -> the entry; 0: there was nothing to do."""
        if not leases:
            return 0
        at = self._ledger.replica.at(now)
        return self._ledger.append(Extended(at, tuple(leases), at + lease_ms), [lease[0] for lease in leases], now)

    def take_back(self, leases: Sequence[Held], why: Why, now: float) -> int:
        """End them without their holder's word. -> the last entry; 0: there was nothing to do."""
        seq, size = 0, self._office.limits.returned_batch_max
        for first in range(0, len(leases), size):
            batch = tuple(leases[first:first + size])
            ids = [message_id for message_id, _ in batch]
            operation = Returned(self._ledger.replica.at(now), batch, why, self._office.settings.deliveries_max,
                                 self._office.keep_ms(), self._rules(ids))
            seq = self._ledger.append(operation, ids, now)
        return seq

    def of_session(self, session: bytes) -> list[Held]:
        """The leases of a session that are not locked."""
        held = []
        for message_id in sorted(self._ledger.holdings.of(session)):
            holding = self._ledger.holdings.get(message_id)
            if holding is not None and message_id not in self._ledger.locks:
                held.append((message_id, holding.fencing))
        return held
