"""The contract of `zmqueue.core.tables`, held by every store: by example, then by hypothesis against plain
dicts."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, invariant, rule

from tests.store.rigs import RIGS, LmdbRig, MemoryRig, Rig
from zmqueue.core.tables import Snapshot, Store, Table, rows, span
from zmqueue.store import StoreMisused

LOG, READY = Table.LOG, Table.READY
LOWEST, HIGHEST = b"", b"\xff" * 512


@pytest.fixture(params=sorted(RIGS))
def rig(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Rig]:
    made: Rig = RIGS[request.param](tmp_path)
    yield made
    made.store.close()


@pytest.fixture
def store(rig: Rig) -> Store:
    return rig.store


def dirty(store: Store) -> bool:
    return store.dirty  # through a call, as a type checker believes that a property stays as it was


def valid(snapshot: Snapshot) -> bool:
    return snapshot.valid


def everything(view: Any, table: Table = LOG) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = view.scan(table, LOWEST, HIGHEST, 1 << 30)
    return found


def test_a_row_is_read_in_the_batch_that_writes_it(store: Store) -> None:
    assert store.get(LOG, b"a") is None
    store.put(LOG, b"a", b"1")
    assert store.get(LOG, b"a") == b"1"
    store.put(LOG, b"a", b"2")
    assert store.get(LOG, b"a") == b"2"
    assert everything(store) == [(b"a", b"2")]


def test_tables_do_not_share_keys(store: Store) -> None:
    for table in Table:
        store.put(table, b"same key", table.value.encode())
    store.commit()
    assert {table: store.get(table, b"same key") for table in Table} == {
        table: table.value.encode() for table in Table
    }


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x01" * 5, b"x" * (1 << 20)], ids=["0", "1", "5", "1 MiB"])
def test_any_value_comes_back_as_it_was(rig: Rig, value: bytes) -> None:
    rig.store.put(LOG, b"k", value)
    assert rig.store.get(LOG, b"k") == value
    rig.store.commit()
    restarted = rig.restart()
    assert restarted.get(LOG, b"k") == value
    assert type(restarted.get(LOG, b"k")) is bytes


def test_a_delete_says_whether_the_row_was_there(store: Store) -> None:
    store.put(LOG, b"a", b"1")
    assert store.delete(LOG, b"a") is True
    assert store.delete(LOG, b"a") is False
    assert store.delete(READY, b"a") is False
    assert store.get(LOG, b"a") is None


def test_put_many_is_put_for_each_and_the_last_of_a_key_wins(store: Store) -> None:
    store.put(LOG, b"b", b"old")
    store.put_many(LOG, [(b"c", b"3"), (b"a", b"1"), (b"b", b"2"), (b"a", b"9")])
    store.put_many(LOG, ())
    assert everything(store) == [(b"a", b"9"), (b"b", b"2"), (b"c", b"3")]


def test_a_scan_ascends_bytewise_and_ends_before_stop(store: Store) -> None:
    keys = [b"\x00", b"\x00\x00", b"\x01", b"a", b"a\x00", b"a\xff", b"b", b"\xff", b"\xff\xff"]
    for key in reversed(keys):
        store.put(LOG, key, b"v" + key)
    assert [key for key, _ in everything(store)] == keys
    assert [key for key, _ in store.scan(LOG, *span(b"a"), 10)] == [b"a", b"a\x00", b"a\xff"]
    assert [key for key, _ in store.scan(LOG, b"a\x00", b"b\x00", 10)] == [b"a\x00", b"a\xff", b"b"]
    assert store.scan(LOG, b"c", b"d", 10) == []
    assert store.scan(LOG, b"b", b"a", 10) == []
    assert store.scan(READY, LOWEST, HIGHEST, 10) == []


def test_a_scan_returns_no_more_than_its_limit(store: Store) -> None:
    store.put_many(LOG, [(b"%03d" % number, b"") for number in range(10)])
    assert [key for key, _ in store.scan(LOG, b"003", HIGHEST, 2)] == [b"003", b"004"]
    assert store.scan(LOG, LOWEST, HIGHEST, 0) == []


def test_pages_of_a_range_join_also_after_the_longest_key(store: Store) -> None:
    keys = [b"k" * 511, b"k" * 510 + b"l", b"l"]
    store.put_many(LOG, [(key, b"") for key in keys])
    assert [key for key, _ in rows(store, LOG, b"a", b"z", page=1)] == keys


def test_last_is_the_highest_row_before_stop(store: Store) -> None:
    assert store.last(LOG, LOWEST, HIGHEST) is None
    store.put_many(LOG, [(b"b", b"1"), (b"d", b"2"), (b"f", b"3")])
    assert store.last(LOG, LOWEST, HIGHEST) == (b"f", b"3")
    assert store.last(LOG, b"a", b"f") == (b"d", b"2")
    assert store.last(LOG, b"d", b"e") == (b"d", b"2")
    assert store.last(LOG, b"c", b"d") is None
    assert store.last(LOG, b"g", HIGHEST) is None
    assert store.last(LOG, b"a", b"b") is None
    assert store.last(LOG, b"f", b"b") is None


def test_a_range_is_deleted_lowest_first_up_to_the_limit(store: Store) -> None:
    store.put_many(LOG, [(b"%03d" % number, b"") for number in range(10)])
    assert store.delete_range(LOG, b"002", b"007", 3) == 3
    assert [key for key, _ in everything(store)] == [b"000", b"001", b"005", b"006", b"007", b"008", b"009"]
    assert store.delete_range(LOG, b"002", b"007", 100) == 2
    assert store.delete_range(LOG, b"002", b"007", 100) == 0
    assert store.delete_range(LOG, b"008", HIGHEST, 0) == 0
    assert store.delete_range(LOG, b"008", HIGHEST, 100) == 2
    assert store.delete_range(LOG, LOWEST, HIGHEST, 100) == 3
    assert everything(store) == []


def test_a_range_of_many_pages_is_deleted(store: Store) -> None:
    store.put_many(LOG, [(b"%05d" % number, b"x" * 100) for number in range(5000)])
    store.commit()
    assert store.delete_range(LOG, b"00010", b"04990", 1 << 30) == 4980
    store.commit()
    assert len(everything(store)) == 20


def test_an_abort_takes_back_the_batch_and_closes_snapshots_and_the_next_batch_holds(rig: Rig) -> None:
    store = rig.store
    store.put_many(LOG, [(b"a", b"1"), (b"b", b"1")])
    store.commit()
    snapshot = store.snapshot()
    store.put(LOG, b"a", b"2")
    store.delete(LOG, b"b")
    store.put(LOG, b"c", b"2")
    store.abort()
    assert not dirty(store) and not valid(snapshot)
    assert everything(store) == [(b"a", b"1"), (b"b", b"1")]
    store.abort()
    store.put(LOG, b"d", b"3")
    store.commit()
    assert everything(rig.restart()) == [(b"a", b"1"), (b"b", b"1"), (b"d", b"3")]


@pytest.mark.parametrize("length", [0, 512, 5000])
def test_a_key_of_a_wrong_length_is_refused_and_the_batch_goes_on(store: Store, length: int) -> None:
    key, message = b"k" * length, f"key of {length} bytes for table 'log'; a key has 1 to 511 bytes"
    snapshot = store.snapshot()
    for refused in (
        lambda: store.put(LOG, key, b""),
        lambda: store.put_many(LOG, [(b"fine", b""), (key, b"")]),
        lambda: store.get(LOG, key),
        lambda: store.delete(LOG, key),
        lambda: snapshot.get(LOG, key),
    ):
        with pytest.raises(ValueError, match=message):
            refused()
    assert not dirty(store)
    store.put(LOG, b"k" * 511, b"the longest")
    store.commit()
    assert everything(store) == [(b"k" * 511, b"the longest")]


def test_the_store_is_dirty_from_the_first_write_to_the_commit(store: Store) -> None:
    assert not dirty(store)
    store.get(LOG, b"a")
    store.scan(LOG, LOWEST, HIGHEST, 1)
    store.put_many(LOG, [])
    store.delete(LOG, b"a")
    store.delete_range(LOG, LOWEST, HIGHEST, 10)
    assert not dirty(store)
    store.commit()
    for write in (
        lambda: store.put(LOG, b"a", b"1"),
        lambda: store.put_many(LOG, [(b"a", b"1")]),
        lambda: store.delete(LOG, b"a"),
        lambda: store.put(LOG, b"a", b"1"),
        lambda: store.delete_range(LOG, LOWEST, HIGHEST, 10),
    ):
        write()
        assert dirty(store)
        store.commit()
        assert not dirty(store)


def test_what_was_committed_outlives_the_store_and_nothing_else_does(rig: Rig) -> None:
    rig.store.put_many(LOG, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    rig.store.commit()
    rig.store.put(LOG, b"a", b"changed")
    rig.store.delete(LOG, b"b")
    rig.store.put(LOG, b"d", b"new")
    rig.store.delete_range(LOG, b"c", b"d", 5)
    assert everything(rig.store) == [(b"a", b"changed"), (b"d", b"new")]
    restarted = rig.restart()
    assert not dirty(restarted)
    assert everything(restarted) == [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]


def test_a_snapshot_shows_the_last_durable_batch_for_ever(store: Store) -> None:
    store.put_many(LOG, [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")])
    store.commit()
    store.put(LOG, b"a", b"of the batch")
    store.delete(LOG, b"b")
    snapshot = store.snapshot()
    before = [(b"a", b"1"), (b"b", b"2"), (b"c", b"3")]
    assert everything(snapshot) == before
    store.put(LOG, b"d", b"4")
    store.commit()
    store.put(LOG, b"a", b"later")
    store.delete(LOG, b"c")
    store.delete(LOG, b"d")
    store.put(LOG, b"b", b"again")
    store.commit()
    store.put(LOG, b"aa", b"")
    assert valid(snapshot)
    assert everything(snapshot) == before
    assert everything(snapshot, READY) == []
    assert snapshot.get(LOG, b"b") == b"2"
    assert snapshot.get(LOG, b"d") is None
    assert snapshot.scan(LOG, b"a\x00", HIGHEST, 1) == [(b"b", b"2")]
    assert snapshot.scan(LOG, LOWEST, HIGHEST, 0) == []
    assert snapshot.last(LOG, LOWEST, HIGHEST) == (b"c", b"3")
    assert snapshot.last(LOG, b"d", HIGHEST) is None
    assert everything(store) == [(b"a", b"later"), (b"aa", b""), (b"b", b"again")]


def test_a_closed_snapshot_is_not_valid_and_refuses_to_read(store: Store) -> None:
    snapshot = store.snapshot()
    assert valid(snapshot)
    snapshot.close()
    snapshot.close()
    assert not valid(snapshot)
    for read in (
        lambda: snapshot.get(LOG, b"a"),
        lambda: snapshot.scan(LOG, b"a", b"b", 1),
        lambda: snapshot.last(LOG, b"a", b"b"),
    ):
        with pytest.raises(StoreMisused, match="closed"):
            read()


def test_a_closed_store_refuses_everything_and_its_snapshots_too(store: Store) -> None:
    snapshot = store.snapshot()
    store.put(LOG, b"a", b"1")
    store.close()
    store.close()
    assert not valid(snapshot)
    assert not dirty(store)
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
        lambda: snapshot.get(LOG, b"a"),
    ):
        with pytest.raises(StoreMisused, match="closed"):
            refused()


# -- both against plain dicts --------------------------------------------------------------------------------

keys = st.lists(st.sampled_from([0x00, 0x01, 0x7F, 0xFF]), min_size=1, max_size=3).map(bytes)
bounds = st.lists(st.sampled_from([0x00, 0x01, 0x7F, 0xFF]), max_size=4).map(bytes)
values = st.binary(max_size=8) | st.just(b"v" * 5000)  # more than a page, too
tables = st.sampled_from([LOG, READY])
limits = st.integers(0, 6)

Content = dict[Table, dict[bytes, bytes]]


def ranged(content: Content, table: Table, start: bytes, stop: bytes) -> list[tuple[bytes, bytes]]:
    return sorted(row for row in content[table].items() if start <= row[0] < stop)


class BothStoresAgree(RuleBasedStateMachine):
    """Does the same to both stores and to two dicts: the batch, and what is durable."""

    snapshots: Bundle[tuple[Snapshot, Snapshot, Content]] = Bundle("snapshots")

    def __init__(self) -> None:
        super().__init__()
        memory_disk = Path("/dev/shm")  # a sync of a real disk would take most of the time
        self.folder = tempfile.TemporaryDirectory(dir=memory_disk if memory_disk.is_dir() else None)
        self.rigs: list[Rig] = [MemoryRig(Path(self.folder.name)), LmdbRig(Path(self.folder.name))]
        self.batch: Content = {LOG: {}, READY: {}}
        self.durable: Content = {LOG: {}, READY: {}}

    def teardown(self) -> None:
        for rig in self.rigs:
            rig.store.close()
        self.folder.cleanup()

    @rule(table=tables, key=keys, value=values)
    def put(self, table: Table, key: bytes, value: bytes) -> None:
        self.batch[table][key] = value
        for rig in self.rigs:
            rig.store.put(table, key, value)

    @rule(table=tables, many=st.lists(st.tuples(keys, values), max_size=6))
    def put_many(self, table: Table, many: list[tuple[bytes, bytes]]) -> None:
        self.batch[table].update(many)
        for rig in self.rigs:
            rig.store.put_many(table, many)

    @rule(table=tables, key=keys)
    def delete(self, table: Table, key: bytes) -> None:
        was_there = self.batch[table].pop(key, None) is not None
        for rig in self.rigs:
            assert rig.store.delete(table, key) is was_there

    @rule(table=tables, start=bounds, stop=bounds, limit=limits)
    def delete_range(self, table: Table, start: bytes, stop: bytes, limit: int) -> None:
        doomed = ranged(self.batch, table, start, stop)[:limit]
        for key, _ in doomed:
            del self.batch[table][key]
        for rig in self.rigs:
            assert rig.store.delete_range(table, start, stop, limit) == len(doomed)

    @rule(table=tables, key=keys, start=bounds, stop=bounds, limit=limits)
    def read(self, table: Table, key: bytes, start: bytes, stop: bytes, limit: int) -> None:
        found = ranged(self.batch, table, start, stop)
        for rig in self.rigs:
            assert rig.store.get(table, key) == self.batch[table].get(key)
            assert rig.store.scan(table, start, stop, limit) == found[:limit]
            assert rig.store.last(table, start, stop) == (found[-1] if found else None)

    @rule()
    def commit(self) -> None:
        self.durable = {table: dict(content) for table, content in self.batch.items()}
        for rig in self.rigs:
            rig.store.commit()
            assert not rig.store.dirty

    @rule()
    def abort(self) -> None:
        self.batch = {table: dict(content) for table, content in self.durable.items()}
        for rig in self.rigs:
            rig.store.abort()
            assert not rig.store.dirty

    @rule()
    def restart(self) -> None:
        self.batch = {table: dict(content) for table, content in self.durable.items()}
        for rig in self.rigs:
            rig.restart()

    @rule(target=snapshots)
    def open_snapshot(self) -> tuple[Snapshot, Snapshot, Content]:
        first, second = (rig.store.snapshot() for rig in self.rigs)
        return first, second, {table: dict(content) for table, content in self.durable.items()}

    @rule(pair=snapshots, table=tables, key=keys, start=bounds, stop=bounds, limit=limits)
    def read_snapshot(self, pair: tuple[Snapshot, Snapshot, Content], table: Table, key: bytes, start: bytes,
                      stop: bytes, limit: int) -> None:
        first, second, content = pair
        assert first.valid is second.valid  # a restart ends both
        found = ranged(content, table, start, stop)
        for snapshot in (first, second):
            if snapshot.valid:
                assert snapshot.get(table, key) == content[table].get(key)
                assert snapshot.scan(table, start, stop, limit) == found[:limit]
                assert snapshot.last(table, start, stop) == (found[-1] if found else None)

    @rule(pair=consumes(snapshots))
    def close_snapshot(self, pair: tuple[Snapshot, Snapshot, Content]) -> None:
        pair[0].close()
        pair[1].close()

    @invariant()
    def all_rows_are_the_batch(self) -> None:
        memory, lmdb = (rig.store for rig in self.rigs)
        assert memory.dirty is lmdb.dirty
        for table in (LOG, READY):
            expected = sorted(self.batch[table].items())
            assert everything(memory, table) == expected
            assert everything(lmdb, table) == expected


TestBothStoresAgree = BothStoresAgree.TestCase
TestBothStoresAgree.settings = settings(
    max_examples=50, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
