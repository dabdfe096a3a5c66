"""The proposer: the one proposal that a node has in flight, through phase one and phase two (appendix A).

Its own acceptor comes first (C1): a proposal is promised, and accepted, on the own disk before anybody is
asked, and the own answer counts only once it is there. A proposer that has promised a higher ballot meanwhile
gives up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from zmqueue.core.acceptor import Acceptor
from zmqueue.core.ballots import NO_BALLOT, Accept, Accepted, Ballot, Nack, Prepare, Promise
from zmqueue.core.changes import Value
from zmqueue.core.effects import Effects
from zmqueue.core.state import ClusterState

PROPOSAL_TIMEOUT = 1.0
"""Seconds after which a proposal that was not answered is given up for one with a higher ballot."""

BACK_OFF = (0.100, 0.300)
"""Seconds, at least and at most, that a proposer waits after it gave up (C10)."""


@dataclass(slots=True)
class _Proposal:
    e1: int
    ballot: Ballot
    value: Value | None                    # None: only to finish what somebody else began
    deadline: float
    accepting: bool = False                # phase two
    promises: dict[int, tuple[Ballot, Value | None]] = field(default_factory=dict)
    accepts: set[int] = field(default_factory=set)


class Proposer:
    """Proposes for the node `me`. Its callers have checked that answers come from voters (C3)."""

    def __init__(self, me: str, acceptor: Acceptor, effects: Effects, jitter: Callable[[], float]) -> None:
        self._me = me
        self._acceptor = acceptor
        self._effects = effects
        self._jitter = jitter
        self._proposal: _Proposal | None = None
        self._own: list[Promise | Accepted] = []   # answers to itself that are not on disk yet
        self._highest = 0                          # the highest round heard of
        self._not_before = float("-inf")

    def idle(self, now: float) -> bool:
        """True where another proposal may begin: none is in flight, and no back-off runs."""
        if self._proposal is not None and now >= self._proposal.deadline:
            self._give_up(self._proposal.ballot[0], now)
        return self._proposal is None and now >= self._not_before

    def propose(self, state: ClusterState, number: int, value: Value | None, now: float) -> None:
        """Begin: in round 0 where this node owns it and its record is blank (C2), else with phase one."""
        e1 = state.epoch + 1
        record = self._acceptor.record(e1)
        if state.natural == number and record.blank and value is not None:
            self._proposal = _Proposal(e1, (0, number), value, now + PROPOSAL_TIMEOUT)
            self._begin_accepting(state, self._proposal, value, now)
            return
        ballot = (1 + max(record.promised[0], self._highest, 0), number)
        self._proposal = _Proposal(e1, ballot, value, now + PROPOSAL_TIMEOUT)
        self._begin_preparing(state, self._proposal)

    def _begin_preparing(self, state: ClusterState, proposal: _Proposal) -> None:
        promise = self._acceptor.prepare(proposal.e1, proposal.ballot)
        assert isinstance(promise, Promise), "the round is above the one promised here"
        self._to_others(state, Prepare(proposal.e1, proposal.ballot))
        self._answer_myself(promise)

    def _begin_accepting(self, state: ClusterState, proposal: _Proposal, value: Value, now: float) -> None:
        accepted = self._acceptor.accept(proposal.e1, proposal.ballot, value)
        if isinstance(accepted, Nack):     # it has promised a higher ballot since phase one
            self._give_up(accepted.promised[0], now)
            return
        proposal.value, proposal.accepting = value, True
        self._to_others(state, Accept(proposal.e1, proposal.ballot, value))
        self._answer_myself(accepted)

    def promised(self, state: ClusterState, number: int, packet: Promise, now: float) -> None:
        """Count a voter's promise; go to phase two with a majority, bound to the highest value accepted so far."""
        proposal = self._in_flight(packet.e1, packet.ballot)
        if proposal is None or proposal.accepting:
            return
        proposal.promises[number] = (packet.accepted_ballot, packet.accepted_value)
        if len(proposal.promises) < state.quorum:
            return
        ballot, accepted = max(proposal.promises.values(), key=lambda answer: answer[0])
        value = accepted if ballot > NO_BALLOT else proposal.value
        if value is None:                  # nothing to finish, and nothing of its own
            self._proposal = None
            return
        self._begin_accepting(state, proposal, value, now)

    def accepted(self, state: ClusterState, number: int, packet: Accepted, now: float) -> Value | None:
        """Count a voter's acceptance; return the value when it is chosen."""
        proposal = self._in_flight(packet.e1, packet.ballot)
        if proposal is None or not proposal.accepting:
            return None
        proposal.accepts.add(number)
        if len(proposal.accepts) < state.quorum:
            return None
        # Done. Where the caller cannot compute the outcome (C6), it tries again, and not at once.
        self._give_up(proposal.ballot[0], now)
        return proposal.value

    def nacked(self, packet: Nack, now: float) -> None:
        """Give up: somebody has promised a higher ballot."""
        proposal = self._proposal
        if proposal is not None and proposal.e1 == packet.e1 and packet.promised > proposal.ballot:
            self._give_up(packet.promised[0], now)

    def take_own(self) -> list[Promise | Accepted]:
        """The answers to itself: to be called when everything written so far is on disk."""
        own, self._own = self._own, []
        return own

    def reset(self) -> None:
        """Another instance begins."""
        self._proposal = None
        self._own.clear()
        self._highest = 0
        self._not_before = float("-inf")

    def _in_flight(self, e1: int, ballot: Ballot) -> _Proposal | None:
        proposal = self._proposal
        return proposal if proposal is not None and (proposal.e1, proposal.ballot) == (e1, ballot) else None

    def _give_up(self, round_seen: int, now: float) -> None:
        low, high = BACK_OFF
        self._proposal = None
        self._highest = max(self._highest, round_seen)
        self._not_before = now + low + (high - low) * self._jitter()

    def _answer_myself(self, answer: Promise | Accepted) -> None:
        self._own.append(answer)
        self._effects.must_commit = True

    def _to_others(self, state: ClusterState, packet: Prepare | Accept) -> None:
        """To every other voter, when the own promise or acceptance is on disk."""
        for member in state.members:
            if member.voter and member.id != self._me:
                self._effects.send_durable(member.id, packet)
