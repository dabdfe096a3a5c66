"""Which copy a damaged row condemns, and what a restart knows of it."""

from __future__ import annotations

import pytest

from tests.core.test_state_changes import cluster
from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.copies import NO_COPY, Copies
from zmqueue.core.damage import Marks, Tally, condemn, marks_in, tally_in
from zmqueue.core.keys import copy_prefix
from zmqueue.core.tables import RowMissing, Table
from zmqueue.store import CorruptRecord, MemoryStore


@pytest.fixture
def store() -> MemoryStore:
    """A node's disk with a state, and with copies of the buckets 0 to 2."""
    store = MemoryStore()
    store.put(Table.META, STATE_KEY, cluster(3, buckets=4).to_bytes())
    copies = Copies(store)
    for bucket in range(3):
        copies.create(bucket)
    store.put(Table.BODIES, row(store, 1), b"body")
    store.commit()
    return store


def row(store: MemoryStore, bucket: int) -> bytes:
    """A key among the rows of the bucket's live copy."""
    return copy_prefix(Copies(store).position(bucket).copy) + b"an id"


def test_a_damaged_row_condemns_the_live_copy_that_it_belongs_to(store: MemoryStore) -> None:
    store.flip(Table.BODIES, row(store, 1), 50)
    with pytest.raises(CorruptRecord) as found:
        store.get(Table.BODIES, row(store, 1))
    assert condemn(store, found.value)
    assert list(marks_in(store)) == [1]
    mark = marks_in(store)[1]
    assert (mark.copy, mark.term) == (Copies(store).position(1).copy, cluster(3, buckets=4).terms[1])
    assert "checksum" in mark.what


def test_a_row_that_has_vanished_condemns_too(store: MemoryStore) -> None:
    assert condemn(store, RowMissing(Table.MESSAGES, row(store, 2)))
    assert list(marks_in(store)) == [2]
    assert "vanished" in marks_in(store)[2].what


@pytest.mark.parametrize("table", [Table.META, Table.BUCKETS])
def test_a_row_of_the_node_itself_condemns_no_copy(store: MemoryStore, table: Table) -> None:
    assert not condemn(store, CorruptRecord(table.value, row(store, 1), 9))
    assert not marks_in(store)


@pytest.mark.parametrize("key", [copy_prefix(77) + b"an id", copy_prefix(NO_COPY) + b"an id", b"\x00"])
def test_a_row_of_no_live_copy_needs_no_mark(store: MemoryStore, key: bytes) -> None:
    assert condemn(store, CorruptRecord("bodies", key, 9))
    assert not marks_in(store)
    assert tally_in(store) == Tally()


def test_a_copy_that_is_condemned_again_counts_once_and_keeps_the_later_term(store: MemoryStore) -> None:
    marks = Marks(store)
    marks.condemn(1, 2, 7, "first")
    marks.condemn(1, 2, 9, "second")
    marks.condemn(1, 2, 8, "third")
    assert marks.tally.corrupt == 1
    assert (marks_in(store)[1].term, marks_in(store)[1].what) == (9, "first")


def test_a_restart_knows_marks_and_counts_and_where_a_repair_stands(store: MemoryStore) -> None:
    marks = Marks(store)
    marks.condemn(0, 1, 7, "a bit")
    marks.condemn(2, 3, 7, "a page")
    marks.deleted(2)
    store.commit()
    after = Marks(store.crash())
    assert after.buckets == [0, 2]
    first, second = after.of(0), after.of(2)
    assert first is not None and not first.deleted
    assert second is not None and second.deleted
    assert after.of(1) is None
    after.repaired(2)
    assert after.tally == Tally(corrupt=2, repaired=1)
    assert after.buckets == [0]


def test_a_fresh_copy_that_is_damaged_as_well_counts_anew(store: MemoryStore) -> None:
    marks = Marks(store)
    marks.condemn(0, 1, 7, "a bit")
    marks.deleted(0)
    marks.condemn(0, 9, 8, "another bit")
    assert marks.tally.corrupt == 2
    mark = marks.of(0)
    assert mark is not None and mark.copy == 9
