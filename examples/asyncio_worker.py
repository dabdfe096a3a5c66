"""asyncio: a hundred handlers at once in one thread, a deadline that cancels, and a worker that drains. One program."""

from __future__ import annotations

import asyncio
import os
import signal
import tempfile
import time
from pathlib import Path

import zmqueue
import zmqueue.aio

ANYWHERE = "tcp://127.0.0.1:0"


async def fetch(message: zmqueue.aio.Message) -> str:
    """A handler that waits, for a web page, say: the others go on meanwhile."""
    await asyncio.sleep(0.5)
    return f"page {message.payload}"


def add_up(work: zmqueue.Work) -> int:
    """A plain function runs in a thread."""
    return sum(range(work.payload))


async def ask(client: zmqueue.aio.Client) -> None:
    """A caller: many requests at once, and one that it does not wait for to the end."""
    began = time.monotonic()
    pages = await asyncio.gather(*(client.submit("pages", number) for number in range(200)))
    results = await asyncio.gather(*(ticket.result() for ticket in pages))
    print(f"{len(results)} pages, the last is {results[-1]!r}, "
          f"{'side by side' if time.monotonic() - began < 20.0 else 'one by one'}")
    print(await (await client.submit("sums", 1_000)).result())
    try:
        async with asyncio.timeout(0.2):
            await client.lease("empty", wait=60.0)
    except TimeoutError:
        print("nothing came, and nothing was lost")


async def main(endpoint: str) -> None:
    async with zmqueue.aio.Client(endpoint) as client:
        worker = zmqueue.aio.Worker(client, {"pages": fetch, "sums": add_up}, concurrency=100)
        working = asyncio.create_task(worker.run())
        await ask(client)
        last = await client.submit("pages", "last")
        while not worker.statistics.running:
            await asyncio.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)             # what a supervisor does: the worker drains
        await working
        print(await last.result(), "was finished;", worker.statistics.done, "in all")


if __name__ == "__main__":
    with (
        tempfile.TemporaryDirectory() as folder,
        zmqueue.Node(data=Path(folder) / "a", listen=ANYWHERE, found=True) as node,
    ):
        asyncio.run(main(node.endpoint))
