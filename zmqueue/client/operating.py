"""What an operator does with a cluster through a client: look at its state and copies, and have changes agreed."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from zmqueue.client.amending import AmendCall
from zmqueue.client.client import Client
from zmqueue.client.errands import Errand
from zmqueue.client.surveys import CopiesCall, Replies, SurveyCall
from zmqueue.core.answers import CopyReply, MembersReply
from zmqueue.core.changes import Change
from zmqueue.core.state import ClusterState, Member
from zmqueue.errors import NotAllowed

PREFIX_LEAST = 4
"""Characters of a member's id that are taken for it, where no other id begins so."""


class Operator:
    """An operator's view of a cluster. Every call waits at most the client's `timeout`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def state(self) -> ClusterState:
        """The newest state that the nodes that answer show. Raises ClusterUnreachable where none does."""
        return self._survey(lambda deadline: SurveyCall(deadline, members=True))[0]

    def copies(self, bucket: int) -> tuple[ClusterState, dict[str, CopyReply]]:
        """What the copies of a bucket hold, by the id of the member, of those that answer within a second."""
        state, replies = self._survey(lambda deadline: CopiesCall(bucket, deadline))
        by_endpoint = {member.endpoint: member.id for member in state.members}
        return state, {by_endpoint[endpoint]: reply for endpoint, reply in replies.items()
                       if isinstance(reply, CopyReply) and endpoint in by_endpoint}

    def amend(self, change: Change) -> None:
        """Have a change agreed, and return when it is.

        Raises NotAllowed, with the reason, where it cannot be; NoAnswer (indefinite) where nobody said so in time.
        """
        core, deadline = self._client._core, self._client._deadline(None)
        call = AmendCall(change, deadline)
        self._client._do(Errand(call, partial(core.amend, call), call.outcome))

    def _survey(self, make: Callable[[float], SurveyCall]) -> tuple[ClusterState, Replies]:
        """Ask until the state is as new as what the answers were given under."""
        core, deadline = self._client._core, self._client._deadline(None)
        while True:
            call = make(deadline)
            state, replies = self._client._do(Errand(call, partial(core.survey, call), call.outcome))
            shown = [reply.epoch for reply in replies.values() if isinstance(reply, MembersReply | CopyReply)]
            if max(shown, default=0) <= state.epoch:
                return state, replies


def find(state: ClusterState, name: str) -> Member:
    """The member of that id, or the beginning of one, or endpoint. Raises NotAllowed where it is nobody, or several."""
    exact = [member for member in state.members if name in (member.id, member.endpoint)]
    begun = [member for member in state.members if len(name) >= PREFIX_LEAST and member.id.startswith(name)]
    found = exact or begun
    if len(found) == 1:
        return found[0]
    known = ", ".join(member.id for member in state.members)
    raise NotAllowed(f"{name!r} is {'no member' if not found else 'the beginning of several ids'}; there are {known}")
