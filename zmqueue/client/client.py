"""The client that a program uses: thread-safe, blocking, and a pipelined submit."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from types import TracebackType
from typing import Any, TypeVar, Unpack

from zmqueue.client.arguments import BatchOptions, SubmitOptions
from zmqueue.client.collecting import Collecting
from zmqueue.client.composing import Chain, Join, Until
from zmqueue.client.errands import Errand
from zmqueue.client.face import TIMEOUT_S, Face
from zmqueue.client.finding import Found, Moment, Search, search
from zmqueue.client.leasing import Holding
from zmqueue.client.message import Message
from zmqueue.client.queues import PolicyOptions, QueuePolicy
from zmqueue.client.scheduling import ScheduleOptions, ScheduleView
from zmqueue.client.streaming import Event, Streaming
from zmqueue.client.sweeping import Course, Filters, Swept, WorkerView
from zmqueue.client.ticket import Result, Status, Ticket
from zmqueue.client.views import MembersView, QueueView
from zmqueue.client.wishing import Wish
from zmqueue.errors import Closed, UnknownToken, ZmqueueError

T = TypeVar("T")

LOOK_S = 1.0                           # a waiting caller looks this often whether the thread that serves it lives


class Client(Face[Ticket, Message]):
    """Submits, asks, leases. Any number of threads may share one; close it, or use it as a context manager.

    Every wait has a deadline: `timeout` seconds where a method gives no other. Failovers, refusals that a moment may
    cure and lost packets are dealt with inside, until then; what is raised says whether it is definite (errors.py).
    A client belongs to the process that made it: after a fork, the child makes its own.
    """

    def __init__(self, *seeds: str, timeout: float = TIMEOUT_S, name: str | None = None) -> None:
        """`seeds`: endpoints of some nodes, tcp://HOST:PORT; default: $ZMQUEUE_SEEDS, comma-separated.

        `name`: what `workers` shows of whoever leases by it; default: program@machine:process.
        """
        super().__init__(seeds, timeout, name)

    def _ticket(self, token: str) -> Ticket:
        return Ticket(self, token)

    def _message(self, holding: Holding) -> Message:
        return Message(self, holding)

    # --- submitting ---

    def submit(self, queue: str, payload: object, **options: Unpack[SubmitOptions]) -> Ticket:
        """Have a message accepted; then it is on the disks of all in-sync replicas, of `min_in_sync` at least.

        `payload`: bytes, str, None, or what JSON or pydantic can carry. `id`: what `new_id` gave, for retries.
        `priority`: 0 to 255, the highest is served first. `headers`: texts by name.
        `delay`: seconds before which it is not handed out, or `eta`: the moment, a datetime with a time zone.
        `expires`: seconds, or the moment, after which it is not begun any more.
        `group`: messages of one group run one at a time, in order.
        `unique`: another message of the queue with this key is not stored: the ticket is that of the one that is there,
        and its `duplicate` is True. The key holds until that has ended; with `unique_scope="waiting"` until it is
        handed out; with `unique_window` for so many seconds from its submit on.
        `attempts`, `losses`: failures, and lost workers or expired leases, after which it is a dead letter. `backoff`:
        how long it rests after a failure (`zmqueue.Backoff`). `deadline`: seconds that one run of its handler may take.
        `result_ttl`: seconds for which its result is kept. What is not said, the queue's policy says.
        `timeout`: seconds to wait for the confirmation. Raises SubmitTimeout (indefinite: retry with its token as
        `id`), or definitely: NotEnoughReplicas, BodyTooLarge, QueueFull, IdTooOld, ClusterUnreachable, Closed;
        NotAllowed where a node is of an earlier version, which knows of fewer options.
        """
        return self._do(self._to_submit(queue, payload, options))

    def submit_chain(self, chain: Chain, *, timeout: float | None = None) -> list[Ticket]:
        """Submit the first step of a chain (`zmqueue.chain`); each step queues the next one with its ack.

        Returns the tickets of all steps; `chain_result` waits for the last. Raises as `submit` does.
        """
        return self._do(self._to_submit_chain(chain, timeout))

    def submit_join(self, join: Join, *, timeout: float | None = None) -> Ticket:
        """Submit a join (`zmqueue.join`) and its parts: all of them are accepted, or none. Returns the join's ticket.

        It is "delayed" until its parts are done. Raises as `submit` does.
        """
        return self._do(self._to_submit_join(join, timeout))

    def chain_result(self, steps: Sequence[Ticket], timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the result of the last step of a chain. Raises RequestFailed for the step that failed, and as
        `result` does."""
        until, found = Until(steps, timeout), None
        while (token := until.token) is not None:
            try:
                found = self.result(token, timeout=until.left(), type=type if until.last else None)
                until.done()
            except UnknownToken as error:
                time.sleep(until.pause(error))
        return found

    def submit_soon(self, queue: str, payload: object, **options: Unpack[SubmitOptions]) -> Future[Ticket]:
        """As `submit`, without waiting: the future holds the ticket once it is confirmed, or the error.

        Its callbacks run in the client's own thread: they must be short, and may not wait for the client.
        """
        self._check()
        errand = self._to_submit(queue, payload, options)
        future: Future[Ticket] = Future()
        future.set_running_or_notify_cancel()

        def ended(_: object) -> None:
            try:
                ticket = errand.end()
            except ZmqueueError as error:
                future.set_exception(error)
            else:
                future.set_result(ticket)

        errand.call.notify = ended
        self._transport.post(errand.begin)
        return future

    def submit_many(self, queue: str, payloads: Iterable[object], **options: Unpack[BatchOptions]) -> list[Ticket]:
        """Have many messages accepted: one round trip per primary, not per message.

        The options hold for all of them; a payload wrapped as `zmqueue.With(payload, group=...)` has options of its own
        beside and before these. Returns their tickets in the order of `payloads` (which may be empty). Raises
        SubmitManyFailed where some are not confirmed; it tells which, and why. A batch is not a transaction: the
        others are stored.
        """
        return self._do(self._to_submit_many(queue, payloads, options))

    # --- asking ---

    def status(self, token: str, *, timeout: float | None = None) -> Status:
        """How the request is, now. Raises UnknownToken, NoAnswer or ClusterUnreachable."""
        return self._do(self._to_ask(token, timeout))

    def result(self, token: str, timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the request's end (a long poll at the node, through failovers) and return its result.

        `type`: validate the result as that (a pydantic model, say). Raises RequestFailed where it ended without one
        (dead, cancelled, expired), ResultTimeout where it has not ended, UnknownToken, ClusterUnreachable.
        """
        return self._do(self._to_result(token, timeout, type))

    def results(self, tokens: Iterable[str], timeout: float = 30.0, type: Any = None) -> Iterator[Result]:
        """Wait for the ends of many requests; gives each as it comes, in whatever order, and each token once.

        One that ends without a result, is unknown, or has not ended after `timeout` seconds (which count for all
        together) is given with its error, which is not raised. `type`: as for `result`. Raises BadToken at once,
        Closed where the client is closed meanwhile. Up to 1,000 are asked after at a time, the others in turn.
        """
        return self._results(self._to_collect(tokens, timeout), type)

    def _results(self, collecting: Collecting, type: Any) -> Iterator[Result]:
        try:
            while collecting.left:
                yield from self._do(self._to_take(collecting, type))
        finally:
            self._transport.post(collecting.close)

    def stream(self, token: str, after: int = 0, timeout: float = 30.0, type: Any = None) -> Iterator[Event]:
        """Follow the request: its progress, and its end.

        Yields a `zmqueue.Event` for whatever its handler tells, while it happens, and last its end: the result, or the
        error where it has none (which is not raised). `after`: the index of the last event that was seen: what
        comes after it is the same for everybody, whenever he asks, through failovers. `timeout`: seconds for which
        nothing may be told; then ResultTimeout is raised, and one may go on from where one was. `type`: validate the
        result as that. Raises UnknownToken, ClusterUnreachable.
        """
        return self._stream(self._to_stream(token, after, timeout, type))

    def _stream(self, streaming: Streaming) -> Iterator[Event]:
        while not streaming.ended:
            yield from self._do(self._to_follow(streaming))

    # --- revoking ---

    def cancel(self, token: str, *, timeout: float | None = None) -> bool:
        """Have the request not done any more. False: it had ended before.

        What waits ends as cancelled, and never runs. Where a handler runs, it is told (`message.cancelled`, or the
        cancellation of its task), and if it does not succeed all the same, the request ends as cancelled and is not
        tried again. When it returns, this is on the disks of all in-sync replicas. May be repeated. Raises
        UnknownToken; NoAnswer (indefinite: repeat it); ClusterUnreachable; NotAllowed where a node is of an earlier
        version.
        """
        return self._do(self._to_cancel(token, timeout))

    def cancel_many(self, tokens: Iterable[str], *, timeout: float | None = None) -> list[Result]:
        """Cancel many requests: one packet per bucket. Gives what `cancel` returns or raises for each, in their order.

        Nothing is raised for one of them: `Result.value` is True or False, or `Result.error` says why not.
        """
        return self._do(self._to_cancel_many(tokens, timeout))

    def forget(self, token: str, *, timeout: float | None = None) -> None:
        """Have the request's result thrown away now, and not when its time is over. That it is done stays known.

        Whoever asks for the result is told ResultGone from then on. May be repeated. Raises RequestEnded where it is
        not done, or has ended without a result; UnknownToken; NoAnswer (indefinite: repeat it); ClusterUnreachable.
        """
        self._do(self._to_forget(token, timeout))

    # --- leasing ---

    def lease(self, queue: str, max: int = 1, wait: float = 0.0, lease: float | None = None, *,
              dead: bool = False) -> list[Message]:
        """Lease up to `max` messages, waiting up to `wait` seconds for the first; empty where there is none.

        `lease`: seconds until each goes back to the queue unless it is settled or extended (default: the cluster's).
        They go back, too, when this process dies. Raises ClusterUnreachable where no node answered at all.

        `dead`: of the queue's dead letters (as the queue "QUEUE!dead", which a worker may serve, too). An ack throws
        the letter away and keeps the result; whatever else ends the lease, it stays a dead letter, and rests for 10 s.
        """
        return self._do(self._to_lease(queue, max, wait, lease, dead=dead))

    def ack_many(self, messages: Iterable[Message], results: Iterable[object] | None = None, *,
                 timeout: float | None = None) -> list[Result]:
        """Settle many messages as done, with a result each, or with none: one packet per bucket.

        Gives the outcome of each, in their order: `Result.error` is what `message.ack` would have raised, or None. What
        cannot be sent at all is raised, and then nothing is: ValueError, TypeError, BodyTooLarge. They are not one
        transaction.
        """
        return self._do(self._to_ack_many(messages, results, timeout))

    # --- looking ---

    def queues(self, *, timeout: float | None = None) -> list[QueueView]:
        """What stands in each queue, by name: the sum over all primaries. Raises NoAnswer or ClusterUnreachable."""
        return self._do(self._to_see_queues(timeout))

    def members(self, *, timeout: float | None = None) -> MembersView:
        """The members, as the newest state known and those that answer within a second show them.

        Raises ClusterUnreachable where none does; it does not need a majority.
        """
        return self._do(self._to_see_members(timeout))

    # --- finding, and what was found ---

    def find(self, queue: str | None = None, states: Iterable[str] = (), since: Moment | None = None,
             before: Moment | None = None, headers: Mapping[str, str] | None = None, limit: int | None = None, *,
             payloads: bool = False, timeout: float | None = None) -> Iterator[Found]:
        """Look for requests over all buckets, through failovers; gives each as it is found, in no particular order.

        All that is said must hold: the queue, one of the `states` ("delayed", "ready", "leased", "done", "dead",
        "cancelled", "expired"; none: any), drawn at `since` or later and earlier than `before` (a datetime, or seconds
        since 1970), all of the `headers` (known until a request has ended, and of dead letters). `limit`: at most so
        many. `payloads`: with these. `timeout`: seconds for each page. What is there all the while is given once.
        Raises NoAnswer or ClusterUnreachable where a bucket does not answer in time.
        """
        return self._found(search(queue, states, since, before, headers, limit, payloads), timeout)

    def _found(self, search: Search, timeout: float | None) -> Iterator[Found]:
        while not search.over:
            yield from self._do(self._to_look(search, timeout))

    def peek(self, queue: str, n: int = 10, *, timeout: float | None = None) -> list[Found]:
        """The first `n` (up to 500) dead letters of the queue, by the time at which they were drawn, with payload,
        error, and what became of their last deliveries. They stay where they are."""
        return self._run(self._course_peek(queue, n, timeout))

    def requeue(self, queue: str | None = None, tokens: Iterable[str] | None = None,
                **filters: Unpack[Filters]) -> Swept:
        """Give dead letters another try, with nothing held against them: those named, or all that fit (see `find`).

        Returns how many got it, and why others did not; see `Swept`. Page by page, and of each page what lies in one
        bucket holds as a whole or not at all, on the disks of all in-sync replicas; repeated inside through failovers,
        none is requeued twice by one call. Broken off (NoAnswer, ClusterUnreachable, Ctrl-C), call it again for the
        rest. `progress`: told after each page. `limit`: at most so many. Needs a cluster whose nodes all know of it.
        """
        return self._run(self._course_sweep("requeue", Wish.REQUEUE, queue, ("dead",), tokens, filters))

    def purge(self, queue: str | None = None, tokens: Iterable[str] | None = None, **filters: Unpack[Filters]) -> Swept:
        """Throw dead letters away: those named, or all that fit. As `requeue`. Their submitters still learn that they
        are dead."""
        return self._run(self._course_sweep("purge", Wish.PURGE, queue, ("dead",), tokens, filters))

    def cancel_found(self, queue: str | None = None, states: Iterable[str] = ("delayed", "ready"),
                     tokens: Iterable[str] | None = None, **filters: Unpack[Filters]) -> Swept:
        """Cancel what waits: those named, or all that fit; with "leased" in `states`, the handlers of those are told.

        As `requeue`. What is submitted meanwhile may be found or not.
        """
        return self._run(self._course_sweep("cancel_found", Wish.CANCEL, queue, states, tokens, filters))

    def workers(self, *, timeout: float | None = None) -> list[WorkerView]:
        """Who holds which leases, and for how long. A worker that holds none is not seen."""
        return self._run(self._course_workers(timeout))

    # --- what is agreed for queues ---

    def declare(self, queue: str, policy: QueuePolicy | None = None, *, timeout: float | None = None,
                **options: Unpack[PolicyOptions]) -> None:
        """Have a policy agreed for the queue: the fields of `QueuePolicy`, or a whole one. What is not said is default.

        Replaces what was declared before, but for a pause; declaring the same again changes nothing, so a program may
        do it at each start. When it returns, every primary decides by it. Raises ValueError for what cannot be,
        NotAllowed where the cluster refuses, NoAnswer (indefinite: say it again), ClusterUnreachable.
        """
        self._do(self._to_declare(queue, policy, options, timeout))

    def undeclare(self, queue: str, *, timeout: float | None = None) -> None:
        """Withdraw what is declared for the queue, a pause included. Its messages stay; the defaults hold for them."""
        self._do(self._to_undeclare(queue, timeout))

    def pause(self, queue: str, *, timeout: float | None = None) -> None:
        """Hand out none of the queue's messages until `resume`. Submits are taken, and what is leased is settled.

        When it returns, no node hands out any more; it is agreed, so it holds through failovers and restarts. A queue
        need not be declared for it. Errors: as `declare`.
        """
        self._do(self._to_pause(queue, timeout, paused=True))

    def resume(self, queue: str, *, timeout: float | None = None) -> None:
        """Hand out the queue's messages again. Whoever waits for them is told at once."""
        self._do(self._to_pause(queue, timeout, paused=False))

    # --- topics ---

    def bind(self, queue: str, *patterns: str, timeout: float | None = None) -> None:
        """Let the queue have a copy of what is published under topics like these, from now on.

        A topic is words with dots between them; in a pattern `*` is one word and `#` any number of them. When it
        returns, every primary goes by it. Up to 16 patterns a queue. Errors: as `declare`.
        """
        self._do(self._to_bind(queue, patterns, timeout))

    def unbind(self, queue: str, *patterns: str, timeout: float | None = None) -> None:
        """Take patterns back. What stands in the queue stays."""
        self._do(self._to_unbind(queue, patterns, timeout))

    def bindings(self, *, timeout: float | None = None) -> dict[str, tuple[str, ...]]:
        """The patterns that are bound, by queue."""
        return self._do(self._to_see_bindings(timeout))

    def publish(self, topic: str, payload: object = None, **options: Unpack[SubmitOptions]) -> list[Ticket]:
        """Put one copy into each queue that is bound to the topic: into all of them, or none.

        Options as of `submit`, but for group and unique. Returns the tickets of the copies, by queue's name; none where
        no queue is bound. Raises as `submit` does; SubmitTimeout (indefinite): publish again with its token as `id`,
        and each queue gets one copy; QueueFull: no queue got one.
        """
        return self._do(self._to_publish(topic, payload, options))

    # --- schedules ---

    def schedule(self, name: str, queue: str, payload: object = None, *, timeout: float | None = None,
                 **options: Unpack[ScheduleOptions]) -> None:
        """Have a message queued at certain moments, by the cluster itself, each time exactly once.

        `cron`: minute, hour, day of month, month, day of week (or with seconds in front), in the time zone `zone`; or
        `every`: seconds, from now on. `catch_up`: what becomes of ticks that passed while nobody could serve the
        schedule's bucket: "last" (the last one is made up for), "skip" or "all". `overlap=False`: no tick while the
        message of an earlier one has not ended. `priority`, `attempts`, `headers`: as of `submit`; `expires`: seconds
        after its tick. The same again changes nothing, so a program may say it at each start; something else replaces
        it, but for a pause. When it returns, it is agreed. Raises ValueError for what cannot be, NotAllowed, NoAnswer
        (indefinite: say it again), ClusterUnreachable.
        """
        self._do(self._to_schedule(name, queue, payload, options, timeout))

    def unschedule(self, name: str, *, timeout: float | None = None) -> None:
        """Withdraw the schedule: no tick fires any more; what was queued stays. Raises UnknownSchedule."""
        self._do(self._to_unschedule(name, timeout))

    def pause_schedule(self, name: str, *, timeout: float | None = None) -> None:
        """Let no tick of the schedule fire until `resume_schedule`. Raises UnknownSchedule."""
        self._do(self._to_pause_schedule(name, timeout))

    def resume_schedule(self, name: str, *, timeout: float | None = None) -> None:
        """Let its ticks fire again, from now on: a pause is no outage, and is not made up for."""
        self._do(self._to_resume_schedule(name, timeout))

    def schedules(self, *, timeout: float | None = None) -> list[ScheduleView]:
        """All schedules, by name, as the newest state known shows them. Raises ClusterUnreachable."""
        return self._do(self._to_see_schedules(timeout))

    # --- life ---

    def close(self) -> None:
        """Fail whoever waits with Closed, give leases back, close the sockets. Never hangs; may be called again."""
        self._finalizer()

    def __enter__(self) -> Client:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 traceback: TracebackType | None) -> None:
        self.close()

    # --- waiting ---

    def _run(self, course: Course[T]) -> T:
        """Do one errand after another, as far as the course goes."""
        value: Any = None
        while True:
            try:
                errand = course.send(value)
            except StopIteration as over:
                found: T = over.value
                return found
            value = self._do(errand)

    def _do(self, errand: Errand[T]) -> T:
        """Have the thread do it, and wait until the call is finished."""
        self._check()
        if self._transport.in_thread:
            raise RuntimeError("this would wait for the thread that it runs in: a future's callback may not wait for"
                               " the client; hand the work to another thread")
        call = errand.call
        finished = threading.Lock()
        finished.acquire()
        call.notify = lambda _: finished.release()
        self._transport.post(errand.begin)
        try:
            while not finished.acquire(timeout=LOOK_S):
                if not self._transport.running and not call.finished:        # it died; its log tells why
                    call.abort(Closed("the client's thread has ended"))
        except BaseException:                            # Ctrl-C, say
            self._transport.post(self._core.withdraw, call)
            raise
        return errand.end()
