"""Stable hashes: the same number on every platform, Python version and run (unlike `hash`)."""

from __future__ import annotations

import hashlib

DIGEST_BYTES = 16


def hash64(kind: str, text: str, index: int) -> int:
    """Hash a thing of some kind to 0 .. 2**64 - 1. `kind` keeps equal names of different things apart.

    >>> hash64("bucket", "", 0) == hash64("bucket", "", 0)
    True
    """
    data = b"\x00".join((kind.encode(), text.encode(), index.to_bytes(4, "big")))
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "big")


def digest(data: bytes) -> bytes:
    """16 bytes that stand for `data`; two data with the same digest are taken to be the same."""
    return hashlib.blake2b(data, digest_size=DIGEST_BYTES).digest()
