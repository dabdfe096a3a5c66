"""Damages a store's file as a bad disk does: finds a row, a leaf or a branch that is in use, and changes some bytes."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from zmqueue.core.tables import Table
from zmqueue.store.pages import BRANCH, LEAF, Pages

PAGE = 4096
HEADER = 16


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
        wanted = large = b""
        with Pages(self.path) as pages:
            for name, tree in pages.tables(pytest.fail).items():
                for key, sealed in pages.rows(tree, name.decode(), pytest.fail):
                    if not wanted and name.decode() == table.value and value in key + sealed:
                        wanted, large = key + sealed, sealed
            held = [number for number, used in enumerate(pages._used) if used == 1]
        content = self.path.read_bytes()
        for number in held:                # old versions of rows lie about in the file; and in the middle of a page,
            start = number * PAGE          # before the entries, which lie at its end
            place = content.rfind(wanted, start, start + PAGE)
            if wanted and place >= 0:
                return place, place + wanted.find(value)
            if wanted and content.startswith(large, start + HEADER):
                return 0, start + HEADER + large.find(value)
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
