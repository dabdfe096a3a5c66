"""The asyncio client: cancelling at any moment, closing, several loops, and no work while nothing happens."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import threading
import time
from collections.abc import AsyncIterator

import pytest

import zmqueue
import zmqueue.aio
from tests.aio.conftest import Run
from tests.client.serving import Served
from zmqueue.core.operations import State
from zmqueue.core.requests import Submit

LONG_S = 300.0         # a lease that no test waits for


@contextlib.asynccontextmanager
async def soon_cancelled(seconds: float) -> AsyncIterator[None]:
    """Cancel what is inside after so long."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds):
            yield


@pytest.mark.parametrize("seed", range(3))
def test_whatever_is_cancelled_at_random_moments_all_messages_are_worked_off(run: Run, node: zmqueue.Node, queue: str,
                                                                            seed: int) -> None:
    dice = random.Random(seed)
    count = 150

    async def consume(client: zmqueue.aio.Client, done: dict[str, int]) -> None:
        """Leases, and is interrupted everywhere; what it holds at that moment it gives back, as a program should."""
        while len(done) < count:
            messages: list[zmqueue.aio.Message] = []
            async with soon_cancelled(dice.choice((0.0, 0.0005, 0.001, 0.002, 0.005))):
                messages = await client.lease(queue, max=dice.choice((1, 5, 50)), wait=dice.choice((0.0, 0.5)),
                                              lease=LONG_S)
            for message in messages:
                acked = asyncio.create_task(message.ack(message.payload))
                await asyncio.sleep(dice.choice((0.0, 0.0005, 0.002)))
                if dice.random() < 0.3:
                    acked.cancel()                           # it goes on all the same
                with contextlib.suppress(asyncio.CancelledError):
                    await acked
                done[message.token] = done.get(message.token, 0) + 1

    async def disturb(client: zmqueue.aio.Client, tokens: list[str]) -> None:
        for _ in range(200):
            async with soon_cancelled(dice.choice((0.0, 0.001, 0.003))):
                await client.result(dice.choice(tokens), 10.0)
            async with soon_cancelled(dice.choice((0.0, 0.001))):
                await client.submit(queue + "-other", "x")

    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            tickets = await client.submit_many(queue, range(count))
            done: dict[str, int] = {}
            async with asyncio.timeout(60.0):                # far less than a lease: nothing waits for its end
                await asyncio.gather(*(consume(client, done) for _ in range(5)),
                                     disturb(client, [ticket.token for ticket in tickets]))
                assert await asyncio.gather(*(ticket.result() for ticket in tickets)) == list(range(count))
            assert set(done.values()) == {1}
            view = next(view for view in await client.queues() if view.name == queue)
            assert (view.ready, view.leased) == (0, 0)

    run(program())


def test_a_cancelled_lease_that_was_granted_already_goes_back(run: Run, node: zmqueue.Node, queue: str) -> None:
    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            await client.submit_many(queue, range(20))
            task = asyncio.create_task(client.lease(queue, max=20, wait=5.0, lease=LONG_S))
            await asyncio.sleep(0)
            time.sleep(0.3)                                  # the loop is blocked: the thread has the grant by then
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            began = time.monotonic()
            got = 0
            while got < 20:
                got += len(await client.lease(queue, max=20, wait=5.0, lease=LONG_S))
            assert time.monotonic() - began < 2.0

    run(program())


def test_a_cancelled_submit_can_be_repeated_by_its_id_and_is_stored_once(run: Run, node: zmqueue.Node,
                                                                         queue: str) -> None:
    async def program() -> None:
        async with zmqueue.aio.Client(node.endpoint) as client:
            tokens = [client.new_id() for _ in range(50)]
            for number, token in enumerate(tokens):
                async with soon_cancelled(number * 0.00002):
                    await client.submit(queue, number, id=token)
            for number, token in enumerate(tokens):
                assert (await client.submit(queue, number, id=token)).token == token
            view = next(view for view in await client.queues() if view.name == queue)
            assert view.ready == 50

    run(program())


def test_a_submit_that_is_cancelled_before_it_was_sent_never_is(run: Run, served: Served) -> None:
    async def program() -> None:
        served.drop = {0, 1, 2}
        async with zmqueue.aio.Client(*served.endpoints) as client:
            async with soon_cancelled(0.1):
                await client.submit("q", "x")
            served.drop = set()
            await client.submit("q", "y")
            bodies = [submission.payload for _, packet in served.cluster.log if isinstance(packet, Submit)
                      for submission in packet.messages]
            assert bodies == [b"y"]

    run(program())


def test_closing_frees_all_who_wait_and_does_not_block_the_loop(run: Run, served: Served) -> None:
    async def program() -> None:
        client = zmqueue.aio.Client(*served.endpoints)
        ticket = await client.submit("q", "x")
        waiting: list[asyncio.Task[object]] = [asyncio.create_task(ticket.result(60.0)) for _ in range(100)]
        waiting.append(asyncio.create_task(_lease(client)))
        await asyncio.sleep(0.1)
        turns = 0

        async def turn() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0.001)

        turning = asyncio.create_task(turn())
        began = time.monotonic()
        await asyncio.gather(client.aclose(), client.aclose())
        seconds = time.monotonic() - began
        turning.cancel()
        assert seconds < 2.0 and turns >= seconds / 0.02
        for error in await asyncio.gather(*waiting, return_exceptions=True):
            assert isinstance(error, zmqueue.Closed)
        await client.aclose()
        with pytest.raises(zmqueue.Closed):
            await client.lease("q")

    run(program())


