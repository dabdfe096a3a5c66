"""The log of one copy: what is in memory, what is read from the table, cutting and compaction."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.core.replication_rig import submitted
from zmqueue.core.log import CACHE_ENTRIES, COMPACT_ENTRIES, Log
from zmqueue.core.operations import encode
from zmqueue.core.packets import Entry
from zmqueue.core.tables import RowMissing, Table, rows, span
from zmqueue.store.memory import MemoryStore

COPY = 5


def entry(number: int, term: int = 1, size: int = 8) -> Entry:
    return term, encode(submitted(number, size))


def a_log(entries: int = 0, store: MemoryStore | None = None, size: int = 8) -> Log:
    log = Log(MemoryStore() if store is None else store, COPY, 0, 0, 0)
    log.extend([entry(number, size=size) for number in range(1, entries + 1)])
    return log


def rows_of(store: MemoryStore, copy: int = COPY) -> int:
    return len(list(rows(store, Table.LOG, *span(copy.to_bytes(4, "big")))))


def test_entries_are_numbered_from_the_base_without_a_gap() -> None:
    log = Log(MemoryStore(), COPY, 7, 3, 7)
    operation = submitted(1)
    assert log.append(4, encode(operation), operation) == 8
    log.extend([entry(2, 4), entry(3, 5)])
    assert log.end == 10
    assert [log.term_at(seq) for seq in range(6, 12)] == [None, 3, 4, 4, 5, None]


def test_what_the_primary_appended_is_not_decoded_again() -> None:
    log = a_log()
    operation = submitted(1)
    log.append(1, encode(operation), operation)
    assert log.operation(1) is operation
    log.applied(1)
    assert log.operation(1) == operation
    assert log.operation(1) is not operation


def test_a_log_is_found_again_after_a_restart() -> None:
    store = MemoryStore()
    a_log(5, store)
    store.commit()
    log = Log(store.crash(), COPY, 0, 0, 3)
    assert log.end == 5
    assert log.entries(0, 100, 1_000_000) == tuple(entry(number) for number in range(1, 6))


@pytest.mark.parametrize("gone", [3, 4, 7])
def test_a_log_that_lacks_an_entry_is_damaged_where_it_is_read(gone: int) -> None:
    """Below the commit index what is read later, above it what is read at the start: never another entry instead."""
    store = MemoryStore()
    a_log(8, store)
    store.commit()
    key = COPY.to_bytes(4, "big") + gone.to_bytes(8, "big")
    store.vanish(Table.LOG, key)
    with pytest.raises(RowMissing) as found:
        log = Log(store, COPY, 0, 0, 5)
        log.entries(2, 2, 1_000_000)           # a page that is full all the same
    assert found.value.key == key


def test_a_log_that_ends_below_what_is_committed_is_damaged() -> None:
    store = MemoryStore()
    a_log(5, store)
    store.commit()
    store.vanish(Table.LOG, COPY.to_bytes(4, "big") + (5).to_bytes(8, "big"))
    with pytest.raises(RowMissing):
        Log(store, COPY, 0, 0, 5)


def test_entries_of_another_copy_are_not_seen() -> None:
    store = MemoryStore()
    a_log(5, store)
    assert Log(store, COPY - 1, 0, 0, 0).end == 0
    assert Log(store, COPY + 1, 0, 0, 0).end == 0


def test_a_batch_of_entries_keeps_its_limits_and_has_at_least_one() -> None:
    log = a_log(10, size=1_000)
    size = len(entry(1, size=1_000)[1])
    assert len(log.entries(0, 4, 1_000_000)) == 4
    assert len(log.entries(0, 100, 3 * size)) == 3
    assert len(log.entries(0, 100, 3 * size - 1)) == 2
    assert log.entries(8, 100, 1) == (entry(9, size=1_000),)
    assert log.entries(10, 100, 1_000) == ()


def test_committed_entries_leave_the_memory_and_are_read_from_the_table() -> None:
    log = a_log(CACHE_ENTRIES + 100)
    log.trim(CACHE_ENTRIES)
    assert len(log._cache) == CACHE_ENTRIES
    assert log.entry(3) == entry(3)
    assert log.entries(95, 10, 1 << 20) == tuple(entry(number) for number in range(96, 106))


def test_entries_above_the_commit_index_stay_in_memory() -> None:
    log = a_log(CACHE_ENTRIES + 100)
    log.trim(10)
    assert len(log._cache) == CACHE_ENTRIES + 90


def test_large_entries_leave_the_memory_sooner() -> None:
    log = a_log(40, size=100_000)
    log.trim(40)
    assert len(log._cache) == 10


def test_cutting_takes_the_rows_and_what_is_remembered_of_them() -> None:
    store = MemoryStore()
    log = a_log(10, store)
    log.cut(6)
    log.extend([entry(70, 2)])
    assert log.end == 7
    assert log.entry(7) == entry(70, 2)
    assert rows_of(store) == 7
    assert log.known_bytes == sum(len(data) for _, data in log.entries(0, 100, 1 << 20))


def test_compaction_waits_for_a_whole_step_and_takes_one_step_at_a_time() -> None:
    store = MemoryStore()
    log = a_log(100 + COMPACT_ENTRIES - 1, store)
    assert not log.compact(log.end, entries_max=100)
    log.extend([entry(number) for number in range(600)])
    assert log.compact(log.end, entries_max=100)
    assert (log.base_seq, log.base_term) == (COMPACT_ENTRIES, 1)
    assert rows_of(store) == log.end - log.base_seq


def test_compaction_goes_no_further_than_it_may() -> None:
    log = a_log(1_000)
    assert log.compact(7, entries_max=100)
    assert log.base_seq == 7
    assert not log.compact(7, entries_max=100)


def test_compaction_keeps_the_bytes_within_their_limit() -> None:
    log = a_log(100, size=1_000)
    while log.compact(log.end, bytes_max=20_000):
        pass
    assert 18_000 < log.known_bytes <= 20_000
    assert log.end - log.base_seq < 20


def test_after_a_restart_entries_of_unknown_size_are_compacted_first() -> None:
    store = MemoryStore()
    a_log(50, store, size=1_000)
    store.commit()
    log = Log(store, COPY, 0, 0, 50)
    assert log.known_bytes == 0
    log.extend([entry(number, size=1_000) for number in range(51, 91)])
    while log.compact(50, bytes_max=20_000):
        pass
    assert log.base_seq == 50


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.sampled_from("aucmtr"), st.integers(0, 30)), max_size=60))
def test_a_log_is_like_a_list(steps: list[tuple[str, int]]) -> None:
    store = MemoryStore()
    log = Log(store, COPY, 0, 0, 0)
    model: list[Entry] = []
    commit = 0
    for number, (what, amount) in enumerate(steps):
        match what:
            case "a":
                new = [entry(1_000 * number + index, number, size=amount * 5) for index in range(amount)]
                log.extend(new)
                model += new
            case "u":
                keep = max(commit, len(model) - amount)
                log.cut(keep)
                del model[keep:]
            case "c":
                commit = min(len(model), commit + amount)
            case "t":
                log.trim(commit)
            case "m":
                log.compact(commit, entries_max=5, bytes_max=200)
            case "r":
                base = log.base_seq, log.base_term
                log = Log(store, COPY, *base, commit)
            case _:
                continue
        assert log.end == len(model)
        assert log.entries(log.base_seq, 10_000, 1 << 30) == tuple(model[log.base_seq:])
        assert rows_of(store) == len(model) - log.base_seq
        if log.base_seq:
            assert log.base_term == model[log.base_seq - 1][0]
