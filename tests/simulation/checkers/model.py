"""A bucket in miniature: what the committed operations mean, told once more and independently of the product's machine.

It says of each operation whether it fits what was committed before, so that an operation decided on a stale state is
found at the moment of its commit.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from zmqueue.core.operations import (
    Extended,
    Forgotten,
    Forwarded,
    Held,
    How,
    Leased,
    Operation,
    Purged,
    Requeued,
    Returned,
    Ripened,
    Settle,
    Settled,
    State,
    Submission,
    Submitted,
    Why,
)


@dataclass(slots=True)
class Life:
    """One message, as far as committed operations tell."""

    seq: int                               # of the entry that submitted it
    submission: Submission
    queue: str
    state: State
    fencing: int = 0
    deliveries: int = 0
    failures: int = 0                      # deliveries that their holder said to have failed
    losses: int = 0                        # that ended without a word
    requeued: int = 0                      # how often it was given another try as a dead letter
    until: int = 0                         # bucket time at which the present lease is over
    request: int = 0                       # of its session, that the present lease answers
    session: bytes = b""
    result: bytes = b""
    settles: dict[tuple[int, int], bytes] = field(default_factory=dict)    # (fencing, how) -> data
    sessions: dict[int, tuple[bytes, int]] = field(default_factory=dict)   # fencing -> (session, its request)


class Unfit(Exception):
    """The operation does not fit what was committed before it."""


class BucketModel:
    """All messages of one bucket."""

    def __init__(self) -> None:
        self.lives: dict[bytes, Life] = {}
        self.forgotten: set[bytes] = set()
        self.granted: dict[tuple[bytes, int], set[bytes]] = {}     # (session, its request) -> what it was granted
        self.at = 0

    def apply(self, seq: int, operation: Operation) -> None:
        """Follow one committed operation. Raises Unfit."""
        if operation.at < self.at:
            raise Unfit(f"bucket time goes back from {self.at} to {operation.at}")
        self.at = operation.at
        match operation:
            case Submitted(queue=queue, messages=messages):
                for submission in messages:
                    self._submitted(seq, submission, queue)
            case Forwarded(batches=batches):
                for batch in batches:
                    for submission in batch.messages:
                        self._submitted(seq, submission, batch.queue)
            case Leased(grants=grants):
                self._requested(operation)
                for held in grants:
                    self._leased(held, operation)
            case Settled(settles=settles):
                for index, settle in enumerate(settles):
                    self._settled(settle, operation, operation.due[index])
            case Extended(leases=leases):
                for held in leases:
                    self._lease(held).until = operation.until
            case Returned(leases=leases):
                for held in leases:
                    self._returned(held, operation)
            case Ripened(ids=ids):
                for message_id in ids:
                    life = self._life(message_id, State.DELAYED)
                    life.state = State.READY
            case Requeued(ids=ids):
                for message_id in ids:
                    life = self._life(message_id, State.DEAD)
                    life.state, life.deliveries, life.failures, life.losses = State.READY, 0, 0, 0
                    life.requeued += 1
            case Purged(ids=ids):
                for message_id in ids:
                    self._life(message_id, State.DEAD).state = State.PURGED
            case Forgotten(ids=ids):
                for message_id in ids:
                    life = self._life(message_id)
                    if not life.state.terminal or life.state is State.MENDING:
                        raise Unfit(f"a message that is {life.state.name} is forgotten")
                    del self.lives[message_id]
                    self.forgotten.add(message_id)

    def _life(self, message_id: bytes, state: State | None = None) -> Life:
        life = self.lives.get(message_id)
        if life is None:
            raise Unfit(f"message {message_id.hex()} is not known")
        if state is not None and life.state is not state:
            raise Unfit(f"message {message_id.hex()} is {life.state.name}, not {state.name}")
        return life

    def _submitted(self, seq: int, submission: Submission, queue: str) -> None:
        if submission.id in self.lives or submission.id in self.forgotten:
            raise Unfit(f"message {submission.id.hex()} is stored twice")
        state = State.DELAYED if submission.due else State.READY
        self.lives[submission.id] = Life(seq, submission, queue, state)

    def _requested(self, operation: Leased) -> None:
        """A lease request is granted once: while anything that it got is held, there is nothing else for it (Q5)."""
        key = operation.session, operation.request
        for message_id in self.granted.get(key, ()):
            life = self.lives.get(message_id)
            if life is not None and life.session and (life.session, life.request) == key and (
                    life.state in (State.LEASED, State.MENDING)):
                raise Unfit(f"lease request {operation.request} is granted again, while {message_id.hex()} is held "
                            "under it")
        self.granted[key] = {message_id for message_id, _ in operation.grants}

    def _leased(self, held: Held, operation: Leased) -> None:
        life = self._life(held[0])
        if life.state not in (State.READY, State.DEAD):
            raise Unfit(f"message {held[0].hex()} is {life.state.name}, and is handed out")
        if held[1] != life.fencing + 1:
            raise Unfit(f"fencing number {held[1]} follows {life.fencing}")
        life.deliveries += life.state is State.READY
        life.state = State.LEASED if life.state is State.READY else State.MENDING
        life.fencing, life.session = held[1], operation.session
        life.until, life.request = operation.until, operation.request
        life.sessions[held[1]] = operation.session, operation.request

    def _lease(self, held: Held) -> Life:
        life = self._life(held[0])
        if life.state not in (State.LEASED, State.MENDING):
            raise Unfit(f"message {held[0].hex()} is {life.state.name}, not leased")
        if held[1] != life.fencing:
            raise Unfit(f"lease {held[1]} is named, but {life.fencing} stands")
        return life

    def _settled(self, settle: Settle, operation: Settled, due: int) -> None:
        life = self._lease((settle.id, settle.fencing))
        life.settles[settle.fencing, settle.how] = settle.data
        if life.state is State.MENDING:
            life.state = State.PURGED if settle.how == How.ACK else State.DEAD
        elif settle.how == How.ACK:
            life.state, life.result = State.DONE, settle.data
        elif settle.how == How.REJECT:
            life.state = State.DEAD
        else:
            life.failures += 1
            self._again(life, operation, due)

    def _returned(self, held: Held, operation: Returned) -> None:
        life = self._lease(held)
        if operation.why == Why.EXPIRED and operation.at < life.until:
            raise Unfit(f"a lease that lasts until {life.until} is taken back at {operation.at}, as expired (Q1)")
        if life.state is State.MENDING:
            life.state = State.DEAD
        elif operation.why in (Why.GIVEN_BACK, Why.UNCLAIMED):
            life.deliveries -= 1
            life.state = State.READY
        else:
            life.losses += 1
            self._again(life, operation, 0)

    def _again(self, life: Life, operation: Settled | Returned, due: int) -> None:
        if given_up(life, operation):
            life.state = State.DEAD
        else:
            life.state = State.DELAYED if due else State.READY


def given_up(life: Life, operation: Settled | Returned) -> bool:
    """True where the message may not be delivered again: too many deliveries failed, or too many were lost. An entry
    without rules was decided in generation 1 or 2, in which deliveries counted, whatever their end."""
    rules = dict(operation.rules)
    rule = rules.get(life.queue, rules.get(""))
    if rule is None:
        limit = life.submission.attempts or operation.attempts
        return 0 < limit <= life.deliveries
    return 0 < (life.submission.attempts or rule.attempts) <= life.failures or 0 < rule.losses <= life.losses
