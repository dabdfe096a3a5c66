"""What only a disk does: outlive a killed process, be damaged, fill up, outgrow its map, be of another
format."""

from __future__ import annotations

import faulthandler
import os
import random
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import lmdb
import pytest

from tests.store.damaging import StoreFile
from zmqueue.core.tables import Table, rows
from zmqueue.store import (
    CorruptRecord,
    DirectoryInUse,
    FormatTooNew,
    LmdbStore,
    StoreError,
    StoreFailed,
    StoreMisused,
)

LOG, META = Table.LOG, Table.META
ALL = (b"", b"\xff" * 20, 1 << 30)
KIB, MIB = 1 << 10, 1 << 20


# -- killed processes ----------------------------------------------------------------------------------------

KILLED = """
import sys, time
from zmqueue.core.tables import Table
from zmqueue.store import LmdbStore
store = LmdbStore(sys.argv[1])
for batch in range(1_000_000):
    store.put_many(Table.LOG, [(b"%d" % row, b"%d" % batch) for row in range(50)])
    store.put(Table.META, b"batch", b"%d" % batch)
    if batch == int(sys.argv[2]):
        print("gathered", batch, flush=True)
        time.sleep(600)
    store.commit()
    print("committed", batch, flush=True)
"""


def read_after_kill(path: Path) -> int:
    """Check that the batch on the disk is whole, and return which one it is."""
    store = LmdbStore(path)
    batch = store.get(META, b"batch")
    assert batch is not None
    assert {value for _, value in store.scan(LOG, *ALL)} == {batch}
    store.close()
    return int(batch)


def test_a_killed_process_loses_the_batch_that_it_gathered_and_no_other(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "store"), "3"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "gathered 3\n":
            assert process.poll() is None
        process.kill()
    assert read_after_kill(tmp_path / "store") == 2


@pytest.mark.parametrize("batches", [1, 7, 40])
def test_whenever_a_process_is_killed_what_it_confirmed_is_there(tmp_path: Path, batches: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path / "store"), "-1"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        for _ in range(batches):
            process.stdout.readline()
        process.kill()
        confirmed = [int(line.split()[1]) for line in process.stdout if line.endswith("\n")]
    found = read_after_kill(tmp_path / "store")
    last = confirmed[-1] if confirmed else batches - 1
    assert found in (last, last + 1)  # the last commit may have ended before its word got out


# -- damage --------------------------------------------------------------------------------------------------

MARKED = [(b"key%03d" % number, b"<value %03d>" % number * 8) for number in range(100)]


@pytest.fixture
def data(tmp_path: Path) -> bytes:
    """The file of a store with the rows MARKED."""
    store = LmdbStore(tmp_path / "sound")
    store.put_many(LOG, MARKED)
    store.commit()
    store.close()
    return (tmp_path / "sound" / "data.mdb").read_bytes()


def with_file(path: Path, data: bytes) -> LmdbStore:
    path.mkdir()
    (path / "data.mdb").write_bytes(data)
    return LmdbStore(path)


def flipped(data: bytes, bit: int) -> bytes:
    changed = bytearray(data)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


@pytest.mark.parametrize("offset", [-5, -4, -1, 0, 50, 87], ids=lambda offset: f"byte {offset}")
def test_a_bit_that_flips_in_a_record_is_noticed_and_the_others_are_right(
    tmp_path: Path, data: bytes, offset: int
) -> None:
    key, value = MARKED[42]
    places = [place for place in range(len(data)) if data.startswith(key, place)]
    at = data.index(value, places[0])
    store = with_file(tmp_path / "damaged", flipped(data, (at + offset) * 8 + 3))
    with pytest.raises(CorruptRecord, match=f"record {key.hex()} of table 'log'"):
        store.get(LOG, key)
    with pytest.raises(CorruptRecord):
        store.scan(LOG, *ALL)
    assert all(store.get(LOG, other) == right for other, right in MARKED if other != key)
    store.close()


