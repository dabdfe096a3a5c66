"""The limits of a node towards its clients and its logs, in one place, each with its unit and its reason.

Everything has a limit, so that no client, however wrong, can make a node run out of memory or hold up the others for
long. What users may want to agree on for a whole cluster (the size of a body, how long a lease lasts) is a setting,
in `state.Agreed`; what follows protects one node, and its defaults are rarely changed.
"""

from __future__ import annotations

from dataclasses import dataclass

MiB = 1 << 20
DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class Limits:
    """One node's limits. `_max` in units of what the name says; `_ms`, `_bytes` as named."""

    # --- one request: it becomes one entry of a log, which is sent, written and applied as a whole
    submit_messages_max: int = 10_000          # well below the 65,536 that the order of messages in an entry allows
    submit_bytes_max: int = 16 * MiB           # payloads and headers together: a few ms of disk and network
    settles_max: int = 10_000                  # as for messages; also leases in one Extend, GiveBack or Keepalive
    settle_bytes_max: int = 16 * MiB           # results and errors together
    headers_max: int = 64                      # they are small facts about a message; what is large is the payload
    headers_bytes_max: int = 16_384            # names and values of one message together, in UTF-8
    error_bytes_max: int = 65_536              # the end of a long traceback; it is kept with the message
    queue_name_characters_max: int = 128       # it is part of keys, which have at most 511 bytes
    key_bytes_max: int = 1_024                 # of a group or a `unique` key in UTF-8; rows hold digests of them
    unique_window_ms_max: int = 366 * DAY_MS   # for so long is a message remembered whose key keeps others out
    keep_ms_max: int = 3_660 * DAY_MS          # ten years: beyond, somebody mixed up his units
    events_max: int = 10_000                   # of progress, for one message: they are kept with it
    event_bytes_max: int = 65_536              # one of them; what is large is the result
    events_told_max: int = 1_000               # in one answer to who follows them,
    events_told_bytes_max: int = MiB           # and their bytes: whoever wants more asks again
    delay_ms_max: int = 3_660 * DAY_MS         # ten years: beyond, somebody mixed up his units

    # --- one page of a search: a few ms, and what its answer takes in memory and on the wire
    find_rows_max: int = 500                   # messages looked at, whether they are meant or not
    find_bytes_max: int = 4 * MiB              # of their rows
    searches_max: int = 32                     # that wait for their barrier: all of them may go on in one turn
    found_messages_max: int = 1_000            # in one page; also ids in one Find
    found_bytes_max: int = 1 * MiB             # payloads in one page, but at least one message

    # --- leases
    lease_messages_max: int = 1_000            # one answer: more at once only rests in the worker
    granted_bytes_max: int = 8 * MiB           # payloads of one answer: fewer messages when they are large
    granting_bytes_max: int = 128 * MiB        # payloads of all answers that wait for their commit on this node
    lease_ms_min: int = 100                    # below that, a lease ends on the way to its worker
    letter_rest_s: float = 10.0                # a dead letter that was in hand in vain: not again at once, for ever
    lease_ms_max: int = DAY_MS                 # longer work renews its lease through its session
    session_name_characters_max: int = 128     # what a session calls itself: for people to look at
    session_bytes: int = 16                    # exactly: unguessable, drawn by the worker

    # --- what waits in this node's memory
    requests_pending_max: int = 10_000         # requests whose commit is awaited; some kB each
    pending_bytes_max: int = 256 * MiB         # bodies and results among those: they are in memory twice
    asks_parked_max: int = 20_000              # long polls; about 1 kB each
    ask_wait_ms_max: int = 60_000              # a longer wait is cut, and the client asks again: lost clients fade
    sessions_max: int = 10_000                 # workers that this node hears; each is looked at several times a second
    watched_queues_max: int = 1_000            # queues in one Watch
    queues_max: int = 10_000                   # queue names in one bucket: their counts are held in memory

    # --- what the primary decides by itself: batches small enough to hold nobody up, large enough to keep pace
    returned_batch_max: int = 1_000            # leases in one Returned
    ripened_batch_max: int = 1_000             # messages in one Ripened
    forgotten_batch_max: int = 500             # messages in one Forgotten: the least urgent of all

    # --- what settles queue in other buckets (the outbox)
    parcels_max: int = 10_000                  # in one request to settle: as for messages
    forwarded_batch_max: int = 500             # messages in one Forward: it becomes one entry at its target
    forwarded_bytes_max: int = 1 * MiB         # of them together: it shares the network with replication
    flying_bytes_max: int = 64 * MiB           # sent by this node's buckets and not answered yet

    # --- moments, seconds
    sessions_check_s: float = 0.1              # how often silent sessions are looked for
    rehint_s: float = 0.1                      # how often watchers are told again that something is still ready
    forget_s: float = 1.0                      # how often the first message to be forgotten is looked at
    stall_s: float = 0.5                       # a node that did not run for so long blames no session for silence


DEFAULT = Limits()
