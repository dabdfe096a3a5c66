"""A node whose disk fills up: submits are refused, everything else goes on to the end, and space brings it back."""

from __future__ import annotations

import logging
import os
from pathlib import Path

import pytest

import zmqueue
from tests.cluster.rig import eventually
from tests.node.conftest import QUICK, Make
from tests.store.conftest import MakeDisk, make_disk  # noqa: F401, a fixture
from zmqueue.store.reserve import RESERVE_BYTES_MIN

MIB = 1 << 20
DISK_MIB = 80
BODY = 128 << 10


def small(make: Make, disk: Path, **options: object) -> zmqueue.Node:
    return make(str(disk / "node"), disk_reserve_bytes=RESERVE_BYTES_MIN, **options)


def fill(client: zmqueue.Client) -> tuple[list[str], zmqueue.DiskFull]:
    """Submit until it is refused: the tokens of what was confirmed, and the refusal."""
    tokens: list[str] = []
    for number in range(DISK_MIB * MIB // BODY):
        try:
            tokens.append(client.submit("jobs", number.to_bytes(4, "big") + os.urandom(BODY)).token)
        except zmqueue.DiskFull as error:
            return tokens, error
    raise AssertionError("the disk is small, and took everything")


def work_off(client: zmqueue.Client, tokens: list[str]) -> None:
    """Lease and settle everything; each result is there, and right."""
    done = 0
    while done < len(tokens):
        for message in client.lease("jobs", max=20, wait=5.0):
            payload = message.payload
            assert isinstance(payload, bytes)
            message.ack(int.from_bytes(payload[:4], "big"))
            done += 1
    assert [client.result(token, timeout=5.0) for token in tokens] == list(range(len(tokens)))


def takes_submits(client: zmqueue.Client) -> bool:
    """Each bucket of the cluster takes one."""
    try:
        client.submit_many("more", [b"x" * 1_000] * 100)
    except (zmqueue.DiskFull, zmqueue.SubmitManyFailed):
        return False
    return True


def said(caplog: pytest.LogCaptureFixture, words: str) -> list[str]:
    return [record.getMessage() for record in caplog.records
            if record.levelno == logging.WARNING and words in record.getMessage()]


def test_a_full_disk_refuses_submits_and_working_off_what_is_there_makes_room(
        make: Make, make_disk: MakeDisk, caplog: pytest.LogCaptureFixture) -> None:  # noqa: F811
    disk = make_disk(DISK_MIB)
    node = small(make, disk, found=True).start()
    with zmqueue.Client(node.endpoint) as client:
        tokens, refusal = fill(client)
        assert len(tokens) > 20
        assert refusal.definite
        assert str(disk) in str(refusal) and "bytes are free" in str(refusal) and "disk_reserve_bytes" in str(refusal)
        facts = node.statistics()
        assert facts["disk_short"] == 1
        assert int(facts["disk_reserved_bytes"]) > RESERVE_BYTES_MIN // 2
        member, = client.members().members
        assert member.disk_short
        work_off(client, tokens)
        eventually(lambda: takes_submits(client), 20.0, lambda: str(node.statistics()))
        assert node.statistics()["disk_short"] == 0
        assert [client.status(token).state for token in tokens] == ["done"] * len(tokens)
    assert len(said(caplog, "is short of disk")) == len(said(caplog, "has room on its disk again")) == 1


def test_another_program_that_fills_the_disk_stops_only_the_submits(make: Make, make_disk: MakeDisk,  # noqa: F811
                                                                    tmp_path: Path) -> None:
    disk = make_disk(DISK_MIB)
    first = make("a", found=True).start()
    second = make("b", join=[first.endpoint]).start()
    node = small(make, disk, join=[first.endpoint]).start()
    with zmqueue.Client(first.endpoint, second.endpoint, node.endpoint) as client:
        eventually(lambda: client.members().buckets_short == 0, 20.0, lambda: str(client.members()))
        tokens = [client.submit("jobs", number.to_bytes(4, "big") + os.urandom(BODY)).token for number in range(100)]
        filler = disk / "filler"
        with filler.open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
            while True:
                file.write(bytes(MIB))
        refused: list[zmqueue.DiskFull] = []

        def refuses() -> bool:
            try:
                client.submit("more", b"x")
            except zmqueue.DiskFull as error:
                refused.append(error)
            return len(refused) >= 20                # in whichever bucket: each has a replica there

        eventually(refuses, 20.0, lambda: str(node.statistics()))
        assert any(f"node {node.id}, a replica of bucket" in str(error) for error in refused), "a primary says"
        short = {member.id: member.disk_short for member in client.members().members}
        assert short == {first.id: False, second.id: False, node.id: True}
        work_off(client, tokens)
        assert node.serving and node.error is None
        filler.unlink()
        eventually(lambda: takes_submits(client), 20.0, lambda: str(node.statistics()))
        view = client.members()
        assert view.buckets_short == 0, "no replica was lost on the way"
        assert [member.incarnation for member in view.members] == [1, 1, 1]


def test_three_nodes_whose_disks_all_fill_up_lose_nothing_and_go_on(
        make: Make, make_disk: MakeDisk) -> None:  # noqa: F811
    nodes = [small(make, make_disk(DISK_MIB), found=True).start()]
    nodes += [small(make, make_disk(DISK_MIB), join=[nodes[0].endpoint]).start() for _ in range(2)]
    with zmqueue.Client(*[node.endpoint for node in nodes], timeout=30.0) as client:
        eventually(lambda: client.members().buckets_short == 0, 20.0, lambda: str(client.members()))
        tokens, _ = fill(client)
        assert len(tokens) > 20
        work_off(client, tokens)
        eventually(lambda: takes_submits(client), 30.0, lambda: str([node.statistics() for node in nodes]))
        assert [client.status(token).state for token in tokens] == ["done"] * len(tokens)
        view = client.members()
        assert [member.incarnation for member in view.members] == [1, 1, 1] and view.buckets_short == 0
    assert all(node.error is None for node in nodes)


def test_a_map_with_a_limit_is_a_disk_of_that_size(make: Make) -> None:
    node = make("a", found=True, disk_reserve_bytes=RESERVE_BYTES_MIN, map_bytes_max=64 * MIB, settings=QUICK).start()
    with zmqueue.Client(node.endpoint) as client:
        tokens, refusal = fill(client)
        assert "map_bytes_max" in str(refusal)
        work_off(client, tokens)
        eventually(lambda: takes_submits(client), 20.0, lambda: str(node.statistics()))


@pytest.mark.parametrize("options", [{"disk_reserve_bytes": 1_000}, {"map_bytes_max": 100 * MIB}])
def test_a_reserve_that_cannot_work_is_refused_with_the_reason(make: Make, options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=next(iter(options))):
        make("a", found=True, **options)
