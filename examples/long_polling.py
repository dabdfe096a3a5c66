"""Long polling: the result the moment that it is there, though a node leaves meanwhile. A cluster in one program."""

from __future__ import annotations

import tempfile
import threading
import time
from pathlib import Path

import zmqueue
from zmqueue.patterns.long_polling import hold, wait_for

ANYWHERE = "tcp://127.0.0.1:0"


def brew(message: zmqueue.Message) -> str:
    """The work takes as long as it is told to."""
    time.sleep(message.payload)
    return f"ready at {time.monotonic():.3f}"


def main(data: Path) -> None:
    with zmqueue.Node(data=data / "a", listen=ANYWHERE, found=True) as first:
        second = zmqueue.Node(data=data / "b", listen=ANYWHERE, join=[first.endpoint])
        third = zmqueue.Node(data=data / "c", listen=ANYWHERE, join=[first.endpoint])
        with (
            second, third,
            zmqueue.Client(first.endpoint, second.endpoint) as client,
            zmqueue.Worker(client, {"kitchen": brew}),
        ):
            token = client.submit("kitchen", 3.0).token
            print("one question, held for half a second:", hold(client, token, 0.5))
            leaving = threading.Thread(target=third.stop)        # its buckets go to the others while we wait
            leaving.start()
            print("the result, through a change of nodes:", wait_for(client, token, timeout=30.0),
                  f"(now it is {time.monotonic():.3f})")
            leaving.join()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
