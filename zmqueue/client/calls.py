"""Calls: what callers wait for; and items: the parts of a call that are done in one bucket each.

A call is finished exactly once, with a value or an error, and tells so through `notify`. An item counts how many of
its transmissions are *open*: sent, and neither confirmed nor definitely refused. At the deadline that decides what the
caller is told: with one open, its fate is unknown (Q2).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from msgspec.structs import replace

from zmqueue.core.answers import Answer, Reply
from zmqueue.core.ids import token_of
from zmqueue.core.operations import NO_OPTIONS, Held, Options, Settle, State, Submission, place_of_key
from zmqueue.errors import (
    ClusterUnreachable,
    NoAnswer,
    Refused,
    RequestFailed,
    ResultTimeout,
    SettleTimeout,
    SubmitManyFailed,
    SubmitTimeout,
    ZmqueueError,
)

T = TypeVar("T")


class Call(ABC, Generic[T]):
    """One thing that a caller waits for."""

    __slots__ = ("deadline", "error", "finished", "notify", "slot", "value")

    def __init__(self, deadline: float, notify: Callable[[Any], None] | None = None) -> None:
        self.deadline = deadline
        self.notify = notify
        self.value: T | None = None
        self.error: ZmqueueError | None = None
        self.finished = False
        self.slot: dict[Call[Any], None] | None = None      # the timer wheel's

    def finish(self, value: T) -> None:
        """It is done. Only the first end counts."""
        if not self.finished:
            self.value = value
            self._end()

    def fail(self, error: ZmqueueError) -> None:
        """It is not done. Only the first end counts."""
        if not self.finished:
            self.error = error
            self._end()

    def _end(self) -> None:
        self.finished = True
        if self.slot is not None:
            self.slot.pop(self, None)
            self.slot = None
        if self.notify is not None:
            self.notify(self)

    @abstractmethod
    def expire(self, now: float) -> None:
        """The deadline passed: end it."""

    def abort(self, error: ZmqueueError) -> None:
        """The client closes. What may have taken effect does not end with a definite error."""
        self.fail(error)

    def withdraw(self, now: float) -> None:
        """Its caller waits no longer (was cancelled, say): what has not been sent is not sent any more."""
        self.expire(now)

    def outcome(self) -> T:
        """What it ended with, once finished. Raises its error."""
        if self.error is not None:
            raise self.error
        return self.value  # type: ignore[return-value]  # finished without error: it has its value


class Item(ABC):
    """One thing to be done in one bucket."""

    __slots__ = ("done", "open", "refusal")

    def __init__(self) -> None:
        self.done = False
        self.open = 0                                # transmissions whose fate is unknown
        self.refusal: Refused | None = None          # the last definite one that was worth another try

    @abstractmethod
    def accept(self, reply: Reply) -> None:
        """A node confirmed or answered it."""

    @abstractmethod
    def refuse(self, error: Refused, now: float) -> bool:
        """A node definitely refused it, for good. Returns False to have it tried again all the same."""


# --- submits ---------------------------------------------------------------------------------------------------------


class Draft:
    """A message without an id: what the caller gave, checked and encoded."""

    __slots__ = ("attempts", "delay_ms", "eta", "expires_ms", "headers", "id", "kind", "options", "payload", "priority")

    def __init__(self, payload: bytes, kind: int, *, message_id: bytes | None = None, priority: int = 0,
                 delay_ms: int = 0, headers: tuple[tuple[str, str], ...] = (), attempts: int = 0, eta: int = 0,
                 expires_ms: int = 0, options: Options = NO_OPTIONS) -> None:
        self.payload = payload
        self.kind = kind
        self.id = message_id                         # what the caller insists on (a retry of its own)
        self.priority = priority
        self.delay_ms = delay_ms
        self.headers = headers
        self.attempts = attempts
        self.eta = eta                               # wall ms, where the caller named the moment and no delay
        self.expires_ms = expires_ms                 # from its submit on; the moment itself stands in the options
        self.options = options

    def due_at(self, wall: int) -> int:
        """When it is to be handed out first, if it is submitted now."""
        return wall + self.delay_ms if self.delay_ms else self.eta

    def options_at(self, wall: int) -> Options | None:
        """Its options, if it is submitted now; None: it has none."""
        if self.expires_ms:
            return replace(self.options, expires=wall + self.expires_ms)
        return self.options if self.options != NO_OPTIONS else None

    def place(self, queue: str) -> int | None:
        """Where it has to lie in that queue, for the sake of its group or its key; None: anywhere."""
        return place_of_key(queue, self.options)

    def submission(self, message_id: bytes, due: int) -> Submission:
        """The message under an id."""
        return Submission(message_id, self.payload, self.kind, self.priority, due, self.headers, self.attempts)


class SubmitItem(Item):
    """One message to be submitted."""

    __slots__ = ("call", "draft", "due", "index", "known", "options", "place", "submission")

    def __init__(self, call: SubmitCall, index: int, draft: Draft) -> None:
        self.done = False
        self.open = 0
        self.refusal = None
        self.call = call
        self.index = index
        self.draft = draft
        self.due = 0
        self.options: Options | None = None
        self.place = draft.place(call.queue)         # where it has to lie; None: anywhere
        self.submission: Submission | None = None    # with the id: drawn when it is first sent
        self.known: bytes | None = None              # the message that has its `unique` key: this one is not stored

    @property
    def free(self) -> bool:
        """True while another id may be drawn: each transmission, if any, was definitely refused (Q2)."""
        return self.draft.id is None and self.place is None and not self.open

    @property
    def id(self) -> bytes | None:
        """The message's id, once drawn; of a duplicate, that of the message that is there."""
        if self.known is not None:
            return self.known
        return self.submission.id if self.submission is not None else self.draft.id

    def accept(self, reply: Reply) -> None:
        self.done = True
        self.call.one_done()

    def refuse(self, error: Refused, now: float) -> bool:
        if self.open:                                # Q2: an earlier transmission may have been stored
            return False
        self._fail(error)
        return True

    def expire(self) -> None:
        if not self.done:
            self._fail(self._why_not())

    def fail(self, error: ZmqueueError) -> None:
        if not self.done:
            self._fail(error)

    def _fail(self, error: ZmqueueError) -> None:
        self.done = True
        self.call.errors[self.index] = error
        self.call.one_done()

    def _why_not(self) -> ZmqueueError:
        message_id = self.id
        if self.open and message_id is not None:
            token = token_of(message_id)
            return SubmitTimeout("no node confirmed the submit; it may be stored: submit again with"
                                 f" id={token!r} and it is stored once", token)
        if self.refusal is not None:
            return self.refusal
        return ClusterUnreachable("nothing was submitted: no node could be reached, or no bucket has a primary")


