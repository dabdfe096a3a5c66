"""Schedules of the queue: the face of one node, whose log commits and whose clock goes on when the schedule says so."""

from __future__ import annotations

from collections.abc import Callable

from tests.core.fakes import Node
from tests.core.test_front import A, B, fill, held, lease, message
from tests.simulation.checkers import Violation
from zmqueue.core.answers import Answer, Code, Confirmed, Refused
from zmqueue.core.operations import Held, How, Leased, Settle
from zmqueue.core.replication import Role
from zmqueue.core.requests import Ask, EndSession, Keepalive, Lease, Settling, Submit

LONG = 3_600_000
"""A lease of an hour, ms: what ends sooner was not ended by the clock."""

RULES = "a request is handed out, ended and remembered as the rules say"


def beat(node: Node, session: bytes, seconds: float, upto: int = 0,
         holds: tuple[tuple[bytes, int, int], ...] = ()) -> None:
    """Time passes, in which the session is heard."""
    for _ in range(round(seconds / 0.5)):
        node.pass_time(0.5)
        node.call(Keepalive(node.request(), session, upto, holds))


def leased(node: Node, session: bytes = A, number: int = 1, lease_ms: int = LONG) -> Held:
    """One message, leased: (id, fencing)."""
    node.call(Lease(node.request(), "jobs", 1, session, number, lease_ms))
    (replica,) = node.replicas
    entry = replica.log[-1]
    assert isinstance(entry, Leased)
    return entry.grants[0]


def require(holds: bool, what: str) -> None:
    if not holds:
        raise Violation(RULES, what)


def unclaimed_grant() -> None:
    """Q5: the answer to a lease request is lost, and its session lives on without ever having seen it."""
    node = Node()
    fill(node, 1)
    leased(node, A)                                # nobody reads the answer
    beat(node, A, 20.0, upto=1)
    require(len(lease(node, B).grants) == 1, "what was granted in an answer that was lost stays leased")


def lost_session() -> None:
    """A worker dies without a word, another one says good-bye; both had leased for an hour."""
    node = Node()
    fill(node, 1, 2)
    leased(node, A)
    leased(node, B)
    node.call(EndSession(node.request(), B))
    node.pass_time(20.0)
    require(len(lease(node, b"c" * 16).grants) == 2, "what a lost session held stays leased")


def inherited_lease() -> None:
    """A handler hangs while its worker's session lives, and meanwhile another node takes over."""
    node = Node()
    fill(node, 1)
    message_id, fencing = leased(node, A, lease_ms=1_000)
    node.replica.enter(Role.BACKUP, node.now)
    node.replica.enter(Role.PRIMARY, node.now)     # it has nothing in memory but what the rows say
    beat(node, A, 5.0, upto=1, holds=((message_id, fencing, 0),))
    require(len(lease(node, B).grants) == 1, "a lease that was inherited never ends")


def repeated_request() -> None:
    """Q5: the answer was lost, and the request comes again under its number."""
    node = Node()
    fill(node, 1, 2)
    first = lease(node, A, number=1, most=1)
    again = lease(node, A, number=1, most=1)
    require(held(first.grants) == held(again.grants), "a repeated request is granted something else")


def second_settle() -> None:
    """A message is settled, and then settled once more under the same number, with another result."""
    node = Node()
    fill(node, 1)
    message_id, fencing = leased(node)
    for result in (b"first", b"second"):
        node.call(Settling(node.request(), 0, (Settle(message_id, fencing, How.ACK, data=result),)))
    answer = node.call(Ask(node.request(), 0, message_id, 0, True))
    assert isinstance(answer, Answer)
    require(answer.result == b"first", f"a settled result has changed to {answer.result!r}")


def killing_message() -> None:
    """Whoever gets the message dies of it; three deliveries are allowed."""
    node = Node(deliveries_max=3)
    fill(node, 1)
    for number in range(1, 10):
        if not lease(node, A, number=number).grants:
            break
        node.pass_time(40.0)
    else:
        raise Violation(RULES, "a message that kills its worker is handed out for ever")


def old_id() -> None:
    """Q3: a message is done and, long after, forgotten; then a client that slept sends the same submit once more."""
    node = Node(dedup_window_ms=2_000, result_ttl_ms=1_000)
    submit = Submit(7, 0, "jobs", (message(node, 1),))
    assert node.call(submit) == Confirmed(7)
    message_id, fencing = leased(node)
    node.call(Settling(node.request(), 0, (Settle(message_id, fencing),)))
    node.pass_time(30.0)
    assert node.replica.machine.find(message_id) is None, "its row is forgotten"
    reply = node.call(submit)
    assert isinstance(reply, Confirmed)
    require([code for _, code, _ in reply.refused] == [Code.ID_TOO_OLD], "an id whose row is forgotten is taken again")


def question_before_the_commit() -> None:
    """R10: somebody asks after a message whose submit is in the log; it is not unknown."""
    node = Node()
    submission = message(node, 1)
    node.send(Submit(1, 0, "jobs", (submission,)))
    node.send(Ask(2, 0, submission.id, 0, False))
    node.replica.pass_barriers(node.now)
    node.settle_down()
    refused = [reply for reply in node.replies() if isinstance(reply, Refused)]
    require(not refused, "a message whose submit is in the log is said to be unknown")


SCHEDULES: dict[str, Callable[[], None]] = {schedule.__name__: schedule for schedule in (
    unclaimed_grant, lost_session, inherited_lease, repeated_request, second_settle, killing_message, old_id,
    question_before_the_commit)}
