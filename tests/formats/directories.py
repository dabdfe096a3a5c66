"""A whole data directory as text, since LMDB's files depend on the machine's page size: rows sealed as they lie there.

    python -m tests.formats.directories make FOLDER     founds a cluster of one, leaves messages in every state, and
                                                        writes directory.txt.gz and directory.json into FOLDER

It is run with the version that is to be remembered, once, when that is released. The JSON says what was promised.
"""

from __future__ import annotations

import gzip
import json
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import lmdb

import zmqueue

FAR = 3_650 * 86_400.0                     # the longest delay is ten years
SETTINGS = "buckets = 4\nlease_ms = 3600000\n"


def dump(store: Path) -> Iterator[str]:
    """Every row of an LMDB store: database, key, value as it lies there."""
    with (lmdb.open(str(store), readonly=True, max_dbs=64, lock=False) as environment,
          environment.begin() as transaction):
        names = [bytes(name) for name in transaction.cursor().iternext(values=False)]
        for name in names:
            database = environment.open_db(name, txn=transaction, create=False)
            for key, value in transaction.cursor(db=database):
                yield f"{name.decode()} {bytes(key).hex()} {bytes(value).hex()}"


def load(lines: Iterable[str], store: Path) -> None:
    """Write the rows of `dump` into a new LMDB store."""
    store.mkdir(parents=True, mode=0o700)
    with (lmdb.open(str(store), max_dbs=64, map_size=1 << 28) as environment,
          environment.begin(write=True) as transaction):
        databases: dict[str, Any] = {}
        for line in lines:
            name, key, value = line.split(" ")
            if name not in databases:
                databases[name] = environment.open_db(name.encode(), txn=transaction)
            transaction.put(bytes.fromhex(key), bytes.fromhex(value), db=databases[name])


def lines_of(folder: Path) -> list[str]:
    """The rows in a golden folder."""
    return gzip.decompress((folder / "directory.txt.gz").read_bytes()).decode().splitlines()


def make(folder: Path) -> None:
    """Write the dump of a directory that this version made, and that a kill left as it was."""
    with tempfile.TemporaryDirectory() as made:
        data, settings = Path(made) / "node", Path(made) / "settings.toml"
        settings.write_text(SETTINGS)
        command = [sys.executable, "-m", "zmqueue", "node", "--data", str(data), "--listen", "tcp://127.0.0.1:0",
                   "--found", "--config", str(settings)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as node:
            try:
                assert node.stdout is not None
                endpoint = re.search(r"tcp://[^\s\"]+", node.stdout.readline())
                assert endpoint is not None, "the node does not serve"
                with zmqueue.Client(endpoint[0]) as client:
                    promised = _fill(client)
                    time.sleep(1.0)        # what is written lazily
                    node.kill()
            finally:
                node.kill()
        rows = "\n".join(dump(data / "store")) + "\n"
    with (folder / "directory.txt.gz").open("wb") as raw, gzip.GzipFile("", "wb", fileobj=raw, mtime=0) as packed:
        packed.write(rows.encode())
    (folder / "directory.json").write_text(json.dumps(promised, indent=1, sort_keys=True) + "\n")


def _fill(client: zmqueue.Client) -> dict[str, Any]:
    """Leave messages in every state; say what was promised of each."""
    done = {client.submit("done", text).token: text for text in ("one", "two", "three")}
    dead = client.submit("dead", b"bad letter").token
    again = client.submit("again", {"try": "again"}).token
    ready = [client.submit("ready", f"ready {index}", priority=index % 2, headers={"n": str(index)}).token
             for index in range(6)]
    delayed = client.submit("delayed", b"later", delay=FAR).token
    for message in client.lease("done", max=10, wait=5.0):
        message.ack({"of": message.payload})
    (letter,) = client.lease("dead", max=1, wait=5.0)
    letter.reject("cannot be read")
    (message,) = client.lease("again", max=1, wait=5.0)
    message.nack(error="not yet")
    leased = client.submit("leased", b"in hand").token
    (held,) = client.lease("leased", max=1, wait=5.0)
    assert held.token == leased, "left in hand: its worker is gone when the directory is opened again"
    return {"version": zmqueue.__version__, "done": done, "dead": {dead: "cannot be read"}, "ready": ready,
            "delayed": delayed, "due": time.time() + FAR, "again": {again: "not yet"}, "leased": leased}


if __name__ == "__main__":
    make(Path(sys.argv[2]))
