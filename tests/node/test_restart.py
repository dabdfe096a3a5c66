"""What a node does at a damaged row: it condemns the copy and begins anew, or stops with a word that helps."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.copies import Copies
from zmqueue.core.damage import marks_in, tally_in
from zmqueue.core.engine import EngineConfig
from zmqueue.core.keys import copy_prefix
from zmqueue.core.state import Agreed, Member, Status, found
from zmqueue.core.tables import Damage, Table
from zmqueue.node.identity import begin
from zmqueue.node.restart import RESTARTS_MAX, RESTARTS_WITHIN, DiskDamaged, Restarts
from zmqueue.store import LmdbStore

BUCKET = 3


@pytest.fixture
def store(tmp_path: Path) -> Iterator[LmdbStore]:
    """The store of a node that has a cluster, and a copy of one bucket."""
    made = LmdbStore(tmp_path / "store")
    member = Member(1, "0" * 16, 1, 0, "tcp://a", "tcp://b", Status.UP, True)
    made.put(Table.META, STATE_KEY, found("c", Agreed(buckets=8), member).to_bytes())
    Copies(made).create(BUCKET)
    begin(made)
    yield made
    made.close()


def config_of(store: LmdbStore) -> EngineConfig:
    run = begin(store)
    return EngineConfig(run.id, run.incarnation, run.nonce, "tcp://a:1", "tcp://a:2", lambda: 0.5)


def damage(table: Table = Table.BODIES, copy: int = 1) -> Damage:
    return Damage("a body has rotted", table.value, copy_prefix(copy) + b"x" * 24)


def test_the_batch_is_dropped_the_copy_condemned_and_the_incarnation_raised_on_disk(store: LmdbStore) -> None:
    config = config_of(store)
    store.put(Table.META, b"torn", b"half a turn")
    snapshot = store.snapshot()
    after = Restarts(store).after(damage(), config, 0.0)
    assert after.incarnation == config.incarnation + 1 and after.nonce != config.nonce
    assert (after.id, after.endpoint) == (config.id, config.endpoint)
    store.abort()                                     # what is read now is on disk
    assert store.get(Table.META, b"torn") is None and not snapshot.valid
    assert "rotted" in marks_in(store)[BUCKET].what
    assert tally_in(store).corrupt == 1
    assert begin(store).incarnation == after.incarnation + 1


@pytest.mark.parametrize("table", [Table.META, Table.BUCKETS])
def test_a_damaged_row_of_the_node_itself_stops_it_and_says_what_to_do(store: LmdbStore, table: Table) -> None:
    with pytest.raises(DiskDamaged, match=r"a body has rotted \(in .*store\).*doctor.*empty directory with --join"):
        Restarts(store).after(damage(table), config_of(store), 0.0)
    assert marks_in(store) == {}


def test_too_many_damaged_rows_within_a_minute_stop_the_node(store: LmdbStore) -> None:
    restarts, config = Restarts(store), config_of(store)
    for number in range(RESTARTS_MAX):
        config = restarts.after(damage(), config, float(number))
    with pytest.raises(DiskDamaged, match=f"{RESTARTS_MAX + 1} rows"):
        restarts.after(damage(), config, float(RESTARTS_MAX))


def test_as_many_over_a_longer_time_do_not(store: LmdbStore) -> None:
    restarts, config = Restarts(store), config_of(store)
    for number in range(3 * RESTARTS_MAX):
        config = restarts.after(damage(), config, number * RESTARTS_WITHIN / (RESTARTS_MAX - 1))
    assert restarts.count == 3 * RESTARTS_MAX