def test_a_record_under_a_changed_key_is_noticed_by_a_scan(tmp_path: Path, data: bytes) -> None:
    key, _ = MARKED[42]
    store = with_file(tmp_path / "damaged", flipped(data, (data.index(key) + 5) * 8))
    with pytest.raises(CorruptRecord):
        store.scan(LOG, *ALL)
    store.close()


def test_no_flipped_bit_anywhere_in_the_file_makes_a_wrong_value(tmp_path: Path, data: bytes) -> None:
    """Pages carry no checksum in LMDB: a flip in its own structure can hide a row or kill the process. Never
    more."""
    seed = random.randrange(1 << 32)
    print("seed", seed)
    draw = random.Random(seed)
    outcomes: dict[str, int] = {}
    for number in range(100):
        bit = draw.randrange(len(data) * 8)
        outcome = in_child(lambda: read_damaged(tmp_path / str(number), flipped(data, bit)))  # noqa: B023
        name = {0: "right or hidden", 2: "noticed"}.get(outcome, "killed" if outcome < 0 else "wrong")
        outcomes[name] = outcomes.get(name, 0) + 1
    assert "wrong" not in outcomes
    assert outcomes["noticed"] > 0


def read_damaged(path: Path, data: bytes) -> int:
    try:
        store = with_file(path, data)
        found = {key: store.get(LOG, key) for key, _ in MARKED}
        store.scan(LOG, *ALL)
    except StoreError:
        return 2
    return 0 if all(found[key] in (value, None) for key, value in MARKED) else 1


