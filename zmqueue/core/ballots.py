"""The packets by which members agree on the next cluster state (PROTOCOL.md, appendix A), numbered 1 to 9.

One instance of single-decree Paxos ("Paxos made simple", Lamport 2001) chooses each state; `e1` names the
instance by the epoch that it decides. Who speaks, and for which cluster, stands in the envelope.
"""

from __future__ import annotations

import msgspec

from zmqueue.core.changes import Change, Value

Ballot = tuple[int, int]
"""(round, number of the proposer): ordered, and no two proposers share one."""

NO_BALLOT: Ballot = (-1, -1)
"""Below every ballot."""


class Hello(msgspec.Struct, array_like=True, frozen=True, tag=1, gc=False):
    """This is the newest state that I know. Answered with StateIs by who knows a newer one, with Hello by who
    is behind."""

    epoch: int


class StateIs(msgspec.Struct, array_like=True, frozen=True, tag=2, gc=False):
    """A decided state: `ClusterState.to_bytes`."""

    state: bytes


class Want(msgspec.Struct, array_like=True, frozen=True, tag=3):
    """Please have these changes agreed; a hint to the natural proposer, repeated while it is meant (C8)."""

    changes: tuple[Change, ...]


class Prepare(msgspec.Struct, array_like=True, frozen=True, tag=4, gc=False):
    """Phase one: promise to accept nothing below this ballot."""

    e1: int
    ballot: Ballot


class Promise(msgspec.Struct, array_like=True, frozen=True, tag=5):
    """Promised, and this is what I accepted before: (NO_BALLOT, None) if nothing."""

    e1: int
    ballot: Ballot
    accepted_ballot: Ballot
    accepted_value: Value | None


class Accept(msgspec.Struct, array_like=True, frozen=True, tag=6):
    """Phase two: accept this value, unless you promised a higher ballot."""

    e1: int
    ballot: Ballot
    value: Value


class Accepted(msgspec.Struct, array_like=True, frozen=True, tag=7, gc=False):
    """It is on my disk that I accepted the value of this ballot."""

    e1: int
    ballot: Ballot


class Nack(msgspec.Struct, array_like=True, frozen=True, tag=8, gc=False):
    """No: I promised this higher ballot."""

    e1: int
    promised: Ballot


class Join(msgspec.Struct, array_like=True, frozen=True, tag=9, gc=False):
    """A node without a cluster asks a seed to be made a member. Answered with StateIs once it is one."""

    id: str
    incarnation: int
    nonce: int
    endpoint: str
    heartbeats: str
    weight: int = 1
    zone: str = ""
