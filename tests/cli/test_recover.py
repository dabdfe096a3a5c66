"""`zmqueue recover` on directories that it cannot recover, or not yet: a clear word, and nothing written."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from tests.cli.running import environment, zmqueue
from tests.core.test_disaster import five
from tests.core.test_state_changes import ID
from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.salvage import collect
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Table
from zmqueue.node.identity import _KEY as IDENTITY_KEY
from zmqueue.node.identity import _Row
from zmqueue.store import LmdbStore, open_directory


def directory(path: Path, number: int, state: ClusterState | None = None) -> Path:
    """A stopped member's directory; with no state, that of a node that never found its cluster."""
    with open_directory(path, create=True) as opened:
        store = LmdbStore(opened.store_path)
        store.put(Table.META, IDENTITY_KEY, msgspec.msgpack.encode(_Row(ID(number), 3)))
        if state is not None:
            store.put(Table.META, STATE_KEY, state.to_bytes())
        store.commit()
        store.close()
    return path


def lineage(path: Path) -> int:
    with open_directory(path, create=False) as opened:
        store = LmdbStore(opened.store_path)
        try:
            return collect(store, "", 0).lineage
        finally:
            store.close()


def test_what_is_no_directory_of_a_cluster_is_1(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.mkdir()
    joiner = directory(tmp_path / "joiner", 1)
    for data, word in ((tmp_path / "missing", "no data directory"), (empty, "holds no node's data"),
                       (joiner, "holds no cluster")):
        for step in ([], ["collect"]):
            ran = zmqueue("recover", *step, "--data", str(data), *([] if step else ["--yes"]))
            assert (ran.status, ran.out) == (1, b""), ran
            assert word in ran.err
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("answer", [b"", b"n\n", b"y\n"])
def test_without_a_terminal_only_yes_is_a_yes(tmp_path: Path, answer: bytes) -> None:
    data = directory(tmp_path / "a", 1, five())
    ran = zmqueue("recover", "--data", str(data), stdin=answer)
    assert ran.status == 2 and "may be lost" in ran.err and lineage(data) == 1
    ran = zmqueue("recover", "--data", str(data), "--json", stdin=answer)
    assert ran.status == 2 and "error" in ran.document and lineage(data) == 1
    ran = zmqueue("recover", "--data", str(data), "--yes", "--json")
    assert ran.status == 0 and lineage(data) == 2
    assert ran.document["node"] == ID(1) and len(ran.document["losses"]) >= 3


@pytest.mark.parametrize(("answer", "status", "after"), [(b"n\n", 1, 1), (b"\n", 1, 1), (b"y\n", 0, 2)])
def test_at_a_terminal_it_asks(tmp_path: Path, answer: bytes, status: int, after: int) -> None:
    data = directory(tmp_path / "a", 1, five())
    terminal, stdin = os.openpty()
    try:
        os.write(terminal, answer)
        done = subprocess.run([sys.executable, "-m", "zmqueue", "recover", "--data", str(data)], stdin=stdin,
                              capture_output=True, timeout=60.0, check=False, env=environment())
    finally:
        os.close(terminal)
        os.close(stdin)
    said = done.stderr.decode()
    assert (done.returncode, lineage(data)) == (status, after), said
    assert said.index("may be lost") < said.index("Write lineage 2 onto the disk")


def test_a_directory_that_is_in_use_is_left_alone(tmp_path: Path) -> None:
    data = directory(tmp_path / "a", 1, five())
    with open_directory(data, create=False):
        for arguments in (["--data", str(data), "--yes"], ["collect", "--data", str(data)]):
            ran = zmqueue("recover", *arguments)
            assert ran.status == 1 and "in use by process" in ran.err


def test_files_that_are_no_survivors_are_2_and_survivors_that_do_not_fit_are_1(tmp_path: Path) -> None:
    good = tmp_path / "good.json"
    good.write_bytes(zmqueue("recover", "collect", "--data", str(directory(tmp_path / "a", 1, five()))).out)
    garbage, other = tmp_path / "garbage.json", tmp_path / "other.json"
    garbage.write_bytes(b"\xff{")
    stranger = json.loads(good.read_bytes())
    other.write_text(json.dumps({**stranger, "id": ID(2), "cluster_id": "other"}))
    assert (ran := zmqueue("recover", "plan", str(good), str(garbage))).status == 2 and "garbage.json" in ran.err
    assert (ran := zmqueue("recover", "plan", str(good), str(other))).status == 1 and "different clusters" in ran.err
    assert (ran := zmqueue("recover", "plan", str(good))).status == 0
    assert [one["id"] for one in ran.document["survivors"]] == [ID(1)]
    assert "given up for good" in ran.err
