"""`zmqueue demo`: small runs of it, what its document says, and that nothing of it stays behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.cli.running import environment, zmqueue
from tests.cluster.rig import eventually
from zmqueue.cli.demo_cluster import Processes
from zmqueue.cli.demo_work import digest


@pytest.fixture
def sources(tmp_path: Path) -> Path:
    """Files of all kinds: modules, one that does not parse, bytes, an empty one, a name that is no text."""
    folder = tmp_path / "sources"
    folder.mkdir()
    for number in range(60):
        (folder / f"module{number}.py").write_text(f"def f{number}(x):\n    return x + {number}\n" * 50, "utf-8")
    (folder / "broken.py").write_text("def (", "utf-8")
    (folder / "bytes.bin").write_bytes(bytes(range(256)))
    (folder / "empty.py").touch()
    Path(os.fsdecode(os.fsencode(folder) + b"/\xff.py")).write_text("x = 1\n", "utf-8")
    return folder


def test_with_a_kill_nothing_is_lost_and_nothing_stays(sources: Path, tmp_path: Path) -> None:
    (tmp_path / "tmp").mkdir()
    ran = zmqueue("demo", str(sources), "--json", wait=110.0, TMPDIR=str(tmp_path / "tmp"))
    said = ran.document
    assert ran.status == 0, ran
    assert (said["requests"], said["verified"], said["lost"], said["wrong"]) == (64, 64, 0, 0)
    assert len(said["killed"]) == 1 and said["waiting_at_kill"] >= 16 and said["unsubmitted_at_kill"] >= 16
    assert 0 < said["failover_ms"] < 60_000
    assert (said["nodes"], said["workers"], said["probes_lost"], said["error"]) == (3, 2, 0, None)
    assert said["duplicated"] >= 0 and said["seconds"] > 0
    assert list((tmp_path / "tmp").iterdir()) == []
    assert running_with(str(tmp_path / "tmp")) == []


def test_one_node_without_a_kill(sources: Path) -> None:
    said = zmqueue("demo", str(sources), "--nodes", "1", "--requests", "10", "--json", wait=110.0).document
    assert (said["requests"], said["verified"], said["killed"], said["failover_ms"]) == (10, 10, [], None)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_it_ends_what_it_started(number: signal.Signals, sources: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "tmp"
    scratch.mkdir()
    process = subprocess.Popen([sys.executable, "-m", "zmqueue", "demo", str(sources)], stdout=subprocess.PIPE,
                               stderr=subprocess.PIPE, env=environment(TMPDIR=str(scratch)), text=True)
    try:
        eventually(lambda: len(running_with(str(scratch))) >= 2, 60.0, lambda: "its nodes did not start")
        process.send_signal(number)
        _, words = process.communicate(timeout=60.0)
    finally:
        process.kill()
        process.wait()
    assert process.returncode == 1
    assert "interrupted" in words and "Traceback" not in words
    assert list(scratch.iterdir()) == []
    assert running_with(str(scratch)) == []


def test_an_interrupt_while_a_process_is_born_ends_that_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    born: list[subprocess.Popen[Any]] = []

    class Interrupted(subprocess.Popen[Any]):
        def __init__(self, *arguments: Any, **more: Any) -> None:
            super().__init__(*arguments, **more)
            born.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    with pytest.raises(KeyboardInterrupt), Processes(tmp_path) as processes:
        processes.start_node()
    assert [process.poll() for process in born] == [-signal.SIGKILL]


def test_the_work_says_why_it_cannot_look_at_a_file(sources: Path) -> None:
    assert digest(os.fsencode(sources / "broken.py"))["unparsable"] == "SyntaxError"
    assert digest(os.fsencode(sources / "missing.py")) == {"unreadable": "FileNotFoundError"}
    assert digest(os.fsencode(sources / "empty.py"))["nodes"] == {"Module": 1}


def running_with(text: str) -> list[str]:
    """The command lines of running processes that hold this text."""
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = entry.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace")
        except OSError:
            continue                                     # it ended meanwhile
        if text in line:
            found.append(line)
    return found
