"""The client's limits, each with its unit and its reason."""

from __future__ import annotations

# --- what a caller may ask for ---------------------------------------------------------------------------------------

QUEUE_NAME_CHARACTERS_MAX = 128          # a queue's name stands in every row's key
PRIORITY_MAX = 255                       # one byte in the order of a queue
DELAY_S_MAX = 10 * 366 * 86_400.0        # ten years: what is longer is a mistake of unit
ATTEMPTS_MAX = 65_535
LOSSES_MAX = 65_535
KEY_BYTES_MAX = 1_024                    # of a group or a `unique` key in UTF-8: the nodes' limit
UNIQUE_WINDOW_S_MAX = 366 * 86_400.0     # for so long the nodes remember whose key keeps others out
KEEP_S_MAX = 3_660 * 86_400.0            # ten years: what is longer is a mistake of unit
HEADERS_MAX = 64                         # headers are for routing and tracing, not for bodies
HEADERS_BYTES_MAX = 16_384
LEASE_MESSAGES_MAX = 1_000               # messages in one lease request: bounds one answer
LEASE_S_MAX = 86_400.0                   # longer work renews its lease through its session
EVENT_INDEX_MAX = (1 << 32) - 1          # it has 4 bytes in a row's key
EVENT_BYTES_MAX = 65_536                 # of one event of progress: what is large is the result
ERROR_CHARACTERS_MAX = 4_000             # of a handler's error text: it is kept with the message

FOUND_MESSAGES_MAX = 500                 # messages in one page of a search: bounds one answer
FIND_BUCKETS_AT_ONCE = 16                # pages that one search asks for at a time: bounds what is in memory
REASONS_MAX = 1_000                      # reasons that a sweep tells one by one
NAME_CHARACTERS_MAX = 128                # of a client's name: for people to look at

# --- submits ---------------------------------------------------------------------------------------------------------

CHAIN_STEPS_MAX = 64                     # of a chain: those that follow travel in a header
PARCELS_MAX = 1_000                      # messages that one ack queues: they are one entry of a log with it
CHUNK_MESSAGES_MAX = 1_000               # messages in one Submit: one log entry, one reply
CHUNK_MESSAGES_MIN = 100                 # a batch is not split over primaries into pieces smaller than this
CHUNK_BYTES_MAX = 1 << 20                # payload bytes in one Submit; a larger body goes alone
SUBMITS_IN_FLIGHT = 4                    # Submit packets on their way to one primary: the rest waits, and merges

# --- time, in seconds ------------------------------------------------------------------------------------------------

SILENCE_S = 0.5                          # a transmission unanswered for this long: ask the state, send again
SILENCE_S_MAX = 2.0                      # it doubles up to this: a slow disk is not helped by repetition
QUIET_S = 1.0                            # a silent node gets no fresh messages for this long
BLOCKED_S = 0.05                         # a node that could not be written to is tried again after this
BACKOFF_S = 0.02                         # first rest of a bucket's lane after a refusal worth another try
BACKOFF_S_MAX = 0.2
FETCH_NEWER_S = 0.05                     # between two questions for a state that is known to exist
FETCH_S = 0.25                           # between two questions for a state that may not
LOOK_AGAIN_S = 1.0                       # a busy consumer asks a node that had nothing again after this
ASK_WAIT_S_MAX = 20.0                    # one long poll at the node; renewed until the caller's deadline
ASK_AGAIN_S = 0.05                       # least time between two questions for the same message
COLLECT_TURN_S = 1.0                     # of many results that are awaited, one is asked after for this long in a row
COLLECT_GRACE_S = 0.5                    # results(): how long after the deadline its last questions have surely ended
GATHER_S = 0.25                          # a lease call that has something waits this long for more from other nodes
BEAT_S_MIN = 0.025                       # between two keepalives: what a node renews, it renews for 0.1 s or longer
LEASE_GRACE_S = 1.0                      # a lease call outlives its wait by this, where a node is slow to say "none"
TELL_S = 60.0                            # an event that nobody waits for is offered for this long
SURVEY_S = 1.0                           # members(): how long to wait for nodes that say nothing

# --- memory ----------------------------------------------------------------------------------------------------------

COLLECTED_MAX = 1_000                    # results that one results() asks after or holds at a time
LATE_MAX = 10_000                        # transmissions given up whose late answer is still understood
LANES_MAX = 10_000                       # idle lanes beyond this are forgotten (a lane is a bucket and a queue)
TELLING_MAX = 1_000                      # events of one message on their way: who tells faster waits for the nodes
LEASE_SPLIT = 16                         # a consumer with more free slots than this asks several nodes at once
