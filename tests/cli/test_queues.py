"""Queues from a shell: declared, paused over a restart of the node, resumed, watched."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.running import environment, zmqueue
from zmqueue import Client, Node


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node's directory."""
    return tmp_path_factory.mktemp("node")


@pytest.fixture
def node(folder: Path) -> Iterator[Node]:
    """One node, started anew for each test on the same directory."""
    with Node(folder / "data", listen="tcp://127.0.0.1:0", found=True) as node:
        yield node


def seen(node: Node, queue: str) -> dict[str, object]:
    """The queue, as the command shows it."""
    document = zmqueue("queues", "--json", seeds=[node.endpoint]).document
    found: dict[str, object] = next(found for found in document["queues"] if found["name"] == queue)
    return found


def test_a_declared_queue_is_listed_with_its_policy(node: Node) -> None:
    ran = zmqueue("declare", "thumbnails", "--attempts", "5", "--backoff", "1", "--growth", "exponential",
                  "--backoff-most", "60", "--jitter", "0.2", "--json", seeds=[node.endpoint])
    assert ran.status == 0 and ran.document["policy"]["attempts"] == 5
    assert ran.document["policy"]["backoff"] == {"shape": "exponential", "delays_s": [1.0], "most_s": 60.0,
                                                 "jitter": 0.2}
    found = seen(node, "thumbnails")
    assert found["policy"] == ran.document["policy"] and not found["paused"] and found["ready"] == 0
    assert "attempts=5" in zmqueue("queues", seeds=[node.endpoint]).text


def test_several_rests_are_a_list(node: Node) -> None:
    ran = zmqueue("declare", "listed", "--backoff", "0.5,1,30", "--json", seeds=[node.endpoint])
    assert ran.document["policy"]["backoff"]["delays_s"] == [0.5, 1.0, 30.0]
    assert ran.document["policy"]["backoff"]["shape"] == "list"


def test_a_pause_is_agreed_and_found_again_by_the_next_run_of_the_node(node: Node) -> None:
    with Client(node.endpoint) as client:
        client.submit("mails", "x")
    assert zmqueue("pause", "mails", seeds=[node.endpoint]).text == "queue mails: paused"


def test_after_the_restart_it_is_paused_until_it_is_resumed(node: Node) -> None:
    with Client(node.endpoint) as client:
        assert seen(node, "mails")["paused"] and client.lease("mails") == []
        ran = zmqueue("resume", "mails", "--json", seeds=[node.endpoint])
        assert (ran.document["name"], ran.document["paused"], ran.document["ready"]) == ("mails", False, 1)
        assert len(client.lease("mails", wait=5.0)) == 1


def test_undeclared_it_is_as_if_it_had_never_been(node: Node) -> None:
    zmqueue("declare", "gone", "--halt", seeds=[node.endpoint])
    assert zmqueue("undeclare", "gone", "--json", seeds=[node.endpoint]).document == {
        "name": "gone", "paused": False, "policy": None}


def test_a_watch_goes_on_until_it_is_interrupted(node: Node) -> None:
    watch = subprocess.Popen([sys.executable, "-m", "zmqueue", "queues", "--watch", "--json"], text=True,
                             env=environment([node.endpoint]), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        assert watch.stdout is not None
        looks = [json.loads(watch.stdout.readline()) for _ in range(2)]
        watch.send_signal(signal.SIGINT)
        _, said = watch.communicate(timeout=30.0)
        assert all("queues" in look for look in looks) and (watch.returncode, said) == (0, "")
    finally:
        watch.kill()
        watch.communicate()


@pytest.mark.parametrize(("arguments", "word"), [
    (["declare", "q", "--attempts", "0"], "attempts"), (["declare", "q", "--backoff", "soon"], "soon"),
    (["declare", "q", "--jitter", "0.5"], "--backoff"),
    (["declare", "q", "--backoff", "1,2", "--growth", "linear"], "--growth"),
    (["pause", "no spaces"], "begins with a letter")])
def test_what_cannot_be_is_2(arguments: list[str], word: str) -> None:
    ran = zmqueue(*arguments, seeds=["tcp://127.0.0.1:1"])
    assert ran.status == 2 and word in ran.err
