"""Checks who imports whom: the layers of docs/design.md, kept by a look at every import in every module.

The idea: a layer is a row of a table (what it may import of zmqueue, which of the standard library, which calls it may
not make), a module belongs to the row with the longest matching name, and every import counts, wherever it stands in
the file. Nothing is imported to find this out, so a planted tree can be checked as well.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PURE = frozenset(
    "__future__ abc base64 binascii bisect collections dataclasses enum functools hashlib heapq ipaddress itertools"
    " math operator re string struct typing zlib".split()
)
"""What of the standard library computes only: no clock, no randomness, no file, no socket, no thread, no log."""

IMPURE_CALLS = frozenset("open print input breakpoint exec eval compile __import__ hash id".split())
"""Builtins that touch the world, or (`hash`, `id`) whose outcome differs from one process to the next."""


@dataclass(frozen=True, slots=True)
class Layer:
    """One row: a package or module of zmqueue and what it may import. `None` allows everything of that kind."""

    name: str
    zmqueue: frozenset[str]                  # modules; each stands for what is below it too
    exactly: frozenset[str] = frozenset()    # modules without what is below them
    standard: frozenset[str] | None = None
    others: frozenset[str] | None = None
    calls_forbidden: frozenset[str] = frozenset()


def _names(text: str) -> frozenset[str]:
    return frozenset(f"zmqueue.{name}" for name in text.split())


LAYERS = (
    Layer("zmqueue.core", _names("core"), standard=PURE, others=frozenset({"msgspec"}),
          calls_forbidden=IMPURE_CALLS),
    Layer("zmqueue.store", _names("store core"), others=frozenset({"msgspec", "lmdb"})),
    Layer("zmqueue.errors", _names("errors core")),
    Layer("zmqueue.timetable", _names("timetable"), others=frozenset({"cronsim"})),
    Layer("zmqueue.settings", _names("settings errors core")),
    Layer("zmqueue.node", _names("node store core errors settings timetable")),
    Layer("zmqueue.client", _names("client core errors settings timetable")),
    Layer("zmqueue.aio", _names("aio client core errors settings")),
    Layer("zmqueue.app", _names("app aio client core errors")),
    Layer("zmqueue.testing", _names("testing client node store core errors settings timetable"),
          exactly=frozenset({"zmqueue"})),
    Layer("zmqueue.pytest_plugin", _names("testing core.state"), exactly=frozenset({"zmqueue"})),
    Layer("zmqueue.patterns", _names("patterns aio"), exactly=frozenset({"zmqueue"})),
    Layer("zmqueue.cli", _names("cli app patterns aio client node store core errors settings"),
          exactly=frozenset({"zmqueue"})),
    Layer("zmqueue", _names("aio app client node errors settings core")),
)


@dataclass(frozen=True, slots=True, order=True)
class Breach:
    """One import or call that the layers do not allow."""

    module: str
    line: int
    what: str

    def __str__(self) -> str:
        return f"{self.module}:{self.line}: {self.what}"


def breaches(package: Path) -> list[Breach]:
    """All breaches in a package's folder (it may lie anywhere; its name is `zmqueue`), ordered by module and line."""
    files = {_module_name(package, path): path for path in sorted(_sources(package))}
    found: list[Breach] = []
    for module, path in files.items():
        if path.stem in sys.stdlib_module_names and not path.stem.startswith("__"):
            found.append(Breach(module, 1, f"named like the standard library's `{path.stem}`"))
        found.extend(_breaches_of(module, path, frozenset(files)))
    return sorted(found)


def _breaches_of(module: str, path: Path, modules: frozenset[str]) -> Iterator[Breach]:
    layer = layer_of(module)
    tree = ast.parse(path.read_bytes(), str(path))
    for node in ast.walk(tree):
        for target in _targets(node, module, path.stem == "__init__", modules):
            if not _allowed(layer, target):
                yield Breach(module, getattr(node, "lineno", 0), f"{layer.name} may not import {target}")
        match node:
            case ast.Call(func=ast.Name(id=name), lineno=line) if name in layer.calls_forbidden:
                yield Breach(module, line, f"{layer.name} may not call {name}()")


def layer_of(module: str) -> Layer:
    """The row with the longest name that the module lies under. Raises LookupError where a new module needs a row."""
    rows = [layer for layer in LAYERS if layer.name != "zmqueue" and _under(module, layer.name)]
    if rows:
        return max(rows, key=lambda layer: len(layer.name))
    if module in ("zmqueue", "zmqueue.__main__"):
        return LAYERS[-1] if module == "zmqueue" else layer_of("zmqueue.cli")
    raise LookupError(f"{module} is in no layer; add it to LAYERS in tests/layers.py")


def _targets(node: ast.AST, module: str, is_package: bool, modules: frozenset[str]) -> Iterator[str]:
    """The full names of the modules that one statement imports."""
    match node:
        case ast.Import(names=names):
            yield from (alias.name for alias in names)
        case ast.ImportFrom(module=base, names=names, level=level):
            if level:
                parts = module.split(".") if is_package else module.split(".")[:-1]
                base = ".".join(parts[:len(parts) - level + 1] + ([base] if base else []))
            for alias in names:
                # `from zmqueue import core` imports the module, `from zmqueue import Client` only zmqueue.
                yield f"{base}.{alias.name}" if f"{base}.{alias.name}" in modules else str(base)


def _allowed(layer: Layer, target: str) -> bool:
    root = target.partition(".")[0]
    if root == "zmqueue":
        return target in layer.exactly or any(_under(target, name) for name in layer.zmqueue)
    if root in sys.stdlib_module_names:
        return layer.standard is None or root in layer.standard
    return layer.others is None or root in layer.others


def _under(module: str, name: str) -> bool:
    return module == name or module.startswith(name + ".")


def _sources(folder: Path) -> Iterator[Path]:
    """Every Python file, through links too (zmqueue/patterns is one in a checkout; `rglob` does not follow it)."""
    for entry in folder.iterdir():
        if entry.is_dir():
            yield from _sources(entry)
        elif entry.suffix == ".py":
            yield entry


def _module_name(package: Path, path: Path) -> str:
    parts = ["zmqueue", *path.relative_to(package).with_suffix("").parts]
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
