"""What a settle may carry, judged at the door of its source: at its target, whatever is wrong would stop the link.

So the target takes a parcel whatever its own settings say by then of sizes and ages; only what passes (a full queue or
disk, too few replicas) makes it wait.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmqueue.core.answers import Code
from zmqueue.core.checks import message_bytes
from zmqueue.core.choosing import GENERATION, parcel_fault
from zmqueue.core.office import Office, Refusal
from zmqueue.core.operations import How, Settle

Faults = dict[int, tuple[int, str]]
"""By the settle's index in the request: (code, text)."""


def parcels_bytes(settles: Sequence[Settle], office: Office) -> int:
    """The bytes of what settles carry. Raises Refusal where that is too much for one request."""
    carried = [parcel for settle in settles for parcel in settle.then]
    if not carried:
        return 0
    limits = office.limits
    size = sum(message_bytes(parcel.message, parcel.options) for parcel in carried)
    if len(carried) > limits.parcels_max:
        raise Refusal(Code.BAD_REQUEST, f"{len(carried):,} messages are to be queued by one request to settle; the "
                                        f"limit is {limits.parcels_max:,} (limits.parcels_max): carry fewer")
    if size > limits.settle_bytes_max:
        raise Refusal(Code.BAD_REQUEST, f"what settles queue has {size:,} bytes together; the limit for one request is "
                                        f"{limits.settle_bytes_max:,} (limits.settle_bytes_max): carry less")
    return size


def faults_of(settles: Sequence[Settle], office: Office) -> Faults:
    """The settles that carry what cannot be queued: nothing of them is done."""
    faults: Faults = {}
    for index, settle in enumerate(settles):
        if settle.then and (fault := _fault(settle, office)) is not None:
            faults[index] = fault
    return faults


def _fault(settle: Settle, office: Office) -> tuple[int, str] | None:
    if office.settings.generation < GENERATION:
        return Code.NOT_ALLOWED, ("an ack that queues messages needs a cluster whose members all run this version: "
                                  "upgrade the others (zmqueue members shows them)")
    if settle.how != How.ACK:
        return Code.BAD_REQUEST, "only an ack queues messages (then): what failed has no next step"
    if len({parcel.message.id for parcel in settle.then if not parcel.part}) != sum(
            1 for parcel in settle.then if not parcel.part):
        return Code.BAD_REQUEST, "the ack queues one message twice: each has an id of its own (client.new_id())"
    for number, parcel in enumerate(settle.then):
        if fault := parcel_fault(parcel, office):
            return fault[0], f"then[{number}]: {fault[1]}"
    size = sum(len(parcel.message.payload) for parcel in settle.then)
    if full := office.disk_full(size, len(settle.then)):
        return Code.DISK_FULL, full
    return None
