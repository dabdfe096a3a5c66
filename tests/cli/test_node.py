"""`zmqueue node`: the line that it prints, its end, its return."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.running import environment, zmqueue
from tests.cluster.rig import NodeProcess


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_says_where_it_serves_stops_when_told_and_comes_back_at_the_same_port(
        number: signal.Signals, tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "a", "--found")
    try:
        first = node.start().endpoint
        node.signal(number)
        assert node.process is not None and node.process.wait(20.0) == 0
        node.end()
        again = NodeProcess(tmp_path / "a")
        try:
            assert again.start().endpoint == first
            assert again.stop() == 0
        finally:
            again.end()
    finally:
        node.end()


def test_with_json_it_prints_one_document(tmp_path: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "zmqueue", "node", "--data", str(tmp_path / "a"), "--listen", "tcp://127.0.0.1:0",
         "--found", "--json"], stdout=subprocess.PIPE, env=environment(), text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        assert re.fullmatch(r"[0-9a-f]{16}", said["id"]) and said["endpoint"].startswith("tcp://127.0.0.1:")
        process.terminate()
        rest, _ = process.communicate(timeout=20.0)
        assert (process.returncode, rest) == (0, "")
    finally:
        process.kill()
        process.communicate()


def test_its_disk_reserve_is_allocated_as_an_option_or_the_file_says(tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    config.write_text("buckets = 8\n[node]\ndisk_reserve_bytes = 33554432\n")
    for name, options, mebibytes in (
            ("option", ["--disk-reserve", "20MiB"], 20), ("file", ["--config", str(config)], 32),
            ("both", ["--config", str(config), "--disk-reserve", "20MiB"], 20)):
        node = NodeProcess(tmp_path / name, "--found", *options)
        try:
            node.start()
            allocated = (tmp_path / name / "store" / "data.mdb").stat().st_blocks * 512 / (1 << 20)
            assert mebibytes <= allocated < 1.5 * mebibytes
        finally:
            node.end()


def test_a_second_one_on_the_directory_or_the_port_is_refused(tmp_path: Path) -> None:
    node = NodeProcess(tmp_path / "a", "--found")
    try:
        node.start()
        ran = zmqueue("node", "--data", str(tmp_path / "a"), "--listen", "tcp://127.0.0.1:0")
        assert ran.status == 1 and "use" in ran.err
        ran = zmqueue("node", "--data", str(tmp_path / "b"), "--listen", node.endpoint, "--found")
        assert ran.status == 1 and node.endpoint in ran.err
        assert node.running
    finally:
        node.end()


def test_the_settings_file_counts_at_founding(tmp_path: Path) -> None:
    config = tmp_path / "zmqueue.toml"
    config.write_text("buckets = 4\nmin_in_sync = 1\n", encoding="utf-8")
    node = NodeProcess(tmp_path / "a", "--found", "--config", str(config))
    try:
        node.start()
        assert zmqueue("members", "--json", seeds=[node.endpoint]).document["buckets"] == 4
    finally:
        node.end()
