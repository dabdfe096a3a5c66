"""Each promise has its limit and the commands that test it, and these commands exist."""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.nemesis.faults import FAULTS

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8")
PAGES = {page.name: page.read_text(encoding="utf-8") for page in sorted((ROOT / "docs").glob("*.md"))}
SECTIONS = PAGE.partition("\n## What happens when")[0].split("\n### ")[1:]
PROMISES = {title: text for title, _, text in (section.partition("\n") for section in SECTIONS)}
NODE_ID = re.compile(r"`(tests/[\w/]+\.py)(?:::(\w+))?`")
NEMESIS = re.compile(r"python -m tests\.nemesis ([^`|\n]*)")
FAULT_ROW = re.compile(r"^\| \*\*.*\| ([^|]*) \|$", re.MULTILINE)


@cache
def names_in(path: Path) -> set[str]:
    """The functions of a test module."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


def test_there_are_promises() -> None:
    assert len(PROMISES) > 10


@pytest.mark.parametrize("title", PROMISES)
def test_a_promise_has_its_limit_and_the_commands_that_test_it(title: str) -> None:
    text, _, tested = PROMISES[title].partition("*Tested by*")
    assert "*Limit.*" in text
    lines = [line for line in tested.splitlines() if line]
    assert lines and all(re.fullmatch(r"- `(tests/|python -m tests\.).*`", line) for line in lines), lines


@pytest.mark.parametrize("page", PAGES)
def test_every_test_that_a_page_names_is_there(page: str) -> None:
    for module, name in NODE_ID.findall(PAGES[page]):
        assert (ROOT / module).is_file(), module
        assert not name or name in names_in(ROOT / module), f"{module}::{name}"


@pytest.mark.parametrize("page", PAGES)
def test_every_fault_that_a_page_names_is_there(page: str) -> None:
    for arguments in NEMESIS.findall(PAGES[page]):
        kinds = re.search(r"--faults ([\w,-]+)", arguments)
        if kinds and kinds[1] not in ("all", "NAME"):
            assert set(kinds[1].split(",")) - {"NAME", ""} <= set(FAULTS), arguments


def test_whatever_may_happen_is_tested_by_a_fault_or_a_test() -> None:
    rows = FAULT_ROW.findall(PAGE)
    assert len(rows) > 10
    for cell in rows:
        named = re.findall(r"`([\w-]+)`", cell)
        assert set(named) <= set(FAULTS), cell
        assert named or NODE_ID.findall(cell), cell
