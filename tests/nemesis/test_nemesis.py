"""A short run of the nemesis, on hosts of its own; and that it cleans up and says what it could not do."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.nemesis import hosts
from tests.nemesis.book import read_folder
from tests.nemesis.hosts import ROOT

SECONDS = 10                               # faults strike for so long, or until each kind has
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}

needs_hosts = pytest.mark.skipif(bool(hosts.why_not()), reason=hosts.why_not() or "hosts can be made")


def nemesis(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-m", "tests.nemesis", *arguments], env=ENVIRONMENT, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def finished(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    """Its exit status, its JSON, and what it told whoever watches."""
    said, told = process.communicate(timeout=115.0)
    return process.returncode, json.loads(said) if said else {}, told


@needs_hosts
def test_nothing_is_lost_while_nodes_are_killed_paused_and_cut_off(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    process = nemesis("--faults", "kill,pause,partition", "--seconds", str(SECONDS), "--seed", "3", "--json",
                      "--folder", str(folder))
    status, found, told = finished(process)
    assert status == 0, told
    assert (found["lost"], found["wrong"], found["duplicated"], found["violations"]) == (0, 0, 0, 0), found["findings"]
    assert found["acknowledged"] > 500
    assert found["whole_at_end"]
    assert found["skipped"] == []
    assert {fault["kind"] for fault in found["faults"]} == {"kill", "pause", "partition"}
    assert json.loads((folder / "verdict.json").read_text()) == found
    confirmed = [call for call in read_folder(folder / "history") if call.call == "submit"]
    assert len(confirmed) > 100, "the history is there to be judged again"
    assert f"{hosts.PREFIX}{process.pid}" not in hosts.run("ip", "netns") + hosts.run("ip", "-o", "link")


@needs_hosts
def test_a_run_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    process = nemesis("--faults", "kill", "--seconds", "60", "--folder", str(tmp_path / "run"))
    mine = f"{hosts.PREFIX}{process.pid}-"
    deadline = time.monotonic() + 30.0
    while mine not in hosts.run("ip", "netns"):
        assert time.monotonic() < deadline, "no host was made"
        time.sleep(0.05)
    namespace = next(line.split()[0] for line in hosts.run("ip", "netns").splitlines() if line.startswith(mine))
    assert namespace
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=60.0)
    assert process.returncode == 128 + signal.SIGTERM
    assert mine not in hosts.run("ip", "netns")
    running = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True).stdout
    assert str(tmp_path) not in running, "a process of the run lives on"


def test_an_unknown_fault_and_a_folder_in_use_are_wrong_usage(tmp_path: Path) -> None:
    (tmp_path / "something").touch()
    for arguments in (["--faults", "flood"], ["--folder", str(tmp_path)], ["--seconds", "0"]):
        process = nemesis(*arguments)
        _, told = process.communicate(timeout=30.0)
        assert process.returncode == 2, told
