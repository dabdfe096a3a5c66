"""What a submitter chose for his messages, judged and completed by what their queue says (Options, generation 3)."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from zmqueue.core.ageing import place_of
from zmqueue.core.answers import Code
from zmqueue.core.checks import Fault, check_queue, submission_fault
from zmqueue.core.ids import ID_BYTES, bucket_of, is_id, places_of
from zmqueue.core.joins import PARTS_MAX
from zmqueue.core.office import Office, Refusal
from zmqueue.core.operations import NO_OPTIONS, Options, Parcel, Scope, Submission
from zmqueue.core.policies import Policy, problem_of
from zmqueue.core.requests import Submit

GENERATION = 3
"""The generation of the formats from which on a message may have options."""

Choice = dict[bytes, Options]
"""By message id: the options of those that have any."""


def gives_options(policy: Policy) -> bool:
    """True where messages of the queue have options even if their submitter says nothing."""
    return bool(policy.expires_ms or policy.deadline_ms or policy.ageing_ms)


def choose(packet: Submit, office: Office, faults: list[Fault]) -> Choice:
    """The options of a batch; `faults` grows by what is wrong. Raises Refusal where no message may have options."""
    if office.settings.generation < GENERATION:
        if packet.options:
            raise Refusal(Code.NOT_ALLOWED, "groups, unique keys, expiry and the like need a cluster whose members all "
                                            "run this version: upgrade the others (zmqueue members shows them)")
        return {}
    messages, wall = packet.messages, office.wall
    said = dict(packet.options)
    if len(said) != len(packet.options) or (said and not 0 <= min(said) <= max(said) < len(messages)):
        raise Refusal(Code.BAD_REQUEST, f"options for {len(packet.options):,} of {len(messages):,} messages; they are "
                                        "given once each, by the message's place in the request")
    policy, faulty, choice = office.policy(packet.queue), {index for index, _, _ in faults}, {}
    for index, message in enumerate(messages):
        if index in faulty:
            continue
        options = said.get(index, NO_OPTIONS)
        if fault := options_fault(message, options, office):
            faults.append((index, Code.BAD_REQUEST, fault))
            continue
        if (complete := completed(message, options, policy, wall)) is not None:
            choice[message.id] = complete
    return choice


def completed(message: Submission, options: Options | None, policy: Policy, wall: int) -> Options | None:
    """A message's options with what its queue says where its submitter says nothing; None: there are none."""
    options = options or NO_OPTIONS
    if policy.expires_ms and not options.expires:
        options = replace(options, expires=max(wall, message.due) + policy.expires_ms)
    if policy.deadline_ms and not options.deadline:
        options = replace(options, deadline=policy.deadline_ms)
    options = replace(options, place=place_of(message, policy.ageing_ms, wall))     # whatever its submitter said
    return None if options == NO_OPTIONS else options


def options_fault(message: Submission, options: Options, office: Office) -> str:
    """What is wrong with one message's options; "": nothing."""
    wall, limits = office.wall, office.limits
    latest = wall + limits.delay_ms_max
    if not 0 <= options.expires <= latest:
        return (f"expires at {options.expires} ms since 1970; allowed are 0 (never) to {latest}, which is "
                f"{limits.delay_ms_max // 86_400_000:,} days from now")
    if 0 < options.expires <= message.due:
        return (f"it expires at {options.expires} ms since 1970 and is delayed until {message.due}: it would never "
                "run; let it expire later")
    for name, text in (("group", options.group), ("unique key", options.unique)):
        if (size := len(text.encode())) > limits.key_bytes_max:
            return f"the {name} has {size:,} bytes in UTF-8; the limit is {limits.key_bytes_max} (limits.key_bytes_max)"
    if options.scope not in _SCOPES:
        return f"scope is {options.scope}; 0 (until done), 1 (while waiting) and 2 (for a window) are allowed"
    if (options.scope == Scope.WINDOW) != (options.window > 0) or options.window > limits.unique_window_ms_max:
        return (f"scope {options.scope} with a window of {options.window:,} ms; the scope 2, and only that, has one, "
                f"of 1 to {limits.unique_window_ms_max:,} ms (limits.unique_window_ms_max)")
    if options.scope and not options.unique:
        return f"scope {options.scope} without a unique key: give the key, or leave the scope out"
    for name, number, most in (("losses", options.losses, 65_535), ("keep", options.keep, limits.keep_ms_max),
                               ("deadline", options.deadline, limits.keep_ms_max)):
        if not 0 <= number <= most:
            return f"{name} is {number}; 0 (as the queue says) to {most:,} are allowed"
    if options.awaits is not None and (text := _join_fault(message, options, options.awaits.parts, office)):
        return text
    return problem_of(options.backoff) if options.backoff is not None else ""


def _join_fault(message: Submission, options: Options, parts: Sequence[Parcel], office: Office) -> str:
    if not 1 <= len(parts) <= PARTS_MAX:
        return f"a join of {len(parts):,} parts; 1 to {PARTS_MAX:,} are allowed: join joins"
    if message.due or options.unique:
        return "a join has no delay and no unique key: it is due when its parts are done, and one by its id"
    if len({part.message.id for part in parts}) != len(parts):
        return "a join awaits one message twice: each part has an id of its own (client.new_id())"
    for number, part in enumerate(parts):
        if part.part or (part.options is not None and part.options.awaits is not None):
            return f"parts[{number}] is a join itself: let the last of its parts be one of this"
        if part.options is not None and part.options.unique:
            return (f"parts[{number}] has a unique key: where another message has it, the part is not stored, and the "
                    "join would wait for ever")
        if fault := parcel_fault(part, office):
            return f"parts[{number}]: {fault[1]}"
    return ""


def parcel_fault(parcel: Parcel, office: Office) -> tuple[int, str] | None:
    """What is wrong with a message that is to be forwarded: (code, text); None: nothing."""
    message, buckets = parcel.message, office.settings.buckets
    if not is_id(message.id) or (parcel.part and not is_id(parcel.part)):
        return Code.BAD_REQUEST, (f"an id has {ID_BYTES} bytes and begins with its version, 1; this has "
                                  f"{len(message.id)}: {message.id[:ID_BYTES].hex()}: draw it with client.new_id()")
    if parcel.part:
        return None
    try:
        check_queue(parcel.queue, office.limits)
    except Refusal as refusal:
        return refusal.code, refusal.text
    bucket = bucket_of(message.id, buckets)
    latest = office.wall + office.limits.delay_ms_max
    fault = submission_fault(message, bucket, *places_of(bucket, buckets), latest, office.settings.body_bytes_max,
                             office.limits)
    if fault is None and parcel.options is not None and (text := options_fault(message, parcel.options, office)):
        return Code.BAD_REQUEST, text
    return fault


_SCOPES = frozenset(Scope)
