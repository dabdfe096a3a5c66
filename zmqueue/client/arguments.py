"""What callers write, checked once at the edge: errors say what was found and what is allowed."""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal, TypedDict, Unpack, cast

from zmqueue.client import limits, payloads
from zmqueue.client.calls import Draft
from zmqueue.client.queues import Backoff
from zmqueue.core import letters
from zmqueue.core.endpoints import parse_endpoint
from zmqueue.core.ids import parse_token, place_of
from zmqueue.core.names import QUEUE_NAME, QUEUE_NAME_RULE
from zmqueue.core.operations import Options, Scope


def seeds(given: Sequence[str], environment: str) -> list[str]:
    """Endpoints from the argument, else from $ZMQUEUE_SEEDS."""
    for seed in given:
        if not isinstance(seed, str):
            raise TypeError(f"a seed is a text like 'tcp://HOST:PORT', got {type(seed).__name__}")
    found = [seed.strip() for seed in (given or environment.split(",")) if seed.strip()]
    if not found:
        raise ValueError("a client needs at least one seed: Client('tcp://HOST:PORT', ...) or $ZMQUEUE_SEEDS")
    return [str(parse_endpoint(seed, "a seed")) for seed in found]


def queue_name(name: str) -> str:
    """A queue's name."""
    if not isinstance(name, str):
        raise TypeError(f"a queue's name is a text, got {type(name).__name__}")
    if not 0 < len(name) <= limits.QUEUE_NAME_CHARACTERS_MAX:
        raise ValueError(f"a queue's name has 1 to {limits.QUEUE_NAME_CHARACTERS_MAX} characters, this has {len(name)}")
    if not QUEUE_NAME.fullmatch(name):
        raise ValueError(f"{QUEUE_NAME_RULE}, this is not: {name!r}")
    return name


def line_name(name: str) -> str:
    """A queue's name, or that of its dead letters, which are a queue of their own: QUEUE!dead."""
    if not isinstance(name, str):
        raise TypeError(f"a queue's name is a text, got {type(name).__name__}")
    queue = letters.queue_of(name)
    return queue_name(name) if queue is None else letters.name_of(queue_name(queue))


def client_name(name: str | None) -> str:
    """What a client calls itself; None: by its program, machine and process."""
    if name is None:
        program = os.path.basename(sys.argv[0] if sys.argv else "") or "python"
        return f"{program}@{socket.gethostname()}:{os.getpid()}"[-limits.NAME_CHARACTERS_MAX:]
    if not isinstance(name, str):
        raise TypeError(f"a client's name is a text, got {type(name).__name__}")
    if not 0 < len(name) <= limits.NAME_CHARACTERS_MAX or not name.isprintable():
        raise ValueError(f"a client's name has 1 to {limits.NAME_CHARACTERS_MAX} printable characters: {name[:40]!r}")
    return name


def seconds(what: str, value: float, most: float = math.inf) -> float:
    """A time from 0 to `most`; infinite is not allowed."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise TypeError(f"{what} is a number of seconds, got {type(value).__name__}")
    if not (0 <= value <= most and math.isfinite(value)):
        bound = f"0 to {most:g}" if math.isfinite(most) else "0 or more, and finite"
        raise ValueError(f"{what} is {value!r} seconds; allowed is {bound}")
    return float(value)


def integer(what: str, value: int, least: int, most: int) -> int:
    """A whole number between two bounds."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise TypeError(f"{what} is a whole number, got {type(value).__name__}")
    if not least <= value <= most:
        raise ValueError(f"{what} is {value}; allowed is {least} to {most}")
    return value


