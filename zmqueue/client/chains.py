"""Chains and joins, as they travel with messages: what is to follow when one of them is done.

A chain is a message whose header holds the steps that follow, each under an id that was drawn when the chain was
submitted. Whoever acks a step queues the next one with it, with the result as payload and the rest of the chain in the
header: so a step is queued if and only if the one before is done, once. A part of a join has the join's token in a
header; its ack carries word to the join, which counts each part once (`Joined`).
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from msgspec.structs import replace

from zmqueue.core.ids import parse_token, token_of
from zmqueue.core.operations import NO_OPTIONS, Options, Parcel, Submission

CHAIN = "zmqueue-chain"
JOIN = "zmqueue-join"
"""Headers of a message that is not the last of something."""


class Step(msgspec.Struct, array_like=True, frozen=True):
    """One later step of a chain, as it stands in the header. Fields may be appended with a default."""

    queue: str
    token: str
    priority: int = 0
    delay_ms: int = 0                      # after the step before
    due: int = 0                           # wall ms, where no delay is given
    attempts: int = 0
    headers: tuple[tuple[str, str], ...] = ()
    options: Options = NO_OPTIONS
    expires_ms: int = 0                    # after the step before


class Broken(ValueError):
    """The header is none that this version can read."""

    def __init__(self, token: str, what: str) -> None:
        super().__init__(f"what is to follow {token} cannot be read in its headers: {what}")


_encode = msgspec.json.Encoder().encode
_steps = msgspec.json.Decoder(tuple[Step, ...])


def chain_header(steps: Iterable[Step]) -> tuple[tuple[str, str], ...]:
    """The header that says what follows; none where nothing does."""
    following = tuple(steps)
    return ((CHAIN, _encode(following).decode()),) if following else ()


def carried_on(message: Submission, kind: int, result: bytes, wall: int) -> list[Parcel]:
    """What the headers of a message say is queued when it is done with that result. Raises Broken."""
    found: list[Parcel] = []
    for name, value in message.headers:
        if name == CHAIN:
            found.append(_next_step(message, value, kind, result, wall))
        elif name == JOIN:
            found.append(Parcel("", Submission(_id(message, value), b""), part=message.id))
    return found


def _next_step(message: Submission, header: str, kind: int, result: bytes, wall: int) -> Parcel:
    try:
        step, *rest = _steps.decode(header)
    except (msgspec.DecodeError, ValueError) as error:
        raise Broken(token_of(message.id), str(error)) from None
    options = replace(step.options, expires=wall + step.expires_ms) if step.expires_ms else step.options
    return Parcel(step.queue, Submission(
        _id(message, step.token), result, kind, step.priority, wall + step.delay_ms if step.delay_ms else step.due,
        (*chain_header(rest), *step.headers), step.attempts), options if options != NO_OPTIONS else None)


def _id(message: Submission, token: str) -> bytes:
    try:
        return parse_token(token)
    except ValueError as error:
        raise Broken(token_of(message.id), str(error)) from None
