"""A proxy for ZMTP that delays, drops and repeats whole messages: `python -m tests.nemesis.proxy LISTEN TARGET`.

LISTEN and TARGET are HOST:PORT; the port where it listens is the last word of its first line. Orders come on standard
input, one line each, and are answered by "done": `DELAY DROP REPEAT`, the longest delay in seconds and two
probabilities. A byte stream with holes would only break connections; so it reads the frames (ZMTP 3.x, RFC 23): after
the greeting, flags, a length of one byte or eight, a body; the flag MORE binds frames to a message. Commands
(handshake, heartbeats) are delayed and never dropped.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from dataclasses import dataclass

GREETING_BYTES = 64
MORE, LONG, COMMAND = 1, 2, 4
QUEUED_MAX = 1_000                     # messages of one direction that are delayed: then reading stops


@dataclass(slots=True)
class Orders:
    """What is to be done to messages."""

    delay_s: float = 0.0
    drop: float = 0.0
    repeat: float = 0.0


async def read_message(stream: asyncio.StreamReader) -> tuple[bytes, bool]:
    """All frames of one message as they are, and whether it is a command."""
    frames = b""
    while True:
        flags = await stream.readexactly(1)
        length = await stream.readexactly(8 if flags[0] & LONG else 1)
        frames += flags + length + await stream.readexactly(int.from_bytes(length, "big"))
        if not flags[0] & MORE:
            return frames, bool(flags[0] & COMMAND)


class Pipe:
    """One direction of one connection. Messages are never overtaken."""

    def __init__(self, source: asyncio.StreamReader, target: asyncio.StreamWriter, orders: Orders) -> None:
        self._source, self._target, self._orders = source, target, orders
        self._queue: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(QUEUED_MAX)

    async def run(self) -> None:
        """Until one of the ends closes."""
        writing = asyncio.create_task(self._write())
        try:
            await self._greet()
            while True:
                frames, command = await read_message(self._source)
                if command or random.random() >= self._orders.drop:
                    await self._put(frames)
                    if not command and random.random() < self._orders.repeat:
                        await self._put(frames)
        finally:
            writing.cancel()

    async def _greet(self) -> None:
        """As it comes: each side sends the rest when it has seen how the other's begins."""
        left = GREETING_BYTES
        while left:
            part = await self._source.read(left)
            if not part:
                raise asyncio.IncompleteReadError(part, left)
            await self._put(part)
            left -= len(part)

    async def _put(self, data: bytes) -> None:
        due = asyncio.get_running_loop().time() + random.random() * self._orders.delay_s
        await self._queue.put((due, data))

    async def _write(self) -> None:
        while True:
            due, data = await self._queue.get()
            await asyncio.sleep(max(0.0, due - asyncio.get_running_loop().time()))
            self._target.write(data)
            await self._target.drain()


async def serve(listen: str, target: str) -> None:
    """Until standard input ends."""
    orders = Orders()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError):
            try:
                host, _, port = target.rpartition(":")
                far_reader, far_writer = await asyncio.open_connection(host, int(port))
                try:
                    pipes = [asyncio.create_task(Pipe(reader, far_writer, orders).run()),
                             asyncio.create_task(Pipe(far_reader, writer, orders).run())]
                    await asyncio.wait(pipes, return_when=asyncio.FIRST_COMPLETED)
                    for pipe in pipes:
                        pipe.cancel()
                    await asyncio.gather(*pipes, return_exceptions=True)
                finally:
                    far_writer.close()
            finally:
                writer.close()

    host, _, port = listen.rpartition(":")
    server = await asyncio.start_server(connected, host, int(port))
    print("listening at", server.sockets[0].getsockname()[1], flush=True)
    async with server:
        while line := await asyncio.to_thread(sys.stdin.readline):
            orders.delay_s, orders.drop, orders.repeat = map(float, line.split())
            print("done", flush=True)


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
