"""The client for asyncio: as `zmqueue.Client`, awaited, and safe to cancel at any moment."""

from __future__ import annotations

import asyncio
import contextlib
import os
import weakref
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, Unpack

from zmqueue.aio.handover import Handover
from zmqueue.aio.message import Message
from zmqueue.aio.ticket import Ticket
from zmqueue.client.arguments import BatchOptions, SubmitOptions
from zmqueue.client.collecting import Collecting
from zmqueue.client.composing import Chain, Join, Until
from zmqueue.client.errands import Errand
from zmqueue.client.face import TIMEOUT_S, Face
from zmqueue.client.finding import Found, Moment, Search, search
from zmqueue.client.leasing import Holding
from zmqueue.client.queues import PolicyOptions, QueuePolicy
from zmqueue.client.scheduling import ScheduleOptions, ScheduleView
from zmqueue.client.streaming import Event, Streaming
from zmqueue.client.sweeping import Course, Filters, Swept, WorkerView
from zmqueue.client.ticket import Result, Status
from zmqueue.client.transport import JOIN_S
from zmqueue.client.views import MembersView, QueueView
from zmqueue.client.wishing import Wish
from zmqueue.errors import UnknownToken

T = TypeVar("T")


class Client(Face[Ticket, Message]):
    """Submits, asks, leases; any number of tasks may share one. Close it, or use it with `async with`.

    Every method does what the method of that name of `zmqueue.Client` does, with the same arguments, deadlines and
    errors. What is awaited may be cancelled at any moment: a cancelled `lease` gives back what it was or will be
    granted; a cancelled `submit` may be stored or not (draw its id before, and you can find out, or repeat it); a
    cancelled `ack`, `nack`, `reject`, `extend` or `give_back` goes on. The client works in a thread of its own, so
    leases live on while the event loop is busy. It may be made anywhere and used in any event loop, or in several.
    """

    def __init__(self, *seeds: str, timeout: float = TIMEOUT_S, name: str | None = None) -> None:
        """`seeds`: endpoints of some nodes, tcp://HOST:PORT; default: $ZMQUEUE_SEEDS, comma-separated.

        `name`: what `workers` shows of whoever leases by it; default: program@machine:process.
        """
        super().__init__(seeds, timeout, name)
        self._handovers: dict[asyncio.AbstractEventLoop, Handover] = {}
        this = weakref.ref(self)
        self._transport.over.add_done_callback(lambda _: _abandon(this()))

    def _ticket(self, token: str) -> Ticket:
        return Ticket(self, token)

    def _message(self, holding: Holding) -> Message:
        return Message(self, holding)

    # --- submitting ---

    async def submit(self, queue: str, payload: object, **options: Unpack[SubmitOptions]) -> Ticket:
        """Have a message accepted; then it is on the disks of all in-sync replicas, of `min_in_sync` at least.

        Options and errors: `zmqueue.Client.submit`. Many at once (`asyncio.gather`) travel together. Cancelled before
        it was sent, it is never stored; later, it may be.
        """
        return await self._do(self._to_submit(queue, payload, options))

    async def submit_many(self, queue: str, payloads: Iterable[object],
                          **options: Unpack[BatchOptions]) -> list[Ticket]:
        """Have many messages accepted: one round trip per primary, not per message.

        The options hold for all of them; `zmqueue.With(payload, ...)` has options of its own. Returns their
        tickets in the order of `payloads`. Raises SubmitManyFailed where some are not confirmed.
        """
        return await self._do(self._to_submit_many(queue, payloads, options))

    async def submit_chain(self, chain: Chain, *, timeout: float | None = None) -> list[Ticket]:
        """Submit the first step of a chain (`zmqueue.chain`); each step queues the next one with its ack.

        Returns the tickets of all steps; `chain_result` waits for the last. Raises as `submit` does.
        """
        return await self._do(self._to_submit_chain(chain, timeout))

    async def submit_join(self, join: Join, *, timeout: float | None = None) -> Ticket:
        """Submit a join (`zmqueue.join`) and its parts: all of them are accepted, or none. Returns the join's ticket.

        It is "delayed" until its parts are done. Raises as `submit` does.
        """
        return await self._do(self._to_submit_join(join, timeout))

    async def chain_result(self, steps: Sequence[Ticket], timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the result of the last step of a chain. Raises RequestFailed for the step that failed, and as
        `result` does."""
        until, found = Until(steps, timeout), None
        while (token := until.token) is not None:
            try:
                found = await self.result(token, timeout=until.left(), type=type if until.last else None)
                until.done()
            except UnknownToken as error:
                await asyncio.sleep(until.pause(error))
        return found

    # --- asking ---

    async def status(self, token: str, *, timeout: float | None = None) -> Status:
        """How the request is, now. Raises UnknownToken, NoAnswer or ClusterUnreachable."""
        return await self._do(self._to_ask(token, timeout))

    async def result(self, token: str, timeout: float = 30.0, type: Any = None) -> Any:
        """Wait for the request's end (a long poll at the node, through failovers) and return its result.

        `type`: validate the result as that. Raises RequestFailed, ResultTimeout, UnknownToken, ClusterUnreachable.
        """
        return await self._do(self._to_result(token, timeout, type))

    def results(self, tokens: Iterable[str], timeout: float = 30.0, type: Any = None) -> AsyncIterator[Result]:
        """Wait for the ends of many requests; gives each as it comes: `async for result in client.results(tokens)`.

        As `zmqueue.Client.results`.
        """
        return self._results(self._to_collect(tokens, timeout), type)

    async def _results(self, collecting: Collecting, type: Any) -> AsyncIterator[Result]:
        try:
            while collecting.left:
                for result in await self._do(self._to_take(collecting, type)):
                    yield result
        finally:
            self._transport.post(collecting.close)

    def stream(self, token: str, after: int = 0, timeout: float = 30.0, type: Any = None) -> AsyncIterator[Event]:
        """Follow the request: its progress, and its end: `async for event in client.stream(token)`.

        As `zmqueue.Client.stream`.
        """
        return self._stream(self._to_stream(token, after, timeout, type))

    async def _stream(self, streaming: Streaming) -> AsyncIterator[Event]:
        while not streaming.ended:
            for event in await self._do(self._to_follow(streaming)):
                yield event

    # --- revoking ---

    async def cancel(self, token: str, *, timeout: float | None = None) -> bool:
        """Have the request not done any more. False: it had ended before. As `zmqueue.Client.cancel`.
        """
        return await self._do(self._to_cancel(token, timeout))

    async def cancel_many(self, tokens: Iterable[str], *, timeout: float | None = None) -> list[Result]:
        """Cancel many requests: one packet per bucket. Gives what `cancel` returns or raises for each, in their order.
        """
        return await self._do(self._to_cancel_many(tokens, timeout))

    async def forget(self, token: str, *, timeout: float | None = None) -> None:
        """Have the request's result thrown away now, and not when its time is over. That it is done stays known.
        """
        await self._do(self._to_forget(token, timeout))

    # --- leasing ---

    async def lease(self, queue: str, max: int = 1, wait: float = 0.0, lease: float | None = None, *,
                    dead: bool = False) -> list[Message]:
        """Lease up to `max` messages, waiting up to `wait` seconds for the first; empty where there is none.

        As `zmqueue.Client.lease`. Cancelled, it gives back at once whatever comes of it.
        """
        return await self._do(self._to_lease(queue, max, wait, lease, dead=dead))

    async def ack_many(self, messages: Iterable[Message], results: Iterable[object] | None = None, *,
                 timeout: float | None = None) -> list[Result]:
        """Settle many messages as done, with a result each, or with none: one packet per bucket.
        """
        return await self._do(self._to_ack_many(messages, results, timeout))

    # --- looking ---

    async def queues(self, *, timeout: float | None = None) -> list[QueueView]:
        """What stands in each queue, by name: the sum over all primaries. Raises NoAnswer or ClusterUnreachable."""
        return await self._do(self._to_see_queues(timeout))

    async def members(self, *, timeout: float | None = None) -> MembersView:
        """The members, as the newest state known and those that answer within a second show them."""
        return await self._do(self._to_see_members(timeout))

    # --- finding, and what was found ---

    def find(self, queue: str | None = None, states: Iterable[str] = (), since: Moment | None = None,
             before: Moment | None = None, headers: Mapping[str, str] | None = None, limit: int | None = None, *,
             payloads: bool = False, timeout: float | None = None) -> AsyncIterator[Found]:
        """Look for requests over all buckets: `async for found in client.find(...)`. As `zmqueue.Client.find`; so are
        the following."""
        return self._found(search(queue, states, since, before, headers, limit, payloads), timeout)

    async def _found(self, search: Search, timeout: float | None) -> AsyncIterator[Found]:
        while not search.over:
            for found in await self._do(self._to_look(search, timeout)):
                yield found

    async def peek(self, queue: str, n: int = 10, *, timeout: float | None = None) -> list[Found]:
        """The first `n` dead letters of the queue, with payload, error and what became of their last deliveries."""
        return await self._run(self._course_peek(queue, n, timeout))

    async def requeue(self, queue: str | None = None, tokens: Iterable[str] | None = None,
                      **filters: Unpack[Filters]) -> Swept:
        """Give dead letters another try: those named, or all that fit. Cancelled, what was answered is done."""
        return await self._run(self._course_sweep("requeue", Wish.REQUEUE, queue, ("dead",), tokens, filters))

    async def purge(self, queue: str | None = None, tokens: Iterable[str] | None = None,
                    **filters: Unpack[Filters]) -> Swept:
        """Throw dead letters away: those named, or all that fit."""
        return await self._run(self._course_sweep("purge", Wish.PURGE, queue, ("dead",), tokens, filters))

    async def cancel_found(self, queue: str | None = None, states: Iterable[str] = ("delayed", "ready"),
                           tokens: Iterable[str] | None = None, **filters: Unpack[Filters]) -> Swept:
        """Cancel what waits: those named, or all that fit."""
        return await self._run(self._course_sweep("cancel_found", Wish.CANCEL, queue, states, tokens, filters))

    async def workers(self, *, timeout: float | None = None) -> list[WorkerView]:
        """Who holds which leases, and for how long. A worker that holds none is not seen."""
        return await self._run(self._course_workers(timeout))

    # --- what is agreed for queues ---

    async def declare(self, queue: str, policy: QueuePolicy | None = None, *, timeout: float | None = None,
                      **options: Unpack[PolicyOptions]) -> None:
        """Have a policy agreed for the queue, and return when every primary decides by it.

        As `zmqueue.Client.declare`; so are the following.
        """
        await self._do(self._to_declare(queue, policy, options, timeout))

    async def undeclare(self, queue: str, *, timeout: float | None = None) -> None:
        """Withdraw what is declared for the queue, a pause included. Its messages stay; the defaults hold for them."""
        await self._do(self._to_undeclare(queue, timeout))

    async def pause(self, queue: str, *, timeout: float | None = None) -> None:
        """Hand out none of the queue's messages until `resume`. Submits are taken, and what is leased is settled.

        When it returns, no node hands out any more.
        """
        await self._do(self._to_pause(queue, timeout, paused=True))

    async def resume(self, queue: str, *, timeout: float | None = None) -> None:
        """Hand out the queue's messages again. Whoever waits for them is told at once."""
        await self._do(self._to_pause(queue, timeout, paused=False))

    # --- topics ---

    async def bind(self, queue: str, *patterns: str, timeout: float | None = None) -> None:
        """Let the queue have a copy of what is published under topics like these, from now on."""
        await self._do(self._to_bind(queue, patterns, timeout))

    async def unbind(self, queue: str, *patterns: str, timeout: float | None = None) -> None:
        """Take patterns back. What stands in the queue stays."""
        await self._do(self._to_unbind(queue, patterns, timeout))

    async def bindings(self, *, timeout: float | None = None) -> dict[str, tuple[str, ...]]:
        """The patterns that are bound, by queue."""
        return await self._do(self._to_see_bindings(timeout))

    async def publish(self, topic: str, payload: object = None, **options: Unpack[SubmitOptions]) -> list[Ticket]:
        """Put one copy into each queue that is bound to the topic. As `zmqueue.Client.publish`."""
        return await self._do(self._to_publish(topic, payload, options))

    # --- schedules ---

    async def schedule(self, name: str, queue: str, payload: object = None, *, timeout: float | None = None,
                       **options: Unpack[ScheduleOptions]) -> None:
        """Have a message queued at certain moments, by the cluster itself, each time exactly once.

        As `zmqueue.Client.schedule`; so are the following.
        """
        await self._do(self._to_schedule(name, queue, payload, options, timeout))

    async def unschedule(self, name: str, *, timeout: float | None = None) -> None:
        """Withdraw the schedule: no tick fires any more; what was queued stays. Raises UnknownSchedule."""
        await self._do(self._to_unschedule(name, timeout))

    async def pause_schedule(self, name: str, *, timeout: float | None = None) -> None:
        """Let no tick of the schedule fire until `resume_schedule`. Raises UnknownSchedule."""
        await self._do(self._to_pause_schedule(name, timeout))

    async def resume_schedule(self, name: str, *, timeout: float | None = None) -> None:
        """Let its ticks fire again, from now on: a pause is no outage, and is not made up for."""
        await self._do(self._to_resume_schedule(name, timeout))

    async def schedules(self, *, timeout: float | None = None) -> list[ScheduleView]:
        """All schedules, by name, as the newest state known shows them. Raises ClusterUnreachable."""
        return await self._do(self._to_see_schedules(timeout))

    # --- life ---

    async def aclose(self) -> None:
        """Fail whoever waits with Closed, give leases back, close the sockets. Never hangs; may be called again."""
        self._finalizer.detach()
        if os.getpid() != self._owner:
            return
        self._transport.stop_soon()
        handover = self._handover()
        over = asyncio.Event()
        self._transport.over.add_done_callback(lambda _: handover.put(over.set))
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(over.wait(), JOIN_S)

    async def __aenter__(self) -> Client:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None,
                        traceback: TracebackType | None) -> None:
        await self.aclose()

    # --- waiting ---

    async def _run(self, course: Course[T]) -> T:
        """Do one errand after another, as far as the course goes."""
        value: Any = None
        while True:
            try:
                errand = course.send(value)
            except StopIteration as over:
                found: T = over.value
                return found
            value = await self._do(errand)

    async def _do(self, errand: Errand[T]) -> T:
        """Have the thread do it, and wait until the call is finished."""
        self._check()
        handover = self._handover()
        finished = handover.wait(errand.call)
        self._transport.post(errand.begin)
        try:
            await finished
        except BaseException:                            # cancelled, or the loop ends
            handover.leave(finished)
            raise
        handover.took(finished)
        return errand.end()

    def _handover(self) -> Handover:
        """To the running loop."""
        loop = asyncio.get_running_loop()
        handover = self._handovers.get(loop)
        if handover is None:
            for closed in [loop for loop in self._handovers if loop.is_closed()]:
                self._handovers.pop(closed).dissolve()       # what they waited for goes back
            handover = self._handovers[loop] = Handover(loop, partial(self._transport.post, self._core.withdraw))
        return handover


def _abandon(client: Client | None) -> None:
    """The client's thread has ended: nobody may wait for it."""
    if client is not None:
        for handover in list(client._handovers.values()):
            handover.put(handover.abandon)
