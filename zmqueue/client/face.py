"""What the sync and the asyncio client share: everything but how they wait.

What a user asks for is checked and made an *errand*: a call for the core, how it begins, and what its end means. A
client has its errands done, and waits for their calls in its own way: a thread at a lock, a coroutine at a future.
"""

from __future__ import annotations

import os
import time
import weakref
from abc import abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Generic, TypeVar, cast

from msgspec.structs import replace

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.arguments import BatchOptions, SubmitOptions, With
from zmqueue.client.calls import AskCall, Draft, LeaseSayCall, SubmitCall, SubmitItem
from zmqueue.client.collecting import Collecting, TakeCall
from zmqueue.client.composing import Chain, Join, chained, joined
from zmqueue.client.core import ClientCore
from zmqueue.client.declaring import Decide, PolicyCall
from zmqueue.client.errands import Errand
from zmqueue.client.leased import Leased, raise_if_lost
from zmqueue.client.leasing import Holding, LeaseCall
from zmqueue.client.publishing import (
    PublishCall,
    binding,
    patterns_of,
    publishable,
    topic_name,
    unbinding,
)
from zmqueue.client.queues import PolicyOptions, QueuePolicy
from zmqueue.client.revoking import Revokes
from zmqueue.client.scheduling import ScheduleCall, ScheduleOptions, ScheduleView, kept, views, wanted_entry
from zmqueue.client.streaming import Event, FollowCall, Streaming
from zmqueue.client.submitting import GENERATION
from zmqueue.client.surveys import SurveyCall
from zmqueue.client.sweeping import Sweeps
from zmqueue.client.telling import TellCall
from zmqueue.client.ticket import Result, Status, Stub
from zmqueue.client.together import SettleManyCall
from zmqueue.client.transport import Transport
from zmqueue.client.views import MembersView, QueueView, members_view, queues_view
from zmqueue.core import letters
from zmqueue.core.answers import MembersReply, QueuesReply
from zmqueue.core.ids import PLACES, RANDOM_BYTES, make_id, parse_token, token_of
from zmqueue.core.names import QUEUE_NAME_RULE, is_queue_name
from zmqueue.core.operations import NO_OPTIONS, Options, Settle, State, place_of_key
from zmqueue.core.schedules import SALT_BYTES, Entry
from zmqueue.errors import Closed, SubmitManyFailed, SubmitTimeout, ZmqueueError

T = TypeVar("T")
TicketT = TypeVar("TicketT", bound=Stub)
MessageT = TypeVar("MessageT", bound=Leased)

TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """The newest epoch known, and counts of what was dropped: none of it is a reason for alarm when it is small."""

    epoch: int
    strangers: int                     # messages of another cluster or lineage
    bad_frames: int                    # messages with a frame that is no packet of a version known here
    bad_packets: int                   # packets that no node sends to a client
    stray: int                         # answers to nothing that was asked, or not any more


