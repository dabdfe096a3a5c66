"""Arguments and results by annotation: what stands in the JSON, and what comes back."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field, ValidationError

from zmqueue.app.signature import Returned, Signature
from zmqueue.client.payloads import Encoded
from zmqueue.core.operations import Kind


class Colour(enum.Enum):
    RED = "red"


@dataclasses.dataclass
class Point:
    x: int
    y: int = 0


class Model(BaseModel):
    point: Point
    colour: Colour = Colour.RED


def carried(function: Callable[..., object], *args: Any, **kwargs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """What a call with these arguments is called with at the other end."""
    signature = Signature(function)
    return signature.decode(signature.encode(args, kwargs))


def every(first: int, /, second: str, third: float = 1.5, *rest: Point, named: Model | None = None,
          **others: datetime.date) -> None: ...


def test_arguments_stand_by_name_and_what_was_not_given_is_left_out() -> None:
    data = Signature(every).encode((1, "b"), {})
    assert json.loads(data) == {"first": 1, "second": "b"}
    data = Signature(every).encode((1, "b", 2.0, Point(1)), {"named": None, "day": datetime.date(2026, 1, 2)})
    assert json.loads(data) == {"first": 1, "second": "b", "third": 2.0, "rest": [{"x": 1, "y": 0}], "named": None,
                                "others": {"day": "2026-01-02"}}


def test_arguments_of_every_kind_arrive_as_they_were_sent() -> None:
    model = Model(point=Point(1, 2))
    assert carried(every, 1, "b") == ((1, "b"), {})
    assert carried(every, 1, second="b", named=model) == ((1, "b"), {"named": model})
    assert carried(every, 1, "b", 2.0, Point(1), Point(2), day=datetime.date(2026, 1, 2)) == (
        (1, "b", 2.0, Point(1), Point(2)), {"day": datetime.date(2026, 1, 2)})


def test_a_default_is_the_workers() -> None:
    def here(a: int, b: int = 1, c: int = 2) -> None: ...

    assert carried(here, 1, c=5) == ((1,), {"c": 5})


def test_parameters_may_have_any_name() -> None:
    def odd(copy: int, model_config: int, _under: int, json: int, self: int = 0) -> None: ...

    assert carried(odd, 1, 2, 3, json=4) == ((1, 2, 3, 4), {})


def test_what_json_has_no_word_for_is_carried_too() -> None:
    def odd(data: bytes, number: float, path: Path, colours: set[Colour], pair: tuple[int, bytes]) -> None: ...

    (data, number, path, colours, pair), _ = carried(odd, b"\xff\x00", math.nan, Path("a"), {Colour.RED}, (1, b"\xfe"))
    assert (data, path, colours, pair) == (b"\xff\x00", Path("a"), {Colour.RED}, (1, b"\xfe"))
    assert math.isnan(number)


def test_arguments_without_annotations_are_plain_json() -> None:
    def bare(value, other=None): ...  # type: ignore[no-untyped-def]

    assert carried(bare, {"a": [1, "b", None]}) == (({"a": [1, "b", None]},), {})
    with pytest.raises(TypeError, match="JSON cannot carry"):
        carried(bare, object())


def bounded(number: Annotated[int, Field(ge=0, le=9)], colour: Colour = Colour.RED) -> None: ...


def test_arguments_are_judged_before_they_are_sent() -> None:
    signature = Signature(bounded)
    with pytest.raises(ValidationError, match="less than or equal to 9"):
        signature.encode((10,), {})
    with pytest.raises(TypeError, match="unexpected keyword argument 'nubmer'"):
        signature.encode((1,), {"nubmer": 1})
    with pytest.raises(TypeError, match="missing a required argument"):
        signature.encode((), {})


@pytest.mark.parametrize("text", ["", "null", "[1]", "{}", '{"number": 10}', '{"number": 1, "more": 2}',
                                  '{"number": "x"}'])
def test_what_is_no_call_is_refused_when_it_comes(text: str) -> None:
    with pytest.raises(ValidationError):
        Signature(bounded).decode(text.encode())


def test_a_default_that_is_a_field_is_refused_at_once() -> None:
    def wrong(number: int = Field(default=1, ge=0)) -> None: ...

    with pytest.raises(TypeError, match="Annotated"):
        Signature(wrong)


def test_a_version_changes_with_the_arguments_and_with_nothing_else() -> None:
    def one(a: int, b: str = "x") -> int: ...  # type: ignore[empty-body]
    def same(a: int, b: str = "y") -> str: ...  # type: ignore[empty-body]
    def more(a: int, b: str = "x", c: int = 0) -> int: ...  # type: ignore[empty-body]
    def stricter(a: Annotated[int, Field(ge=0)], b: str = "x") -> int: ...  # type: ignore[empty-body]
    def opaque(a: Callable[[], int]) -> int: ...  # type: ignore[empty-body]

    assert Signature(one).version == Signature(same).version
    assert len({Signature(function).version for function in (one, more, stricter, opaque)}) == 4


TEXTS = st.text(st.characters(codec="utf-8"))


@given(number=st.integers(), text=TEXTS, data=st.binary(), many=st.lists(st.floats(allow_nan=False)),
       named=st.dictionaries(TEXTS, st.booleans()))
def test_any_arguments_arrive_as_they_were_sent(number: int, text: str, data: bytes, many: list[float],
                                                named: dict[str, bool]) -> None:
    def function(number: int, text: str, data: bytes, many: list[float], named: dict[str, bool]) -> None: ...

    assert carried(function, number, text, data, many, named) == ((number, text, data, many, named), {})


# --- results ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("type_", "value", "kind"), [
    (bytes, b"\xff", Kind.BYTES), (str, "5", Kind.TEXT), (str | int, "5", Kind.TEXT), (str | int, 5, Kind.JSON),
    (None, None, Kind.NONE), (int | None, None, Kind.NONE), (Colour, Colour.RED, Kind.JSON),
    (Point, Point(1), Kind.JSON), (Model, Model(point=Point(1)), Kind.JSON), (list[Point], [Point(1)], Kind.JSON),
    (set[bytes], {b"\xff"}, Kind.JSON), (Any, {"a": 1}, Kind.JSON), (Any, b"\xff", Kind.BYTES),
    (float, math.inf, Kind.JSON), (Path, Path("a"), Kind.JSON)])
def test_a_result_comes_back_by_its_annotation(type_: Any, value: object, kind: Kind) -> None:
    returned = Returned(type_)
    body = returned.encode(value)
    assert body.kind == kind
    assert returned.read(body.kind, body.data) == value


def test_a_result_that_is_not_what_was_promised_fails_where_it_was_made() -> None:
    with pytest.raises(ValidationError):
        Returned(int).encode("many")
    with pytest.raises(TypeError, match="is not"):
        Returned(Any).encode(object())
    assert Returned(Any).encode("x") == Encoded(Kind.TEXT, b"x")
