"""Policies: what is agreed for a queue by its name: how often, how fast, how much, and whether it hands out at all.

A queue that nobody declared has the default policy, in which everything is as the cluster's settings say. Declarations
lie in the cluster state as bytes, so whoever agrees on them need not understand them. A primary decides by the policy
of the state that it has installed and writes the outcome into the operation; applying one looks at no policy, since
nodes install a state at different moments.
"""

from __future__ import annotations

import enum

import msgspec

from zmqueue.core import topics
from zmqueue.core.hashing import hash64

LONG_MS = 3_660 * 86_400_000
"""Ten years: what is longer is a mistake of unit."""

MANY = 2**53 - 1
"""The largest count: beyond, JSON's readers round."""

DELAYS_MAX = 64
"""Delays in one list: the state travels whole."""

DECLARED_MAX = 1_000
"""Queues that may be declared: about 100 bytes each in a state that every peer holds. Others go by the default."""

DECLARATION_BYTES_MAX = 4_096
"""The longest declaration: 64 delays of 9 bytes, 16 patterns of 128, and everything else."""


class Shape(enum.IntEnum):
    """How the rest after a failure grows with the number of failures."""

    CONSTANT = 0        # the same each time
    LINEAR = 1          # n times the first
    EXPONENTIAL = 2     # twice as long each time
    LIST = 3            # the n-th of a list, and then its last


class Overflow(enum.IntEnum):
    """What becomes of a submit to a queue that is full."""

    REJECT = 0          # it is refused, with a hint when to try again
    BLOCK = 1           # its client waits, and tries again until its deadline


class Backoff(msgspec.Struct, array_like=True, frozen=True):
    """How long a message rests after its handler failed. Without delays, it does not."""

    shape: Shape = Shape.CONSTANT
    delays: tuple[int, ...] = ()           # ms; one, or as many as the list has
    most: int = 0                          # ms: no rest is longer; 0: ten years
    jitter: int = 0                        # percent by which a rest is shortened at most


class Policy(msgspec.Struct, array_like=True, frozen=True):
    """What is agreed for one queue. 0 means no limit, or what the cluster's settings say. Fields are only appended."""

    attempts: int = 0                      # failures after which a message is a dead letter; 0: deliveries_max
    losses: int = 0                        # lost workers and expired leases after which it is one; 0: deliveries_max
    backoff: Backoff = Backoff()
    ageing_ms: int = 0                     # for each of these that it waits, a message counts one priority higher
    expires_ms: int = 0                    # a message that was not begun so long after its submit never is
    deadline_ms: int = 0                   # hard limit for one run of a handler
    result_ttl_ms: int = 0                 # how long an ended message is remembered; 0: the cluster's
    result_bytes_max: int = 0              # size of a result; 0: the cluster's body_bytes_max
    dead_ttl_ms: int = 0                   # how long a dead letter is kept; 0: as any ended message
    halt: bool = False                     # a dead letter halts its group
    paused: bool = False                   # nothing is handed out
    messages_max: int = 0                  # messages that are delayed, ready or leased
    age_ms_max: int = 0                    # the queue is full while its oldest ready message has waited for longer
    overflow: Overflow = Overflow.REJECT
    topics: tuple[str, ...] = ()           # patterns: what is published under a topic like these is copied here


DEFAULT = Policy()
"""Of every queue that is not declared."""

_ALLOWED: dict[str, tuple[int, int]] = {
    "attempts": (0, 65_535), "losses": (0, 65_535), "ageing_ms": (0, LONG_MS), "expires_ms": (0, LONG_MS),
    "deadline_ms": (0, LONG_MS), "result_ttl_ms": (0, LONG_MS), "result_bytes_max": (0, 1 << 26),
    "dead_ttl_ms": (0, LONG_MS), "messages_max": (0, MANY), "age_ms_max": (0, LONG_MS)}
"""The least and the most of each number."""

_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(Policy)


def problem(policy: Policy) -> str:
    """What cannot be in this policy: what was found and what is allowed; empty where all is well."""
    for name, (least, most) in _ALLOWED.items():
        value: int = getattr(policy, name)
        if not least <= value <= most:
            return f"{name} is {value:,}; allowed is {least:,} to {most:,}"
    if len(set(policy.topics)) != len(policy.topics) or len(policy.topics) > topics.PATTERNS_MAX:
        return f"{len(policy.topics)} patterns; a queue has up to {topics.PATTERNS_MAX}, each once"
    if text := next(filter(None, map(topics.pattern_problem, policy.topics)), ""):
        return text
    return problem_of(policy.backoff)


def problem_of(backoff: Backoff) -> str:
    number, wanted = len(backoff.delays), DELAYS_MAX if backoff.shape is Shape.LIST else 1
    if number > wanted or (number == 0 and backoff.shape is not Shape.CONSTANT):
        return f"a backoff of shape {backoff.shape.name.lower()} has {number} delays; allowed is 1" + (
            f" to {wanted}" if wanted > 1 else "")
    wrong = next((delay for delay in (*backoff.delays, backoff.most) if not 0 <= delay <= LONG_MS), None)
    if wrong is not None:
        return f"a delay of the backoff is {wrong:,} ms; allowed is 0 to {LONG_MS:,}, which is ten years"
    if not 0 <= backoff.jitter <= 100:
        return f"the backoff's jitter is {backoff.jitter} percent; allowed is 0 to 100"
    return ""


def encode(policy: Policy) -> bytes:
    """The declaration: the fields in their order, without those at the end that are at their defaults."""
    fields = list(msgspec.structs.astuple(policy))
    for default in reversed(msgspec.structs.astuple(DEFAULT)):
        if fields[-1] != default:
            break
        fields.pop()
        if not fields:
            break
    return _encoder.encode(fields)


def decode(declaration: bytes) -> Policy:
    """The policy of a declaration, here or of a later version. Raises msgspec.DecodeError for what is none."""
    policy: Policy = _decoder.decode(declaration)
    return policy


def objection(declaration: bytes) -> str:
    """Why this cannot be declared; empty where it can."""
    if len(declaration) > DECLARATION_BYTES_MAX:
        return f"the policy has {len(declaration):,} bytes; the limit is {DECLARATION_BYTES_MAX:,}"
    try:
        return problem(decode(declaration))
    except msgspec.DecodeError as error:
        return f"this is no policy: {error}"


def delay_ms(backoff: Backoff, failures: int, seed: bytes) -> int:
    """How long a message rests after its `failures`-th failure (1 or more), ms. `seed`: its id.

    The jitter is a hash of id and number, so that messages that failed together come back one by one, and a decision
    that is made again is the same one.
    """
    if not backoff.delays:
        return 0
    first, most = backoff.delays[0], backoff.most or LONG_MS
    match backoff.shape:
        case Shape.CONSTANT:
            rest = first
        case Shape.LINEAR:
            rest = first * failures
        case Shape.EXPONENTIAL:
            rest = first << min(failures - 1, 64)
        case Shape.LIST:
            rest = backoff.delays[min(failures, len(backoff.delays)) - 1]
    rest = min(rest, most)
    return rest - rest * backoff.jitter * (hash64("backoff", seed.hex(), failures) % 1_001) // 100_000
