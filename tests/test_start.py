"""The package starts fast: a name's module is imported when the name is first asked for."""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

import zmqueue

HEAVY = ("zmqueue.node", "zmqueue.client", "zmqueue.aio", "zmqueue.core", "zmqueue.store", "zmq", "lmdb", "msgspec",
         "pydantic")


def loaded(program: str) -> set[str]:
    """What of the heavy modules a program has imported at its end."""
    done = subprocess.run([sys.executable, "-c", f"import sys\n{program}\nprint('loaded', *sys.modules)"],
                          capture_output=True, text=True, check=True, timeout=60)
    modules = set(done.stdout.splitlines()[-1].split())
    return {name for name in HEAVY if name in modules}


def declared() -> dict[str, str]:
    """What type checkers see: name -> the module that it comes from."""
    tree = ast.parse(Path(zmqueue.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body
                 if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING")
    return {alias.name: str(line.module) for line in block.body if isinstance(line, ast.ImportFrom)
            for alias in line.names}


def test_the_package_alone_loads_nothing() -> None:
    assert loaded("import zmqueue") == set()


def test_the_help_needs_neither_a_client_nor_a_node() -> None:
    program = "from zmqueue.cli.root import cli\nprint(cli.main(['--help'], 'zmqueue', standalone_mode=False))"
    assert loaded(program) == set()


def test_a_client_needs_no_node() -> None:
    assert not loaded("import zmqueue\nzmqueue.Client('tcp://127.0.0.1:1').close()") & {
        "zmqueue.node", "zmqueue.store", "lmdb"}


def test_type_checkers_see_what_is_public() -> None:
    assert declared().keys() == set(zmqueue.__all__)


@pytest.mark.parametrize("name", zmqueue.__all__)
def test_a_public_name_is_what_type_checkers_take_it_for(name: str) -> None:
    assert getattr(zmqueue, name) is getattr(importlib.import_module(declared()[name]), name)
    assert name in dir(zmqueue)


def test_aio_is_there_without_a_word() -> None:
    assert loaded("import zmqueue\nassert zmqueue.aio.Client") >= {"zmqueue.aio"}


def test_what_is_not_there_is_told_as_always() -> None:
    with pytest.raises(AttributeError, match="module 'zmqueue' has no attribute 'Brokers'"):
        _ = zmqueue.Brokers     # type: ignore[attr-defined]
