"""An operator's word on its way: to a node that is up, and to another where that one says nothing, until it is agreed.

Whoever is asked has the change agreed; asking twice does no harm, since a change that is agreed already is confirmed.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from zmqueue.client.calls import Call
from zmqueue.client.exchanges import Exchange, Exchanges
from zmqueue.client.routing import Routing
from zmqueue.client.surveys import SurveyCall
from zmqueue.client.timers import Timers
from zmqueue.core.answers import Code, Confirmed, NotPrimary, Refused, Reply
from zmqueue.core.changes import Change
from zmqueue.core.requests import Amend
from zmqueue.core.state import ClusterState
from zmqueue.errors import ClusterUnreachable, NoAnswer, refusal
from zmqueue.errors import Refused as RefusedError

ANSWER_S = 2.0
"""Seconds for which one node is waited for: agreement takes less than one, where a majority lives."""

AGAIN_S = 0.2
"""Seconds before another node is asked."""

KNOWN_S = 0.02
"""Seconds until it is looked again whether the state in which it is agreed has come."""


class AmendCall(Call[None]):
    """Have a change agreed."""

    __slots__ = ("asked", "change", "why_not")

    def __init__(self, change: Change, deadline: float, notify: Callable[[Any], None] | None = None) -> None:
        super().__init__(deadline, notify)
        self.change = change
        self.asked = 0                               # how many times it left
        self.why_not = ""

    def prepare(self, state: ClusterState) -> None:
        """It is about to be asked for; `state` is the newest one that is known here."""

    def refused(self, error: RefusedError) -> bool:
        """It cannot be agreed, a node says. True: look again, and ask once more."""
        self.fail(error)
        return False

    def agreed(self, state: ClusterState | None) -> SurveyCall | None:
        """It is agreed. The question that follows; None: there is none, or it is not known here yet (call me again)."""
        self.finish(None)
        return None

    def expire(self, now: float) -> None:
        if not self.asked:
            self.fail(ClusterUnreachable("nothing was asked for: no node could be reached"))
            return
        self.fail(NoAnswer("no node said in time that the change is agreed; it may yet be. Without a majority of the "
                           f"voters nothing is agreed{self.why_not}"))


class _Asked(Exchange):
    """The word to one node."""

    __slots__ = ("amends", "call")

    def __init__(self, amends: Amends, call: AmendCall) -> None:
        self.amends, self.call = amends, call

    def answered(self, reply: Reply, now: float) -> None:
        match reply:
            case Confirmed():
                self.amends.agreed(self.call, now)
            case Refused(code=Code.NOT_SERVING | Code.BUSY, text=text):
                self.call.why_not = f" ({text})"
                self.amends.again(self.call, now)
            case Refused(code=code, text=text):
                if self.call.refused(refusal(code, text)):
                    self.amends.again(self.call, now)
            case NotPrimary():
                self.amends.again(self.call, now)    # the cluster was recovered: its new state is on the way
            case _:
                pass

    def silent(self, now: float) -> None:
        self.amends.again(self.call, now)

    def unsent(self, now: float) -> None:
        self.call.asked -= 1
        self.amends.again(self.call, now)


class Amends:
    """All words that are on their way."""

    def __init__(self, routing: Routing, exchanges: Exchanges, timers: Timers,
                 survey: Callable[[SurveyCall, float], None]) -> None:
        self._routing = routing
        self._exchanges = exchanges
        self._timers = timers
        self._survey = survey
        self._turn = 0

    def again(self, call: AmendCall, now: float) -> None:
        """Ask another node in a moment."""
        self._routing.want()
        self._timers.at(now + AGAIN_S, partial(self.ask, call))

    def agreed(self, call: AmendCall, now: float) -> None:
        """A node has it on its disk that it is agreed. Where the call goes by what is known here, until it is."""
        if call.finished:
            return
        question = call.agreed(self._routing.state)
        if question is not None:
            self._survey(question, now)
        elif not call.finished:
            self._routing.want()
            self._timers.at(now + KNOWN_S, partial(self.agreed, call))

    def ask(self, call: AmendCall, now: float) -> None:
        """Ask the next node that is up, as far as is known."""
        if call.finished:
            return
        state = self._routing.state
        if state is not None:
            call.prepare(state)
        up = [] if state is None else [member.endpoint for member in state.members if member.up]
        writable = [endpoint for endpoint in up if self._routing.writable(endpoint, now)]
        if not writable:
            self.again(call, now)
            return
        self._turn += 1
        asked = _Asked(self, call)
        request = self._exchanges.begin(asked, writable[self._turn % len(writable)])
        call.asked += 1
        self._exchanges.send(asked, Amend(request, call.change), ANSWER_S, now)
