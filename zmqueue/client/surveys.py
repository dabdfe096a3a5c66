"""Surveys: questions to several nodes at once, answered when all that matter have answered."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from zmqueue.client import limits
from zmqueue.client.calls import Call
from zmqueue.client.exchanges import Exchange, Exchanges
from zmqueue.client.routing import Routing
from zmqueue.client.timers import Timers
from zmqueue.core.answers import CopyReply, MembersReply, QueuesReply, Reply
from zmqueue.core.requests import GetCopy, GetMembers, GetQueues, Request
from zmqueue.core.state import ClusterState
from zmqueue.errors import ClusterUnreachable, NoAnswer

Replies = dict[str, QueuesReply | MembersReply | CopyReply]
"""By endpoint."""


class SurveyCall(Call[tuple[ClusterState, Replies]]):
    """What stands in the queues (every primary must answer), or how the members are (who answers in time)."""

    __slots__ = ("asked", "least_epoch", "members", "patient_until", "replies", "resume_at")

    def __init__(self, deadline: float, notify: Callable[[Any], None] | None = None, *, members: bool) -> None:
        super().__init__(deadline, notify)
        self.members = members
        self.least_epoch = 0                         # who shows an older state is asked again
        self.replies: Replies = {}
        self.asked: set[str] = set()                 # no answer yet, and not silent
        self.resume_at: dict[str, float] = {}
        self.patient_until: float | None = None      # members: silence of others is no reason to wait longer

    def expire(self, now: float) -> None:
        if not self.replies:
            self.fail(ClusterUnreachable("no node could be reached"))
        else:
            self.fail(NoAnswer("not all primaries answered in time what stands in their queues"))


    def question(self, request: int) -> Request:
        """What each node is asked."""
        return GetMembers(request) if self.members else GetQueues(request)


class CopiesCall(SurveyCall):
    """What the nodes' copies of one bucket hold (who answers in time)."""

    __slots__ = ("bucket",)

    def __init__(self, bucket: int, deadline: float) -> None:
        super().__init__(deadline, members=True)
        self.bucket = bucket

    def question(self, request: int) -> Request:
        return GetCopy(request, self.bucket)


class Asked(Exchange):
    """One node's part of a survey."""

    __slots__ = ("call", "surveys")

    def __init__(self, surveys: Surveys, call: SurveyCall) -> None:
        self.surveys, self.call = surveys, call

    def answered(self, reply: Reply, now: float) -> None:
        self.call.asked.discard(self.endpoint)
        if isinstance(reply, QueuesReply | MembersReply | CopyReply) and reply.epoch >= self.call.least_epoch:
            self.call.replies[self.endpoint] = reply
        else:
            self.surveys.later(self.call, self.endpoint, now)

    def silent(self, now: float) -> None:
        self.call.asked.discard(self.endpoint)
        self.surveys.later(self.call, self.endpoint, now)

    def unsent(self, now: float) -> None:
        self.silent(now)


class Surveys:
    """All surveys that go on."""

    def __init__(self, routing: Routing, exchanges: Exchanges, timers: Timers) -> None:
        self._routing = routing
        self._exchanges = exchanges
        self._timers = timers
        self._calls: list[SurveyCall] = []

    def begin(self, call: SurveyCall) -> None:
        """Start one."""
        self._calls.append(call)

    def later(self, call: SurveyCall, endpoint: str, now: float) -> None:
        """This node did not answer: ask it again in a while, if it still matters then."""
        call.resume_at[endpoint] = now + limits.BACKOFF_S_MAX
        self._timers.at(now + limits.BACKOFF_S_MAX)
        self._routing.want()

    def pump(self, now: float) -> None:
        """Ask whom to ask; end what has all it needs."""
        state = self._routing.state
        self._calls = [call for call in self._calls if not call.finished]
        if state is None:
            return
        for call in self._calls:
            self._pump_call(call, state, now)

    def _pump_call(self, call: SurveyCall, state: ClusterState, now: float) -> None:
        needed = [member.endpoint for member in state.members if member.up] if call.members else self._routing.primaries
        if call.members and call.patient_until is None:
            call.patient_until = now + limits.SURVEY_S
            self._timers.at(call.patient_until)
        enough = call.patient_until is not None and now >= call.patient_until
        missing = [endpoint for endpoint in needed if endpoint not in call.replies]
        if call.replies and (not missing or enough):
            kept = {endpoint: reply for endpoint, reply in call.replies.items() if endpoint in needed}
            call.finish((state, kept))
            return
        for endpoint in missing:
            if (endpoint not in call.asked and call.resume_at.get(endpoint, 0.0) <= now
                    and self._routing.writable(endpoint, now)):
                self._ask(call, endpoint, now)

    def _ask(self, call: SurveyCall, endpoint: str, now: float) -> None:
        asked = Asked(self, call)
        call.asked.add(endpoint)
        request = self._exchanges.begin(asked, endpoint)
        self._exchanges.send(asked, call.question(request), limits.SILENCE_S, now)