class SubmitCall(Call[tuple[SubmitItem, ...]]):
    """One or many messages for one queue."""

    __slots__ = ("errors", "items", "left", "many", "queue")

    def __init__(self, queue: str, drafts: list[Draft], deadline: float,
                 notify: Callable[[Any], None] | None = None, *, many: bool = False) -> None:
        super().__init__(deadline, notify)
        self.queue = queue
        self.many = many
        self.errors: dict[int, ZmqueueError] = {}
        self.items = tuple([SubmitItem(self, index, draft) for index, draft in enumerate(drafts)])
        self.left = len(self.items)

    def one_done(self) -> None:
        """One of the items ended; the last one ends the call."""
        self.left -= 1
        if self.left:
            return
        if not self.errors:
            self.finish(self.items)
        elif self.many:
            self.fail(SubmitManyFailed(len(self.items), dict(sorted(self.errors.items()))))
        else:
            self.fail(self.errors[0])

    def expire(self, now: float) -> None:
        for item in self.items:
            item.expire()

    def abort(self, error: ZmqueueError) -> None:
        for item in self.items:
            if item.open:
                item.expire()
            else:
                item.fail(error)


# --- questions about a message ---------------------------------------------------------------------------------------


class AskItem(Item):
    """One question about a message, asked until its call is answered."""

    __slots__ = ("call",)

    def __init__(self, call: AskCall) -> None:
        super().__init__()
        self.call = call
        call.item = self

    def accept(self, reply: Reply) -> None:
        self.done = True
        if isinstance(reply, Answer):
            self.call.answered(reply)

    def refuse(self, error: Refused, now: float) -> bool:
        self.done = True
        self.call.fail(error)
        return True


