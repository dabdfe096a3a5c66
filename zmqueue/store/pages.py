"""Reads LMDB's file page by page, without LMDB: a damaged structure is found and named, and never followed.

LMDB trusts its pages, so a flipped bit in one can make it return nothing, or end the process. Whoever looks at a file
that may be damaged reads it through this. The layout is that of LMDB 0.9 (data format 1), in the byte order and word
size of this machine, as LMDB writes it:

    page    number (8) | pad (2) | flags (2) | lower (2), upper (2), or the pages of an overflow (4) | ...
    meta    in pages 0 and 1: magic, version, address, map size, two trees (free pages; named tables), last page, txn id
    branch  offsets of nodes: child page (6) | length of key (2) | key       the first key counts as lower than all
    leaf    offsets of nodes: length of value (4) | flags (2) | length of key (2) | key | value, or its first page (8)
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Self

MAGIC, DATA_VERSION = 0xBEEFC0DE, 1
BRANCH, LEAF, OVERFLOW, META = 0x01, 0x02, 0x04, 0x08
BIG_VALUE, NAMED_TREE = 0x01, 0x02
NO_PAGE = (1 << 64) - 1
DEPTH_MAX = 32                         # LMDB's own limit is the size of its cursor's stack
PAGE_BYTES = (512, 65_536)             # the sizes that LMDB takes, from and to

_HEADER = struct.Struct("=QHHHH")
_META = struct.Struct("=IIQQ")
_TREE = struct.Struct("=IHHQQQQQ")
_TAIL = struct.Struct("=QQ")
_BRANCH_NODE = struct.Struct("<HHHH") if sys.byteorder == "little" else struct.Struct(">HHHH")
_PAGE_NUMBER = struct.Struct("=Q")

Report = Callable[[str], None]
"""Takes what is wrong, as a sentence."""


class NotAStore(ValueError):
    """The file has no valid meta page: nothing in it can be found."""


class Tree(NamedTuple):
    """What is said of a tree: where it begins, and what it holds."""

    pad: int
    flags: int
    depth: int
    branch_pages: int
    leaf_pages: int
    overflow_pages: int
    entries: int
    root: int


@dataclass(frozen=True, slots=True)
class Meta:
    """A root of the file: the state that one commit left."""

    page_bytes: int
    free: Tree
    main: Tree
    last_page: int
    commit: int

    @property
    def used_bytes(self) -> int:
        """How long the file is, if every used page was ever written."""
        return (self.last_page + 1) * self.page_bytes


class Pages:
    """An open file. A context; reads only."""

    def __init__(self, path: Path) -> None:
        """Raises NotAStore, and OSError where the file cannot be read."""
        self.path = path
        self._file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            self.file_bytes = os.fstat(self._file).st_size
            self.meta = self._newest()
        except BaseException:
            os.close(self._file)
            raise
        self._used = bytearray(self.meta.last_page + 1)        # 1: a tree holds the page; 2: it is free
        self.last_held = 1
        self.miscounted: dict[str, tuple[int, int]] = {}       # table -> (rows that it should have, rows found)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._file)

    # --- the roots ---

    def _newest(self) -> Meta:
        first = os.pread(self._file, PAGE_BYTES[1], 0)
        found = [meta for meta in (_meta_in(first, 0), self._second(first)) if meta is not None]
        if not found:
            raise NotAStore(f"{self.path} ({self.file_bytes:,} bytes) begins with no root of LMDB: it was overwritten, "
                            "or cut off")
        return max(found, key=lambda meta: meta.commit)

    def _second(self, first: bytes) -> Meta | None:
        meta = _meta_in(first, 0)
        sizes = [meta.page_bytes] if meta is not None else [PAGE_BYTES[0] << shift for shift in range(8)]
        for size in sizes:
            second = _meta_in(os.pread(self._file, size, size), 1)
            if second is not None and second.page_bytes == size:
                return second
        return None

    # --- the trees ---

    def tables(self, report: Report) -> dict[bytes, Tree]:
        """The named tables, by name."""
        found = {}
        for key, value, flags in self._leaves(self.meta.main, "the list of tables", report):
            if not flags & NAMED_TREE or len(value) != _TREE.size:
                report(f"entry {key!r} in the list of tables is no table")
                continue
            found[key] = Tree(*_TREE.unpack(value))
        return found

    def rows(self, tree: Tree, name: str, report: Report) -> Iterator[tuple[bytes, bytes]]:
        """All rows of a table that can be reached, ascending where nothing is wrong. What is wrong is reported, and
        left out."""
        for key, value, _ in self._leaves(tree, name, report):
            yield key, value

    def check_free(self, report: Report) -> None:
        """Look at the list of free pages; after all tables were read. A page that is free and held by a tree would be
        overwritten."""
        for _, value, _ in self._leaves(self.meta.free, "the list of free pages", report):
            numbers = [number for number, in _PAGE_NUMBER.iter_unpack(value[:len(value) // 8 * 8])]
            if not numbers or numbers[0] != len(numbers) - 1:
                report("a record in the list of free pages has another length than it says")
                continue
            for number in numbers[1:]:
                if not 2 <= number <= self.meta.last_page:
                    report(f"page {number} is said to be free, and the last one is {self.meta.last_page}")
                elif self._used[number]:
                    report(f"page {number} is said to be free, and is " + (
                        "held by a tree: it would be overwritten" if self._used[number] == 1 else "named twice"))
                else:
                    self._used[number] = 2

    def _leaves(self, tree: Tree, name: str, report: Report) -> Iterator[tuple[bytes, bytes, int]]:
        rows = 0
        if tree.root != NO_PAGE:
            for found in self._walk(tree.root, name, 1, b"", None, report):
                rows += 1
                yield found
        if rows != tree.entries:
            self.miscounted[name] = tree.entries, rows

    def _walk(self, number: int, name: str, depth: int, low: bytes, high: bytes | None,
              report: Report) -> Iterator[tuple[bytes, bytes, int]]:
        """The leaves below a page whose keys are to be in [low, high)."""
        page = self._page(number, name, report)
        if page is None:
            return
        flags, lower = _HEADER.unpack_from(page)[2:4]
        offsets = struct.unpack_from(f"={(lower - 16) // 2}H", page, 16) if 16 <= lower <= len(page) else ()
        if flags & (BRANCH | LEAF) not in (BRANCH, LEAF) or not offsets or lower % 2:
            report(f"page {number} of {name} is neither a branch nor a leaf with anything in it")
        elif flags & LEAF:
            yield from self._leaf(number, page, offsets, name, low, high, report)
        elif depth >= DEPTH_MAX:
            report(f"{name} is deeper than {DEPTH_MAX} pages at page {number}: it leads back into itself")
        else:
            children = list(self._children(number, page, offsets, name, report))
            for place, (key, child) in enumerate(children):
                floor = low if place == 0 else key
                ceiling = children[place + 1][0] if place + 1 < len(children) else high
                if place and (key < low or (high is not None and key >= high) or key <= children[place - 1][0]):
                    report(f"key {place} of branch page {number} of {name} is out of order: rows below it are hidden")
                yield from self._walk(child, name, depth + 1, floor, ceiling, report)

    def _page(self, number: int, name: str, report: Report) -> bytes | None:
        if not 2 <= number <= self.meta.last_page:
            report(f"{name} leads to page {number}, and there are 2 to {self.meta.last_page}")
            return None
        if self._used[number]:
            report(f"page {number} of {name} is held twice")
            return None
        self._hold(number)
        page = self._read(number, 1)
        if len(page) < self.meta.page_bytes:
            report(f"page {number} of {name} lies beyond the end of the file")
            return None
        if _HEADER.unpack_from(page)[0] != number:
            report(f"page {number} of {name} says that it is page {_HEADER.unpack_from(page)[0]}")
            return None
        return page

    def _children(self, number: int, page: bytes, offsets: tuple[int, ...], name: str,
                  report: Report) -> Iterator[tuple[bytes, int]]:
        for place, offset in enumerate(offsets):
            if offset + 8 > len(page):
                report(f"entry {place} of branch page {number} of {name} lies outside the page")
                continue
            low, high, top, length = _BRANCH_NODE.unpack_from(page, offset)
            if offset + 8 + length > len(page):
                report(f"key {place} of branch page {number} of {name} lies outside the page")
                continue
            yield (b"" if place == 0 else page[offset + 8:offset + 8 + length]), low | high << 16 | top << 32

    def _leaf(self, number: int, page: bytes, offsets: tuple[int, ...], name: str, low: bytes, high: bytes | None,
              report: Report) -> Iterator[tuple[bytes, bytes, int]]:
        before = b""
        for place, offset in enumerate(offsets):
            found = self._entry(page, offset)
            if found is None:
                report(f"entry {place} of leaf page {number} of {name} lies outside the page")
                continue
            key, written, flags, size = found
            if place and key <= before:
                report(f"key {key.hex()} on page {number} of {name} is out of order: searches do not find it")
            elif key < low or (high is not None and key >= high):
                report(f"key {key.hex()} on page {number} of {name} is not where the branch above leads: searches do "
                       "not find it")
            before = key
            value = self._big(_PAGE_NUMBER.unpack(written)[0], size, name, report) if flags & BIG_VALUE else written
            if value is not None:
                yield key, value, flags

    def _entry(self, page: bytes, offset: int) -> tuple[bytes, bytes, int, int] | None:
        """(key, value or the number of its first page, flags, length of the value)."""
        if offset + 8 > len(page):
            return None
        low, high, flags, length = _BRANCH_NODE.unpack_from(page, offset)
        size = low | high << 16
        start = offset + 8 + length
        end = start + (8 if flags & BIG_VALUE else size)
        return None if end > len(page) else (page[offset + 8:start], page[start:end], flags, size)

    def _big(self, number: int, size: int, name: str, report: Report) -> bytes | None:
        """A value that has pages of its own."""
        page = self._page(number, name, report)
        if page is None:
            return None
        _, _, flags, low, high = _HEADER.unpack_from(page)
        count = low | high << 16 if sys.byteorder == "little" else low << 16 | high
        if not flags & OVERFLOW or count < 1 or 16 + size > count * self.meta.page_bytes:
            report(f"page {number} of {name} does not begin a value of {size:,} bytes")
            return None
        for more in range(number + 1, number + count):
            if more > self.meta.last_page or self._used[more]:
                report(f"page {more} of a value of {name} is held twice, or is not there")
                return None
            self._hold(more)
        value = self._read(number, count)[16:16 + size]
        if len(value) < size:
            report(f"a value of {size:,} bytes of {name} at page {number} lies beyond the end of the file")
            return None
        return value

    def _hold(self, number: int) -> None:
        self._used[number] = 1
        self.last_held = max(self.last_held, number)

    def _read(self, number: int, count: int) -> bytes:
        size = self.meta.page_bytes
        return os.pread(self._file, count * size, number * size)


def _meta_in(page: bytes, number: int) -> Meta | None:
    """The root on a page; None where it is none."""
    trees = 16 + _META.size
    tail = trees + 2 * _TREE.size
    if len(page) < tail + _TAIL.size:
        return None
    itself, _, flags, _, _ = _HEADER.unpack_from(page)
    magic, version, _, _ = _META.unpack_from(page, 16)
    free, main = (Tree(*_TREE.unpack_from(page, trees + place * _TREE.size)) for place in range(2))
    last_page, commit = _TAIL.unpack_from(page, tail)
    size = free.pad
    if (itself, magic, version) != (number, MAGIC, DATA_VERSION) or not flags & META:
        return None
    if not PAGE_BYTES[0] <= size <= PAGE_BYTES[1] or size & (size - 1) or not 1 <= last_page < 1 << 48:
        return None
    return Meta(size, free, main, last_page, commit)


def missing_bytes(path: Path) -> int:
    """How many bytes of what the trees hold lie beyond the end of the file; 0 where it is whole. Raises NotAStore.

    The trees are read only where the file is shorter than its used pages: the last of these may be free ones that
    were never written.
    """
    with Pages(path) as pages:
        if pages.file_bytes >= pages.meta.used_bytes:
            return 0
        ignored: list[str] = []
        for name, tree in pages.tables(ignored.append).items():
            for _ in pages.rows(tree, name.decode("ascii", "replace"), ignored.append):
                pass
        pages.check_free(ignored.append)
        return max(0, (pages.last_held + 1) * pages.meta.page_bytes - pages.file_bytes)
