"""FastAPI: the client opens and closes with the application; a request submits, another one asks. One program."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, HTTPException
from httpx import ASGITransport, AsyncClient

import zmqueue

queue = zmqueue.App(queue="reports")


@queue.task(attempts=3)
async def report(year: int) -> str:
    return f"the report of {year}"


@asynccontextmanager
async def lifespan(api: FastAPI) -> AsyncIterator[None]:
    """From the start to the stop. The worker is here for a demonstration: in production, `zmqueue work shop:queue`."""
    async with queue, queue.aio_worker(concurrency=4):
        yield


api = FastAPI(lifespan=lifespan)


@api.post("/reports/{year}", status_code=202)
async def order(year: int) -> dict[str, str]:
    """Confirmed when it is on the disks of the queue's nodes."""
    ticket = await report.aio.submit(year)
    return {"token": ticket.token}


@api.get("/reports/{token}")
async def fetch(token: str) -> dict[str, str | None]:
    """How it is, and the result where it has one."""
    try:
        status = await report.aio.ticket(token).status()
    except (zmqueue.UnknownToken, zmqueue.BadToken):
        raise HTTPException(404, "no such report was ordered") from None
    return {"state": status.state, "report": status.result}


async def main() -> None:
    """As a server and a browser would."""
    transport = ASGITransport(app=api)
    async with api.router.lifespan_context(api), AsyncClient(transport=transport, base_url="http://shop") as browser:
        ordered = await browser.post("/reports/2025")
        print(ordered.status_code)
        while (found := (await browser.get(f"/reports/{ordered.json()['token']}")).json())["state"] != "done":
            await asyncio.sleep(0.05)                    # short polling, as a page does
        print(found)
        print((await browser.get("/reports/none")).status_code)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True) as node:
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint
        asyncio.run(main())
