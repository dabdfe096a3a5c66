"""Topics: which queues get a copy of what is published, by the patterns that are bound to them.

A topic is words with dots between them, `orders.eu.paid`. In a pattern, `*` stands for one word and `#` for any number
of them, none too. Patterns are a part of the queue's policy, so they are agreed, and a primary goes by those of the
state that it has installed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING

from zmqueue.core.hashing import digest

if TYPE_CHECKING:
    from zmqueue.core.policies import Policy

TOPIC_CHARACTERS_MAX = 128
"""Of a topic or a pattern: it is a name, and travels with each message."""

WORDS_MAX = 16
"""Of a topic or a pattern: matching looks at pairs of words."""

PATTERNS_MAX = 16
"""Of one queue: the state travels whole."""

COPY_PREFIX = 16
"""How many bytes the id of a copy has in common with the id of what was published: version, time, place, 7 random."""

_WORD = r"[A-Za-z0-9_-]+"
_TOPIC = re.compile(rf"{_WORD}(\.{_WORD})*", re.ASCII)
_PATTERN = re.compile(rf"({_WORD}|\*|#)(\.({_WORD}|\*|#))*", re.ASCII)
_RULE = "words of A-Z a-z 0-9 _ - with dots between them"


def topic_problem(topic: str) -> str:
    """Why this is no topic; "": it is."""
    return _problem("a topic is made of " + _RULE, topic, _TOPIC)


def pattern_problem(pattern: str) -> str:
    """Why this is no pattern; "": it is."""
    return _problem(f"a pattern is made of {_RULE}, * for one word and # for any number", pattern, _PATTERN)


def _problem(rule: str, text: str, shape: re.Pattern[str]) -> str:
    if len(text) > TOPIC_CHARACTERS_MAX or text.count(".") >= WORDS_MAX:
        return (f"{len(text):,} characters and {text.count('.') + 1} words; the limits are {TOPIC_CHARACTERS_MAX} and "
                f"{WORDS_MAX}: {text[:40]!r}")
    return "" if shape.fullmatch(text) else f"{rule}, this is not: {text!r}"


def matches(pattern: str, topic: str) -> bool:
    """True where the topic is one of those that the pattern stands for.

    >>> matches("orders.*", "orders.paid"), matches("orders.*", "orders.eu.paid"), matches("orders.#", "orders")
    (True, False, True)
    """
    words = topic.split(".")
    reached = {0}                          # how many words the pattern's words so far may stand for
    for part in pattern.split("."):
        if part == "#":
            reached = set(range(min(reached), len(words) + 1)) if reached else reached
        else:
            reached = {at + 1 for at in reached if at < len(words) and part in ("*", words[at])}
    return len(words) in reached


def bound(policies: Mapping[str, Policy], topic: str) -> list[str]:
    """The queues that get a copy, by name."""
    return sorted(queue for queue, policy in policies.items()
                  if any(matches(pattern, topic) for pattern in policy.topics))


def copy_id(message_id: bytes, queue: str) -> bytes:
    """The id of the copy for a queue: the same for each repeat, in the same bucket, and as hard to guess."""
    return message_id[:COPY_PREFIX] + digest(message_id + queue.encode())[:len(message_id) - COPY_PREFIX]
