"""What a Celery application does, with zmqueue: delay, countdown, retry, results, chains of tasks. One program."""

from __future__ import annotations

import os
import tempfile
import time

import zmqueue

app = zmqueue.App(queue="celery")                             # Celery("shop", broker=..., backend=...)


@app.task                                                     # @app.task
def add(x: int, y: int) -> int:
    return x + y


@app.task(attempts=3)                                         # @app.task(autoretry_for=(Exception,), max_retries=2)
def flaky() -> str:
    tries = zmqueue.current().deliveries                      # self.request.retries + 1, with bind=True
    if tries < 3:
        raise ConnectionError("not yet")
    return f"done in delivery {tries}"


@app.task
def first(x: int) -> int:
    zmqueue.current().then(second.to(x * 2))                  # chain(first.s(x), second.s()): all or nothing
    return x


@app.task
def second(x: int) -> int:
    print("second got", x)
    return x


def main() -> None:
    with app.worker(concurrency=4):                           # celery -A shop worker -c 4; zmqueue work shop:app
        print(add.submit(2, 3).result(timeout=10.0))          # add.delay(2, 3).get(timeout=10)
        print(add.options(delay=0.2, priority=9).submit(2, 4).result())      # add.apply_async((2, 4), countdown=0.2)
        print(list(add.map([1, 2, 3], [10, 20, 30])))         # group(add.s(i, j) for ...).apply_async().join()
        print(flaky.submit().result())
        print(first.submit(21).result())
        while any(view.name == "celery" and (view.ready or view.leased) for view in app.client.queues()):
            time.sleep(0.05)                                  # until the second one is done as well
    with app.eager():                                         # task_always_eager = True
        print(add.submit(1, 1).result())


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True) as node:
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint
        with app:
            main()