def header_pairs(given: Mapping[str, str] | None) -> tuple[tuple[str, str], ...]:
    """Texts by name, in the order given."""
    if not given:
        return ()
    if not isinstance(given, Mapping):
        raise TypeError(f"headers are a mapping of texts, got {type(given).__name__}")
    for name, value in given.items():
        for text in (name, value):
            if not isinstance(text, str):
                raise TypeError(f"headers are texts by name, got {name!r}: {value!r}")
    size = sum(len(name.encode()) + len(value.encode()) for name, value in given.items())
    if len(given) > limits.HEADERS_MAX or size > limits.HEADERS_BYTES_MAX:
        raise ValueError(f"{len(given)} headers of {size:,} bytes; the limits are {limits.HEADERS_MAX} headers"
                         f" and {limits.HEADERS_BYTES_MAX:,} bytes")
    return tuple(given.items())


class BatchOptions(TypedDict, total=False):
    """What may be said of messages at their submit."""

    priority: int                      # 0 to 255, the highest is served first; default 0
    delay: float                       # seconds before which it is not handed out; default 0
    eta: datetime | None               # the same as a moment, with a time zone; not beside `delay`
    expires: float | datetime | None   # seconds, or the moment, after which it is not begun; default: the queue's
    headers: Mapping[str, str] | None  # texts that travel with it
    group: str | None                  # messages of one group run one at a time, in order
    unique: str | None                 # another message of the queue with this key is not stored
    unique_scope: Literal["done", "waiting"]     # until when: it has ended (the default), or is handed out
    unique_window: float | None        # or for so many seconds from its submit on, however it ends
    attempts: int | None               # failures after which it is a dead letter; default: the queue's
    losses: int | None                 # lost workers and expired leases after which it is one; default: the queue's
    backoff: Backoff | None            # how long it rests after a failure; default: the queue's
    deadline: float | None             # hard limit for one run of its handler, seconds; default: the queue's
    result_ttl: float | None           # seconds for which its result is kept; default: the queue's
    timeout: float | None              # seconds to wait for the confirmation; default: the client's


class SubmitOptions(BatchOptions, total=False):
    """What may be said of one message at its submit."""

    id: str | None                     # what `new_id` gave: for retries of one's own


@dataclass(frozen=True, slots=True, init=False)
class With:
    """A payload with options of its own, for `submit_many`: they stand before those of the whole batch."""

    payload: object
    options: SubmitOptions

    def __init__(self, payload: object = None, **options: Unpack[SubmitOptions]) -> None:
        """`options`: as of `submit`, but for `timeout`, which is the batch's."""
        known("With", options, SubmitOptions)
        if "timeout" in options:
            raise TypeError("With() has no timeout: submit_many() waits for the batch as a whole")
        object.__setattr__(self, "payload", payload)
        object.__setattr__(self, "options", options)


def known(what: str, given: Mapping[str, Any], options: type) -> None:
    """Refuse options that there are not."""
    allowed: frozenset[str] = options.__optional_keys__  # type: ignore[attr-defined]  # a TypedDict's
    if not given.keys() <= allowed:
        unknown = ", ".join(repr(name) for name in given if name not in allowed)
        raise TypeError(f"{what}() has no option {unknown}; allowed are {', '.join(sorted(allowed))}")


def draft(payload: object, options: SubmitOptions) -> Draft:
    """One message as its submitter wrote it."""
    kind, data = payloads.encode(payload)
    token, attempts = options.get("id"), options.get("attempts")
    priority, delay, headers = options.get("priority", 0), options.get("delay", 0.0), options.get("headers")
    eta, expires = options.get("eta"), options.get("expires")
    if delay and eta is not None:
        raise TypeError("a message has a delay or an eta, and not both")
    moment = isinstance(expires, datetime)
    return Draft(
        data, kind,
        message_id=parse_token(token) if token is not None else None,
        priority=integer("priority", priority, 0, limits.PRIORITY_MAX) if priority else 0,
        delay_ms=math.ceil(seconds("delay", delay, limits.DELAY_S_MAX) * 1000) if delay else 0,
        headers=header_pairs(headers) if headers else (),
        attempts=integer("attempts", attempts, 1, limits.ATTEMPTS_MAX) if attempts is not None else 0,
        eta=wall_ms("eta", eta) if eta is not None else 0,
        expires_ms=0 if moment else milliseconds("expires", cast("float | None", expires), limits.DELAY_S_MAX),
        options=_options(options, wall_ms("expires", expires) if isinstance(expires, datetime) else 0))


