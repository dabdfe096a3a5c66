"""Small file systems, to be filled."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

MakeDisk = Callable[[int], Path]


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[MakeDisk]:
    """Mount file systems of so many MiB, in memory; gone at the test's end. Skips where that is not permitted."""
    made: list[Path] = []

    def make(mebibytes: int) -> Path:
        where = tmp_path / f"disk{len(made)}"
        where.mkdir()
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={mebibytes}m", "tmpfs", str(where)],
                                 capture_output=True, check=False)
        if mounted.returncode != 0:
            pytest.skip(f"no right to mount a small file system: {mounted.stderr.decode().strip()}")
        made.append(where)
        return where

    yield make
    for where in made:
        subprocess.run(["umount", "--lazy", str(where)], check=True)
