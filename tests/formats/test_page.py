"""docs/formats.md says of each record which fields it has, in their order."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import pytest

from tests.formats.layout import LISTED, row, title
from zmqueue.core.answers import Code
from zmqueue.core.operations import How, Kind, Scope, State, Why
from zmqueue.core.packets import WIRE_VERSION
from zmqueue.core.records import Fate
from zmqueue.core.state import Status
from zmqueue.core.tables import Table
from zmqueue.store.lmdb_store import STORE_FORMAT
from zmqueue.store.records import RECORD_FORMAT

PAGE = (Path(__file__).parents[2] / "docs" / "formats.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("kind", LISTED, ids=title)
def test_the_page_has_every_record_as_it_is(kind: type[msgspec.Struct]) -> None:
    """`python -m tests.formats.layout` prints the rows."""
    assert f"\n{row(kind)}" in PAGE, f"write this row into docs/formats.md, with a word on what is new:\n{row(kind)}"


@pytest.mark.parametrize("listed", [Status, State, Kind, How, Why, Scope, Fate], ids=lambda kind: kind.__name__)
def test_the_page_has_every_value_of_an_enumeration(listed: type[Status]) -> None:
    words = ", ".join(f"{value.value} {value.name.lower().replace('_', ' ')}" for value in listed)
    assert words.replace("json", "JSON") in PAGE


def test_the_page_has_every_code() -> None:
    assert ", ".join(f"{code.value} {code.name}" for code in Code) in PAGE


def test_the_page_has_every_table() -> None:
    for table in Table:
        assert re.search(rf"\n\| {table.name}( \(\d\))? \|", PAGE)


def test_the_versions_are_the_ones_on_the_page() -> None:
    assert (WIRE_VERSION, RECORD_FORMAT, STORE_FORMAT) == (1, 1, 1), "write it down in docs/formats.md"
