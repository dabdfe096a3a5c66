"""The data directory: one opener at a time, also across kills and forks."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from zmqueue.store import DirectoryInUse, LmdbStore, StoreError, open_directory

HOLD = """
import sys, time
from zmqueue.store import open_directory
held = open_directory(sys.argv[1], create=True)
{fork}
print("held", flush=True)
time.sleep(600)
"""
FORK = """
import os
here, there = os.pipe()
child = os.fork()
if child == 0:
    os.write(there, b"x")
    time.sleep(600)
os.read(here, 1)
print("child", child, flush=True)
"""


def hold(path: Path, fork: str = "") -> subprocess.Popen[str]:
    """Start a process that opens the directory."""
    return subprocess.Popen(
        [sys.executable, "-c", HOLD.format(fork=fork), str(path)], stdout=subprocess.PIPE, text=True
    )


def test_a_new_directory_is_private_and_empty(tmp_path: Path) -> None:
    with open_directory(tmp_path / "some" / "node", create=True) as directory:
        assert stat.S_IMODE(directory.path.stat().st_mode) == 0o700
        assert directory.empty
        LmdbStore(directory.store_path).close()
    with open_directory(tmp_path / "some" / "node", create=False) as directory:
        assert not directory.empty


def test_a_missing_directory_is_made_only_on_demand(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="there is no data directory"):
        open_directory(tmp_path / "missing", create=False)
    assert not (tmp_path / "missing").exists()


def test_a_path_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreError, match="Not a directory"):
        open_directory(tmp_path / "file", create=True)


def test_a_directory_is_opened_once_within_a_process(tmp_path: Path) -> None:
    first = open_directory(tmp_path, create=True)
    with pytest.raises(DirectoryInUse, match=f"in use by process {os.getpid()}:"):
        open_directory(tmp_path, create=True)
    first.close()
    first.close()
    open_directory(tmp_path, create=True).close()


def test_a_directory_belongs_to_one_process_until_that_is_killed(tmp_path: Path) -> None:
    with hold(tmp_path) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(DirectoryInUse, match=f"in use by process {holder.pid}:"):
            open_directory(tmp_path, create=False)
        holder.kill()
        holder.wait()
        open_directory(tmp_path, create=False).close()


def test_a_forked_child_that_lives_on_does_not_keep_the_directory(tmp_path: Path) -> None:
    with hold(tmp_path, FORK) as holder:
        assert holder.stdout is not None
        told = sorted(holder.stdout.readline().split() for _ in range(2))
        assert told[1] == ["held"]
        child = int(told[0][1])
        try:
            with pytest.raises(DirectoryInUse):  # the child closed its copy; the parent's lock is still there
                open_directory(tmp_path, create=False)
            holder.kill()
            holder.wait()
            os.kill(child, 0)
            open_directory(tmp_path, create=False).close()
        finally:
            os.kill(child, signal.SIGKILL)
