"""Payloads: what comes back is what went in, or what was asked for."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Annotated, Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, ValidationError

from zmqueue.client import payloads
from zmqueue.core.operations import Kind


class Model(BaseModel):
    name: str
    when: datetime.date


@dataclass
class Plain:
    x: int
    parts: tuple[int, ...]


@pytest.mark.parametrize(("value", "kind", "data"), [
    (b"\x00\xff", Kind.BYTES, b"\x00\xff"),
    (bytearray(b"a"), Kind.BYTES, b"a"),
    (memoryview(b"a"), Kind.BYTES, b"a"),
    (b"", Kind.BYTES, b""),
    ("Grüße", Kind.TEXT, "Grüße".encode()),
    (None, Kind.NONE, b""),
    ({"a": [1, 2.5, None, True]}, Kind.JSON, b'{"a":[1,2.5,null,true]}'),
    (0, Kind.JSON, b"0"),
])
def test_bytes_text_nothing_and_json_values_come_back_as_such(value: object, kind: Kind, data: bytes) -> None:
    assert payloads.encode(value) == (kind, data)
    assert payloads.decode(kind, data) == value


@pytest.mark.parametrize(("value", "type_", "plain"), [
    (Model(name="a", when=datetime.date(2026, 1, 2)), Model, {"name": "a", "when": "2026-01-02"}),
    (Plain(1, (2, 3)), Plain, {"x": 1, "parts": [2, 3]}),
    ([Model(name="a", when=datetime.date(2026, 1, 2))], list[Model], [{"name": "a", "when": "2026-01-02"}]),
    (UUID(int=7), UUID, "00000000-0000-0000-0000-000000000007"),
    ((1, 2), tuple[int, int], [1, 2]),
    (datetime.timedelta(seconds=90), datetime.timedelta, "PT1M30S"),
])
def test_what_pydantic_carries_comes_back_as_plain_json_or_as_the_type_asked_for(value: object, type_: Any,
                                                                                 plain: object) -> None:
    kind, data = payloads.encode(value)
    assert kind == Kind.JSON
    assert payloads.decode(kind, data) == plain
    assert payloads.decode(kind, data, type_) == value


def test_any_kind_can_be_validated() -> None:
    assert payloads.decode(Kind.TEXT, b"5", int) == 5
    assert payloads.decode(Kind.BYTES, b"x", bytes) == b"x"
    assert payloads.decode(Kind.NONE, b"", int | None) is None
    assert payloads.decode(Kind.JSON, b"3", Annotated[int, Field(examples=[1])]) == 3
    with pytest.raises(ValidationError):
        payloads.decode(Kind.JSON, b'{"name": 1}', Model)


@pytest.mark.parametrize("value", [object(), {"a": object()}, {b"\xff": 1}, lambda: 0])
def test_what_cannot_be_carried_is_said(value: object) -> None:
    with pytest.raises(TypeError, match="is bytes, str, None, or what JSON or pydantic can carry"):
        payloads.encode(value)


def test_a_value_that_contains_itself_is_refused() -> None:
    value: list[object] = []
    value.append(value)
    with pytest.raises(TypeError, match="this list is not"):
        payloads.encode(value)


def test_a_kind_of_a_later_version_comes_as_bytes() -> None:
    assert payloads.decode(200, b"x") == b"x"
