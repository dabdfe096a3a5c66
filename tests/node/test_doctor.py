"""The examination of a directory: sound where it is, and otherwise what is damaged and what to do; it never writes."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

import zmqueue
from tests.cli.running import zmqueue as run
from tests.node.conftest import QUICK
from tests.store.damaging import LEAF, StoreFile
from zmqueue.core.tables import Table
from zmqueue.node.doctor import examine
from zmqueue.store import DirectoryInUse, StoreError

MARKED = b"<a body that can be found in the file>"


@pytest.fixture(scope="module")
def used(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of a node that took, handed out and settled messages."""
    data = tmp_path_factory.mktemp("used") / "a"
    with (zmqueue.Node(data, "tcp://127.0.0.1:0", found=True, settings=QUICK) as node,
          zmqueue.Client(node.endpoint) as client):
        client.submit_many("jobs", [MARKED + b" %d" % number for number in range(300)])
        for message in client.lease("jobs", max=100, wait=5.0):
            message.ack("done")
    return data


@pytest.fixture
def data(used: Path, tmp_path: Path) -> Path:
    """A copy of it, to be damaged."""
    shutil.copytree(used, tmp_path / "a")
    return tmp_path / "a"


def file_of(data: Path) -> StoreFile:
    return StoreFile(data / "store" / "data.mdb")


def contents(data: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path.relative_to(data)): (path.read_bytes(), path.stat().st_mtime_ns)
            for path in sorted(data.rglob("*")) if path.is_file()}


def test_a_sound_directory_is_sound_and_left_as_it_is(data: Path) -> None:
    before = contents(data)
    findings = examine(data)
    assert findings.sound and findings.faults == findings.notes == [], findings
    assert contents(data) == before
    assert findings.id and findings.incarnation == 1 and findings.epoch and findings.format == 1
    assert len(findings.buckets) == QUICK.buckets
    assert sum(bucket.rows for bucket in findings.buckets) > 600
    assert all(bucket.end >= bucket.commit for bucket in findings.buckets)


def test_a_flipped_bit_in_a_value_damages_one_bucket_and_says_that_its_node_mends_it(data: Path) -> None:
    file_of(data).flip(file_of(data).row(Table.BODIES, MARKED)[1] + 5)
    findings = examine(data)
    assert len(findings.damaged) == 1 and findings.faults == []
    bucket, = (bucket for bucket in findings.buckets if bucket.faults)
    assert any("does not fit its checksum" in fault for fault in bucket.faults)
    assert "the node can be started" in findings.advice()


def test_rows_that_vanish_are_missed_by_their_bucket(data: Path) -> None:
    """A leaf page of bodies loses half of its entries: each of the others is as it was written."""
    file_of(data).lose_half(next(file_of(data).pages(Table.BODIES, LEAF)))
    findings = examine(data)
    assert findings.damaged, findings
    assert any("should have" in fault or "is followed by" in fault or "ends at" in fault
               for bucket in findings.buckets for fault in bucket.faults)


@pytest.mark.parametrize("value", [b"identity", b"state"])
def test_what_the_node_itself_needs_is_no_buckets_damage(data: Path, value: bytes) -> None:
    file_of(data).flip(file_of(data).row(Table.META, value)[0] + len(value) + 8)
    findings = examine(data)
    assert findings.faults and "do not start a node on this directory" in findings.advice()


def test_a_file_that_was_cut_off_is_told(data: Path) -> None:
    file_of(data).cut(0.5)
    findings = examine(data)
    assert any("beyond the end of the file" in fault for fault in findings.faults)
    file_of(data).cut(0.0)
    assert "no root" in examine(data).faults[0]


def test_a_directory_that_is_in_use_or_none_is_refused(used: Path, data: Path, tmp_path: Path) -> None:
    with zmqueue.Node(data, "tcp://127.0.0.1:0") as node:
        assert node.serving
        with pytest.raises(DirectoryInUse, match=f"process {os.getpid()}"):
            examine(data)
    for nothing in (tmp_path / "nothing", tmp_path):
        with pytest.raises(StoreError, match="check the path"):
            examine(nothing)
    assert not (tmp_path / "lock").exists()


def test_the_command_ends_with_0_1_or_2_and_prints_one_document(data: Path, tmp_path: Path) -> None:
    ran = run("doctor", "--data", str(data), "--json")
    assert (ran.status, ran.document["sound"], ran.document["damaged"]) == (0, True, [])
    file_of(data).flip(file_of(data).row(Table.BODIES, MARKED)[1] + 5)
    ran = run("doctor", "--data", str(data), "--json")
    assert (ran.status, ran.document["sound"], len(ran.document["damaged"])) == (1, False, 1)
    assert "replace the disk" in ran.document["advice"]
    ran = run("doctor", "--data", str(data))
    assert ran.status == 1 and "damaged: bucket" in ran.text and "replace the disk" in ran.text
    ran = run("doctor", "--data", str(tmp_path / "nothing"), "--json")
    assert ran.status == 2 and "check the path" in ran.document["error"]
