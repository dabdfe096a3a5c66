"""Tasks that stand in a module, as an application's do: processes find them by name."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Generator
from typing import Annotated

from pydantic import BaseModel, Field

import zmqueue


class Size(BaseModel):
    """What a picture measures."""

    width: int
    height: int


app = zmqueue.App(queue="plain")


@app.task
def area(size: Size, scale: Annotated[int, Field(gt=0)] = 1) -> int:
    """How many points it has."""
    return size.width * size.height * scale


@app.task
def doubled(size: Size) -> Size:
    return Size(width=size.width * 2, height=size.height * 2)


@app.task
def where() -> list[int | str]:
    context = zmqueue.current()
    return [os.getpid(), context.task.name, context.deliveries, context.fencing, context.headers["zmqueue-task"]]


@app.task(attempts=2)
def fail(text: str) -> None:
    raise LookupError(text)


@app.task
def parent(count: int) -> int:
    """Submits tasks of its own, and waits for them: there have to be slots for both."""
    return sum(area.submit(Size(width=1, height=3)).result() for _ in range(count))


def _counted(to: int) -> Generator[int | str, None, int]:
    yield from range(to)
    zmqueue.current().progress("three")
    return to


counted = app.task(queue="counted")(_counted)
counted_beside = app.task(queue="mixed", name="counted_beside")(_counted)


@app.task(queue="mixed")
async def later(number: int) -> int:
    await asyncio.sleep(0.001)
    return number + 1


@app.task(queue="mixed")
def sooner(number: int) -> int:
    return number + zmqueue.current().deliveries
