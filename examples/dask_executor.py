"""Where work outgrows one machine's cores: a worker whose handlers run on a dask.distributed cluster. One program.

Any concurrent.futures.Executor will do. The queue keeps what it promises: a message stays leased while dask works on
it, and is handed out again where that fails. Needs the extra `dask`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from distributed import Client as DaskClient
from distributed import LocalCluster

import zmqueue

app = zmqueue.App(queue="primes")


@app.task
def primes_below(number: int) -> list[int]:
    """How many there are, and which process counted them."""
    if number < 0:
        raise zmqueue.Reject(f"there are no primes below {number}")
    count = sum(all(candidate % divisor for divisor in range(2, int(candidate ** 0.5) + 1))
                for candidate in range(2, number))
    return [count, os.getpid()]


def main(data: Path) -> None:
    with (
        zmqueue.Node(data / "node", listen="tcp://127.0.0.1:0", found=True) as node,
        LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=":0", local_directory=str(data)) as cluster,
        DaskClient(cluster) as dask,
        dask.get_executor(pure=False) as executor,
    ):
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint             # where an app looks that names no seeds
        with app, app.worker(concurrency=4, executor=executor):
            found = list(primes_below.map([10, 1_000, 5_000, 20_000]))
            print([count for count, _ in found])
            print("counted elsewhere:", os.getpid() not in {process for _, process in found})
            try:
                primes_below.submit(-1).result()
            except zmqueue.RequestFailed as failed:
                print(failed.state, "-", failed.error_text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        main(Path(folder))
