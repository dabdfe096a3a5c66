"""What clients send is judged here, at the door and once; inside, requests are trusted.

A request that is wrong as a whole is a `Refusal`. Where single messages of a batch are wrong, the others are taken, and
the faulty ones are named by their index. Texts say what was found, what is allowed, and what to do.
"""

from __future__ import annotations

from collections.abc import Sequence

from zmqueue.core import letters
from zmqueue.core.answers import Code
from zmqueue.core.ids import ID_BYTES, drawn_at, is_id, place_of, places_of
from zmqueue.core.keys import PRIORITY_MAX
from zmqueue.core.limits import Limits
from zmqueue.core.names import QUEUE_NAME, QUEUE_NAME_RULE
from zmqueue.core.office import Refusal
from zmqueue.core.operations import AS_QUEUE_SAYS, Held, How, Options, Settle, State, Submission
from zmqueue.core.requests import Cancel, Erase, Find, Purge, Requeue
from zmqueue.core.state import Agreed

Fault = tuple[int, int, str]
"""(index in the request, code, text): one message of a batch that is refused, as in `answers.Confirmed`."""

_FOUND_STATES = frozenset(range(State.DELAYED, State.EXPIRED + 1))
MOMENT_MAX = (1 << 48) - 1
"""ms since 1970: as much as an id holds."""

KEY_BYTES_MAX = 511
ATTEMPTS_MAX = 65_535
KIND_MAX = 255


def check_queue(name: str, limits: Limits) -> None:
    """Refuse what is no queue's name."""
    if len(name) > limits.queue_name_characters_max:
        raise Refusal(Code.BAD_REQUEST, f"the queue's name has {len(name):,} characters; the limit is "
                                        f"{limits.queue_name_characters_max}: {name[:40]!r}...")
    if not QUEUE_NAME.fullmatch(name):
        raise Refusal(Code.BAD_REQUEST, f"{QUEUE_NAME_RULE}, this is not: {name!r}")


def check_line(name: str, limits: Limits) -> None:
    """Refuse what is neither a queue's name nor that of its dead letters."""
    queue = letters.queue_of(name)
    check_queue(name if queue is None else queue, limits)


def check_session_name(name: str, limits: Limits) -> None:
    """Refuse a name that nobody would read."""
    if len(name) > limits.session_name_characters_max:
        raise Refusal(Code.BAD_REQUEST, f"the session's name has {len(name):,} characters; the limit is "
                                        f"{limits.session_name_characters_max} (limits.session_name_characters_max)")


def check_find(packet: Find, limits: Limits) -> None:
    """Refuse a search that is none."""
    if packet.queue:
        check_queue(packet.queue, limits)
    if not 1 <= packet.limit <= limits.found_messages_max:
        raise Refusal(Code.BAD_REQUEST, f"a page of {packet.limit:,} messages; 1 to {limits.found_messages_max:,} are "
                                        "allowed (limits.found_messages_max)")
    if not 0 <= packet.since <= MOMENT_MAX or not 0 <= packet.before <= MOMENT_MAX:
        raise Refusal(Code.BAD_REQUEST, f"drawn from {packet.since} until before {packet.before} ms since 1970; 0 to "
                                        f"{MOMENT_MAX} are allowed")
    if not set(packet.states) <= _FOUND_STATES:
        raise Refusal(Code.BAD_REQUEST, f"states {sorted(packet.states)}; {sorted(_FOUND_STATES)} are allowed")
    if len(packet.headers) > limits.headers_max or len(packet.after) > KEY_BYTES_MAX:
        raise Refusal(Code.BAD_REQUEST, f"{len(packet.headers):,} headers and a place of {len(packet.after):,} bytes; "
                                        f"the limits are {limits.headers_max} and {KEY_BYTES_MAX}")
    if packet.ids:
        check_number(len(packet.ids), limits.found_messages_max, "ids", "found_messages_max")
        check_ids(packet.ids)


