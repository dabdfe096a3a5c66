"""A primary's front as its clients use it: one bucket, one queue, messages by number; for tests of rules."""

from __future__ import annotations

from typing import Any

from tests.core.fakes import WALL, Node
from zmqueue.core.answers import Alive, Confirmed, Granted, Refused, Reply
from zmqueue.core.limits import DEFAULT, Limits
from zmqueue.core.operations import (
    AS_QUEUE_SAYS,
    NO_OPTIONS,
    Held,
    How,
    Kind,
    Operation,
    Options,
    Settle,
    State,
    Submission,
)
from zmqueue.core.policies import Policy
from zmqueue.core.records import Record, Special
from zmqueue.core.replication import Role
from zmqueue.core.requests import Ask, Cancel, Keepalive, Lease, Requeue, Settling, Submit

QUEUE = "jobs"
A, B = b"a" * 16, b"b" * 16
WORKER = b"worker"


class Counter(Node):
    """Numbers stand for messages."""

    def __init__(self, policy: Policy | None = None, limits: Limits = DEFAULT, **settings: int) -> None:
        super().__init__(limits=limits, **{"generation": 3, **settings})
        if policy is not None:
            self.declare(policy)
        self._fencing: dict[int, int] = {}

    def declare(self, policy: Policy, queue: str = QUEUE) -> None:
        self.front.office.policies[queue] = policy

    def id_of(self, number: int) -> bytes:
        return self.an_id(number, drawn=WALL)

    # --- requests ---

    def try_to_submit(self, *numbers: int, queue: str = QUEUE, due: int = 0, attempts: int = 0,
                      options: Options = NO_OPTIONS, client: bytes = b"c") -> Submit:
        """Send it; nothing is committed."""
        packet = Submit(self.request(), 0, queue, tuple(
            Submission(self.id_of(number), b"%d" % number, due=due, attempts=attempts) for number in numbers),
            () if options == NO_OPTIONS else tuple((index, options) for index in range(len(numbers))))
        self.send(packet, client)
        return packet

    def submit(self, *numbers: int, **said: Any) -> Reply:
        self.try_to_submit(*numbers, **said)
        self.settle_down()
        (reply,) = self.replies()
        return reply

    def put(self, *numbers: int, **said: Any) -> None:
        """Submit, and it is taken."""
        reply = self.submit(*numbers, **said)
        assert isinstance(reply, Confirmed) and not reply.refused and not reply.known, reply

    def lease(self, most: int = 100, session: bytes = A, queue: str = QUEUE) -> list[int]:
        """What is handed out, in order."""
        number = self.request()
        self.replies(WORKER)               # what it was told unasked
        granted = self.call(Lease(number, queue, most, session, number, 0), client=WORKER)
        assert isinstance(granted, Granted), granted
        for grant in granted.grants:
            self._fencing[int(grant.submission.payload)] = grant.fencing
        return [int(grant.submission.payload) for grant in granted.grants]

    def held(self, number: int) -> Held:
        return self.id_of(number), self._fencing[number]

    def settle(self, number: int, how: How = How.ACK, *, delay: int = 0, data: bytes = b"") -> tuple[int, ...]:
        """-> the codes of what was refused."""
        settle = Settle(*self.held(number), how, Kind.BYTES, data, "" if how is How.ACK else "it failed", delay)
        return self.codes(Settling(self.request(), 0, (settle,)))

    def nack(self, number: int, delay: int = 0) -> None:
        assert self.settle(number, How.NACK, delay=delay) == ()

    def nack_as_the_queue_says(self, number: int) -> None:
        self.nack(number, AS_QUEUE_SAYS)

    def ack(self, number: int) -> None:
        assert self.settle(number) == ()

    def lose(self) -> None:
        """Every session falls silent, and every lease returns."""
        self.pass_time(self.state.settings.session_ms / 1_000 + 0.5, step=0.1)

    def cancel(self, *numbers: int) -> tuple[int, ...]:
        return self.codes(Cancel(self.request(), 0, tuple(map(self.id_of, numbers))))

    def requeue(self, *numbers: int) -> tuple[int, ...]:
        return self.codes(Requeue(self.request(), 0, tuple(map(self.id_of, numbers))))

    def kill(self, *numbers: int) -> None:
        """Lease what is ready; these become dead letters."""
        self.lease()
        for number in numbers:
            assert self.settle(number, How.REJECT) == ()

    def keep(self, *numbers: int, session: bytes = A) -> Alive:
        self.replies(WORKER)               # what it was told unasked
        alive = self.call(Keepalive(self.request(), session, 0, tuple((*self.held(number), 0) for number in numbers)),
                          client=WORKER)
        assert isinstance(alive, Alive)
        return alive

    def ask(self, number: int) -> Reply:
        return self.call(Ask(self.request(), 0, self.id_of(number), 0, True))

    def codes(self, packet: Any) -> tuple[int, ...]:
        answer = self.call(packet)
        assert isinstance(answer, Confirmed), answer
        return tuple(code for _, code, _ in answer.refused)

    def refused(self, packet: Any) -> Refused:
        """The whole request is."""
        answer = self.call(packet)
        assert isinstance(answer, Refused), answer
        return answer

    # --- facts ---

    def take_over(self) -> None:
        """A new term begins, with the rows and the log as they are."""
        self.replica.enter(Role.PRIMARY, self.now)

    def record(self, number: int) -> Record:
        record = self.replica.machine.find(self.id_of(number))
        assert record is not None
        return record

    def special(self, number: int) -> Special:
        record = self.record(number)
        assert isinstance(record, Special)
        return record

    def state_of(self, number: int) -> State:
        return self.record(number).state

    def states(self, *numbers: int) -> list[State]:
        return [self.state_of(number) for number in numbers]

    def written(self, kind: type[Operation]) -> int:
        """How many operations of a kind the log has."""
        return sum(isinstance(operation, kind) for operation in self.replica.log)
