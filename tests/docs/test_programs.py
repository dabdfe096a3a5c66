"""Every whole program in the documentation runs.

A block that begins with ```python is a whole program: it is run as a script, by itself, in a folder of its own, and
must end with status 0. A block that begins with ```py is a fragment: it must be Python.
"""

from __future__ import annotations

import ast
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```(python|py)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
SECONDS_MAX = 100      # below the limit of one test, so that what the program printed is shown


class Block(NamedTuple):
    """One block of Python in a page."""

    name: str
    kind: str
    code: str


def _blocks() -> list[Block]:
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, (kind, code) in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), 1):
            found.append(Block(f"{page.name}-{number}", kind, code))
    return found


BLOCKS = _blocks()
PROGRAMS = [block for block in BLOCKS if block.kind == "python"]


def test_the_documentation_has_programs() -> None:
    assert {block.name.partition("-")[0] for block in PROGRAMS} >= {"README.md"}


@pytest.mark.parametrize("block", BLOCKS, ids=lambda block: block.name)
def test_a_block_is_python(block: Block) -> None:
    ast.parse(block.code, block.name)


@pytest.mark.parametrize("block", PROGRAMS, ids=lambda block: block.name)
def test_a_program_runs(block: Block, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(block.code, encoding="utf-8")
    environment = {name: value for name, value in os.environ.items() if name != "ZMQUEUE_SEEDS"}
    done = subprocess.run([sys.executable, "-W", "error", str(program)], cwd=tmp_path, env=environment,
                          capture_output=True, text=True, timeout=SECONDS_MAX, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
