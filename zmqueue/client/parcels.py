"""What an ack queues: messages that are queued if and only if the ack holds (the outbox).

Two kinds are said by the consumer: `to(...)` makes one, `ack(then=...)` or a returned `Ack` carries it. Two kinds are
said by the submitter, and travel with the message in headers: the next step of a chain, and word to a join (`chains`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

from zmqueue.client import arguments, limits
from zmqueue.client.arguments import SubmitOptions
from zmqueue.client.calls import Draft
from zmqueue.client.chains import carried_on
from zmqueue.core import operations
from zmqueue.core.operations import Submission
from zmqueue.errors import BodyTooLarge

NewId = Callable[[int | None], bytes]
"""Draws a message's id, by cluster time, at a place of the hash space, or anywhere."""


@dataclass(frozen=True, slots=True)
class Parcel:
    """A message for an ack to queue; `zmqueue.to` makes it. It can be pickled, if its payload was encoded by then."""

    queue: str
    draft: Draft


@dataclass(frozen=True, slots=True)
class Ack:
    """What a handler may return instead of its result: the result, and what is queued if and only if it holds."""

    result: object = None
    then: Sequence[Parcel] = ()


def to(queue: str, payload: object = None, **options: Unpack[SubmitOptions]) -> Parcel:
    """A message for an ack to queue. Queue, payload and options are as for `submit`, but for `timeout`.

    Its token is known beforehand where its id is given: `to(queue, payload, id=token)` with `token = client.new_id()`.
    Raises ValueError or TypeError for what cannot be submitted.
    """
    arguments.known("to", options, SubmitOptions)
    if "timeout" in options:
        raise TypeError("to() has no timeout: nobody waits for it; it is queued when the ack holds")
    name = arguments.queue_name(queue)
    return Parcel(name, arguments.in_place(name, arguments.draft(payload, options)))


def checked(then: Iterable[Any], body_bytes_max: int | None) -> tuple[Parcel, ...]:
    """What a consumer wants queued. Raises TypeError, ValueError or BodyTooLarge for what cannot be."""
    parcels = tuple(then)
    for parcel in parcels:
        if not isinstance(parcel, Parcel):
            raise TypeError(f"then is made of zmqueue.to(queue, payload), got {type(parcel).__name__}")
        size = len(parcel.draft.payload)
        if body_bytes_max is not None and size > body_bytes_max:
            raise BodyTooLarge(f"a message in then is {size:,} bytes; the limit is {body_bytes_max:,} "
                               "(settings.body_bytes_max)")
    if len(parcels) > limits.PARCELS_MAX:
        raise ValueError(f"an ack of {len(parcels):,} messages; the limit is {limits.PARCELS_MAX:,}: let one of them "
                         "queue the others")
    return parcels


def drawn(parcels: Iterable[Parcel], of: Submission, kind: int, result: bytes, wall: int,
          new_id: NewId) -> tuple[operations.Parcel, ...]:
    """All that the ack of a message with that result queues, each under its id."""
    found = [drawn_one(parcel.queue, parcel.draft, wall, new_id) for parcel in parcels]
    found += carried_on(of, kind, result, wall)
    return tuple(found)


def drawn_one(queue: str, draft: Draft, wall: int, new_id: NewId) -> operations.Parcel:
    """One message as it travels, under its own id or a new one."""
    message_id = draft.id if draft.id is not None else new_id(draft.place(queue))
    return operations.Parcel(queue, draft.submission(message_id, draft.due_at(wall)), draft.options_at(wall))
