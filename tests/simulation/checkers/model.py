"""A bucket in miniature: what the committed operations mean, told once more and independently of the product's machine.

It says of each operation whether it fits what was committed before, so that an operation decided on a stale state is
found at the moment of its commit. A group is a line here: the first of those that can run holds it until it has ended.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from zmqueue.core.operations import (
    NO_OPTIONS,
    Cancelled,
    Erased,
    Expired,
    Extended,
    Forgotten,
    Forwarded,
    Held,
    How,
    Leased,
    Operation,
    Options,
    Progressed,
    Published,
    Purged,
    Requeued,
    Returned,
    Ripened,
    Rule,
    Scope,
    Settle,
    Settled,
    State,
    Submission,
    Submitted,
    Why,
)

WAITING = (State.READY, State.BEHIND, State.DELAYED)


@dataclass(slots=True)
class Life:
    """One message, as far as committed operations tell."""

    seq: int                               # of the entry that submitted it
    submission: Submission
    state: State
    queue: str = ""
    options: Options = NO_OPTIONS
    index: int = 0                         # in its entry
    fencing: int = 0
    deliveries: int = 0
    failures: int = 0                      # deliveries that their holder said to have failed
    losses: int = 0                        # that ended without a word
    requeued: int = 0                      # how often it was given another try as a dead letter
    unwanted: bool = False                 # it is leased, and cancelled
    until: int = 0                         # bucket time at which the present lease is over
    window: int = 0                        # bucket time until which its key keeps others out, in the scope WINDOW
    request: int = 0                       # of its session, that the present lease answers
    session: bytes = b""
    result: bytes = b""
    events: list[tuple[int, bytes]] = field(default_factory=list)
    awaits: set[bytes] = field(default_factory=set)    # a join: the parts that are not done yet
    settles: dict[tuple[int, int], bytes] = field(default_factory=dict)    # (fencing, how) -> data
    sessions: dict[int, tuple[bytes, int]] = field(default_factory=dict)   # fencing -> (session, its request)

    @property
    def line(self) -> tuple[str, str] | None:
        """The group whose others it does not overtake."""
        return (self.queue, self.options.group) if self.options.group else None

    @property
    def key(self) -> tuple[str, str, str] | None:
        """What no other message may have while this one keeps it."""
        return (self.queue, self.options.group, self.options.unique) if self.options.unique else None


class Unfit(Exception):
    """The operation does not fit what was committed before it."""


@dataclass(slots=True)
class Line:
    """A group: who may run, or which dead letter halts it."""

    head: bytes
    halted: bool = False


class BucketModel:
    """All messages of one bucket."""

    def __init__(self) -> None:
        self.lives: dict[bytes, Life] = {}
        self.forgotten: set[bytes] = set()
        self.granted: dict[tuple[bytes, int], set[bytes]] = {}     # (session, its request) -> what it was granted
        self.at = 0
        self._lines: dict[tuple[str, str], Line] = {}
        self._keys: dict[tuple[str, str, str], bytes] = {}         # who keeps a `unique` key

    def apply(self, seq: int, operation: Operation) -> None:
        """Follow one committed operation. Raises Unfit."""
        if operation.at < self.at:
            raise Unfit(f"bucket time goes back from {self.at} to {operation.at}")
        self.at = operation.at
        match operation:
            case Submitted() | Forwarded() | Published():
                for index, (queue, submission, options) in enumerate(_submissions(operation)):
                    self._submitted(seq, index, queue, submission, options)
                for join, part in operation.arrived if isinstance(operation, Forwarded) else ():
                    self._part_done(join, part)
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
            case Progressed():
                self._lease((operation.id, operation.fencing)).events += operation.events
            case Ripened(ids=ids):
                for message_id in ids:
                    self._wait(self._life(message_id, State.DELAYED))
            case Expired(ids=ids) | Cancelled(ids=ids):
                for message_id in ids:
                    self._withdrawn(message_id, operation)
            case Requeued(ids=ids):
                for message_id in ids:
                    self._requeued(self._life(message_id, State.DEAD))
            case Purged(ids=ids):
                for message_id in ids:
                    self._purged(self._life(message_id, State.DEAD))
            case Erased(ids=ids):
                for message_id in ids:
                    self._life(message_id, State.DONE).result = b""
            case Forgotten(ids=ids):
                for message_id in ids:
                    self._forgotten(self._life(message_id))

    def _life(self, message_id: bytes, state: State | None = None) -> Life:
        life = self.lives.get(message_id)
        if life is None:
            raise Unfit(f"message {message_id.hex()} is not known")
        if state is not None and life.state is not state:
            raise Unfit(f"message {message_id.hex()} is {life.state.name}, not {state.name}")
        return life

    # --- submits ---

    def _submitted(self, seq: int, index: int, queue: str, submission: Submission, options: Options) -> None:
        if submission.id in self.lives or submission.id in self.forgotten:
            raise Unfit(f"message {submission.id.hex()} is stored twice")
        life = self.lives[submission.id] = Life(seq, submission, State.DELAYED, queue, options, index)
        if options.scope == Scope.WINDOW:
            life.window = self.at + options.window
        if life.key is not None:
            if holder := self.keeper(life.key):
                raise Unfit(f"message {submission.id.hex()} has the key {life.key}, which {holder.hex()} keeps")
            self._keys[life.key] = submission.id
        if options.awaits is not None:
            life.awaits = {part.message.id for part in options.awaits.parts}
        elif not submission.due:
            self._wait(life)

    def _part_done(self, join: bytes, part: bytes) -> None:
        """A join is ready when each of its parts is done, and no sooner."""
        life = self.lives.get(join)
        if life is None or part not in life.awaits:
            return
        life.awaits.remove(part)
        if not life.awaits and life.state is State.DELAYED:
            self._wait(life)

    def keeper(self, key: tuple[str, str, str]) -> bytes | None:
        """Who keeps others with this key out."""
        holder = self._keys.get(key)
        if holder is None:
            return None
        life = self.lives.get(holder)
        if life is None:
            return None
        return None if life.options.scope == Scope.WINDOW and life.window <= self.at else holder

    # --- leases ---

    def _requested(self, operation: Leased) -> None:
        """A lease request is granted once: while anything that it got is held, there is nothing else for it (Q5)."""
        key = operation.session, operation.request
        for message_id in self.granted.get(key, ()):
            life = self.lives.get(message_id)
            if life is not None and life.state in _HELD and (life.session, life.request) == key:
                raise Unfit(f"lease request {operation.request} is granted again, while {message_id.hex()} is held "
                            "under it")
        self.granted[key] = {message_id for message_id, _ in operation.grants}

    def _leased(self, held: Held, operation: Leased) -> None:
        life = self._life(held[0])
        if life.state not in _GIVEN:
            raise Unfit(f"message {held[0].hex()} is leased, and is {life.state.name}")
        if held[1] != life.fencing + 1:
            raise Unfit(f"fencing number {held[1]} follows {life.fencing}")
        if life.line is not None and life.state is State.READY and self._lines[life.line].head != held[0]:
            raise Unfit(f"message {held[0].hex()} overtakes others of its group")
        if life.options.scope == Scope.WAITING:
            self._give_up_key(life)
        life.deliveries += life.state is State.READY
        life.state = _GIVEN[life.state]
        life.fencing, life.session = held[1], operation.session
        life.until, life.request = operation.until, operation.request
        life.sessions[held[1]] = operation.session, operation.request

    def _lease(self, held: Held) -> Life:
        life = self._life(held[0])
        if life.state not in _HELD:
            raise Unfit(f"message {held[0].hex()} is {life.state.name}, not leased")
        if held[1] != life.fencing:
            raise Unfit(f"lease {held[1]} is named, but {life.fencing} stands")
        return life

    def _settled(self, settle: Settle, operation: Settled, due: int) -> None:
        life = self._lease((settle.id, settle.fencing))
        life.settles[settle.fencing, settle.how] = settle.data
        if life.state is State.MENDING:
            if settle.how == How.ACK:
                life.result = settle.data
                self._purged(life)
            else:
                life.state = State.DEAD
        elif settle.how == How.ACK:
            life.result = settle.data
            self._end(life, State.DONE, operation)
        else:
            life.failures += 1
            if settle.how == How.REJECT:
                self._end(life, State.DEAD, operation)
            else:
                self._again(life, operation, due)

    def _returned(self, held: Held, operation: Returned) -> None:
        life = self._lease(held)
        if operation.why == Why.EXPIRED and operation.at < life.until:
            raise Unfit(f"a lease that lasts until {life.until} is taken back at {operation.at}, as expired (Q1)")
        if life.state is State.MENDING:
            life.state = State.DEAD
            return
        if operation.why in (Why.GIVEN_BACK, Why.UNCLAIMED):
            life.deliveries -= 1
            if not life.unwanted:
                self._wait(life)
                return
        else:
            life.losses += 1
        self._again(life, operation, 0)

    def _again(self, life: Life, operation: Settled | Returned, due: int) -> None:
        if life.unwanted:
            self._end(life, State.CANCELLED, operation)
        elif given_up(life, operation):
            self._end(life, State.DEAD, operation)
        elif due:
            life.state = State.DELAYED
        else:
            self._wait(life)

    # --- what waits, and what has ended ---

    def _wait(self, life: Life) -> None:
        """It can run; of a group, if nobody else of it is before it."""
        if life.line is not None:
            line = self._lines.setdefault(life.line, Line(life.submission.id))
            if line.head != life.submission.id:
                life.state = State.BEHIND
                return
            line.halted = False
        life.state = State.READY

    def _end(self, life: Life, state: State, operation: Settled | Returned | Expired | Cancelled) -> None:
        life.state, life.unwanted = state, False
        self._give_up_key(life)
        line = None if life.line is None else self._lines.get(life.line)
        if line is not None and line.head == life.submission.id:
            rules = dict(operation.rules)
            line.halted = state is State.DEAD and rules.get(life.queue, rules.get("", Rule())).halt
            if not line.halted:
                self._go_on(life)

    def _go_on(self, gone: Life) -> None:
        assert gone.line is not None
        behind = [life for life in self.lives.values() if life.line == gone.line and life.state is State.BEHIND]
        if behind:
            following = min(behind, key=lambda life: (life.seq, life.index))
            following.state = State.READY
            self._lines[gone.line] = Line(following.submission.id)
        else:
            del self._lines[gone.line]

    def _give_up_key(self, life: Life) -> None:
        if (life.key is not None and life.options.scope != Scope.WINDOW
                and self._keys.get(life.key) == life.submission.id):
            del self._keys[life.key]

    def _withdrawn(self, message_id: bytes, operation: Expired | Cancelled) -> None:
        life = self._life(message_id)
        if life.state in WAITING:
            if isinstance(operation, Expired) and not life.options.expires:
                raise Unfit(f"message {message_id.hex()} expires, and nobody said so")
            self._end(life, State.EXPIRED if isinstance(operation, Expired) else State.CANCELLED, operation)
        elif isinstance(operation, Cancelled) and life.state is State.LEASED:
            life.unwanted = True
        else:
            raise Unfit(f"message {message_id.hex()} is {life.state.name}: it cannot be withdrawn")

    def _requeued(self, life: Life) -> None:
        life.failures = life.losses = life.deliveries = 0
        life.requeued += 1
        self._wait(life)

    def _purged(self, life: Life) -> None:
        life.state = State.PURGED
        self._thrown_away(life)

    def _thrown_away(self, life: Life) -> None:
        """A dead letter is gone for good: a group that it halted goes on."""
        line = None if life.line is None else self._lines.get(life.line)
        if line is not None and line.halted and line.head == life.submission.id:
            self._go_on(life)

    def _forgotten(self, life: Life) -> None:
        if not life.state.terminal or life.state is State.MENDING:
            raise Unfit(f"a message that is {life.state.name} is forgotten")
        del self.lives[life.submission.id]
        self.forgotten.add(life.submission.id)
        if life.state is State.DEAD:
            self._thrown_away(life)


_GIVEN = {State.READY: State.LEASED, State.DEAD: State.MENDING}
"""What can be leased, and what it is then."""

_HELD = (State.LEASED, State.MENDING)


def _submissions(operation: Submitted | Forwarded | Published) -> Iterator[tuple[str, Submission, Options]]:
    batches = (operation,) if isinstance(operation, Submitted) else operation.batches
    for batch in batches:
        options = dict(batch.options)
        for index, message in enumerate(batch.messages):
            yield batch.queue, message, options.get(index, NO_OPTIONS)


def given_up(life: Life, operation: Settled | Returned) -> bool:
    """True where a message is not to be tried again."""
    if not operation.rules:
        limit = life.submission.attempts or operation.attempts
        return 0 < limit <= life.deliveries
    rules = dict(operation.rules)
    rule = rules.get(life.queue, rules[""])
    attempts, losses = life.submission.attempts or rule.attempts, life.options.losses or rule.losses
    return 0 < attempts <= life.failures or 0 < losses <= life.losses