def check_bucket(bucket: int, settings: Agreed) -> None:
    """Refuse a bucket that is none."""
    if not 0 <= bucket < settings.buckets:
        raise Refusal(Code.BAD_REQUEST, f"bucket {bucket}; this cluster has buckets 0 to {settings.buckets - 1}: "
                                        "fetch the cluster state again")


def check_session(session: bytes, limits: Limits) -> None:
    """Refuse what is no session."""
    if len(session) != limits.session_bytes:
        raise Refusal(Code.BAD_REQUEST, f"a session is named by {limits.session_bytes} random bytes, "
                                        f"this has {len(session)}")


def check_lease_ms(lease: int, settings: Agreed, limits: Limits) -> int:
    """The duration of a lease, ms: 0 stands for the cluster's default."""
    if lease == 0:
        return settings.lease_ms
    if not limits.lease_ms_min <= lease <= limits.lease_ms_max:
        raise Refusal(Code.BAD_REQUEST, f"a lease of {lease:,} ms; {limits.lease_ms_min:,} to {limits.lease_ms_max:,} "
                                        "are allowed (longer work renews its lease)")
    return lease


def check_number(number: int, most: int, what: str, limit: str) -> None:
    """Refuse nothing at all, and too much at once."""
    if not 1 <= number <= most:
        raise Refusal(Code.BAD_REQUEST, f"{number:,} {what} in one request; 1 to {most:,} are allowed "
                                        f"(limits.{limit}): split it")


def check_submit(messages: Sequence[Submission], bucket: int, wall: int, settings: Agreed,
                 limits: Limits) -> tuple[int, list[Fault]]:
    """(payload bytes, faults) of a batch. What is common and right costs one pass with one condition."""
    check_number(len(messages), limits.submit_messages_max, "messages", "submit_messages_max")
    first, end = places_of(bucket, settings.buckets)
    lowest, highest = first.to_bytes(2, "big"), (end - 1).to_bytes(2, "big")
    largest, latest, size, faults = settings.body_bytes_max, wall + limits.delay_ms_max, 0, []
    for index, message in enumerate(messages):
        message_id, length = message.id, len(message.payload)
        size += length
        if (len(message_id) != ID_BYTES or message_id[0] != 1 or not lowest <= message_id[7:9] <= highest
                or length > largest or not 0 <= message.priority <= PRIORITY_MAX or message.headers
                or not 0 <= message.due <= latest or not 0 <= message.attempts <= ATTEMPTS_MAX
                or not 0 <= message.kind <= KIND_MAX):
            size += _headers_bytes(message)
            fault = submission_fault(message, bucket, first, end, latest, largest, limits)
            if fault:
                faults.append((index, *fault))
    check_bytes(size, limits)
    return size, faults


def check_bytes(size: int, limits: Limits) -> None:
    """Refuse more than one entry of the log may hold: it is sent, written and applied as a whole, in one frame."""
    if size > limits.submit_bytes_max:
        raise Refusal(Code.BAD_REQUEST, f"the messages have {size:,} bytes together; the limit for one request is "
                                        f"{limits.submit_bytes_max:,} (limits.submit_bytes_max): split it")


def _headers_bytes(message: Submission) -> int:
    return sum(len(name.encode()) + len(value.encode()) for name, value in message.headers)


def message_bytes(message: Submission, options: Options | None) -> int:
    """What a message adds to the entry that it is in, about: payload, headers, and options with all parts of a join."""
    return len(message.payload) + _headers_bytes(message) + (0 if options is None else options_bytes(options))


def options_bytes(options: Options) -> int:
    """The same for its options."""
    size = 64 + len(options.group.encode()) + len(options.unique.encode())
    parts = () if options.awaits is None else options.awaits.parts
    return size + sum(64 + len(part.queue) + message_bytes(part.message, part.options) for part in parts)


