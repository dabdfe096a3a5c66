"""How all programs use the cluster: the queues, and how the outcome of a call is written down."""

from __future__ import annotations

import zmqueue

QUEUES = ("red", "blue")
ATTEMPTS = 10_000                      # nothing dies of deliveries that faults ended


def outcome_of(error: BaseException | None) -> str:
    """How a call ended; "broken" by an error that is none of zmqueue's, which the judge holds against it."""
    if error is None:
        return "confirmed"
    if isinstance(error, zmqueue.ZmqueueError):
        return "refused" if error.definite else "unknown"
    return "broken"
