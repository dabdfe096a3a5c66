"""The file as it is read without LMDB: all that LMDB finds is found, and what is damaged is named and not followed."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.store.damaging import StoreFile
from zmqueue.core.tables import Table, rows
from zmqueue.store import LmdbStore, StoreFailed, StoreTruncated
from zmqueue.store.pages import BRANCH, LEAF, OVERFLOW, NotAStore, Pages, missing_bytes
from zmqueue.store.reserve import RESERVE_BYTES_MIN

EVERYTHING = (b"\x00", b"\xff" * 16)
PAGE = 4096


def random_rows(draw: random.Random, count: int) -> list[tuple[bytes, bytes]]:
    return [(draw.randbytes(draw.randint(1, 40)), draw.randbytes(draw.choice((0, 10, 200, 1_500, 3_000, 9_000))))
            for _ in range(count)]


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with values of all sizes, some deleted, in several tables; deep enough for branches."""
    path = tmp_path_factory.mktemp("sound") / "store"
    draw = random.Random(7)
    store = LmdbStore(path)
    for _ in range(12):
        for table in (Table.LOG, Table.BODIES, Table.READY):
            written = random_rows(draw, 40)
            store.put_many(table, written)
            store.commit()
            for key, _ in written[::5]:
                store.delete(table, key)
    store.commit()
    store.close()
    return path / "data.mdb"


def read(path: Path) -> tuple[dict[str, list[tuple[bytes, bytes]]], list[str]]:
    faults: list[str] = []
    with Pages(path) as pages:
        found = {name.decode(): list(pages.rows(tree, name.decode(), faults.append))
                 for name, tree in pages.tables(faults.append).items()}
        pages.check_free(faults.append)
    return found, faults


def test_all_rows_are_found_as_lmdb_finds_them_and_nothing_is_wrong(sound: Path) -> None:
    found, faults = read(sound)
    assert faults == []
    store = LmdbStore(sound.parent)
    for table in Table:
        assert [(key, sealed[5:]) for key, sealed in found[table.value]] == list(rows(store, table, *EVERYTHING))
    store.close()
    assert len(found["log"]) > 300


def test_every_page_is_held_or_free(sound: Path) -> None:
    with Pages(sound) as pages:
        for name, tree in pages.tables(pytest.fail).items():
            assert list(pages.rows(tree, name.decode(), pytest.fail)) is not None
        pages.check_free(pytest.fail)
        assert all(pages._used[2:]), "no page is lost"


def damaged(sound: Path, where: Path, offset: int, value: bytes) -> Path:
    where.write_bytes(sound.read_bytes())
    with where.open("r+b") as file:
        file.seek(offset)
        file.write(value)
    return where


def pages_of(path: Path, flag: int) -> Iterator[int]:
    """The pages of one kind that a tree holds."""
    data = path.read_bytes()
    with Pages(path) as pages:
        for name, tree in pages.tables(pytest.fail).items():
            assert list(pages.rows(tree, name.decode(), pytest.fail)) is not None
        held = [number for number, used in enumerate(pages._used) if used == 1]
    return (number for number in held if data[number * PAGE:number * PAGE + 8] == number.to_bytes(8, "little")
            and data[number * PAGE + 10:number * PAGE + 12] == flag.to_bytes(2, "little"))


@pytest.mark.parametrize(("kind", "offset", "value", "word"), [
    (BRANCH, 0, b"\xff", "says that it is page"),
    (BRANCH, 10, b"\x00", "neither a branch nor a leaf"),
    (BRANCH, 12, b"\xff\xff", "neither a branch nor a leaf"),
    (BRANCH, 16, b"\xff\xff", "outside the page"),
    (LEAF, 16, b"\xff\x0f", "outside the page"),
    (LEAF, 0, b"\x00\x00\x00\x7f", "says that it is page"),
    (OVERFLOW, 10, b"\x02", "does not begin a value"),
    (OVERFLOW, 12, b"\x00\x00\x00\x00", "does not begin a value"),
    (OVERFLOW, 12, b"\xff\xff\x00\x00", "held twice, or is not there"),
])
def test_a_damaged_page_is_named_and_the_rest_is_read(sound: Path, tmp_path: Path, kind: int, offset: int, value: bytes,
                                                      word: str) -> None:
    number = next(pages_of(sound, kind))
    whole, _ = read(sound)
    found, faults = read(damaged(sound, tmp_path / "data.mdb", number * PAGE + offset, value))
    assert any(word in fault for fault in faults), faults
    lost = sum(map(len, whole.values())) - sum(map(len, found.values()))
    assert 0 <= lost < sum(map(len, whole.values()))
    assert all(row in whole[name] for name, of_table in found.items() for row in of_table if kind != OVERFLOW)


def test_a_page_with_fewer_entries_than_it_had_is_noticed_by_the_count(sound: Path, tmp_path: Path) -> None:
    copy = damaged(sound, tmp_path / "data.mdb", 0, b"")
    StoreFile(copy).lose_half(next(StoreFile(copy).pages(Table.LOG, LEAF)))
    with Pages(copy) as pages:
        tables = pages.tables(pytest.fail)
        found = {name: len(list(pages.rows(tree, name.decode(), pytest.fail))) for name, tree in tables.items()}
        (name, (told, there)), = pages.miscounted.items()
    assert told == tables[name.encode()].entries > there == found[name.encode()]


def test_a_child_that_leads_elsewhere_is_not_followed_in_circles(sound: Path, tmp_path: Path) -> None:
    number = next(pages_of(sound, BRANCH))
    start = number * PAGE
    node = int.from_bytes(sound.read_bytes()[start + 18:start + 20], "little")
    _, faults = read(damaged(sound, tmp_path / "data.mdb", start + node, number.to_bytes(4, "little")))
    assert any("held twice" in fault for fault in faults)
    _, faults = read(damaged(sound, tmp_path / "data.mdb", start + node, b"\xff\xff\xff\x00"))
    assert any("and there are 2 to" in fault for fault in faults)


