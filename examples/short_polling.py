"""Short polling: hand out tokens at once, look later how the requests are. A cluster of three nodes in one program."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import zmqueue
from zmqueue.patterns.short_polling import Look, poll, submit_request

ANYWHERE = "tcp://127.0.0.1:0"


def count_words(message: zmqueue.Message) -> int:
    """The work, slow enough that a page has to be loaded more than once."""
    time.sleep(0.5)
    if not message.payload:
        raise zmqueue.Reject("there is nothing to count")
    return len(message.payload.split())


def follow(client: zmqueue.Client, token: str) -> None:
    """What a browser does with the page and its retry hint."""
    polls = 0
    while not (page := poll(client, token, polls)).final:
        print(f"{token}  {page.look.value}; ask again in {page.retry_after:.2f} s")
        time.sleep(page.retry_after or 0.0)
        polls += 1
    print(f"{token}  {page.look.value}: {page.result if page.look is Look.READY else page.error}")


def main(data: Path) -> None:
    with zmqueue.Node(data=data / "a", listen=ANYWHERE, found=True) as first:
        second = zmqueue.Node(data=data / "b", listen=ANYWHERE, join=[first.endpoint])
        third = zmqueue.Node(data=data / "c", listen=ANYWHERE, join=[first.endpoint])
        with second, third, zmqueue.Client(first.endpoint, second.endpoint) as client:
            tokens = [submit_request(client, "words", text) for text in ("to be or not to be", "")]
            print("accepted:", *tokens)
            with zmqueue.Worker(client, {"words": count_words}):
                for token in tokens:
                    follow(client, token)
            print(poll(client, client.new_id()).look.value, "is a token that was never submitted")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
