"""Streaming: a request tells how far it is; who follows comes back where it was. A cluster in one program."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Generator
from pathlib import Path

import zmqueue
from zmqueue.patterns.streaming import follow

ANYWHERE = "tcp://127.0.0.1:0"
STEPS = 5
seen = threading.Event()


def build(message: zmqueue.Message) -> Generator[str, None, str]:
    """What it yields is its progress, what it returns is the result."""
    for step in range(1, STEPS + 1):
        yield f"{message.payload}: step {step} of {STEPS}"
        if step == 2:
            seen.wait(30.0)                                      # so that the program below leaves in the middle
    return f"{message.payload} is built"


def main(data: Path) -> None:
    with zmqueue.Node(data=data / "a", listen=ANYWHERE, found=True) as first:
        second = zmqueue.Node(data=data / "b", listen=ANYWHERE, join=[first.endpoint])
        third = zmqueue.Node(data=data / "c", listen=ANYWHERE, join=[first.endpoint])
        with (
            second, third,
            zmqueue.Client(first.endpoint, second.endpoint) as client,
            zmqueue.Worker(client, {"yard": build}),
        ):
            token = client.submit("yard", "a boat").token
            last = 0
            for event in follow(client, token, timeout=30.0):
                print(event.index, event.data)
                last = event.index
                if last == 2:
                    break                                        # the page was closed, the phone lost its network
            leaving = threading.Thread(target=third.stop)        # its buckets go to the others
            leaving.start()
            seen.set()
            print(f"back again, after event {last}")
            for event in follow(client, token, after=last, timeout=30.0):
                print(event.index, event.data, "(the end)" if event.last else "")
            leaving.join()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
