"""Message ids and tokens: who a message is, when its id was drawn, and in which bucket it lies.

An id is 24 bytes and is drawn by the client, before the submit, so that a retry is the same message (Q2, Q3)::

    version 1 | draw time, ms since 1970, 6 bytes | place 2 bytes | random 15 bytes

The *place* is a slice of the hash space: it decides the bucket. It is drawn at random, or is the hash of a key where
messages must lie together. The *token* is the id in base64url: 32 characters, 120 random bits, so nobody guesses one.
"""

from __future__ import annotations

import base64
import binascii

ID_VERSION = 1
ID_BYTES = 24
RANDOM_BYTES = 15
TOKEN_CHARACTERS = 32
PLACES = 1 << 16


class BadToken(ValueError):
    """The text is no token of ours; nothing was looked up."""


def make_id(wall: int, place: int, random: bytes) -> bytes:
    """Put an id together. `wall` in ms, `place` in 0..65535, `random` exactly 15 unguessable bytes."""
    if len(random) != RANDOM_BYTES:
        raise ValueError(f"an id needs {RANDOM_BYTES} random bytes, got {len(random)}")
    return b"\x01" + wall.to_bytes(6, "big") + place.to_bytes(2, "big") + random


def drawn_at(message_id: bytes) -> int:
    """When the id was drawn: ms since 1970, by the cluster time that its client knew."""
    return int.from_bytes(message_id[1:7], "big")


def place_of(message_id: bytes) -> int:
    """The slice of the hash space in which the message lies, 0..65535."""
    return (message_id[7] << 8) | message_id[8]


def bucket_at(place: int, buckets: int) -> int:
    """The bucket that owns a place: slices of equal width, in order."""
    return place * buckets >> 16


def bucket_of(message_id: bytes, buckets: int) -> int:
    """The bucket in which the message lies."""
    return bucket_at(place_of(message_id), buckets)


def places_of(bucket: int, buckets: int) -> tuple[int, int]:
    """The places [first, end) that belong to a bucket.

    >>> places_of(1, 32)
    (2048, 4096)
    """
    first = -(-(bucket << 16) // buckets)
    end = -(-((bucket + 1) << 16) // buckets)
    return first, end


def is_id(data: bytes) -> bool:
    """True where the bytes have the shape of an id of this version."""
    return len(data) == ID_BYTES and data[0] == ID_VERSION


def token_of(message_id: bytes) -> str:
    """The text by which a request is asked after."""
    return base64.urlsafe_b64encode(message_id).decode("ascii")


def parse_token(text: str) -> bytes:
    """The id in a token. Raises BadToken with what was found and what is allowed."""
    if not isinstance(text, str):
        raise BadToken(f"a token is a text of {TOKEN_CHARACTERS} characters, got {type(text).__name__}")
    if len(text) != TOKEN_CHARACTERS:
        raise BadToken(f"a token has {TOKEN_CHARACTERS} characters, this has {len(text)}: {text[:40]!r}")
    try:
        data = base64.b64decode(text.encode("ascii"), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error):
        raise BadToken(f"a token is made of A-Z a-z 0-9 - and _, this is not: {text!r}") from None
    if not is_id(data):
        raise BadToken(f"this token is of version {data[0]}, this program knows version {ID_VERSION}: {text!r}")
    return data
