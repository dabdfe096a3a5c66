"""The last look of a run: a fresh program asks after every message, and then all that programs were told is judged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from tests.simulation.checkers import Violation
from tests.simulation.checkers.ending import Ending
from tests.simulation.checkers.sequential import Specification, check_linear
from tests.simulation.checkers.total_queue import Report, TotalQueue
from tests.simulation.recorder import Recorder
from zmqueue.client.calls import AskCall
from zmqueue.core.ids import token_of
from zmqueue.errors import RequestFailed, UnknownToken
from zmqueue.testing import VirtualCluster

AT_ONCE = 200
"""Questions that are under way at the same time."""

ANSWERED_WITHIN = 30.0
"""Virtual seconds in which a cluster that is well answers so many."""


@dataclass(slots=True)
class LastLook:
    """At a cluster in which all is well."""

    cluster: VirtualCluster
    recorder: Recorder
    specification: Specification

    def ask(self) -> None:
        """Ask after all that may be stored. Raises Violation where nobody answers."""
        client, ids = self.cluster.client(), list(self.recorder.submitted)
        for first in range(0, len(ids), AT_ONCE):
            calls = [client.ask(message_id, ANSWERED_WITHIN) for message_id in ids[first:first + AT_ONCE]]
            self.cluster.run_until(partial(_finished, calls), ANSWERED_WITHIN + 1.0, every=0.01)
            for call in calls:
                if call.error is not None and not isinstance(call.error, UnknownToken | RequestFailed):
                    raise Violation(Ending.WHOLE, f"a program asks after {token_of(call.id)}: {call.error!r}")

    def judge(self, *, doubled: bool) -> Report:
        """Raises Violation, else says what came out of what was put in. `doubled`: the network doubled packets."""
        total = TotalQueue()
        histories = self.recorder.histories(doubled=doubled)
        for message_id, history in histories.items():
            total.add(token_of(message_id), history)
        for kind, what in total.findings:
            raise Violation(kind, what)
        for message_id, history in histories.items():
            check_linear(token_of(message_id), history, self.specification)
        return total.report


def _finished(calls: Sequence[AskCall]) -> bool:
    return all(call.finished for call in calls)