async def _lease(client: zmqueue.aio.Client) -> object:
    return await client.lease("none", 1, 60.0)


def test_one_client_serves_several_loops_one_after_another_and_at_once(run: Run, served: Served) -> None:
    client = zmqueue.aio.Client(*served.endpoints)

    async def program() -> list[zmqueue.aio.Ticket]:
        return await asyncio.gather(*(client.submit("q", number) for number in range(50)))

    tickets = [*run(program()), *run(program())]
    others: list[zmqueue.aio.Ticket] = []
    threads = [threading.Thread(target=lambda: others.extend(asyncio.run(program()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len({*tickets, *others}) == 200
    assert len(client._handovers) <= 2, "closed loops are forgotten"
    run(client.aclose())


def test_what_was_leased_in_a_loop_that_was_closed_meanwhile_goes_back(served: Served) -> None:
    client = zmqueue.aio.Client(*served.endpoints)
    loop = asyncio.new_event_loop()
    ticket = loop.run_until_complete(client.submit("q", "x"))
    tasks = [loop.create_task(client.lease("q", wait=60.0)), loop.create_task(ticket.result(60.0))]
    loop.run_until_complete(asyncio.sleep(0))
    end = time.monotonic() + 5.0
    while [stored.state for stored in served.cluster.stored.values()] != [State.LEASED]:
        assert time.monotonic() < end
        time.sleep(0.01)
    loop.close()                                             # with what waited in it: a mistake, and it costs nothing

    async def program() -> None:
        message, = await client.lease("q", wait=5.0)
        await message.ack("done")
        assert await ticket.result(5.0) == "done"
        await client.aclose()

    asyncio.run(program())
    assert [task.done() for task in tasks] == [False, False]
    assert next(iter(served.cluster.stored.values())).state is State.DONE


def test_a_client_that_is_forgotten_closes_itself(run: Run, served: Served) -> None:
    async def program() -> threading.Thread:
        client = zmqueue.aio.Client(*served.endpoints)
        await client.submit("q", "x")
        return client._transport._thread

    thread = run(program())
    gc.collect()
    thread.join(5.0)
    assert not thread.is_alive()


def test_an_idle_client_and_worker_let_the_loop_sleep(run: Run, served: Served,
                                                      monkeypatch: pytest.MonkeyPatch) -> None:
    async def handler(message: zmqueue.aio.Message) -> None:
        pass

    async def program() -> None:
        async with zmqueue.aio.Client(*served.endpoints) as client, \
                zmqueue.aio.Worker(client, {"q": handler}) as worker:
            ticket = await client.submit("q", "x")
            await ticket.result(5.0)
            other = await client.submit("other", "x")
            waiting = [asyncio.create_task(client.lease("none", wait=60.0)),
                       asyncio.create_task(other.result(60.0))]
            looks, ticks = list[int](), list[int]()
            handover, core = client._handover(), client._core
            look, tick = handover._look, core.tick
            monkeypatch.setattr(handover, "_look", lambda: [looks.append(1), look()])  # type: ignore[func-returns-value]
            monkeypatch.setattr(core, "tick", lambda *now: [ticks.append(1), tick(*now)])  # type: ignore[func-returns-value]
            await asyncio.sleep(3.0)
            assert worker.statistics.done == 1 and looks == [], "the loop was woken though nothing had happened"
            assert 30 < len(ticks) < 300, "the thread is woken by heartbeats, 30 a second from three nodes"
            for task in waiting:
                task.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)

    run(program())


def test_a_client_may_be_made_before_there_is_a_loop_and_seeds_come_from_the_environment(
        run: Run, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZMQUEUE_SEEDS", ",".join(served.endpoints))
    client = zmqueue.aio.Client()

    async def program() -> None:
        async with client:
            await client.submit("q", "x")

    run(program())
    assert client.closed
    monkeypatch.delenv("ZMQUEUE_SEEDS")
    with pytest.raises(ValueError, match="at least one seed"):
        zmqueue.aio.Client()


def test_a_timeout_says_that_the_fate_is_unknown_and_the_ticket_goes_with_it(run: Run, served: Served) -> None:
    async def program() -> None:
        async with zmqueue.aio.Client(*served.endpoints) as client:
            await client.submit("q", "x")
            served.drop = {0, 1, 2}
            with pytest.raises(zmqueue.SubmitTimeout) as caught:
                await client.submit("q", "y", timeout=0.3)
            assert not caught.value.definite and isinstance(caught.value.ticket, zmqueue.aio.Ticket)
            with pytest.raises(zmqueue.SubmitManyFailed) as failed:
                await client.submit_many("q", ["y"] * 3, timeout=0.2)
            assert all(isinstance(ticket, zmqueue.aio.Ticket) for ticket in failed.value.tickets)
            served.drop = set()

    run(program())
