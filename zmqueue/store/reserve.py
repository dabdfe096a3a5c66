"""The disk's reserve: the blocks ahead of a store's used pages are allocated before they are needed.

LMDB's file may be longer than its used pages, so `posix_fallocate` keeps it longer by the reserve. When the disk
cannot give more, the node stops taking submits while there is still a reserve for everything else; another program
that fills the disk cannot take it away. Pages that LMDB can use again count as room too: its file never shrinks, so
after a full disk was worked off, they are all that there is.

A *floor* of free space is left to the file system: it is what file systems live on that have no real allocation
(posix_fallocate writes zeros there) or write every change to another place (copy on write), where an allocated
block is no promise.
"""

from __future__ import annotations

import errno
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

log = logging.getLogger("zmqueue.store")

RESERVE_BYTES = 64 << 20
RESERVE_BYTES_MIN = 16 << 20   # the largest settlement has that many bytes; less is no reserve
FLOOR_SHARE = 4                # of the disk, a fourth of the reserve stays free
STEP_SHARE = 4                 # the file grows by a fourth of the reserve: not with every commit
SPARE_SHARE = 16               # less to spare than a sixteenth of the reserve is nothing: a request or two
AGAIN_SHARE = 8                # submits go on when there is an eighth more than the reserve: no flapping at the edge


@dataclass(frozen=True, slots=True)
class DiskRoom:
    """What was measured. Bytes."""

    reserve_bytes: int         # what is to be kept
    reserved_bytes: int        # allocated ahead of the used pages, and within the map
    reusable_bytes: int        # pages of the used part that hold nothing any more; 0 while the disk has plenty
    free_bytes: int            # on the file system, for this user
    spare_bytes: int           # what submits may write; 0: short
    short: bool
    low: bool                  # less than half of the reserve is left
    text: str                  # the same for people, and what to do while it is short


class Reserve:
    """The allocated blocks of one file. Used by one thread at a time."""

    def __init__(self, path: Path, reserve_bytes: int, used_bytes_max: int | None) -> None:
        """`used_bytes_max`: what the map may hold, where that is limited."""
        if reserve_bytes < RESERVE_BYTES_MIN:
            raise ValueError(f"the disk reserve is {reserve_bytes:,} bytes; it must be {RESERVE_BYTES_MIN:,} at least,"
                             " or settlements could outgrow it")
        self.reserve_bytes = reserve_bytes
        self._path = path
        self._used_bytes_max = used_bytes_max
        self._file = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._allocated_bytes = 0
        self._short = False
        self._refused = False          # blocks were asked for and not given: what is free is not for us (a quota)
        self._blind = False            # the file system allocates nothing ahead: only its free space tells

    def covers(self, used_bytes: int) -> bool:
        """True while the whole reserve is allocated ahead of that many used bytes."""
        return self._ahead(used_bytes) >= self.reserve_bytes

    def measure(self, used_bytes: int, reusable_bytes: Callable[[], int]) -> DiskRoom:
        """Allocate what is missing, as far as the disk has it, and say how things stand.

        `reusable_bytes` is asked only where the disk has not plenty.
        """
        reserve, floor = self.reserve_bytes, self.reserve_bytes // FLOOR_SHARE
        size = os.fstat(self._file).st_size
        if size < min(used_bytes, self._allocated_bytes) and not self._blind:
            raise OSError(errno.EIO, f"the file has {size:,} bytes and had {self._allocated_bytes:,}: it was cut off")
        self._allocate(used_bytes + reserve, floor)
        free = self._free_bytes()
        ahead = self._ahead(used_bytes)
        growth = 0 if self._refused else self._can_grow(used_bytes, free - floor)
        reusable = 0 if ahead >= reserve and growth >= reserve else reusable_bytes()
        spare = ahead + reusable + growth - reserve
        least = reserve // (AGAIN_SHARE if self._short else SPARE_SHARE)
        self._short = short = spare < least or ahead < reserve // 2 or free < floor
        return DiskRoom(reserve, ahead, reusable, free, 0 if short else spare, short, ahead + reusable < reserve // 2,
                        self._text(used_bytes, ahead, reusable, free))

    def close(self) -> None:
        """Let go of the file; what is allocated stays with it. May be called twice."""
        if self._file >= 0:
            os.close(self._file)       # LMDB's locks are on another file: closing this one releases none of them
            self._file = -1

    def _allocate(self, upto: int, floor: int) -> None:
        if self._used_bytes_max is not None:
            upto = min(upto, self._used_bytes_max)
        missing = upto - self._allocated_bytes
        if missing <= 0 and not self._refused:
            return
        self._refused = False
        # What the file has already costs nothing, and is counted in any case; its holes, as an earlier version or
        # a power cut may have left them, are filled on the way.
        step, there = self.reserve_bytes // STEP_SHARE, os.fstat(self._file)
        for more in (missing + step, missing, there.st_size - self._allocated_bytes):
            if more <= 0:
                continue
            end = self._allocated_bytes + more
            beyond = end - max(there.st_size, there.st_blocks * 512)
            if beyond > 0 and self._free_bytes() - beyond < floor:
                continue
            if self._fallocate(self._allocated_bytes, more):
                self._allocated_bytes = end
                return

    def _fallocate(self, start: int, more: int) -> bool:
        """True where the blocks are there now, or where this file system knows no way to tell."""
        try:
            os.posix_fallocate(self._file, start, more)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self._refused = True
                return False
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):
                raise
            if not self._blind:
                self._blind = True
                log.warning("%s: this file system allocates nothing ahead (%s): only its free space is watched",
                            self._path, error.strerror)
        return True

    def _ahead(self, used_bytes: int) -> int:
        end = self._allocated_bytes
        if self._used_bytes_max is not None:
            end = min(end, self._used_bytes_max)
        return max(0, end - used_bytes)

    def _can_grow(self, used_bytes: int, free_bytes: int) -> int:
        if self._used_bytes_max is not None:
            free_bytes = min(free_bytes, self._used_bytes_max - max(used_bytes, self._allocated_bytes))
        return max(0, free_bytes)

    def _free_bytes(self) -> int:
        disk = os.fstatvfs(self._file)
        return disk.f_bavail * disk.f_frsize

    def _text(self, used_bytes: int, ahead: int, reusable: int, free: int) -> str:
        left = (f"{ahead + reusable:,} bytes are left to the store {self._path} ({reusable:,} of them in pages that are"
                f" used again), {self.reserve_bytes:,} are its reserve (disk_reserve_bytes)")
        most = self._used_bytes_max
        if most is not None and used_bytes + self.reserve_bytes + self.reserve_bytes // AGAIN_SHARE > most:
            return f"{left}, and its map may not grow beyond {most:,} bytes (map_bytes_max): raise that"
        if self._refused and free > self.reserve_bytes:
            return (f"{left}, and it gets no more of the {free:,} bytes that are free on its disk: a quota, or a limit"
                    " of the size of files; raise that, or work off what stands in queues")
        return (f"{left}, and {free:,} bytes are free on its disk, of which {self.reserve_bytes // FLOOR_SHARE:,} are"
                " left to the file system: free space there, or work off what stands in queues")