def submission_fault(message: Submission, bucket: int, first: int, end: int, latest: int, largest: int,
           limits: Limits) -> tuple[int, str] | None:
    """What is wrong with one message; None: nothing."""
    if not is_id(message.id):
        return Code.BAD_REQUEST, (f"an id has {ID_BYTES} bytes and begins with its version, 1; this has "
                                  f"{len(message.id)}: {message.id[:ID_BYTES].hex()}: draw it with client.new_id()")
    if not first <= place_of(message.id) < end:
        return Code.BAD_REQUEST, (f"place {place_of(message.id)} is not in bucket {bucket}, which has {first} to "
                                  f"{end - 1}: fetch the cluster state again")
    if len(message.payload) > largest:
        return Code.BODY_TOO_LARGE, (f"body is {len(message.payload):,} bytes; the limit is {largest:,} "
                                     "(settings.body_bytes_max)")
    if not 0 <= message.priority <= PRIORITY_MAX:
        return Code.BAD_REQUEST, f"priority {message.priority}; 0 to {PRIORITY_MAX} are allowed, the highest first"
    if not 0 <= message.due <= latest:
        return Code.BAD_REQUEST, (f"due at {message.due} ms since 1970; allowed are 0 (at once) to {latest}, which is "
                                  f"{limits.delay_ms_max // 86_400_000:,} days from now")
    if not 0 <= message.attempts <= ATTEMPTS_MAX:
        return Code.BAD_REQUEST, f"attempts is {message.attempts}; 0 (the cluster's default) to {ATTEMPTS_MAX:,}"
    if not 0 <= message.kind <= KIND_MAX:
        return Code.BAD_REQUEST, f"kind is {message.kind}; 0 to {KIND_MAX} are allowed"
    if len(message.headers) > limits.headers_max:
        return Code.BAD_REQUEST, (f"{len(message.headers):,} headers; the limit is {limits.headers_max} "
                                  "(limits.headers_max)")
    if (size := _headers_bytes(message)) > limits.headers_bytes_max:
        return Code.BAD_REQUEST, (f"headers have {size:,} bytes together; the limit is {limits.headers_bytes_max:,} "
                                  "(limits.headers_bytes_max): what is large belongs into the payload")
    return None


def age_fault(message_id: bytes, wall: int, settings: Agreed) -> tuple[int, str] | None:
    """Q3: an id that is not known must not be so old that it may have been forgotten, nor outlive its row."""
    age, window = wall - drawn_at(message_id), settings.dedup_window_ms
    if age > window:
        return Code.ID_TOO_OLD, (f"the id was drawn {age / 1000:,.0f} s ago and is not known here; after "
                                 f"{window / 1000:,.0f} s (settings.dedup_window_ms) it may have been done and "
                                 "forgotten, so it is not run")
    if -age > window // 2:
        return Code.BAD_REQUEST, (f"the id was drawn {-age / 1000:,.0f} s ahead of this node's clock; up to "
                                  f"{window / 2000:,.0f} s are allowed: correct the clock, or draw ids by the time "
                                  "that heartbeats carry")
    return None


def check_settles(settles: Sequence[Settle], settings: Agreed, limits: Limits) -> int:
    """Refuse a batch of settles that is not one. -> bytes of its results and errors."""
    check_number(len(settles), limits.settles_max, "settles", "settles_max")
    size, largest = 0, settings.body_bytes_max
    for index, settle in enumerate(settles):
        data, error = len(settle.data), len(settle.error)
        size += data + error
        if data > largest:
            raise Refusal(Code.BODY_TOO_LARGE, f"result {index} is {data:,} bytes; the limit is {largest:,} "
                                               "(settings.body_bytes_max)")
        if (not 0 <= settle.how <= How.REJECT or not AS_QUEUE_SAYS <= settle.delay <= limits.delay_ms_max
                or not 0 <= settle.kind <= KIND_MAX or len(settle.id) != ID_BYTES
                or error * 4 > limits.error_bytes_max):
            _refuse_settle(index, settle, limits)
    if size > limits.settle_bytes_max:
        raise Refusal(Code.BAD_REQUEST, f"results and errors have {size:,} bytes together; the limit for one request "
                                        f"is {limits.settle_bytes_max:,} (limits.settle_bytes_max): split it")
    check_once([settle.id for settle in settles])
    return size


