"""The demo's probe: submits that flow to each bucket of one node, to see how long a failover holds them up."""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from functools import partial

import zmqueue
from zmqueue.core.ids import RANDOM_BYTES, make_id, places_of, token_of

EVERY_S = 0.02                         # between two submits to one bucket: what the gap is measured to
SUBMIT_S = 60.0                        # far beyond any failover: what is not confirmed by then is counted as failed


def buckets_of(client: zmqueue.Client, node_id: str) -> tuple[list[int], int]:
    """The buckets that the node is primary of, and how many there are in all."""
    view = client.members()
    return [bucket for bucket, primary in enumerate(view.primaries) if primary == node_id], view.buckets


class Probe:
    """Submits to the given buckets, each in turn, from a thread of its own, until it is stopped."""

    def __init__(self, client: zmqueue.Client, buckets: Sequence[int], of: int) -> None:
        self.failed = 0
        self._confirmed: dict[int, list[tuple[float, str]]] = {bucket: [] for bucket in buckets}
        self._client, self._of = client, of
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._open = 0
        self._thread = threading.Thread(target=self._run, name="zmqueue-demo-probe", daemon=True)

    def start(self) -> None:
        """Begin to submit."""
        self._thread.start()

    def await_all(self, since: float, wait: float) -> bool:
        """Wait until each bucket has confirmed a submit after the moment `since`; False where one has not in time."""
        with self._changed:
            return self._changed.wait_for(lambda: all(
                times and times[-1][0] > since for times in self._confirmed.values()), wait)

    def stop(self) -> None:
        """Stop, and wait until every submit has its answer."""
        self._ended.set()
        self._thread.join()
        with self._changed:
            self._changed.wait_for(lambda: not self._open, SUBMIT_S + 10.0)

    @property
    def tokens(self) -> list[str]:
        """Of all that were confirmed."""
        return [token for times in self._confirmed.values() for _, token in times]

    def longest_gap(self, since: float) -> float | None:
        """The longest time between two confirmed submits to one and the same bucket, of those that end after `since`.

        None where some bucket has confirmed nothing before, or nothing after: then it was not measured.
        """
        longest = []
        for times in self._confirmed.values():
            gaps = [later - earlier for (earlier, _), (later, _) in itertools.pairwise(times) if later > since]
            if not gaps:
                return None
            longest.append(max(gaps))
        return max(longest, default=None)

    def _run(self) -> None:
        due = time.monotonic()
        for bucket in itertools.cycle(self._confirmed):
            if self._ended.wait(max(0.0, due - time.monotonic())):
                return
            due = max(due + EVERY_S / len(self._confirmed), time.monotonic() - EVERY_S)
            place = places_of(bucket, self._of)[0]
            token = token_of(make_id(int(time.time() * 1000), place, os.urandom(RANDOM_BYTES)))
            with self._changed:
                self._open += 1
            answer = self._client.submit_soon("probe", None, id=token, timeout=SUBMIT_S)
            answer.add_done_callback(partial(self._done, bucket))

    def _done(self, bucket: int, answer: Future[zmqueue.Ticket]) -> None:
        now = time.monotonic()
        with self._changed:
            self._open -= 1
            if answer.exception() is not None:
                self.failed += 1
            else:
                self._confirmed[bucket].append((now, answer.result().token))
            self._changed.notify_all()