def in_child(act: Callable[[], int]) -> int:
    """Run in a forked child; return what it returned, or the negative signal that killed it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # of forks beside threads
        child = os.fork()
    if child == 0:
        faulthandler.disable()  # a child that dies is an outcome here, not a report
        code = 100
        try:
            code = act()
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


@pytest.mark.parametrize("content", [b"not a database at all" * 1000, b"\0" * 8192], ids=["text", "zeros"])
def test_a_file_that_is_not_lmdbs_is_refused(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(StoreFailed, match="cannot open the store"):
        with_file(tmp_path / "store", content)
    assert (tmp_path / "store" / "data.mdb").read_bytes() == content


# -- the format ----------------------------------------------------------------------------------------------

def test_a_newer_format_is_refused_and_left_alone(tmp_path: Path) -> None:
    LmdbStore(tmp_path / "store").close()
    with lmdb.open(str(tmp_path / "store"), max_dbs=1) as environment:
        database = environment.open_db(b"zmqueue")
        with environment.begin(write=True) as transaction:
            transaction.put(b"store format", b"2", db=database)
    before = (tmp_path / "store" / "data.mdb").read_bytes()
    for _ in range(2):
        with pytest.raises(FormatTooNew, match="has store format 2; this version reads formats up to 1"):
            LmdbStore(tmp_path / "store")
    assert (tmp_path / "store" / "data.mdb").read_bytes() == before


def test_the_lmdb_file_of_another_program_is_refused_and_left_alone(tmp_path: Path) -> None:
    with lmdb.open(str(tmp_path), max_dbs=1) as environment, environment.begin(write=True) as transaction:
        transaction.put(b"theirs", b"1", db=environment.open_db(b"their table", txn=transaction))
    before = (tmp_path / "data.mdb").read_bytes()
    with pytest.raises(StoreError, match="not a zmqueue store"):
        LmdbStore(tmp_path)
    assert (tmp_path / "data.mdb").read_bytes() == before


def test_files_are_private(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    modes = {file.name: file.stat().st_mode & 0o777 for file in [store.path, *store.path.iterdir()]}
    assert modes == {"store": 0o700, "data.mdb": 0o600, "lock.mdb": 0o600}
    store.close()


# -- the map -------------------------------------------------------------------------------------------------

def test_the_map_grows_between_batches_and_closes_snapshots(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", map_bytes=MIB, headroom_bytes=MIB)
    assert store.statistics().map_bytes == MIB
    store.put(META, b"a", b"1")
    store.commit()
    snapshot = store.snapshot()
    for batch in range(100):
        store.put_many(LOG, [(b"%03d %03d" % (batch, row), b"x" * 2000) for row in range(100)])
        store.commit()
    assert not snapshot.valid
    with pytest.raises(StoreMisused, match="the map grew"):
        snapshot.get(META, b"a")
    assert store.snapshot().get(META, b"a") == b"1"
    statistics = store.statistics()
    assert 20 * MIB < statistics.used_bytes < statistics.map_bytes <= 64 * MIB
    assert statistics.commits == 101
    assert statistics.commit_seconds > 0
    store.close()
    reopened = LmdbStore(tmp_path / "store", map_bytes=MIB, headroom_bytes=MIB)  # less than the file has
    assert sum(1 for _ in rows(reopened, LOG, b"", b"\xff")) == 10_000
    reopened.put_many(LOG, [(b"more %d" % row, b"x" * 2000) for row in range(100)])
    reopened.commit()
    reopened.close()


def test_a_batch_that_outgrows_the_headroom_fails_the_store(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", map_bytes=MIB, headroom_bytes=256 * KIB)
    store.put(META, b"a", b"1")
    store.commit()
    snapshot = store.snapshot()
    with pytest.raises(StoreFailed, match="MDB_MAP_FULL"):
        store.put_many(LOG, [(b"%d" % row, b"x" * 2000) for row in range(5000)])
    assert_refuses_everything(store)
    with pytest.raises(StoreFailed):
        snapshot.get(META, b"a")
    store.close()
    reopened = LmdbStore(tmp_path / "store")
    assert reopened.get(META, b"a") == b"1"
    assert reopened.scan(LOG, *ALL) == []
    reopened.close()


def assert_refuses_everything(store: LmdbStore) -> None:
    for refused in (
        lambda: store.get(LOG, b"a"),
        lambda: store.put(LOG, b"a", b"1"),
        lambda: store.put_many(LOG, [(b"a", b"1")]),
        lambda: store.scan(LOG, b"a", b"b", 1),
        lambda: store.last(LOG, b"a", b"b"),
        lambda: store.delete(LOG, b"a"),
        lambda: store.delete_range(LOG, b"a", b"b", 1),
        store.commit,
        store.snapshot,
        store.statistics,
    ):
        with pytest.raises(StoreFailed, match="unusable until a restart"):
            refused()
    assert not store.dirty


def test_snapshots_are_limited_and_one_that_was_dropped_is_closed(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", readers_max=2)
    held = [store.snapshot(), store.snapshot()]
    with pytest.raises(StoreError, match="2 snapshots are open, the limit"):
        store.snapshot()
    assert store.statistics().snapshots == 2
    held[0].close()
    store.snapshot()
    store.snapshot().close()
    store.close()


# -- the disk ------------------------------------------------------------------------------------------------

@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 8 MiB."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(where)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"no right to mount a small file system: {mounted.stderr.decode().strip()}")
    yield where
    subprocess.run(["umount", "--lazy", str(where)], check=True)


def test_a_full_disk_fails_the_store_and_the_last_batch_is_there_afterwards(small_disk: Path) -> None:
    store = LmdbStore(small_disk / "store")
    committed = -1
    with pytest.raises(StoreFailed, match=r"commit in the store .* failed: .* \([\d,]{1,7} bytes free on"):
        for batch in range(100):
            store.put_many(LOG, [(b"%03d %03d" % (batch, row), b"x" * 2000) for row in range(100)])
            store.put(META, b"batch", b"%d" % batch)
            store.commit()
            committed = batch
    assert committed > 5
    assert_refuses_everything(store)
    store.close()
    reopened = LmdbStore(small_disk / "store")
    assert reopened.get(META, b"batch") == b"%d" % committed
    assert sum(1 for _ in rows(reopened, LOG, b"", b"\xff")) == 100 * (committed + 1)
    subprocess.run(["mount", "-o", "remount,size=32m", str(small_disk)], check=True)
    reopened.put_many(LOG, [(b"more %d" % row, b"x" * 2000) for row in range(1000)])
    reopened.commit()
    reopened.close()


# -- threads, forks, two openers -----------------------------------------------------------------------------

def in_thread(act: Callable[[], object]) -> BaseException | None:
    """Run in another thread; return what it raised."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            act()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    thread.join()
    return raised[0] if raised else None