class Face(Sweeps, Revokes, Generic[TicketT, MessageT]):
    """A client but for its waiting. `_to_...`: the errand that does it."""

    def __init__(self, seeds: Sequence[str], timeout: float, name: str | None) -> None:
        self._seeds = arguments.seeds(seeds, os.environ.get("ZMQUEUE_SEEDS", ""))
        self._timeout = arguments.seconds("timeout", timeout)
        self._owner = os.getpid()
        self._core = ClientCore(self._seeds, os.urandom)
        self._core.name = arguments.client_name(name)
        self._transport = Transport(self._core)
        self._finalizer = weakref.finalize(self, self._transport.stop)       # at exit, too

    @abstractmethod
    def _ticket(self, token: str) -> TicketT:
        """A ticket that asks by this client."""

    @abstractmethod
    def _message(self, holding: Holding) -> MessageT:
        """A message that is settled by this client."""

    # --- without waiting ---

    def new_id(self, queue: str = "", *, group: str | None = None, unique: str | None = None) -> str:
        """Draw an id for a message: give it to `submit(id=...)`, again and again until that is confirmed.

        For a message with a group or a unique key, name these and its queue: an id says in which bucket it lies.
        """
        options = Options(group=arguments.key("group", group), unique=arguments.key("unique", unique))
        keyed = options != NO_OPTIONS
        return token_of(self._new_id(place_of_key(arguments.queue_name(queue), options) if keyed else None))

    def _new_id(self, place: int | None = None) -> bytes:
        if place is None:
            place = int.from_bytes(os.urandom(2), "big") % PLACES
        return make_id(self._wall(), place, os.urandom(RANDOM_BYTES))

    def _wall(self) -> int:
        """Cluster time, ms."""
        return time.time_ns() // 1_000_000 + self._core.routing.offset

    def ticket(self, token: str) -> TicketT:
        """The ticket of a token that was kept. Raises BadToken (a ValueError) for a text that is none."""
        parse_token(token)
        return self._ticket(token)

    def statistics(self) -> ClientStatistics:
        """What the client counted since it was made."""
        return ClientStatistics(self._core.routing.epoch, self._core.strangers, self._transport.bad_frames,
                                self._core.bad, self._core.stray)

    @property
    def closed(self) -> bool:
        """True once it is closed."""
        return not self._finalizer.alive

    def __repr__(self) -> str:
        return f"<Client of {', '.join(self._seeds)}{', closed' if self.closed else ''}>"

    # --- submitting ---

    def _to_submit(self, queue: str, payload: object, options: SubmitOptions) -> Errand[TicketT]:
        arguments.known("submit", options, SubmitOptions)
        name = arguments.queue_name(queue)
        draft = arguments.in_place(name, arguments.draft(payload, options))
        call = SubmitCall(name, [draft], self._deadline(options.get("timeout")))
        return Errand(call, partial(self._core.submit, call), partial(self._submitted, call))

    def _submitted(self, call: SubmitCall) -> TicketT:
        if isinstance(call.error, SubmitTimeout):
            call.error.ticket = self._ticket(call.error.token)
        item, = call.outcome()
        return self._ticket_of(item)

    def _ticket_of(self, item: SubmitItem) -> TicketT:
        assert item.id is not None, "it is confirmed"
        ticket = self._ticket(token_of(item.id))
        ticket.duplicate = item.known is not None
        return ticket

    def _to_submit_chain(self, chain: Chain, timeout: float | None) -> Errand[list[TicketT]]:
        if not isinstance(chain, Chain):
            raise TypeError(f"zmqueue.chain(...) is wanted here, got {type(chain).__name__}")
        first, tokens = chained(chain, self._new_id)
        call = SubmitCall(first.queue, [first.draft], self._deadline(timeout))

        def end() -> list[TicketT]:
            self._submitted(call)
            return [self._ticket(token) for token in tokens]

        return Errand(call, partial(self._core.submit, call), end)

    def _to_submit_join(self, join: Join, timeout: float | None) -> Errand[TicketT]:
        if not isinstance(join, Join):
            raise TypeError(f"zmqueue.join(...) is wanted here, got {type(join).__name__}")
        parcel = joined(join, self._wall(), self._new_id)
        call = SubmitCall(parcel.queue, [parcel.draft], self._deadline(timeout))
        return Errand(call, partial(self._core.submit, call), partial(self._submitted, call))

    def _to_submit_many(self, queue: str, payloads: Iterable[object], options: BatchOptions) -> Errand[list[TicketT]]:
        arguments.known("submit_many", options, BatchOptions)
        name = arguments.queue_name(queue)
        drafts = [arguments.in_place(name, _draft(payload, options)) for payload in payloads]
        call = SubmitCall(name, drafts, self._deadline(options.get("timeout")), many=True)
        return Errand(call, partial(self._core.submit, call), partial(self._submitted_many, call))

    def _submitted_many(self, call: SubmitCall) -> list[TicketT]:
        if isinstance(call.error, SubmitManyFailed):
            call.error.tickets = [self._ticket_of(item) if item.id is not None else None for item in call.items]
            for error in call.error.errors.values():
                if isinstance(error, SubmitTimeout):
                    error.ticket = self._ticket(error.token)
        return [self._ticket_of(item) for item in call.outcome()]

    # --- asking ---

    def _to_ask(self, token: str, timeout: float | None) -> Errand[Status]:
        call = AskCall(parse_token(token), self._deadline(timeout))

        def end() -> Status:
            answer = call.outcome()
            done = answer.state == State.DONE
            return Status(token, answer.queue, State(answer.state).name.lower(), answer.deliveries,
                          answer.error or None, payloads.decode(answer.kind, answer.result) if done else None)

        return Errand(call, partial(self._core.ask, call), end)

    def _to_result(self, token: str, timeout: float, type: Any) -> Errand[Any]:
        call = AskCall(parse_token(token), self._deadline(timeout), settled=True)

        def end() -> Any:
            answer = call.outcome()
            return payloads.decode(answer.kind, answer.result, type)

        return Errand(call, partial(self._core.ask, call), end)

    def _to_stream(self, token: str, after: int, timeout: float, type: Any) -> Streaming:
        return Streaming(parse_token(token), arguments.integer("after", after, 0, limits.EVENT_INDEX_MAX),
                         arguments.seconds("timeout", timeout), type)

    def _to_follow(self, streaming: Streaming) -> Errand[list[Event]]:
        call = FollowCall(streaming.id, streaming.after, self._deadline(streaming.timeout))
        return Errand(call, partial(self._core.follow, call), lambda: streaming.events(call.outcome()))

    def _to_collect(self, tokens: Iterable[str], timeout: float) -> Collecting:
        ids = list(dict.fromkeys(parse_token(token) for token in tokens))
        return Collecting(ids, self._deadline(timeout), self._core.ask, self._core.soon)

    def _to_take(self, collecting: Collecting, type: Any) -> Errand[list[Result]]:
        call = TakeCall(collecting)

        def end() -> list[Result]:
            ended = call.outcome()
            collecting.left -= len(ended)
            return [_result(call, type) for call in ended]

        return Errand(call, partial(self._core.collect, call), end)

    # --- leasing ---

    def _to_lease(self, queue: str, max: int, wait: float, lease: float | None, *,
                  dead: bool) -> Errand[list[MessageT]]:
        name = letters.name_of(arguments.queue_name(queue)) if dead else arguments.line_name(queue)
        many = arguments.integer("max", max, 1, limits.LEASE_MESSAGES_MAX)
        lease_ms = arguments.milliseconds("lease", lease, limits.LEASE_S_MAX)
        until = time.monotonic() + arguments.seconds("wait", wait)
        call = LeaseCall(name, many, lease_ms, until, until + self._timeout)
        return Errand(call, partial(self._core.lease, call),
                      lambda: [self._message(holding) for holding in call.outcome()])

    def _to_say(self, what: str, holding: Holding, timeout: float | None, *, settle: Settle | None = None,
                lease_ms: int = 0) -> Errand[None]:
        raise_if_lost(holding)
        call = LeaseSayCall(what, (holding.id, holding.fencing), self._deadline(timeout), settle=settle)
        return Errand(call, partial(self._core.say, holding, call, lease_ms=lease_ms), call.outcome)

    def _to_ack_many(self, messages: Iterable[Leased], results: Iterable[object] | None,
                     timeout: float | None) -> Errand[list[Result]]:
        acked = list(messages)
        for message in acked:
            if message._face is not self:
                raise ValueError(f"a client acks the messages that it leased; {message!r} is another client's")
        if len({message.token for message in acked}) < len(acked):
            raise ValueError("each message is acked once, and some are given twice")
        values = [None] * len(acked) if results is None else list(results)
        if len(values) != len(acked):
            raise ValueError(f"{len(values):,} results for {len(acked):,} messages: give one for each, or none at all")
        settles = [(message._holding, message.settle_ack(value)) for message, value in zip(acked, values, strict=True)]
        call = SettleManyCall(settles, self._deadline(timeout))

        def end() -> list[Result]:
            return [Result(message.token, value if error is None else None, error)
                    for message, value, error in zip(acked, values, call.outcome(), strict=True)]

        return Errand(call, partial(call.begin, self._core), end)

    def _to_tell(self, holding: Holding, call: TellCall) -> Errand[None]:
        return Errand(call, partial(self._core.tell, holding, call), call.outcome)

    @property
    def _body_bytes_max(self) -> int | None:
        state = self._core.routing.state
        return state.settings.body_bytes_max if state is not None else None

    @property
    def _knows_options(self) -> bool:
        state = self._core.routing.state
        return state is not None and state.settings.generation >= GENERATION

    def _backs_off(self, queue: str) -> bool:
        state = self._core.routing.state
        return state is not None and bool(state.policy(queue).backoff.delays)

    def _attempts_in(self, queue: str) -> int:
        """What the queue's messages may fail that say nothing else; 0: not known here yet."""
        state = self._core.routing.state
        return (state.policy(queue).attempts or state.settings.deliveries_max) if state is not None else 0

    # --- looking ---

    def _to_see_queues(self, timeout: float | None) -> Errand[list[QueueView]]:
        call = SurveyCall(self._deadline(timeout), members=False)

        def end() -> list[QueueView]:
            state, replies = call.outcome()
            return queues_view(state, (reply for reply in replies.values() if isinstance(reply, QueuesReply)))

        return Errand(call, partial(self._core.survey, call), end)

    def _to_see_members(self, timeout: float | None) -> Errand[MembersView]:
        call = SurveyCall(self._deadline(timeout), members=True)

        def end() -> MembersView:
            state, replies = call.outcome()
            return members_view(state, (reply for reply in replies.values() if isinstance(reply, MembersReply)))

        return Errand(call, partial(self._core.survey, call), end)

    # --- what is agreed for queues ---

    def _to_declare(self, queue: str, policy: QueuePolicy | None, options: PolicyOptions,
                    timeout: float | None) -> Errand[None]:
        arguments.known("declare", options, PolicyOptions)
        if policy is not None and options:
            raise TypeError("declare() takes a policy, or its fields one by one, and not both")
        wanted = QueuePolicy(**options) if policy is None else policy
        if not isinstance(wanted, QueuePolicy):
            raise TypeError(f"a policy is a zmqueue.QueuePolicy, got {type(wanted).__name__}")
        return self._to_agree(
            queue, lambda found: replace(wanted.core(paused=found.paused), topics=found.topics), timeout)

    def _to_bind(self, queue: str, patterns: tuple[str, ...], timeout: float | None) -> Errand[None]:
        return self._to_agree(queue, binding(patterns_of(patterns)), timeout)

    def _to_unbind(self, queue: str, patterns: tuple[str, ...], timeout: float | None) -> Errand[None]:
        return self._to_agree(queue, unbinding(patterns_of(patterns)), timeout)

    def _to_see_bindings(self, timeout: float | None) -> Errand[dict[str, tuple[str, ...]]]:
        call = SurveyCall(self._deadline(timeout), members=False)

        def end() -> dict[str, tuple[str, ...]]:
            state, _ = call.outcome()
            return {queue: policy.topics for queue, policy in sorted(state.policies.items()) if policy.topics}

        return Errand(call, partial(self._core.survey, call), end)

    def _to_publish(self, topic: str, payload: object, options: SubmitOptions) -> Errand[list[TicketT]]:
        arguments.known("publish", options, SubmitOptions)
        name, draft = topic_name(topic), publishable(arguments.draft(payload, options))
        wall = self._wall()
        submission = draft.submission(draft.id or self._new_id(), draft.due_at(wall))
        call = PublishCall(name, submission, draft.options_at(wall), self._deadline(options.get("timeout")))
        return Errand(call, partial(self._core.publish, call),
                      lambda: [self._ticket(token_of(message_id)) for message_id in call.outcome()])

    def _to_pause(self, queue: str, timeout: float | None, *, paused: bool) -> Errand[None]:
        return self._to_agree(queue, lambda found: replace(found, paused=paused), timeout)

    def _to_undeclare(self, queue: str, timeout: float | None) -> Errand[None]:
        return self._to_agree(queue, lambda found: None, timeout)

    def _to_agree(self, queue: str, decide: Decide, timeout: float | None) -> Errand[None]:
        call = PolicyCall(arguments.queue_name(queue), decide, self._deadline(timeout))
        return Errand(call, partial(self._core.amend, call), call.outcome)

    # --- schedules ---

    def _to_schedule(self, name: str, queue: str, payload: object, options: ScheduleOptions,
                     timeout: float | None) -> Errand[None]:
        wanted = wanted_entry(arguments.queue_name(queue), payload, options, self._wall(), os.urandom(SALT_BYTES))
        return self._to_agree_on(name, partial(kept, wanted=wanted), timeout)

    def _to_unschedule(self, name: str, timeout: float | None) -> Errand[None]:
        return self._to_agree_on(name, lambda found: None, timeout, must_be=True)

    def _to_pause_schedule(self, name: str, timeout: float | None) -> Errand[None]:
        return self._to_agree_on(name, lambda found: found and replace(found, paused=True), timeout, must_be=True)

    def _to_resume_schedule(self, name: str, timeout: float | None) -> Errand[None]:
        now = self._wall()

        def resumed(found: Entry | None) -> Entry | None:
            return replace(found, paused=False, start=now) if found is not None and found.paused else found

        return self._to_agree_on(name, resumed, timeout, must_be=True)

    def _to_agree_on(self, name: str, decide: Callable[[Entry | None], Entry | None], timeout: float | None, *,
                     must_be: bool = False) -> Errand[None]:
        if not is_queue_name(name):
            raise ValueError(f"a schedule is named like a queue ({QUEUE_NAME_RULE}); this is not: {name[:40]!r}")
        call = ScheduleCall(name, decide, self._deadline(timeout), must_be=must_be)
        return Errand(call, partial(self._core.amend, call), call.outcome)

    def _to_see_schedules(self, timeout: float | None) -> Errand[list[ScheduleView]]:
        call = SurveyCall(self._deadline(timeout), members=True)
        return Errand(call, partial(self._core.survey, call), lambda: views(call.outcome()[0], self._wall()))

    # --- inside ---

    def _deadline(self, timeout: float | None) -> float:
        seconds = self._timeout if timeout is None else arguments.seconds("timeout", timeout)
        return time.monotonic() + seconds

    def _check(self) -> None:
        if os.getpid() != self._owner:
            raise Closed(f"this client belongs to process {self._owner}, this is process {os.getpid()}: a client does"
                         f" not survive a fork; make a new one here")
        if not self._transport.running:
            raise Closed("the client is closed")


def _draft(payload: object, options: BatchOptions) -> Draft:
    """One message of a batch, which may have options of its own."""
    if isinstance(payload, With):
        return arguments.draft(payload.payload, cast(SubmitOptions, {**options, **payload.options}))
    return arguments.draft(payload, cast(SubmitOptions, options))


def _result(call: AskCall, type: Any) -> Result:
    token = token_of(call.id)
    try:
        answer = call.outcome()
        return Result(token, payloads.decode(answer.kind, answer.result, type))
    except Closed:                                       # it says nothing about the request
        raise
    except (ZmqueueError, ValueError) as error:          # ValueError: it is not of that type
        return Result(token, error=error)