def _refuse_settle(index: int, settle: Settle, limits: Limits) -> None:
    if len(settle.id) != ID_BYTES:
        raise Refusal(Code.BAD_REQUEST, f"settle {index}: an id has {ID_BYTES} bytes, this has {len(settle.id)}")
    if not 0 <= settle.how <= How.REJECT:
        raise Refusal(Code.BAD_REQUEST, f"settle {index}: how is {settle.how}; 0 ack, 1 nack, 2 reject")
    if not 0 <= settle.kind <= KIND_MAX:
        raise Refusal(Code.BAD_REQUEST, f"settle {index}: kind is {settle.kind}; 0 to {KIND_MAX} are allowed")
    if not AS_QUEUE_SAYS <= settle.delay <= limits.delay_ms_max:
        raise Refusal(Code.BAD_REQUEST, f"settle {index}: a delay of {settle.delay:,} ms; {AS_QUEUE_SAYS} (as the "
                                        f"queue says) to {limits.delay_ms_max:,} are allowed")
    if (size := len(settle.error.encode())) > limits.error_bytes_max:
        raise Refusal(Code.BAD_REQUEST, f"settle {index}: the error has {size:,} bytes; the limit is "
                                        f"{limits.error_bytes_max:,} (limits.error_bytes_max): send its end")


def check_events(events: Sequence[tuple[int, bytes]], limits: Limits) -> int:
    """Refuse events of progress that are none. -> their bytes."""
    check_number(len(events), limits.settles_max, "events", "settles_max")
    for kind, data in events:
        if not 0 <= kind <= KIND_MAX:
            raise Refusal(Code.BAD_REQUEST, f"an event's kind is {kind}; 0 to {KIND_MAX} are allowed")
        if len(data) > limits.event_bytes_max:
            raise Refusal(Code.BODY_TOO_LARGE, f"an event of progress has {len(data):,} bytes; the limit is "
                                               f"{limits.event_bytes_max:,} (limits.event_bytes_max): what is large "
                                               "belongs into the result")
    size = sum(len(data) for _, data in events)
    if size > limits.settle_bytes_max:
        raise Refusal(Code.BAD_REQUEST, f"events have {size:,} bytes together; the limit for one request is "
                                        f"{limits.settle_bytes_max:,} (limits.settle_bytes_max): split it")
    return size


def check_after(after: int) -> None:
    """Refuse what is no index of an event, nor 0."""
    if not 0 <= after < 1 << 32:
        raise Refusal(Code.BAD_REQUEST, f"after is {after:,}: an event's index counts from 1; 0 stands for all of them")


def check_leases(leases: Sequence[Held], limits: Limits) -> None:
    """Refuse a list of leases that is not one."""
    check_number(len(leases), limits.settles_max, "leases", "settles_max")
    check_ids([message_id for message_id, _ in leases])
    check_once([message_id for message_id, _ in leases])


def check_ids(message_ids: Sequence[bytes]) -> None:
    """Refuse what is no id."""
    for message_id in message_ids:
        if not is_id(message_id):
            raise Refusal(Code.BAD_REQUEST, f"an id has {ID_BYTES} bytes and begins with its version, 1; this has "
                                            f"{len(message_id)}: {message_id[:ID_BYTES].hex()}")


def check_guards(packet: Cancel | Requeue | Purge | Erase) -> None:
    """Refuse a request that says of some of its letters only how often they were requeued."""
    if isinstance(packet, Requeue | Purge) and packet.requeued and len(packet.requeued) != len(packet.ids):
        raise Refusal(Code.BAD_REQUEST, f"{len(packet.ids):,} dead letters, and of {len(packet.requeued):,} it is said "
                                        "how often they were requeued: say it of each, or of none")


def check_once(message_ids: Sequence[bytes]) -> None:
    """Refuse a request that names a message twice."""
    if len(set(message_ids)) != len(message_ids):
        twice = next(message_id for message_id in message_ids if message_ids.count(message_id) > 1)
        raise Refusal(Code.BAD_REQUEST, f"the request names a message twice: {twice.hex()}")
