"""Encryption and compression of all arguments, results and progress of an app, by payload hooks. One program.

The nodes, their disks and everybody on the network see only what the hooks made. Who submits and who works have the
key. Queue, headers, errors and sizes are not encrypted: an error's text is what a handler raised, so raise no secrets.
"""

from __future__ import annotations

import os
import tempfile
import zlib

from cryptography.fernet import Fernet, MultiFernet

import zmqueue


class Compressed:
    """First: what is encrypted cannot be compressed any more."""

    name = "zlib"

    def encode(self, data: bytes) -> bytes:
        return zlib.compress(data)

    def decode(self, data: bytes) -> bytes:
        return zlib.decompress(data)


class Encrypted:
    """By the first key; read by any of them, so that keys can be changed while messages wait."""

    name = "fernet"

    def __init__(self, *keys: bytes) -> None:
        self._fernet = MultiFernet([Fernet(key) for key in keys])

    def encode(self, data: bytes) -> bytes:
        return self._fernet.encrypt(data)

    def decode(self, data: bytes) -> bytes:
        return self._fernet.decrypt(data)


OLD, NEW = Fernet.generate_key(), Fernet.generate_key()       # yours come from where you keep secrets


def diagnose(patient: str, notes: str) -> str:
    return f"{patient} is well"


def main() -> None:
    before = zmqueue.App(queue="patients", codecs=[Compressed(), Encrypted(OLD)])
    after = zmqueue.App(queue="patients", codecs=[Compressed(), Encrypted(NEW, OLD)])
    stranger = zmqueue.App(queue="patients")
    with before, after, stranger:
        ticket = before.task(diagnose).submit("Ann", notes="cough " * 1_000)
        message, = stranger.client.lease("patients", wait=10.0)
        print(message.payload[:36])
        print("readable:", b"Ann" in message.payload, "- smaller:", len(message.payload) < 1_000)
        message.give_back()
        task = after.task(diagnose)                           # the key was changed meanwhile
        with after.worker():
            print(task.ticket(ticket.token).result())
            sneaked = stranger.task(diagnose).submit("Bob", notes="")
            try:
                sneaked.result()
            except zmqueue.RequestFailed as failed:
                print(failed.error_text)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder, zmqueue.Node(folder, listen="tcp://127.0.0.1:0", found=True) as node:
        os.environ["ZMQUEUE_SEEDS"] = node.endpoint
        main()
