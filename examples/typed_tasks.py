"""Typed tasks: arguments, results, progress and errors of plain functions, through a queue. One program."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Generator
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, Field

import zmqueue

app = zmqueue.App(queue="pictures")


class Thumbnail(BaseModel):
    """What is left of a picture."""

    path: Path
    width: int


@app.task(attempts=5)
def thumbnail(path: Path, width: Annotated[int, Field(gt=0, le=4096)] = 256) -> Thumbnail:
    return Thumbnail(path=path.with_suffix(f".{width}.png"), width=width)


@app.task(attempts=2)
def inspect(path: str) -> int:
    raise FileNotFoundError(f"there is no {path}")


@app.task
def album(paths: list[Path]) -> Generator[str, None, int]:
    """Tells of each picture while it works."""
    for path in paths:
        yield f"{path.name} is done"
    zmqueue.current().then(thumbnail.to(paths[0], width=64))     # queued with the result, or not at all
    return len(paths)


@app.task(queue="fetches")
async def fetch(address: str) -> str:
    await asyncio.sleep(0.01)
    return f"page of {address}"


async def beside() -> None:
    """The same from asyncio; plain and coroutine tasks in one worker."""
    async with app.aio_worker():
        ticket = await fetch.aio.submit("example.org")
        print(await ticket.result())
        print([page async for page in fetch.aio.map(["a", "b", "c"])])


def main() -> None:
    print(thumbnail(Path("here.png")))                          # a plain call stays a plain call
    with app.worker("pictures", concurrency=4):
        small = thumbnail.submit(Path("a.png"), width=64).result()
        print(small.path, small.width)                          # a Thumbnail, as the annotation says
        print([made.width for made in thumbnail.map([Path("b.png"), Path("c.png")], [100, 200])])
        try:
            thumbnail.submit(Path("a.png"), width=0)
        except ValueError as error:
            print("refused before it was submitted:", error.__class__.__name__)
        try:
            inspect.options(priority=9).submit("b.png").result()
        except zmqueue.RequestFailed as failed:
            print(failed.error_type, "-", failed.error_text, "-", failed.deliveries, "deliveries")
        for event in album.submit([Path("a.png"), Path("b.png")]).stream():
            print(event.kind, event.data)
    asyncio.run(beside())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True) as node:
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint             # where an app looks that names no seeds
        with app:
            main()
