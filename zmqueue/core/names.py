"""What a queue may be called: one rule, for the node's door and for the client, which tells sooner."""

from __future__ import annotations

import re

QUEUE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/-]*", re.ASCII)
QUEUE_NAME_RULE = "a queue's name begins with a letter or digit and is made of A-Z a-z 0-9 . _ : / -"

QUEUE_NAME_CHARACTERS_MAX = 128
"""The longest name: it is part of keys, which have at most 511 bytes."""


def is_queue_name(name: str) -> bool:
    """True where a queue may be called so."""
    return len(name) <= QUEUE_NAME_CHARACTERS_MAX and QUEUE_NAME.fullmatch(name) is not None
