"""An operator's word about a queue on its way: from what is declared to what should be, and until everybody goes by it.

What is asked for follows from the declaration that is there (a pause keeps the rest of the policy), so it is worked out
anew from the newest state before each asking: where another operator came first, the node says so, and this looks
again. Done is when each primary has shown a state in which it is agreed: from then on none decides by the old one.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqueue.client.amending import AmendCall
from zmqueue.client.surveys import SurveyCall
from zmqueue.core import policies
from zmqueue.core.amending import holds
from zmqueue.core.changes import Change, QueueDeclared, QueueRemoved
from zmqueue.core.policies import Policy
from zmqueue.core.requests import GetMembers, Request
from zmqueue.core.state import ClusterState
from zmqueue.errors import NoAnswer, Refused

Decide = Callable[[Policy], Policy | None]
"""From the policy that holds (the default where none is declared) the one to declare; None: none."""


class SeenCall(SurveyCall):
    """Every primary has shown that it knows a state of this epoch, or a newer one."""

    __slots__ = ()

    def __init__(self, epoch: int, deadline: float, notify: Callable[[Any], None]) -> None:
        super().__init__(deadline, notify, members=False)
        self.least_epoch = epoch

    def question(self, request: int) -> Request:
        return GetMembers(request)


class PolicyCall(AmendCall):
    """Have a queue's policy agreed, and known to all primaries."""

    __slots__ = ("_agreed", "_decide", "_refused", "name")

    def __init__(self, name: str, decide: Decide, deadline: float,
                 notify: Callable[[Any], None] | None = None) -> None:
        self.change: QueueDeclared | QueueRemoved
        super().__init__(QueueRemoved(name, 0), deadline, notify)
        self.name = name
        self._decide = decide
        self._refused: Change | None = None          # it was refused once: perhaps what was looked at was old
        self._agreed = False

    def prepare(self, state: ClusterState) -> None:
        if self._agreed:
            return
        since, wanted = state.declared_since(self.name), self._decide(state.policy(self.name))
        self.change = (QueueRemoved(self.name, since) if wanted is None else
                       QueueDeclared(self.name, since, policies.encode(wanted)))

    def refused(self, error: Refused) -> bool:
        if self._refused == self.change:
            self.fail(error)
            return False
        self._refused = self.change
        return True

    def agreed(self, state: ClusterState | None) -> SurveyCall | None:
        self._agreed = True
        return None if state is None or not self._shown(state) else SeenCall(state.epoch, self.deadline, self._seen)

    def _shown(self, state: ClusterState) -> bool:
        """True where the state is as new as what was agreed."""
        return holds(state, self.change) or state.declared_since(self.name) != self.change.since

    def _seen(self, survey: SeenCall) -> None:
        if survey.error is None:
            self.finish(None)
        else:
            self.expire(0.0)

    def expire(self, now: float) -> None:
        if self._agreed:
            self.fail(NoAnswer(f"the policy of queue {self.name!r} is agreed, but not every primary has shown in time "
                               "that it goes by it: it will as soon as it is reached"))
            return
        super().expire(now)
