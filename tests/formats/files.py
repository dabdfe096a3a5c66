"""Golden files: samples as hex, each with what it says, one folder per generation of the formats.

    # Append                            what it is
    01990a64ccc8...                     the bytes
    {'bucket': 100, ...}                the same for a reader: structs as dicts, in the order of their fields

A generation that was released is never written again: its files' checksums stand in `SHA256SUMS`. What an old sample
says is compared by position, since on the wire there are no names, and a field that it does not have yet must be at
its default.
"""

from __future__ import annotations

import ast
import enum
import hashlib
import pprint
import re
import textwrap
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import msgspec

GOLDEN = Path(__file__).parent.parent / "golden"
SUMS = GOLDEN / "SHA256SUMS"
GENERATION = "0003"
"""The one that this version writes. A release closes it: its sums are added, and the next change opens another."""

GENERATIONS = sorted(path.name for path in GOLDEN.iterdir() if path.name.isdigit())
WIDTH = 112
HEX = re.compile("[0-9a-f]+")


class Sample(NamedTuple):
    """One thing that lies on the wire or on a disk."""

    name: str
    data: bytes
    says: object                           # as `plain` gives it


def read(generation: str, name: str) -> list[Sample]:
    """The samples of one file."""
    samples = []
    for block in (GOLDEN / generation / name).read_text(encoding="utf-8").split("\n\n"):
        lines = block.splitlines()
        data = [line for line in lines[1:] if HEX.fullmatch(line)]
        samples.append(Sample(lines[0].removeprefix("# "), bytes.fromhex("".join(data)),
                              ast.literal_eval("\n".join(lines[1 + len(data):]))))
    return samples


def text(samples: Iterable[Sample]) -> str:
    """What a file of these samples holds."""
    return "\n\n".join("\n".join((
        f"# {sample.name}", *textwrap.wrap(sample.data.hex(), WIDTH),
        pprint.pformat(sample.says, width=WIDTH, compact=True, sort_dicts=False))) for sample in samples) + "\n"


def plain(value: object) -> object:
    """A value as a literal for the reader."""
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, msgspec.Struct):
        fields = {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        return {"is": type(value).__name__, **fields}
    if isinstance(value, tuple | list):
        return tuple(map(plain, value))
    return value


def agrees(value: object, said: object) -> bool:
    """True where the value is what a sample of this or of an earlier generation says."""
    if isinstance(value, msgspec.Struct):
        if not isinstance(said, dict):
            return False
        known = [said[name] for name in said if name != "is"]
        names = value.__struct_fields__
        first_default = len(names) - len(value.__struct_defaults__)
        return all(agrees(getattr(value, name), given) for name, given in zip(names, known, strict=False)) and all(
            index >= first_default and getattr(value, name) == value.__struct_defaults__[index - first_default]
            for index, name in enumerate(names) if index >= len(known))
    if isinstance(value, tuple | list):
        return isinstance(said, tuple) and len(value) == len(said) and all(map(agrees, value, said))
    return plain(value) == said


def released() -> dict[str, str]:
    """The files that are never written again: name below `GOLDEN` -> checksum."""
    return {name: checksum for checksum, name in (line.split() for line in SUMS.read_text().splitlines())}


def checksum(path: Path) -> str:
    """What stands in `SHA256SUMS` for a file; `sha256sum -c` reads it too."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
