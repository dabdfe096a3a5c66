"""Payloads and results: what Python values become on the wire, and back.

bytes and str come back as such, None as None, everything else travels as JSON (pydantic's, so models, dataclasses,
dates and the like are carried) and comes back as plain JSON values, unless a type is asked for. Nothing is pickled.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from pydantic import TypeAdapter
from pydantic_core import PydanticSerializationError, from_json, to_json

from zmqueue.core.operations import Kind


@dataclass(frozen=True, slots=True)
class Encoded:
    """A payload or result whose bytes stand already: `encode` takes it as it is."""

    kind: int
    data: bytes


class Reader(ABC):
    """Reads bytes in a way of its own; may be asked for wherever a type may be."""

    @abstractmethod
    def read(self, kind: int, data: bytes) -> Any:
        """The value. Raises ValueError (pydantic.ValidationError is one) where it is none."""


def encode(value: object) -> tuple[int, bytes]:
    """(kind, bytes) of a value. Raises TypeError for what JSON cannot carry, saying what was found."""
    match value:
        case Encoded():
            return value.kind, value.data
        case None:
            return Kind.NONE, b""
        case bytes():
            return Kind.BYTES, value
        case str():
            return Kind.TEXT, _utf8(value)
        case bytearray() | memoryview():
            return Kind.BYTES, bytes(value)
    try:
        return Kind.JSON, to_json(value)
    except (PydanticSerializationError, ValueError) as error:
        raise TypeError(f"a payload or result is bytes, str, None, or what JSON or pydantic can carry; "
                        f"this {type(value).__name__} is not: {error}") from None


def _utf8(text: str) -> bytes:
    try:
        return text.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"this text is not valid Unicode: {error}") from None


def decode(kind: int, data: bytes, type_: Any = None) -> Any:
    """The value that `encode` was given; with a type, validated as that (pydantic.ValidationError where it is not)."""
    if type_ is not None:
        return _decode_as(kind, data, type_)
    match kind:
        case Kind.NONE:
            return None
        case Kind.TEXT:
            return data.decode()
        case Kind.JSON:
            return from_json(data)
    return data                            # bytes, and whatever a later version may add


def _decode_as(kind: int, data: bytes, type_: Any) -> Any:
    if isinstance(type_, Reader):
        return type_.read(kind, data)
    adapter = _adapter(type_)
    if kind == Kind.JSON:
        return adapter.validate_json(data)
    return adapter.validate_python(decode(kind, data))


@lru_cache(maxsize=256)
def _cached_adapter(type_: Any) -> TypeAdapter[Any]:
    return TypeAdapter(type_)


def _adapter(type_: Any) -> TypeAdapter[Any]:
    try:
        return _cached_adapter(type_)
    except TypeError:                      # a type that cannot be hashed (Annotated with a list, say)
        return TypeAdapter(type_)
