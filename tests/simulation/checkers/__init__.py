"""The checkers: observers of a virtual cluster that know what must never happen, each by a book of its own.

They look at what nodes have on disk, what they have applied, and what they answer. What they know of the protocol is
written here once more, independently of the code that they check.
"""

from __future__ import annotations


class Violation(AssertionError):
    """What must never happen, happened."""

    def __init__(self, checker: str, what: str) -> None:
        super().__init__(f"{checker}: {what}")
        self.checker = checker
        self.what = what


class Beyond(Exception):
    """What the promise rests on does not hold any more (a disk lost what it had confirmed, and nobody else has it): the
    run ends without a verdict."""
