"""Values of wire structs for tests: one example with every field filled, and a hypothesis strategy."""

from __future__ import annotations

import enum
import types
import typing
from typing import Any, Union, get_args, get_origin

import msgspec
from hypothesis import strategies as st


def members(union: object) -> list[type[msgspec.Struct]]:
    """The classes of a union, however it is nested."""
    if get_origin(union) in (types.UnionType, Union):
        return [found for part in get_args(union) for found in members(part)]
    assert isinstance(union, type) and issubclass(union, msgspec.Struct)
    return [union]


class _Nested(Exception):
    """A record would hold another one of its own kind."""


def example(kind: Any, seed: int = 1, within: tuple[Any, ...] = ()) -> Any:
    """One value of a type; the same at each run. No field is left at its default, but where a record would hold another
    one of its own kind (`within`: those around it)."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return example(arguments[0], seed, within)
    if origin is tuple:
        repeated = arguments[:1] * 2 if arguments[-1] is Ellipsis else arguments
        return tuple(example(argument, seed + index, within) for index, argument in enumerate(repeated))
    if kind is bytes:
        return bytes([seed % 256, 0, 255])
    if kind is str:
        return f"text {seed} ä"
    if kind is bool:
        return seed % 2 == 1
    if issubclass(kind, enum.Enum):
        return list(kind)[-1]
    if kind is int:
        return 100 * seed
    if kind is object:
        return seed
    assert issubclass(kind, msgspec.Struct)
    if kind in within:
        raise _Nested
    hints, fields = typing.get_type_hints(kind), {}
    required = len(kind.__struct_fields__) - len(kind.__struct_defaults__)
    for index, name in enumerate(kind.__struct_fields__):
        try:
            fields[name] = example(hints[name], seed + index, (*within, kind))
        except _Nested:
            if index < required:
                raise
    return kind(**fields)


def strategy(kind: Any, within: tuple[Any, ...] = ()) -> st.SearchStrategy[Any]:
    """Any value of a type; `within` as for `example`."""
    origin, arguments = get_origin(kind), get_args(kind)
    if origin in (types.UnionType, Union):
        return st.one_of([st.none() if argument is type(None) else strategy(argument, within)
                          for argument in arguments])
    if origin is tuple and arguments[-1] is Ellipsis:
        return st.lists(strategy(arguments[0], within), max_size=3).map(tuple)
    if origin is tuple:
        return st.tuples(*(strategy(argument, within) for argument in arguments))
    if kind is bytes:
        return st.binary(max_size=30)
    if kind is str:
        return st.text(max_size=10)
    if kind is bool:
        return st.booleans()
    if kind is int or kind is object:
        return st.integers(-2**63, 2**64 - 1)
    if issubclass(kind, enum.Enum):
        return st.sampled_from(kind)
    if kind in within:
        raise _Nested
    hints, fields = typing.get_type_hints(kind), {}
    required = len(kind.__struct_fields__) - len(kind.__struct_defaults__)
    for index, name in enumerate(kind.__struct_fields__):
        try:
            fields[name] = strategy(hints[name], (*within, kind))
        except _Nested:
            if index < required:
                raise
    return st.builds(kind, **fields)
