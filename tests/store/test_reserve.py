"""The disk's reserve: it is there when the disk is full, nobody takes it away, and it is made whole again."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.conftest import MakeDisk
from zmqueue.core.tables import Table, rows
from zmqueue.store import LmdbStore, StoreFailed
from zmqueue.store.reserve import RESERVE_BYTES_MIN, Reserve

MIB = 1 << 20
RESERVE = RESERVE_BYTES_MIN
BODY = os.urandom(100_000)
EVERYTHING = (b"\x00", b"\xff" * 8)


def opened(path: Path, **options: int) -> LmdbStore:
    return LmdbStore(path / "store", reserve_bytes=RESERVE, **options)


def file_of(path: Path) -> os.stat_result:
    return (path / "store" / "data.mdb").stat()


def put(store: LmdbStore, first: int, count: int) -> None:
    """So many bodies, each committed by itself as a busy node does."""
    for number in range(first, first + count):
        store.put(Table.BODIES, b"%08d" % number, BODY)
        store.commit()


def fill(store: LmdbStore) -> int:
    """Put bodies until the store is short of disk; how many."""
    count = 0
    while not store.disk_room().short:
        put(store, count, 1)
        count += 1
        assert count < 2_000, "the disk is small"
    return count


@pytest.fixture
def store(make_disk: MakeDisk) -> Iterator[LmdbStore]:
    made = opened(make_disk(64))
    yield made
    made.close()


def test_the_reserve_is_allocated_ahead_of_what_is_used(tmp_path: Path) -> None:
    store = opened(tmp_path)
    room = store.disk_room()
    assert room.reserved_bytes >= RESERVE and not room.short and not room.low
    assert file_of(tmp_path).st_blocks * 512 >= store.statistics().used_bytes + RESERVE
    while store.reserve_is_whole():
        put(store, store.statistics().commits, 1)
    assert store.disk_room().reserved_bytes >= RESERVE
    assert store.reserve_is_whole()
    store.close()


def test_a_longer_file_is_read_by_a_store_that_keeps_no_reserve(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, 0, 20)
    store.disk_room()
    store.close()
    plain = LmdbStore(tmp_path / "store")
    assert file_of(tmp_path).st_size > plain.statistics().used_bytes + RESERVE // 2
    assert [value for _, value in rows(plain, Table.BODIES, *EVERYTHING)] == [BODY] * 20
    put(plain, 20, 20)
    plain.close()
    again = opened(tmp_path)
    assert len(list(rows(again, Table.BODIES, *EVERYTHING))) == 40
    again.close()


SECOND_OPENER = """
import sys, lmdb
with lmdb.open(sys.argv[1], max_dbs=20, readonly=False, create=False) as environment:
    print([reader for reader in environment.readers().splitlines() if "thread" not in reader])
