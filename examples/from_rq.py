"""What an RQ application does, with zmqueue: enqueue, results, failed jobs, retries, processes. One program."""

from __future__ import annotations

import os
import tempfile

import zmqueue

app = zmqueue.App(queue="default")                            # q = Queue(connection=Redis())


@app.task(attempts=2)                                         # q.enqueue(count_words, ..., retry=Retry(max=1))
def count_words(text: str) -> int:
    if not text:
        raise ValueError("there is no text")
    return len(text.split())


@app.task(queue="high")                                       # Queue("high")
def where() -> int:
    return os.getpid()                                        # RQ forks for each job


def main() -> None:
    job = count_words.submit("to be or not to be")            # job = q.enqueue(count_words, "to be or not to be")
    print(job.status().state)                                 # job.get_status()
    # rq worker high default: processes, each replaced after one message, as RQ's work horses are
    with app.worker("high", "default", concurrency=2, executor="process", recycle_after=1):
        print(job.result(timeout=30.0))                       # job.return_value()
        failed = count_words.submit("")
        try:
            failed.result(timeout=30.0)
        except zmqueue.RequestFailed as error:                # job.exc_info
            print(error.error_type, "-", error.error_text, "-", error.state)
        processes = [where.submit().result(timeout=30.0) for _ in range(3)]
        print("a process each:", len({os.getpid(), *processes}) == 4)
    print(count_words("a plain call"))


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True) as node:
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint
        with app:
            main()
