"""The client that a program uses: thread-safe, blocking, and a pipelined submit."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from types import TracebackType
from typing import Any, TypeVar

from zmqueue.client import arguments, limits, payloads
from zmqueue.client.calls import AskCall, Call, LeaseSayCall, SubmitCall
from zmqueue.client.core import ClientCore
from zmqueue.client.leasing import Holding, LeaseCall
from zmqueue.client.message import Message, raise_if_lost
from zmqueue.client.surveys import SurveyCall
from zmqueue.client.ticket import Status, Ticket
from zmqueue.client.transport import Transport
from zmqueue.client.views import MembersView, QueueView, members_view, queues_view
from zmqueue.core.ids import PLACES, RANDOM_BYTES, make_id, parse_token, token_of
from zmqueue.core.operations import Settle, State
from zmqueue.core.packets import Answer, MembersReply, QueuesReply
from zmqueue.errors import Closed, SubmitManyFailed, SubmitTimeout, ZmqueueError

T = TypeVar("T")

TIMEOUT_S = 10.0
LOOK_S = 1.0                           # a waiting caller looks this often whether the thread that serves it lives


@dataclass(frozen=True, slots=True)
class ClientStatistics:
    """The newest epoch known, and counts of what was dropped: none of it is a reason for alarm when it is small."""

    epoch: int
    strangers: int                     # messages of another cluster or lineage
    bad_frames: int                    # messages with a frame that is no packet of a version known here
    bad_packets: int                   # packets that no node sends to a client
    stray: int                         # answers to nothing that was asked, or not any more


class Client:
    """Submits, asks, leases. Any number of threads may share one; close it, or use it as a context manager.

    Every wait has a deadline: `timeout` seconds where a method gives no other. Failovers, refusals that a moment may
    cure and lost packets are dealt with inside, until then; what is raised says whether it is definite (errors.py).
    A client belongs to the process that made it: after a fork, the child makes its own.
    """

    def __init__(self, *seeds: str, timeout: float = TIMEOUT_S) -> None:
        """`seeds`: endpoints of some nodes, tcp://HOST:PORT; default: $ZMQUEUE_SEEDS, comma-separated."""
        self._seeds = arguments.seeds(seeds, os.environ.get("ZMQUEUE_SEEDS", ""))
        self._timeout = arguments.seconds("timeout", timeout)
        self._owner = os.getpid()
        self._core = ClientCore(self._seeds, os.urandom)
        self._transport = Transport(self._core)
        self._finalizer = weakref.finalize(self, self._transport.stop)       # at exit, too

    # --- submitting ---

    def new_id(self) -> str:
        """Draw an id for a message: give it to `submit(id=...)`, again and again until that is confirmed."""
        wall = time.time_ns() // 1_000_000 + self._core.routing.offset
        place = int.from_bytes(os.urandom(2), "big") % PLACES
        return token_of(make_id(wall, place, os.urandom(RANDOM_BYTES)))

    def submit(self, queue: str, payload: object, *, id: str | None = None, priority: int = 0,
               delay: float = 0.0, headers: Mapping[str, str] | None = None, attempts: int | None = None,
               timeout: float | None = None) -> Ticket:
        """Have a message accepted; then it is on the disks of all in-sync replicas, of `min_in_sync` at least.

        `payload`: bytes, str, None, or what JSON or pydantic can carry. `id`: what `new_id` gave, for retries.
        `priority`: 0 to 255, the highest is served first. `delay`: seconds before which it is not handed out.
        `attempts`: deliveries after which it is a dead letter (default: the cluster's). Raises SubmitTimeout
        (indefinite: retry with its token as `id`), or definitely: NotEnoughReplicas, BodyTooLarge, QueueFull, IdTooOld,
        ClusterUnreachable, Closed.
        """
        draft = arguments.draft(payload, token=id, priority=priority, delay=delay, headers_=headers, attempts=attempts)
        call = SubmitCall(arguments.queue_name(queue), [draft], self._deadline(timeout))
        try:
            item, = self._do(call, self._core.submit, call)
        except SubmitTimeout as error:
            error.ticket = Ticket(self, error.token)
            raise
        assert item.id is not None
        return Ticket(self, token_of(item.id))

    def submit_soon(self, queue: str, payload: object, *, id: str | None = None, priority: int = 0,
                    delay: float = 0.0, headers: Mapping[str, str] | None = None, attempts: int | None = None,
                    timeout: float | None = None) -> Future[Ticket]:
        """As `submit`, without waiting: the future holds the ticket once it is confirmed, or the error.

        Its callbacks run in the client's own thread: they must be short, and may not wait for the client.
        """
        self._check()
        draft = arguments.draft(payload, token=id, priority=priority, delay=delay, headers_=headers, attempts=attempts)
        future: Future[Ticket] = Future()
        future.set_running_or_notify_cancel()

        def ended(call: SubmitCall) -> None:
            error = call.error
            if isinstance(error, SubmitTimeout):
                error.ticket = Ticket(self, error.token)
            if error is not None:
                future.set_exception(error)
                return
            message_id = call.items[0].id
            assert message_id is not None
            future.set_result(Ticket(self, token_of(message_id)))

        call = SubmitCall(arguments.queue_name(queue), [draft], self._deadline(timeout), ended)
        self._transport.post(self._core.submit, call)
        return future

    def submit_many(self, queue: str, payloads: Iterable[object], *, priority: int = 0, delay: float = 0.0,
                    headers: Mapping[str, str] | None = None, attempts: int | None = None,
                    timeout: float | None = None) -> list[Ticket]:
        """Have many messages accepted: one round trip per primary, not per message.

        Returns their tickets in the order of `payloads` (which may be empty). Raises SubmitManyFailed where some are
        not confirmed; it tells which, and why. A batch is not a transaction: the others are stored.
        """
        name = arguments.queue_name(queue)
        drafts = [arguments.draft(payload, priority=priority, delay=delay, headers_=headers, attempts=attempts)
                  for payload in payloads]
        if not drafts:
            return []
        call = SubmitCall(name, drafts, self._deadline(timeout), many=True)
        try:
            self._do(call, self._core.submit, call)
        except SubmitManyFailed as failed:
            failed.tickets = [Ticket(self, token_of(item.id)) if item.id is not None else None for item in call.items]
            for error in failed.errors.values():
                if isinstance(error, SubmitTimeout):
                    error.ticket = Ticket(self, error.token)
            raise
        return [Ticket(self, token_of(item.id)) for item in call.items if item.id is not None]

    # --- asking ---

    def ticket(self, token: str) -> Ticket:
        """The ticket of a token that was kept. Raises BadToken (a ValueError) for a text that is none."""
        parse_token(token)
        return Ticket(self, token)

    def status(self, token: str, *, timeout: float | None = None) -> Status:
        """How the request is, now. Raises UnknownToken, NoAnswer or ClusterUnreachable."""
        call = AskCall(parse_token(token), self._deadline(timeout))
        answer = self._do(call, self._core.ask, call)
        done = answer.state == State.DONE
        return Status(token, answer.queue, State(answer.state).name.lower(), answer.deliveries, answer.error or None,
                      payloads.decode(answer.kind, answer.result) if done else None)

    def result(self, token: str, timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the request's end (a long poll at the node, through failovers) and return its result.

        `type`: validate the result as that (a pydantic model, say). Raises RequestFailed where it ended without one
        (dead, cancelled, expired), ResultTimeout where it has not ended, UnknownToken, ClusterUnreachable.
        """
        call = AskCall(parse_token(token), self._deadline(timeout), settled=True)
        answer: Answer = self._do(call, self._core.ask, call)
        return payloads.decode(answer.kind, answer.result, type)

    # --- leasing ---

    def lease(self, queue: str, max: int = 1, wait: float = 0.0, lease: float | None = None) -> list[Message]:
        """Lease up to `max` messages, waiting up to `wait` seconds for the first; empty where there is none.

        `lease`: seconds until each goes back to the queue unless it is settled or extended (default: the cluster's).
        They go back, too, when this process dies. Raises ClusterUnreachable where no node answered at all.
        """
        name = arguments.queue_name(queue)
        many = arguments.integer("max", max, 1, limits.LEASE_MESSAGES_MAX)
        lease_ms = arguments.milliseconds("lease", lease, limits.LEASE_S_MAX)
        until = time.monotonic() + arguments.seconds("wait", wait)
        call = LeaseCall(name, many, lease_ms, until, until + self._timeout)
        return [Message(self, holding) for holding in self._do(call, self._core.lease, call)]

    def _settle(self, holding: Holding, settle: Settle, timeout: float | None) -> None:
        self._say("settle", holding, timeout, settle=settle)

    def _say(self, what: str, holding: Holding, timeout: float | None, *, settle: Settle | None = None,
             lease_ms: int = 0) -> None:
        raise_if_lost(holding)
        call = LeaseSayCall(what, (holding.id, holding.fencing), self._deadline(timeout), settle=settle)
        self._do(call, self._core.say, holding, call, lease_ms=lease_ms)

    @property
    def _body_bytes_max(self) -> int | None:
        state = self._core.routing.state
        return state.settings.body_bytes_max if state is not None else None

    # --- looking ---

    def queues(self, *, timeout: float | None = None) -> list[QueueView]:
        """What stands in each queue, by name: the sum over all primaries. Raises NoAnswer or ClusterUnreachable."""
        call = SurveyCall(self._deadline(timeout), members=False)
        _, replies = self._do(call, self._core.survey, call)
        return queues_view(reply for reply in replies.values() if isinstance(reply, QueuesReply))

    def members(self, *, timeout: float | None = None) -> MembersView:
        """The members, as the newest state known and those that answer within a second show them.

        Raises ClusterUnreachable where none does; it does not need a majority.
        """
        call = SurveyCall(self._deadline(timeout), members=True)
        state, replies = self._do(call, self._core.survey, call)
        return members_view(state, (reply for reply in replies.values() if isinstance(reply, MembersReply)))

    def statistics(self) -> ClientStatistics:
        """What the client counted since it was made."""
        return ClientStatistics(self._core.routing.epoch, self._core.strangers, self._transport.bad_frames,
                                self._core.bad, self._core.stray)

    # --- life ---

    def close(self) -> None:
        """Fail whoever waits with Closed, give leases back, close the sockets. Never hangs; may be called again."""
        self._finalizer()

    @property
    def closed(self) -> bool:
        """True after `close`."""
        return not self._finalizer.alive

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<Client of {', '.join(self._seeds)}{', closed' if self.closed else ''}>"

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

    def _do(self, call: Call[T], action: Callable[..., None], *given: object, **named: object) -> T:
        """Have the thread do it, and wait until the call is finished."""
        self._check()
        if self._transport.in_thread:
            raise RuntimeError("this would wait for the thread that it runs in: a future's callback may not wait for"
                               " the client; hand the work to another thread")
        finished = threading.Lock()
        finished.acquire()
        call.notify = lambda _: finished.release()
        self._transport.post(action, *given, **named)
        while not finished.acquire(timeout=LOOK_S):
            if not self._transport.running and not call.finished:
                raise _died(call)
        if call.error is not None:
            raise call.error
        return call.value  # type: ignore[return-value]  # finished without error: it has its value


def _died(call: Call[Any]) -> ZmqueueError:
    """The client's thread ended without finishing the call (its log tells why)."""
    call.abort(Closed("the client's thread has ended"))
    assert call.error is not None
    return call.error