def test_a_second_thread_is_refused_while_a_batch_is_open(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    store.put(LOG, b"a", b"1")
    for misuse in (
        lambda: store.get(LOG, b"a"),
        lambda: store.put(LOG, b"a", b"2"),
        lambda: store.scan(LOG, b"a", b"b", 1),
        store.commit,
        store.close,
    ):
        assert isinstance(in_thread(misuse), StoreMisused)
    assert store.get(LOG, b"a") == b"1"
    store.commit()
    store.close()


def test_the_store_may_change_hands_between_batches(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    store.get(LOG, b"a")
    store.commit()  # of a batch without a write

    def work() -> None:
        store.put(LOG, b"a", b"1")
        store.commit()

    assert in_thread(work) is None
    assert store.get(LOG, b"a") == b"1"
    assert store.statistics().commits == 1
    store.close()


def test_a_forked_child_cannot_use_the_store_and_does_the_parent_no_harm(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    store.put(LOG, b"a", b"1")
    snapshot = store.snapshot()

    def child() -> int:
        refused = 0
        for use in (
            lambda: store.get(LOG, b"a"),
            lambda: store.put(LOG, b"a", b"2"),
            store.commit,
            store.snapshot,
            lambda: snapshot.get(LOG, b"a"),
        ):
            try:
                use()
            except StoreMisused:
                refused += 1
        snapshot.close()
        store.close()
        return refused

    assert in_child(child) == 5
    store.put(LOG, b"b", b"2")
    store.commit()
    assert snapshot.scan(LOG, *ALL) == []
    store.close()
    reopened = LmdbStore(tmp_path / "store")
    assert reopened.scan(LOG, *ALL) == [(b"a", b"1"), (b"b", b"2")]
    reopened.close()


def test_a_store_is_opened_once_within_a_process(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    (tmp_path / "link").symlink_to(tmp_path / "store")
    with pytest.raises(DirectoryInUse, match="already open in this process"):
        LmdbStore(tmp_path / "link")
    store.close()
    LmdbStore(tmp_path / "link").close()


def test_a_long_fsync_shows_in_the_statistics(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    assert store.statistics().commit_seconds == 0.0
    store.put(LOG, b"a", b"1")
    started = time.perf_counter()
    store.commit()
    assert 0.0 < store.statistics().commit_seconds <= time.perf_counter() - started
    store.close()


def test_a_key_that_was_changed_is_damage_of_the_range_that_it_stands_in(tmp_path: Path) -> None:
    """It claims to be a row of another copy of a bucket: that one must not be blamed."""
    store = LmdbStore(tmp_path / "store")
    keys = [b"\x00\x00\x00\x05id number %d" % number for number in range(9)]
    store.put_many(LOG, [(key, b"value") for key in keys])
    store.commit()
    store.close()
    file = StoreFile(tmp_path / "store" / "data.mdb")
    file.flip(file.row(LOG, keys[2])[0] + 3)           # copy 4, among copy 5's rows, where a search does not pass
    store = LmdbStore(tmp_path / "store")
    with pytest.raises(CorruptRecord) as found:
        store.scan(LOG, b"\x00\x00\x00\x05", b"\x00\x00\x00\x06", 100)
    assert found.value.key.startswith(b"\x00\x00\x00\x05")
    store.close()
