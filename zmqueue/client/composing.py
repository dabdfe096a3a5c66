"""Chains and joins, as a submitter writes them: made of `zmqueue.to`, put into one submit; `chains` carries them on."""

from __future__ import annotations

import time
from collections.abc import Iterable
from copy import copy
from dataclasses import dataclass
from typing import Any

from msgspec.structs import replace

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.calls import Draft
from zmqueue.client.chains import JOIN, Step, chain_header
from zmqueue.client.parcels import NewId, Parcel, drawn_one, to
from zmqueue.client.ticket import Stub
from zmqueue.core.ids import token_of
from zmqueue.core.operations import Awaits, Kind
from zmqueue.errors import UnknownToken


@dataclass(frozen=True, slots=True)
class Chain:
    """Messages that follow each other: the result of each is the payload of the next. `zmqueue.chain` makes it."""

    steps: tuple[Parcel, ...]


@dataclass(frozen=True, slots=True)
class Join:
    """A message that is ready when all of the parts are done. `zmqueue.join` makes it."""

    parts: tuple[Parcel, ...]
    into: Parcel


def chain(first: Parcel | tuple[str, object], *rest: str | Parcel) -> Chain:
    """Steps to be done one after the other: `chain(("download", url), "resize", to("store", attempts=9))`.

    `first`: a queue and a payload, or `to(...)`. `rest`: queues, or `to(...)` without a payload: it is the result of
    the step before. Raises ValueError where a step has a payload, or where there are more than 64 steps.
    """
    steps = (to(*first) if isinstance(first, tuple) else _parcel(first), *map(_parcel, rest))
    if len(steps) > limits.CHAIN_STEPS_MAX:
        raise ValueError(f"a chain of {len(steps)} steps; the limit is {limits.CHAIN_STEPS_MAX}: let its last one "
                         "submit another")
    for number, step in enumerate(steps[1:], 1):
        if step.draft.kind != Kind.NONE:
            raise ValueError(f"step {number} of the chain has a payload: it gets the result of the step before")
    return Chain(steps)


def join(parts: Iterable[Parcel], into: str | Parcel) -> Join:
    """A message for the queue `into` that is ready when all `parts`, made by `zmqueue.to`, are done.

    Without a payload of its own it gets the tokens of the parts, in their order. Raises ValueError for none or more
    than 1,000 parts.
    """
    found = tuple(map(_parcel, parts))
    if not 1 <= len(found) <= limits.PARCELS_MAX:
        raise ValueError(f"a join of {len(found):,} parts; 1 to {limits.PARCELS_MAX:,} are allowed: join joins")
    return Join(found, _parcel(into))


def _parcel(given: Any) -> Parcel:
    if isinstance(given, str):
        return to(given)
    if isinstance(given, Parcel):
        return given
    raise TypeError(f"a queue's name or zmqueue.to(queue, ...) is wanted here, got {type(given).__name__}")


def chained(chain: Chain, new_id: NewId) -> tuple[Parcel, list[str]]:
    """What is to be submitted, and the tokens of all steps."""
    ids = [step.draft.id or new_id(step.draft.place(step.queue)) for step in chain.steps]
    first, *rest = chain.steps
    steps = [Step(step.queue, token_of(message_id), step.draft.priority, step.draft.delay_ms, step.draft.eta,
                  step.draft.attempts, step.draft.headers, step.draft.options, step.draft.expires_ms)
             for step, message_id in zip(rest, ids[1:], strict=True)]
    draft = _with(first.draft, ids[0], chain_header(steps))
    return Parcel(first.queue, draft), [token_of(message_id) for message_id in ids]


def joined(join: Join, wall: int, new_id: NewId) -> Parcel:
    """What is to be submitted: the join, and with it its parts."""
    into = join.into
    message_id = into.draft.id or new_id(into.draft.place(into.queue))
    header = ((JOIN, token_of(message_id)),)
    parts = tuple(drawn_one(part.queue, _with(part.draft, part.draft.id, header), wall, new_id) for part in join.parts)
    draft = _with(into.draft, message_id, ())
    draft.options = replace(draft.options, awaits=Awaits(parts))
    if draft.kind == Kind.NONE:
        draft.kind, draft.payload = payloads.encode([token_of(part.message.id) for part in parts])
    return Parcel(into.queue, draft)


def _with(draft: Draft, message_id: bytes | None, headers: tuple[tuple[str, str], ...]) -> Draft:
    made = copy(draft)
    made.id = message_id
    made.headers = arguments.header_pairs(dict((*headers, *draft.headers)))
    return made


class Until:
    """The wait for one step of a chain after the other.

    A step is known from a moment after the end of the one before: its message is on its way to its bucket then.
    """

    def __init__(self, steps: Iterable[Stub], timeout: float) -> None:
        self._tokens = [step.token for step in steps]
        self._next = 0
        self._deadline = time.monotonic() + arguments.seconds("timeout", timeout)

    @property
    def token(self) -> str | None:
        """Of the step that is waited for; None: all are done."""
        return self._tokens[self._next] if self._next < len(self._tokens) else None

    @property
    def last(self) -> bool:
        """True while the last step is waited for."""
        return self._next == len(self._tokens) - 1

    def left(self) -> float:
        """Seconds."""
        return max(0.0, self._deadline - time.monotonic())

    def done(self) -> None:
        """The step is done."""
        self._next += 1

    def pause(self, error: UnknownToken) -> float:
        """Seconds until a step that is not known yet is asked after again. Raises where it cannot become known."""
        if self._next == 0 or not self.left():
            raise error
        return limits.ASK_AGAIN_S
