"""The pull patterns from a shell, on a cluster of three node processes of which one is killed."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cli.running import environment, zmqueue
from tests.cluster.rig import Cluster, cluster


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes."""
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@contextmanager
def working(three: Cluster, *arguments: str) -> Iterator[list[bytes]]:
    """A `zmqueue work` that is drained at the end; then the list holds what it printed."""
    printed: list[bytes] = []
    worker = subprocess.Popen([sys.executable, "-m", "zmqueue", "work", *arguments], env=environment(three.seeds),
                              stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        yield printed
        worker.send_signal(signal.SIGTERM)
        printed.append(worker.communicate(timeout=30.0)[0])
        assert worker.returncode == 0
    finally:
        worker.kill()
        worker.communicate()


def test_submit_work_result(three: Cluster) -> None:
    token = zmqueue("submit", "shout", "hello", "--header", "from=a shell", "--priority", "3", seeds=three.seeds).text
    status = zmqueue("status", token, "--json", seeds=three.seeds).document
    assert status == {"token": token, "queue": "shout", "state": "ready", "deliveries": 0, "error": None}
    queues = zmqueue("queues", "--json", seeds=three.seeds).document["queues"]
    assert [queue["ready"] for queue in queues if queue["name"] == "shout"] == [1]
    with working(three, "shout", "--json", "--", "tr", "a-z", "A-Z") as printed:
        ran = zmqueue("result", token, seeds=three.seeds)
        assert (ran.status, ran.out) == (0, b"HELLO")
    assert json.loads(printed[0])["done"] == 1
    assert zmqueue("result", token, "--timeout", "0", seeds=three.seeds).out == b"HELLO"
    assert zmqueue("result", token, "--json", seeds=three.seeds).document == {
        "token": token, "state": "done", "result": "HELLO", "error": None}
    assert zmqueue("status", token, seeds=three.seeds).text == "done"


def test_bytes_come_back_as_they_are(three: Cluster) -> None:
    body = bytes(range(256))
    token = zmqueue("submit", "copy", "-", stdin=body, seeds=three.seeds).text
    with working(three, "copy", "--", "cat"):
        assert zmqueue("result", token, seeds=three.seeds).out == body
    assert zmqueue("result", token, "--json", seeds=three.seeds).document["result_base64"].startswith("AAEC")


def test_an_argument_that_is_no_text_is_submitted_as_its_bytes(three: Cluster) -> None:
    token = zmqueue("submit", "copy", b"\xff\xfe", seeds=three.seeds).text
    with working(three, "copy", "--", "cat"):
        assert zmqueue("result", token, seeds=three.seeds).out == b"\xff\xfe"


def test_a_program_that_fails_leaves_its_last_words(three: Cluster) -> None:
    token = zmqueue("submit", "fail", "x", "--attempts", "2", seeds=three.seeds).text
    with working(three, "fail", "--", "sh", "-c", "echo no such luck >&2; exit 7"):
        ran = zmqueue("result", token, "--json", seeds=three.seeds)
    assert ran.status == 1
    assert ran.document["state"] == "dead"
    assert "status 7" in ran.document["error"] and "no such luck" in ran.document["error"]


def test_a_result_that_is_late_is_1_and_goes_on(three: Cluster) -> None:
    token = zmqueue("submit", "nobody", "x", "--delay", "1000", seeds=three.seeds).text
    ran = zmqueue("result", token, "--timeout", "0.2", "--json", seeds=three.seeds)
    assert ran.status == 1 and ran.document["state"] == "delayed" and ran.document["error"]
    assert zmqueue("status", token, seeds=three.seeds).text == "delayed"


def test_a_submit_with_the_same_id_is_stored_once(three: Cluster) -> None:
    with three.client() as client:
        token = client.new_id()
    for _ in range(2):
        assert zmqueue("submit", "once", "x", "--id", token, seeds=three.seeds).text == token
    queues = zmqueue("queues", "--json", seeds=three.seeds).document["queues"]
    assert [queue["ready"] for queue in queues if queue["name"] == "once"] == [1]


def test_a_token_that_nobody_knows_is_1(three: Cluster) -> None:
    with three.client() as client:
        token = client.new_id()
    ran = zmqueue("status", token, "--json", seeds=three.seeds)
    assert ran.status == 1 and ran.document["error"]


def test_a_body_that_is_too_large_is_1(three: Cluster) -> None:
    ran = zmqueue("submit", "big", stdin=bytes(2_000_000), seeds=three.seeds)
    assert ran.status == 1 and "bytes" in ran.err


def test_members_and_queues_for_people(three: Cluster) -> None:
    text = zmqueue("members", seeds=three.seeds).text
    assert "32 buckets" in text and all(seed in text for seed in three.seeds)
    assert "oldest" in zmqueue("queues", seeds=three.seeds).text


def test_members_as_json(three: Cluster) -> None:
    view = zmqueue("members", "--json", seeds=three.seeds).document
    assert view["majority"] is True and view["buckets"] == 32 and view["replicas"] == 3
    assert sum(member["primary"] for member in view["members"]) == 32
    assert {"id", "endpoint", "status", "voter", "incarnation", "weight", "zone", "primary", "backup",
            "catching_up", "disk_short", "corrupt", "repaired", "damaged"} <= set(view["members"][0])
    assert {(member["disk_short"], member["corrupt"], member["repaired"], tuple(member["damaged"]))
            for member in view["members"]} == {(False, 0, 0, ())}
    assert view["missing"] == view["halted"] == [] and (view["corrupt"], view["repaired"]) == (0, 0)
    assert {"epoch", "cluster_id", "min_in_sync", "buckets_without_primary", "buckets_short", "corrupt",
            "repaired"} <= set(view)


def test_all_goes_on_when_a_node_is_killed(tmp_path: Path) -> None:
    with cluster(tmp_path) as three:
        token = zmqueue("submit", "shout", "still here", seeds=three.seeds).text
        with three.client() as client:
            victim = three.busiest(client)
        victim.kill()
        with working(three, "shout", "--", "tr", "a-z", "A-Z"):
            assert zmqueue("result", token, seeds=three.seeds).out == b"STILL HERE"
            second = zmqueue("submit", "shout", "and on", seeds=three.seeds).text
            assert zmqueue("result", second, seeds=three.seeds).out == b"AND ON"
        members = zmqueue("members", "--json", seeds=three.seeds).document["members"]
        assert sorted(member["status"] for member in members) == ["down", "up", "up"]


def test_a_duplicate_prints_the_token_of_the_one_that_is_there(three: Cluster) -> None:
    first = zmqueue("submit", "once", "a", "--unique", "k", "--group", "g", seeds=three.seeds).text
    again = zmqueue("submit", "once", "b", "--unique", "k", "--group", "g", "--json", seeds=three.seeds).document
    assert (again["token"], again["duplicate"], again["confirmed"]) == (first, True, True)
    late = zmqueue("submit", "once", "c", "--eta", "2030-01-01T00:00:00+0000", "--result-ttl", "60", "--json",
                   seeds=three.seeds).document
    assert zmqueue("status", late["token"], seeds=three.seeds).text == "delayed" and not late["duplicate"]


def test_cancel_and_forget(three: Cluster) -> None:
    token = zmqueue("submit", "unwanted", "a", seeds=three.seeds).text
    ran = zmqueue("cancel", token, seeds=three.seeds)
    assert (ran.status, ran.text) == (0, f"{token} cancelled")
    assert zmqueue("status", token, seeds=three.seeds).text == "cancelled"
    done = zmqueue("submit", "copy", "secret", seeds=three.seeds).text
    with working(three, "copy", "--", "cat"):
        assert zmqueue("result", done, seeds=three.seeds).out == b"secret"
    late = zmqueue("cancel", token, done, "--json", seeds=three.seeds)
    assert late.status == 1
    assert late.document == {"requests": [{"token": token, "cancelled": True, "error": None},
                                          {"token": done, "cancelled": False, "error": None}]}
    assert zmqueue("forget-result", done, seeds=three.seeds).status == 0
    assert zmqueue("result", done, seeds=three.seeds).status == 1