def _options(given: SubmitOptions, expires: int) -> Options:
    """What stands beside a submission; `expires`: the moment, where one is given."""
    backoff, losses, scope = given.get("backoff"), given.get("losses"), given.get("unique_scope")
    if backoff is not None and not isinstance(backoff, Backoff):
        raise TypeError(f"backoff is a zmqueue.Backoff, got {type(backoff).__name__}")
    window = milliseconds("unique_window", given.get("unique_window"), limits.UNIQUE_WINDOW_S_MAX)
    unique = key("unique", given.get("unique"))
    if scope is not None and scope not in ("done", "waiting"):
        raise ValueError(f"unique_scope is {scope!r}; allowed are 'done' and 'waiting'")
    if scope is not None and window:
        raise TypeError("a unique key has a unique_scope or a unique_window, and not both")
    if not unique and (window or scope is not None):
        raise TypeError("unique_scope and unique_window say for how long a key holds: give unique=, too")
    return Options(
        expires, key("group", given.get("group")), unique,
        Scope.WINDOW if window else Scope.WAITING if scope == "waiting" else Scope.DONE, window,
        integer("losses", losses, 1, limits.LOSSES_MAX) if losses is not None else 0,
        milliseconds("result_ttl", given.get("result_ttl"), limits.KEEP_S_MAX),
        milliseconds("deadline", given.get("deadline"), limits.KEEP_S_MAX),
        backoff.core() if backoff is not None else None)


def key(what: str, value: str | None) -> str:
    """The name of a group, or a `unique` key; None: "", which stands for none."""
    if value is None:
        return ""
    if not isinstance(value, str):
        raise TypeError(f"{what} is a text, got {type(value).__name__}")
    size = len(value.encode())
    if not 0 < size <= limits.KEY_BYTES_MAX:
        raise ValueError(f"{what} has {size:,} bytes in UTF-8; allowed are 1 to {limits.KEY_BYTES_MAX:,}, or None")
    return value


def wall_ms(what: str, moment: datetime) -> int:
    """A moment as ms since 1970."""
    if not isinstance(moment, datetime):
        raise TypeError(f"{what} is a datetime with a time zone, got {type(moment).__name__}")
    if moment.utcoffset() is None:
        raise ValueError(f"{what} is {moment}, without a time zone: on another machine it would be another moment; "
                         "say datetime.now(timezone.utc), say")
    if (found := math.ceil(moment.timestamp() * 1000)) <= 0:
        raise ValueError(f"{what} is {moment}; allowed is what comes after 1970")
    return found


def in_place(queue: str, draft: Draft) -> Draft:
    """Refuse a chosen id that would keep the message from the bucket of its group or key."""
    place = draft.place(queue)
    if draft.id is not None and place is not None and place_of(draft.id) != place:
        raise ValueError("this id was not drawn for that group or unique key, whose messages lie together: draw it "
                         "with new_id(queue, group=..., unique=...), or leave it out")
    return draft


def milliseconds(what: str, value: float | None, most: float) -> int:
    """A time to be sent in ms, at least 1; None: 0, which stands for the cluster's default."""
    if value is None:
        return 0
    if seconds(what, value, most) == 0.0:
        raise ValueError(f"{what} is 0 seconds; allowed is more than 0, up to {most:g}, or None for the default")
    return max(1, round(value * 1000))


def handlers(given: Mapping[str, Callable[..., Any]]) -> dict[str, Callable[..., Any]]:
    """A worker's handlers, by queue's name: at least one."""
    if not given:
        raise ValueError("a worker needs at least one handler: Worker(client, {'queue': handler})")
    for name, handler in given.items():
        line_name(name)
        if not callable(handler):
            raise TypeError(f"the handler of queue {name!r} is not callable: {type(handler).__name__}")
    return dict(given)
