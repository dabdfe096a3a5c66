"""Loads a cluster until standard input ends. By public names alone, so that it runs with every version.

    load.py submit NAME SEED...      submits and says each number that is confirmed; at the end fetches every result,
                                     and exits with 0 only if each is right
    load.py work NAME SEED...        works for everybody
"""

from __future__ import annotations

import sys
import threading

import zmqueue

PAUSE = 0.02
QUEUE = "sums"


def submit(client: zmqueue.Client, name: str, ended: threading.Event) -> None:
    tokens: dict[str, int] = {}
    number = 0
    while not ended.wait(PAUSE):
        number += 1
        token = client.new_id()
        while True:
            try:
                client.submit(QUEUE, {"by": name, "number": number, "padding": "x" * 200}, id=token, timeout=10.0)
            except (zmqueue.SubmitTimeout, zmqueue.NotEnoughReplicas, zmqueue.NoAnswer) as error:
                print("again:", error, flush=True)
                continue
            break
        tokens[token] = number
        print("confirmed", number, flush=True)
    for token, expected in tokens.items():
        found = client.result(token, timeout=60.0)
        if found != {"by": name, "square": expected * expected}:
            raise SystemExit(f"wrong: {token} of {expected} is {found!r}")
    print("verified", len(tokens), flush=True)


def handle(work: zmqueue.Work) -> object:
    payload = work.payload
    return {"by": payload["by"], "square": payload["number"] ** 2}


def main(what: str, name: str, *seeds: str) -> None:
    ended = threading.Event()

    def wait() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait, daemon=True).start()
    with zmqueue.Client(*seeds, timeout=20.0) as client:
        if what == "submit":
            submit(client, name, ended)
            return
        worker = zmqueue.Worker(client, {QUEUE: handle}, concurrency=4)
        worker.start()
        ended.wait()
        worker.stop(drain=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
