"""What the in-memory twin can do that a disk does by itself: die at will, lose a sync, fill up, flip a bit,
be old."""

from __future__ import annotations

import pytest

from zmqueue.core.tables import Table
from zmqueue.store import CorruptRecord, MemoryStore, StoreFailed, StoreMisused

LOG, META = Table.LOG, Table.META
ALL = (b"", b"\xff" * 20, 1 << 30)


@pytest.fixture
def store() -> MemoryStore:
    """A disk with two rows, and a batch that changes one, deletes one and adds one."""
    made = MemoryStore()
    made.put_many(LOG, [(b"a", b"1"), (b"b", b"2")])
    made.commit()
    made.put(LOG, b"a", b"changed")
    made.delete(LOG, b"b")
    made.put(META, b"c", b"new")
    return made


DURABLE = [(b"a", b"1"), (b"b", b"2")]
WITH_THE_BATCH = [(b"a", b"changed")]


def test_a_crash_drops_the_batch(store: MemoryStore) -> None:
    after = store.crash()
    assert after.scan(LOG, *ALL) == DURABLE
    assert after.scan(META, *ALL) == []
    assert not after.dirty


def test_a_crash_after_the_sync_keeps_the_whole_batch(store: MemoryStore) -> None:
    after = store.crash(keep_unsynced=True)
    assert after.scan(LOG, *ALL) == WITH_THE_BATCH
    assert after.get(META, b"c") == b"new"
    assert after.crash().scan(LOG, *ALL) == WITH_THE_BATCH


def test_the_store_that_crashed_is_of_no_more_use(store: MemoryStore) -> None:
    snapshot = store.snapshot()
    store.crash()
    assert not snapshot.valid
    with pytest.raises(StoreMisused):
        store.get(LOG, b"a")
    with pytest.raises(StoreMisused):
        store.commit()


@pytest.mark.parametrize(("keep_unsynced", "expected"), [(False, DURABLE), (True, WITH_THE_BATCH)])
def test_a_commit_that_failed_may_be_on_the_disk_or_not(
    store: MemoryStore, keep_unsynced: bool, expected: list[tuple[bytes, bytes]]
) -> None:
    store.fail_next_commit = True
    with pytest.raises(StoreFailed, match="failed to sync"):
        store.commit()
    with pytest.raises(StoreFailed):
        store.commit()
    with pytest.raises(StoreFailed):
        store.get(LOG, b"a")
    with pytest.raises(StoreFailed):
        store.put(LOG, b"a", b"")
    after = store.crash(keep_unsynced=keep_unsynced)
    assert after.scan(LOG, *ALL) == expected
    after.put(LOG, b"z", b"")
    after.commit()


def test_a_batch_that_met_a_full_disk_is_never_on_it(store: MemoryStore) -> None:
    store.full = True
    with pytest.raises(StoreFailed, match="no space left"):
        store.commit()
    assert store.crash(keep_unsynced=True).scan(LOG, *ALL) == DURABLE


def test_a_full_disk_can_be_read() -> None:
    store = MemoryStore()
    store.full = True
    store.commit()  # nothing to write
    assert store.get(LOG, b"a") is None


def test_every_flipped_bit_of_a_record_is_seen() -> None:
    store = MemoryStore()
    store.put(LOG, b"key", b"value")
    store.put(LOG, b"sound", b"")
    store.commit()
    snapshot = store.snapshot()
    for bit in range(store.sealed_bytes(LOG, b"key") * 8):
        store.flip(LOG, b"key", bit)
        with pytest.raises(CorruptRecord, match="record 6b6579 of table 'log'") as caught:
            store.get(LOG, b"key")
        assert (caught.value.table, caught.value.key) == ("log", b"key")
        for read in (
            lambda: store.scan(LOG, *ALL),
            lambda: store.last(LOG, b"", b"l"),
            lambda: snapshot.get(LOG, b"key"),
        ):
            with pytest.raises(CorruptRecord):
                read()
        store.flip(LOG, b"key", bit)
    assert store.get(LOG, b"key") == b"value"
    store.flip(LOG, b"key", 12)
    after = store.crash()
    assert after.get(LOG, b"sound") == b""
    with pytest.raises(CorruptRecord):
        after.get(LOG, b"key")
    after.put(LOG, b"key", b"written again")
    assert after.get(LOG, b"key") == b"written again"


def test_a_copy_is_the_durable_content_and_a_disk_of_its_own(store: MemoryStore) -> None:
    copied = store.copy()
    assert copied.scan(LOG, *ALL) == DURABLE
    copied.put(LOG, b"x", b"")
    copied.commit()
    store.commit()
    assert store.scan(LOG, *ALL) == WITH_THE_BATCH
    assert copied.scan(LOG, *ALL) == [*DURABLE, (b"x", b"")]


def test_an_old_disk_can_be_put_back_more_than_once(store: MemoryStore) -> None:
    mark = store.copy()
    for _ in range(2):
        store.put(LOG, b"later", b"")
        store.commit()
        store.put(LOG, b"batch", b"")
        store.rollback_to(mark)
        assert store.scan(LOG, *ALL) == DURABLE
        assert not store.dirty


def test_the_content_hash_tells_durable_contents_apart(store: MemoryStore) -> None:
    assert store.content_hash() == store.copy().content_hash()  # the batch is not counted
    before = store.content_hash()
    store.commit()
    assert store.content_hash() != before
    other = MemoryStore()
    other.put(META, b"c", b"new")
    other.put(LOG, b"a", b"changed")
    other.commit()
    assert other.content_hash() == store.content_hash()
    other.put(Table.READY, b"c", b"new")
    other.commit()
    assert other.content_hash() != store.content_hash()
