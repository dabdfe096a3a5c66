"""What a node says when it cannot go on, or not as before: what happened, and how to mend it."""

from __future__ import annotations

import logging
import shutil
import signal
import threading
import time
from pathlib import Path

import pytest

import zmqueue
from tests.cli.running import zmqueue as run
from tests.cluster.rig import NodeProcess, eventually
from tests.node.conftest import Make


def warnings(caplog: pytest.LogCaptureFixture, words: str, node: zmqueue.Node) -> list[str]:
    return [record.getMessage() for record in caplog.records
            if record.levelno == logging.WARNING and words in record.getMessage() and node.id in record.getMessage()]


def test_an_older_copy_is_told_so_by_its_peers_and_stops_at_once(three: list[zmqueue.Node], make: Make,
                                                                 tmp_path: Path) -> None:
    three[2].stop()
    shutil.copytree(tmp_path / "c", tmp_path / "old")
    for _ in range(2):
        make("c").start().stop()           # the original lives on, in newer epochs
    shutil.rmtree(tmp_path / "c")
    shutil.copytree(tmp_path / "old", tmp_path / "c")
    began = time.monotonic()
    with pytest.raises(zmqueue.NodeFailed, match=r"older than what node .*restored or copied.*--join"):
        make("c").start(wait=25.0)
    assert time.monotonic() - began < 10.0, "it need not wait to be taken up"
    shutil.rmtree(tmp_path / "c")
    assert make("c", join=[three[0].endpoint]).start().serving, "what it says helps"


def test_an_emptied_directory_says_that_it_is_a_new_member(three: list[zmqueue.Node], make: Make,
                                                           tmp_path: Path) -> None:
    three[2].stop()
    shutil.rmtree(tmp_path / "c")
    (tmp_path / "c").mkdir()
    with pytest.raises(zmqueue.NodeFailed, match=r"--join.*was a member before.*emptied.*new member"):
        make("c").start()


def test_a_node_that_was_forgotten_while_it_was_away_is_told_so(three: list[zmqueue.Node], make: Make) -> None:
    gone = three[2]
    gone.stop(drain=True)
    with zmqueue.Client(three[0].endpoint) as client:
        def is_out() -> bool:
            return any(member.id == gone.id and member.status == "out" and member.backup == 0
                       for member in client.members().members)
        eventually(is_out, 20.0, lambda: str(client.members()))
        assert run("forget", gone.id, seeds=[three[0].endpoint]).status == 0
        eventually(lambda: gone.id not in {member.id for member in client.members().members}, 20.0,
                   lambda: str(client.members()))
    with pytest.raises(zmqueue.NodeFailed, match=r"does not list this node any more.*empty directory with --join"):
        make("c").start(wait=29.0)


def test_without_a_majority_a_node_says_once_who_is_missing_and_what_goes_on(
        three: list[zmqueue.Node], make: Make, caplog: pytest.LogCaptureFixture) -> None:
    left, *gone = three
    with zmqueue.Client(left.endpoint, timeout=3.0) as client:
        for node in gone:
            node.stop()
        eventually(lambda: bool(warnings(caplog, "no majority", left)), 20.0, lambda: caplog.text)
        view = client.members()
        assert not view.majority and sorted(view.missing) == sorted(node.id for node in gone)
        text = run("members", seeds=[left.endpoint]).text
        assert "no majority of the voters is heard" in text and "nothing can be agreed" in text
        assert all(node.id in text and node.endpoint in text for node in gone)
        assert "buckets" in text and "may go on" in text
        back = make("b").start()
        eventually(lambda: bool(warnings(caplog, "is heard again", left)), 20.0, lambda: caplog.text)
        assert client.members().majority and client.members().missing == [gone[1].id]
        assert back.serving
    said, = warnings(caplog, "no majority", left)
    assert all(node.id in said and node.endpoint in said for node in gone)
    assert "buckets_that_go_on=" in said and "buckets_that_stand_still=" in said and "Bring the missing" in said
    assert len(warnings(caplog, "is heard again", left)) == 1


def test_a_node_that_stood_still_says_so_once_and_how_long(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "a", "--found").start()
    try:
        for seconds in (0.2, 2.0):         # below and above the suspicion timeout
            node.signal(signal.SIGSTOP)
            threading.Event().wait(seconds)
            node.signal(signal.SIGCONT)
            with zmqueue.Client(node.endpoint) as client:
                client.submit("jobs", b"it runs on")
        eventually(lambda: "stood still" in node.log.read_text(), 10.0, node.log.read_text)
    finally:
        node.end()
    lines = [line for line in node.log.read_text().splitlines() if "stood still" in line]
    assert len(lines) == 1 and "WARNING" in lines[0]
    assert 1.5 < float(lines[0].split("seconds=")[1].split()[0]) < 10.0
    assert "suspects nobody" in lines[0]