def test_keys_out_of_order_are_named_since_searches_do_not_find_them(sound: Path, tmp_path: Path) -> None:
    for kind, word in ((LEAF, "searches do not find it"), (BRANCH, "rows below it are hidden")):
        for number in pages_of(sound, kind):
            start = number * PAGE
            node = start + int.from_bytes(sound.read_bytes()[start + 18:start + 20], "little")
            _, faults = read(damaged(sound, tmp_path / "data.mdb", node + 8, b"\xff" if kind == BRANCH else b"\x00"))
            if any(word in fault for fault in faults):
                break
        else:
            pytest.fail(f"no page of kind {kind} shows it")


def test_a_free_page_that_a_tree_holds_is_named(sound: Path, tmp_path: Path) -> None:
    copy = tmp_path / "data.mdb"
    held = next(pages_of(sound, LEAF))
    data = bytearray(sound.read_bytes())
    with Pages(sound) as pages:
        faults: list[str] = []
        value = [value for _, value, _ in pages._leaves(pages.meta.free, "free", faults.append)][-1]
    assert len(value) > 16
    at = data.find(value)
    assert at > 0
    data[at + 8:at + 16] = held.to_bytes(8, "little")
    copy.write_bytes(data)
    assert any("it would be overwritten" in fault for fault in read(copy)[1])


@pytest.mark.parametrize("seed", range(4))
def test_no_flipped_bit_makes_it_fail(sound: Path, tmp_path: Path, seed: int) -> None:
    draw, data = random.Random(seed), sound.read_bytes()
    told = 0
    for _ in range(60):
        flipped = bytearray(data)
        for _ in range(draw.choice((1, 1, 8))):
            flipped[draw.randrange(len(flipped) // PAGE) * PAGE + draw.randrange(64)] ^= 1 << draw.randrange(8)
        (tmp_path / "data.mdb").write_bytes(flipped)
        try:
            told += bool(read(tmp_path / "data.mdb")[1])
        except NotAStore:
            told += 1
    assert told > 10, "many of these lie in the structure"


@pytest.mark.parametrize("content", [b"", b"no store at all" * 1_000, bytes(3 * PAGE)])
def test_a_file_without_a_root_is_no_store(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "data.mdb").write_bytes(content)
    with pytest.raises(NotAStore, match="no root"):
        Pages(tmp_path / "data.mdb")


def test_one_root_that_is_left_is_enough(sound: Path, tmp_path: Path) -> None:
    for page in (0, 1):
        with Pages(damaged(sound, tmp_path / "data.mdb", page * PAGE, bytes(PAGE))) as pages:
            assert pages.meta.page_bytes == PAGE


# --- files that were cut off ---


@pytest.mark.parametrize("cut", [1, PAGE, 100 * PAGE])
def test_a_file_that_was_cut_off_is_refused_before_lmdb_sees_it(sound: Path, tmp_path: Path, cut: int) -> None:
    data = sound.read_bytes()
    with Pages(sound) as pages:
        used = pages.meta.used_bytes
        assert missing_bytes(sound) == 0
    path = tmp_path / "store"
    path.mkdir()
    (path / "data.mdb").write_bytes(data[:used - cut])
    missing = missing_bytes(path / "data.mdb")
    if missing:                            # the last pages may be free ones
        with pytest.raises(StoreTruncated, match=f"{missing:,} bytes.*--join"):
            LmdbStore(path)
        assert (path / "data.mdb").read_bytes() == data[:used - cut], "nothing was touched"
    assert missing or cut < 100 * PAGE


def test_an_empty_file_is_no_new_store(tmp_path: Path) -> None:
    (tmp_path / "data.mdb").touch()
    with pytest.raises(StoreTruncated, match="is empty"):
        LmdbStore(tmp_path)


def test_a_shorter_file_whose_missing_pages_are_free_is_opened(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store")
    store.put(Table.META, b"a", b"kept")
    store.commit()
    store.put_many(Table.BODIES, [(b"%d" % number, os.urandom(3_000)) for number in range(400)])
    store.commit()
    store.delete_range(Table.BODIES, b"0", b"a", 400)
    store.commit()
    for number in range(9):                # what is held moves to the front, into pages that are free by now
        store.put(Table.META, b"b", b"kept %d" % number)
        store.commit()
    used = store.statistics().used_bytes
    store.close()
    data = tmp_path / "store" / "data.mdb"
    with Pages(data) as pages:
        for name, tree in pages.tables(pytest.fail).items():
            assert list(pages.rows(tree, name.decode(), pytest.fail)) is not None
        pages.check_free(pytest.fail)
        end = (pages.last_held + 1) * PAGE
    assert end < used, "free pages lie at the end"
    os.truncate(data, end)
    again = LmdbStore(tmp_path / "store")
    assert again.get(Table.META, b"b") == b"kept 8"
    again.close()


def test_a_file_that_is_cut_off_under_a_running_store_fails_it(tmp_path: Path) -> None:
    store = LmdbStore(tmp_path / "store", reserve_bytes=RESERVE_BYTES_MIN)
    store.put_many(Table.BODIES, [(b"%d" % number, bytes(10_000)) for number in range(500)])
    store.commit()
    store.disk_room()
    os.truncate(store.path / "data.mdb", store.statistics().used_bytes - PAGE)
    with pytest.raises(StoreFailed, match="cut off"):
        store.disk_room()
    store.close()