"""


def test_the_reserves_descriptor_releases_no_lock_of_lmdb(tmp_path: Path) -> None:
    store = opened(tmp_path)
    put(store, 0, 1)
    snapshot = store.snapshot()
    assert store._reserve is not None
    store._reserve.close()
    readers = subprocess.run([sys.executable, "-c", SECOND_OPENER, str(store.path)], capture_output=True, text=True,
                             check=True).stdout
    assert str(os.getpid()) in readers, "another process sees this one's snapshot, and spares its pages"
    assert snapshot.get(Table.BODIES, b"%08d" % 0) == BODY
    store.close()


def test_a_full_disk_makes_the_store_short_before_anything_fails(store: LmdbStore) -> None:
    count = fill(store)
    room = store.disk_room()
    assert room.spare_bytes == 0 and not room.low
    assert room.reserved_bytes >= RESERVE * 3 // 4
    assert "disk_reserve_bytes" in room.text and str(store.path) in room.text
    assert f"{room.free_bytes:,} bytes are free" in room.text
    for number in range(count):                       # what goes on within the reserve: everything small
        store.put(Table.MESSAGES, b"%08d" % number, b"x" * 200)
        store.commit()
    assert len(list(rows(store, Table.BODIES, *EVERYTHING))) == count


def test_another_program_that_fills_the_disk_cannot_take_the_reserve(store: LmdbStore) -> None:
    store.disk_room()
    put(store, 0, 10)
    filler = store.path.parent / "filler"
    with filler.open("wb") as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(bytes(MIB))
            file.flush()
    room = store.disk_room()
    assert room.short and room.free_bytes == 0
    put(store, 10, 100)                               # ten million bytes, where the disk has no block left
    filler.unlink()
    room = store.disk_room()
    assert not room.short and room.reserved_bytes >= RESERVE


def test_pages_that_hold_nothing_any_more_end_the_shortage(store: LmdbStore) -> None:
    count = fill(store)
    used = store.statistics().used_bytes
    gone = 0
    while store.disk_room().short:
        assert store.delete(Table.BODIES, b"%08d" % gone)
        store.commit()
        gone += 1
        assert gone < count
    assert RESERVE // 16 <= gone * len(BODY) <= RESERVE // 2, "from a sixteenth to an eighth: nothing flaps"
    assert store.statistics().used_bytes - used < MIB, "deleting is nearly free"


def test_half_of_the_reserve_is_in_unused_blocks_whatever_can_be_reused(make_disk: MakeDisk) -> None:
    """Reusable pages may be pinned by a view, or too scattered for a large value."""
    path = make_disk(24) / "file"
    path.touch()
    reserve = Reserve(path, RESERVE, None)
    assert not reserve.measure(MIB, lambda: 0).short
    for used, short in ((8 * MIB, False), (10 * MIB, True)):
        room = reserve.measure(used, lambda: 10 * RESERVE)
        assert (room.short, room.reserved_bytes < RESERVE // 2) == (short, short), room
        assert not room.low
    reserve.close()


def test_what_was_allocated_counts_again_after_a_restart(store: LmdbStore) -> None:
    fill(store)
    before = store.disk_room()
    store.close()
    again = LmdbStore(store.path, reserve_bytes=RESERVE)
    after = again.disk_room()
    assert after.short and not after.low
    assert after.reserved_bytes == before.reserved_bytes
    again.close()


def test_less_than_half_of_the_reserve_is_low(store: LmdbStore) -> None:
    count = fill(store)
    while not (room := store.disk_room()).low:
        put(store, count, 1)
        count += 1
    assert RESERVE // 4 < room.reserved_bytes + room.reusable_bytes < RESERVE // 2


def test_where_nothing_can_be_allocated_ahead_the_free_space_is_watched(
        make_disk: MakeDisk, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def cannot(file: int, start: int, length: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "Operation not supported")

    monkeypatch.setattr(os, "posix_fallocate", cannot)
    store = opened(make_disk(64))
    count = fill(store)
    room = store.disk_room()
    assert room.free_bytes > RESERVE // 2, "as much as a reserve is left, and nothing failed"
    put(store, count, 50)
    assert len(list(rows(store, Table.BODIES, *EVERYTHING))) == count + 50
    store.close()
    assert len([record for record in caplog.records if "allocates nothing ahead" in record.getMessage()]) == 1


def test_a_quota_counts_and_not_what_is_free_beyond_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    quota, allocate = 40 * MIB, os.posix_fallocate

    def limited(file: int, start: int, length: int) -> None:
        if start + length > quota:
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
        allocate(file, start, length)

    monkeypatch.setattr(os, "posix_fallocate", limited)
    store = opened(tmp_path)
    count = fill(store)
    room = store.disk_room()
    assert "a quota" in room.text
    assert room.free_bytes > 1 << 30 and not room.low and room.reserved_bytes > RESERVE // 2
    assert file_of(tmp_path).st_size <= quota
    quota = 80 * MIB
    assert not store.disk_room().short
    put(store, count, 100)
    assert store.disk_room().reserved_bytes >= RESERVE
    store.close()


def test_a_map_with_a_limit_is_short_before_it_is_full(tmp_path: Path) -> None:
    store = opened(tmp_path, map_bytes=8 * MIB, headroom_bytes=MIB, map_bytes_max=48 * MIB)
    fill(store)
    room = store.disk_room()
    assert "map_bytes_max" in room.text and "50,331,648" in room.text
    assert room.free_bytes > 100 * MIB, "the disk itself has room"
    assert store.statistics().map_bytes == 48 * MIB
    put(store, 10_000, 100)
    store.close()


def test_a_map_with_a_limit_is_never_outgrown(tmp_path: Path) -> None:
    store = opened(tmp_path, map_bytes=8 * MIB, headroom_bytes=MIB, map_bytes_max=24 * MIB)
    with pytest.raises(StoreFailed, match="MDB_MAP_FULL"):
        put(store, 0, 1_000)
    store.close()
    assert file_of(tmp_path).st_size <= 24 * MIB


def test_a_reserve_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="16,777,216"):
        LmdbStore(tmp_path / "store", reserve_bytes=1_000)
    LmdbStore(tmp_path / "store", reserve_bytes=RESERVE).close()
