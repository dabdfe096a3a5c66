"""Damages a store's file as a bad disk does: finds a row, a leaf or a branch that is in use, and changes some bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from zmqueue.core.tables import Table
from zmqueue.store.pages import BRANCH, LEAF, Pages, Report

PAGE = 4096
HEADER = 16


class _Located(Pages):
    """Tells where the row lies that it gave last."""

    leaf = 0                               # its page
    large: int | None = None               # the first page of its value, where that has pages of its own

    def _leaf(self, number: int, page: bytes, offsets: tuple[int, ...], name: str, low: bytes, high: bytes | None,
              report: Report) -> Iterator[tuple[bytes, bytes, int]]:
        for found in super()._leaf(number, page, offsets, name, low, high, report):
            self.leaf = number
            yield found
            self.large = None

    def _big(self, number: int, size: int, name: str, report: Report) -> bytes | None:
        self.large = number
        return super()._big(number, size, name, report)


class StoreFile:
    """The file of a store that nobody has open."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def patch(self, offset: int, value: bytes) -> None:
        """Put other bytes there."""
        with self.path.open("r+b") as file:
            file.seek(offset)
            file.write(value)

    def flip(self, offset: int, bit: int = 0) -> None:
        """Flip one bit."""
        self.patch(offset, bytes((self.path.read_bytes()[offset] ^ 1 << bit,)))

    def cut(self, share: float) -> None:
        """Keep only so much of what is used."""
        with Pages(self.path) as pages:
            used = pages.meta.used_bytes
        os.truncate(self.path, int(used * share))

    def row(self, table: Table, value: bytes) -> tuple[int, int]:
        """Where the first row of a table whose key or value holds these bytes lies: (its key, these bytes). Of a large
        value, which has pages of its own, only the second is known; the first is 0."""
        content = self.path.read_bytes()
        with _Located(self.path) as pages:
            tree = pages.tables(pytest.fail)[table.value.encode()]
            for key, sealed in pages.rows(tree, table.value, pytest.fail):
                if value not in key + sealed:
                    continue
                if pages.large is not None:
                    return 0, pages.large * PAGE + HEADER + sealed.find(value)
                start = pages.leaf * PAGE      # old rows lie about in the unused middle of a page; entries at its end
                place = content.rfind(key + sealed, start, start + PAGE)
                return place, place + (key + sealed).find(value)
        raise AssertionError(f"no row of {table.value} holds {value!r}")

    def pages(self, table: Table, kind: int) -> Iterator[int]:
        """Where the pages of a table's tree begin: of kind BRANCH or LEAF."""
        faults: list[str] = []
        with Pages(self.path) as pages:
            tree = pages.tables(faults.append)[table.value.encode()]
            before = bytes(pages._used)
            assert list(pages.rows(tree, table.value, faults.append)) is not None
            held = [number for number, used in enumerate(pages._used) if used and not before[number]]
        content = self.path.read_bytes()
        for number in held:
            start = number * PAGE
            if (int.from_bytes(content[start:start + 8], "little") == number
                    and int.from_bytes(content[start + 10:start + 12], "little") == kind):
                yield start

    def lose_half(self, page: int) -> None:
        """Let the page have half of its entries: what the others led to has vanished."""
        lower = int.from_bytes(self.path.read_bytes()[page + 12:page + 14], "little")
        entries = (lower - HEADER) // 2
        assert entries > 1
        self.patch(page + 12, (HEADER + entries // 2 * 2).to_bytes(2, "little"))

    def misdirect(self, page: int) -> None:
        """Let the second entry of a branch lead to a page that is not there."""
        content = self.path.read_bytes()
        node = page + int.from_bytes(content[page + HEADER + 2:page + HEADER + 4], "little")
        self.patch(node, b"\xff\xff\xff\x00")


__all__ = ["BRANCH", "LEAF", "PAGE", "StoreFile"]
