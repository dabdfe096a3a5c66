"""The source distribution, and the wheel that is built from it, hold every module and nothing else.

Runs where `build` is installed and the checkout is at hand: `tox -e dist`.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("build", reason="only tox -e dist has it")
CHECKOUT = Path(os.environ.get("ZMQUEUE_CHECKOUT", Path(__file__).parents[2]))


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both distributions; the wheel is built from the source distribution, as an installer would."""
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(CHECKOUT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=110, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_the_wheel_holds_every_module_of_the_checkout(built: Path) -> None:
    with zipfile.ZipFile(next(built.glob("*.whl"))) as wheel:
        packed = {name for name in wheel.namelist() if ".dist-info/" not in name}
        top_level = next(name for name in wheel.namelist() if name.endswith("/top_level.txt"))
        assert wheel.read(top_level).split() == [b"zmqueue"]
    # What git would put into a clean checkout: files that are ignored or that nobody has added do not count.
    listed = subprocess.run(["git", "ls-files", "zmqueue", "patterns"], cwd=CHECKOUT, capture_output=True, text=True,
                            check=True).stdout.split()
    wanted = {name.replace("patterns/", "zmqueue/patterns/", 1) if name.startswith("patterns/") else name
              for name in listed if name.endswith((".py", "py.typed"))}
    assert wanted - packed == set(), "not in the wheel: is the package listed in setup.cfg?"
    assert {name.split("/")[0] for name in packed} == {"zmqueue"}


def test_the_source_distribution_holds_the_licence_and_the_sources(built: Path) -> None:
    with tarfile.open(next(built.glob("*.tar.gz"))) as sources:
        names = {name.partition("/")[2] for name in sources.getnames()}
    assert {"LICENSE", "README.md", "setup.cfg", "pyproject.toml", "zmqueue/py.typed", "patterns/__init__.py"} <= names