class AskCall(Call[Answer]):
    """How is this message? With `settled`, the answer is awaited until the message has ended (a long poll)."""

    __slots__ = ("again", "asked_at", "id", "item", "last", "sent", "settled")

    def __init__(self, message_id: bytes, deadline: float, notify: Callable[[Any], None] | None = None, *,
                 settled: bool = False) -> None:
        super().__init__(deadline, notify)
        self.id = message_id
        self.settled = settled
        self.sent = False
        self.asked_at = 0.0
        self.last: Answer | None = None              # what a node last said
        self.again: Callable[[AskCall], None] | None = None     # set by the core: ask anew
        self.item: AskItem | None = None             # the question on its way or waiting

    def answered(self, answer: Answer) -> None:
        """A node said how the message is."""
        self.last = answer
        if not self.settled:
            self.finish(answer)
        elif not State(answer.state).terminal:
            if self.again is not None and not self.finished:
                self.again(self)
        elif answer.state == State.DONE:
            self.finish(answer)
        else:
            self.fail(RequestFailed(token_of(self.id), State(answer.state), answer.error, answer.deliveries))

    def expire(self, now: float) -> None:
        token = token_of(self.id)
        if self.last is not None:
            known = State(self.last.state).name.lower()
            self.fail(ResultTimeout(f"request {token} had not ended in time; it was {known} when last heard of", token))
        elif not self.sent:
            self.fail(ClusterUnreachable("nothing was asked: no node could be reached, or no bucket has a primary"))
        elif self.item is not None and self.item.refusal is not None:
            self.fail(self.item.refusal)
        elif self.settled:
            self.fail(ResultTimeout(f"request {token}: no node said in time that it had ended", token))
        else:
            self.fail(NoAnswer(f"no node answered in time how request {token} is"))

    def _end(self) -> None:
        if self.item is not None:
            self.item.done = True                    # nobody waits for it: it is not asked again
        super()._end()


# --- what a worker says about its leases -----------------------------------------------------------------------------


class LeaseItem(Item):
    """One lease to be settled, extended or given back."""

    __slots__ = ("call", "held", "settle")

    def __init__(self, call: LeaseSayCall, held: Held, settle: Settle | None = None) -> None:
        super().__init__()
        self.call = call
        self.held = held
        self.settle = settle

    def accept(self, reply: Reply) -> None:
        self.done = True
        self.call.finish(None)

    def refuse(self, error: Refused, now: float) -> bool:
        self.done = True
        if self.open:              # an earlier transmission got no answer: it may have taken effect before this one
            error.definite = False
        self.call.fail(error)
        return True


class LeaseSayCall(Call[None]):
    """Settle, extend or give back one lease."""

    __slots__ = ("item", "what")

    def __init__(self, what: str, held: Held, deadline: float, notify: Callable[[Any], None] | None = None, *,
                 settle: Settle | None = None) -> None:
        super().__init__(deadline, notify)
        self.what = what
        self.item = LeaseItem(self, held, settle)

    def expire(self, now: float) -> None:
        self.item.done = True
        token = token_of(self.item.held[0])
        if self.item.open:
            self.fail(SettleTimeout(f"no node confirmed to {self.what} {token}; it may hold or not"))
        elif self.item.refusal is not None:
            self.fail(self.item.refusal)
        else:
            self.fail(ClusterUnreachable(f"could not {self.what} {token}: its bucket had no primary that answered"))

    def abort(self, error: ZmqueueError) -> None:
        if self.item.open:
            self.expire(self.deadline)
        else:
            self.fail(error)

    def withdraw(self, now: float) -> None:
        """It goes on: the work is done, and not to say so would only have it done again."""
