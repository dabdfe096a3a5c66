"""Copies the checkout without the package's sources, so that the tests there can import only the installed package.

The idea: in a checkout `import zmqueue` finds the folder, and a file that the wheel lacks is never missed. tox runs
this first, and then the tests in the copy: `python tests/stage.py TARGET`.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

SOURCES = {"zmqueue", "patterns"}
LEFTOVERS = {"build", "dist", "site", "var"}


def stage(checkout: Path, target: Path) -> None:
    """Copy what lies in `checkout` to `target`, which is made anew; hidden files stay behind."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for found in sorted(checkout.iterdir()):
        if found.name in SOURCES | LEFTOVERS or found.name.startswith(".") or found.suffix == ".egg-info":
            continue
        if found.is_dir():
            shutil.copytree(found, target / found.name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(found, target / found.name)


if __name__ == "__main__":
    stage(Path(__file__).resolve().parent.parent, Path(sys.argv[1]))
