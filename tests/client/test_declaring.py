"""A policy on its way: worked out from the newest state, agreed once, and over when every primary goes by it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from msgspec.structs import replace

from tests.client.fakes import FakeCluster
from tests.client.rig import NODES, Rig
from zmqueue.client.declaring import PolicyCall
from zmqueue.core import policies
from zmqueue.core.amending import holds, objection
from zmqueue.core.answers import Code, Confirmed, MembersReply, Refused, Reply
from zmqueue.core.changes import QueueDeclared, apply
from zmqueue.core.policies import Policy
from zmqueue.core.requests import Amend, GetMembers, Request
from zmqueue.core.state import ClusterState
from zmqueue.errors import NoAnswer, NotAllowed


class Agreeing(FakeCluster):
    """Has changes agreed at once; some nodes may know only of an older state."""

    def __init__(self) -> None:
        super().__init__(NODES)
        self.behind: dict[str, int] = {}                     # node -> the epoch that it knows
        self.asked: list[Amend] = []

    def handle(self, node: str, request: Request) -> list[Reply]:
        if isinstance(request, GetMembers) and node in self.behind:
            return [MembersReply(request.request, self.behind[node], True, (), ())]
        if not isinstance(request, Amend):
            return super().handle(node, request)
        self.asked.append(request)
        if not holds(self.state, request.change):
            if why := objection(self.state, request.change):
                return [Refused(request.request, Code.NOT_ALLOWED, why)]
            self.state = apply(self.state, [request.change])
        return [Confirmed(request.request)]


class Declaring(Rig):
    def __init__(self) -> None:
        super().__init__()
        self.agreeing = self.cluster = Agreeing()
        self.ready()

    def begin(self, decide: Callable[[Policy], Policy | None], timeout: float = 10.0) -> PolicyCall:
        call = PolicyCall("jobs", decide, self.now + timeout)
        self.core.amend(call, self.now)
        return call

    def say(self, decide: Callable[[Policy], Policy | None]) -> PolicyCall:
        call = self.begin(decide)
        self.until_done(call)
        return call

    def elsewhere(self, policy: Policy) -> None:
        """Another operator has this agreed; the client has not heard of it."""
        state = self.cluster.state
        change = QueueDeclared("jobs", state.declared_since("jobs"), policies.encode(policy))
        self.cluster.state = apply(state, [change])


def paused(policy: Policy) -> Policy:
    return replace(policy, paused=True)


def test_a_policy_is_agreed_and_the_client_knows_it_then() -> None:
    rig = Declaring()
    assert rig.say(lambda found: Policy(attempts=5)).error is None
    assert rig.core.routing.state is not None and rig.core.routing.state.policy("jobs").attempts == 5
    assert len(rig.agreeing.asked) == 1


def test_what_is_so_already_is_confirmed() -> None:
    rig = Declaring()
    rig.say(lambda found: Policy(attempts=5))
    epoch = rig.cluster.state.epoch
    assert rig.say(lambda found: Policy(attempts=5)).error is None
    assert rig.say(lambda found: found).error is None
    assert rig.cluster.state.epoch == epoch


def test_a_pause_keeps_what_another_operator_declared_meanwhile() -> None:
    """What this client looked at is old: it is refused, looks again, and pauses what is there."""
    rig = Declaring()
    rig.elsewhere(Policy(attempts=7))
    assert rig.say(paused).error is None
    assert rig.cluster.state.policy("jobs") == Policy(attempts=7, paused=True)
    assert len(rig.agreeing.asked) == 2


def test_what_cannot_be_is_refused_with_its_reason_and_not_asked_for_ever() -> None:
    rig = Declaring()
    call = rig.say(lambda found: Policy(attempts=70_000))
    assert isinstance(call.error, NotAllowed) and "65,535" in str(call.error)
    assert len(rig.agreeing.asked) == 2


def test_undeclared_the_queue_has_the_default_policy_again() -> None:
    rig = Declaring()
    assert rig.say(lambda found: None).error is None, "there was nothing to withdraw"
    rig.say(paused)
    assert rig.say(lambda found: None).error is None
    assert rig.cluster.state.queues == ()


def test_it_is_over_when_every_primary_has_shown_the_state_in_which_it_is_agreed() -> None:
    rig = Declaring()
    rig.agreeing.behind[NODES[1]] = rig.cluster.state.epoch
    call = rig.begin(paused)
    rig.run(2.0, until=lambda: call.finished)
    assert rig.cluster.state.policy("jobs").paused and not call.finished, "one primary may hand out yet"
    rig.agreeing.behind.clear()
    rig.until_done(call, seconds=0.5)
    assert call.error is None


def test_where_a_primary_is_silent_it_is_told_that_the_policy_is_agreed() -> None:
    rig = Declaring()
    rig.agreeing.behind[NODES[1]] = rig.cluster.state.epoch
    call = rig.begin(paused, timeout=3.0)
    rig.until_done(call)
    assert isinstance(call.error, NoAnswer) and "is agreed" in str(call.error) and not call.error.definite


def test_a_lost_confirmation_is_asked_for_again_and_changes_nothing() -> None:
    rig = Declaring()
    lost: list[Reply] = []

    def mute(node: str, reply: Reply) -> bool:
        first = isinstance(reply, Confirmed) and not lost
        if first:
            lost.append(reply)
        return first

    rig.mute = mute
    assert rig.say(paused).error is None
    assert lost and len(rig.agreeing.asked) == 2
    assert rig.cluster.state.epoch == epoch_of_declaration(rig.cluster.state)


def epoch_of_declaration(state: ClusterState) -> int:
    found = state.declared("jobs")
    assert found is not None
    return found[1]


def test_two_clients_that_declare_at_once_end_with_one_of_the_two() -> None:
    rig = Declaring()
    calls = [rig.begin(partial(lambda attempts, found: Policy(attempts=attempts), number)) for number in (3, 4)]
    for call in calls:
        rig.until_done(call)
    assert [call.error for call in calls] == [None, None]
    assert rig.cluster.state.policy("jobs").attempts in (3, 4)
