"""Worker pool: threads for what waits, processes for what computes, and a message that never succeeds. One program."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import zmqueue
from zmqueue.patterns.worker_pool import pool

ANYWHERE = "tcp://127.0.0.1:0"


def fetch(message: zmqueue.Message) -> str:
    """A handler that waits: it runs in a thread."""
    time.sleep(0.1)
    return f"page {message.payload}"


def primes_below(work: zmqueue.Work) -> int:
    """A handler that computes: it runs in a process, and stands at the top of its module."""
    if work.payload < 0:
        raise zmqueue.Reject(f"there are no primes below {work.payload}")
    return sum(all(number % divisor for divisor in range(2, int(number ** 0.5) + 1))
               for number in range(2, work.payload))


def main(data: Path) -> None:
    with zmqueue.Node(data=data / "a", listen=ANYWHERE, found=True) as first:
        second = zmqueue.Node(data=data / "b", listen=ANYWHERE, join=[first.endpoint])
        third = zmqueue.Node(data=data / "c", listen=ANYWHERE, join=[first.endpoint])
        with second, third, zmqueue.Client(first.endpoint, second.endpoint) as client:
            pages = client.submit_many("pages", list(range(20)))
            primes = client.submit_many("primes", [10, 1_000, 20_000])
            never = client.submit("primes", -1)
            with pool(client, {"pages": fetch}, threads=10), pool(client, {"primes": primes_below}, processes=2):
                print([ticket.result() for ticket in pages])
                print([ticket.result(timeout=60.0) for ticket in primes])
                try:
                    never.result()
                except zmqueue.RequestFailed as failure:
                    print(failure)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
