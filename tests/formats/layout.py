"""How docs/formats.md writes a record down: made from its class, so that the page cannot be behind.

    python -m tests.formats.layout        prints the rows as they have to stand in the page
"""

from __future__ import annotations

import enum
import types
import typing
from collections.abc import Iterator

import msgspec

from tests.core.shapes import members
from tests.formats.files import GENERATIONS, read
from zmqueue.core.acceptor import Record as AcceptorRecord
from zmqueue.core.answers import FoundMessage, Grant, QueueDepth
from zmqueue.core.changes import Change, Value
from zmqueue.core.copies import Position
from zmqueue.core.damage import Mark, Tally
from zmqueue.core.operations import Awaits, Batch, Operation, Options, Parcel, Rule, Settle, Submission
from zmqueue.core.packets import Envelope, Packet
from zmqueue.core.policies import Backoff, Policy
from zmqueue.core.records import Record, Special
from zmqueue.core.schedules import Entry
from zmqueue.core.state import Agreed, ClusterState, Disaster, Member

LISTED: tuple[type[msgspec.Struct], ...] = (
    Envelope, *members(Packet), Submission, Options, Awaits, Settle, Parcel, Grant, QueueDepth, FoundMessage, Value,
    *members(Change), ClusterState, Agreed, Member, Disaster, Policy, Backoff, Entry, *members(Operation), Rule, Batch,
    Position, Record, Special, AcceptorRecord, Mark, Tally)
"""Every record that is written."""


def title(kind: type[msgspec.Struct]) -> str:
    """What the page calls it."""
    return "Acceptor" if kind is AcceptorRecord else kind.__name__


def cell(kind: type[msgspec.Struct]) -> str:
    """The fields in order: name, type where it is no integer, default, and the generation that appended it."""
    hints = typing.get_type_hints(kind)
    names = kind.__struct_fields__
    defaults = dict(zip(names[len(names) - len(kind.__struct_defaults__):], kind.__struct_defaults__, strict=True))
    return " · ".join(_field(kind, index, name, hints[name], defaults) for index, name in enumerate(names))


def _field(kind: type[msgspec.Struct], index: int, name: str, hint: object, defaults: dict[str, object]) -> str:
    words = [f"`{name}`"]
    written = _type(hint)
    if written != "int":
        words.append(written)
    if name in defaults:
        words.append(f"= {_default(defaults[name])}")
    since = next((generation for generation in GENERATIONS if index < _FIRST.get((generation, kind.__name__), 0)), None)
    if since is not None and since != GENERATIONS[0] and (GENERATIONS[0], kind.__name__) in _FIRST:
        words.append(f"({int(since)})")
    return " ".join(words)


def _type(hint: object) -> str:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple and arguments[-1] is Ellipsis:
        return f"[{_type(arguments[0])}]"
    if origin is tuple:
        return f"({', '.join(map(_type, arguments))})"
    if origin in (types.UnionType, typing.Union):
        rest = [argument for argument in arguments if argument is not type(None)]
        return f"{_type(rest[0])} or nil" if len(rest) == 1 else "Change"
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return "int"
    assert isinstance(hint, type)
    return "bin" if hint is bytes else hint.__name__


def _default(value: object) -> str:
    if isinstance(value, enum.Enum):
        return str(value.value)
    if value == () and isinstance(value, tuple):
        return "[]"
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "nil"}[value]
    if isinstance(value, bytes | str):
        return '""'
    if isinstance(value, msgspec.Struct):
        return "all defaults"
    return str(value)


def _fields_by_generation() -> Iterator[tuple[tuple[str, str], int]]:
    for generation in GENERATIONS:
        for file in ("packets.txt", "operations.txt", "rows.txt"):
            for sample in read(generation, file):
                for name, count in _records_in(sample.says):
                    yield (generation, name), count


def _records_in(said: object) -> Iterator[tuple[str, int]]:
    if isinstance(said, dict):
        yield said["is"], len(said) - 1
        for value in said.values():
            yield from _records_in(value)
    if isinstance(said, tuple):
        for value in said:
            yield from _records_in(value)


_FIRST: dict[tuple[str, str], int] = {}
"""(generation, record) -> how many fields it had."""

for _which, _count in _fields_by_generation():
    _FIRST[_which] = max(_count, _FIRST.get(_which, 0))


def row(kind: type[msgspec.Struct]) -> str:
    """The first cells of the record's line in the page: number, name, fields."""
    tag = kind.__struct_config__.tag
    if tag is None:
        return f"| | {title(kind)} | {cell(kind)} |"
    since = next(generation for generation in GENERATIONS if (generation, kind.__name__) in _FIRST)
    return f"| {tag} | {title(kind)}{'' if since == GENERATIONS[0] else f' ({int(since)})'} | {cell(kind)} |"


if __name__ == "__main__":
    for listed in LISTED:
        print(row(listed))
