"""The layers hold in the package that is installed, and the checker sees each kind of breach in a planted tree."""

from __future__ import annotations

from pathlib import Path

import pytest

import zmqueue
from tests.layers import breaches, layer_of

PACKAGE = Path(zmqueue.__file__).parent


def test_no_module_imports_what_its_layer_may_not() -> None:
    assert [str(breach) for breach in breaches(PACKAGE)] == []


def test_the_package_that_is_checked_is_not_empty() -> None:
    assert (PACKAGE / "core" / "state.py").is_file()
    assert (PACKAGE / "patterns" / "__init__.py").is_file()


@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("core/ring.py", "import time"),
        ("core/ring.py", "import random"),
        ("core/ring.py", "import os"),
        ("core/ring.py", "import os.path"),
        ("core/ring.py", "from socket import socket"),
        ("core/ring.py", "import threading"),
        ("core/ring.py", "import logging"),
        ("core/ring.py", "import asyncio"),
        ("core/ring.py", "import select"),
        ("core/ring.py", "import subprocess"),
        ("core/ring.py", "import secrets"),
        ("core/ring.py", "import uuid"),
        ("core/ring.py", "from datetime import datetime"),
        ("core/ring.py", "import pathlib"),
        ("core/ring.py", "import lmdb"),
        ("core/ring.py", "import zmq"),
        ("core/ring.py", "import pydantic"),
        ("core/ring.py", "def late() -> None:\n    import time"),
        ("core/ring.py", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from zmqueue.node import loop"),
        ("core/ring.py", "from zmqueue.store import disk"),
        ("core/ring.py", "from zmqueue import store"),
        ("core/ring.py", "import zmqueue"),
        ("core/ring.py", "from .. import store"),
        ("core/ring.py", "from ..store import disk"),
        ("core/ring.py", "from ..store.disk import Disk"),
        ("core/__init__.py", "from ..store.disk import Disk"),
        ("core/ring.py", "handle = open('x')"),
        ("core/ring.py", "print('x')"),
        ("core/ring.py", "place = hash('x')"),
        ("core/time.py", "x = 1"),
        ("store/disk.py", "from zmqueue.node import loop"),
        ("store/disk.py", "from zmqueue import node"),
        ("store/disk.py", "import zmq"),
        ("node/loop.py", "from zmqueue.client import sync"),
        ("node/loop.py", "from zmqueue import patterns"),
        ("client/sync.py", "from zmqueue.store import disk"),
        ("client/sync.py", "from zmqueue.node import loop"),
        ("client/sync.py", "import zmqueue"),
        ("patterns/polling.py", "from zmqueue.core import ring"),
        ("patterns/polling.py", "from zmqueue.client.sync import Client"),
        ("patterns/polling.py", "import zmqueue.client"),
        ("patterns/polling.py", "from zmqueue import core"),
        ("__init__.py", "from zmqueue.store import disk"),
        ("__init__.py", "from zmqueue.patterns import polling"),
    ],
)
def test_a_planted_breach_is_found(tmp_path: Path, module: str, line: str) -> None:
    package = _plant(tmp_path, {module: line})
    found = breaches(package)
    assert found, f"{line!r} in {module} was not noticed"
    name = "zmqueue." + module.removesuffix(".py").replace("/", ".")
    assert {breach.module for breach in found} == {name.removesuffix(".__init__")}


def test_what_the_layers_allow_is_no_breach(tmp_path: Path) -> None:
    package = _plant(tmp_path, {
        "core/ring.py": "import hashlib\nfrom collections.abc import Iterator\nimport msgspec\nfrom . import state",
        "store/disk.py": "import os\nimport lmdb\nfrom zmqueue.core import ring\nfrom ..core.ring import x",
        "node/loop.py": "import time\nimport zmq\nfrom zmqueue.store.disk import Disk\nfrom zmqueue.core import ring",
        "client/sync.py": "import zmq\nfrom zmqueue.core import ring",
        "patterns/polling.py": "import zmqueue\nfrom zmqueue import Client\nfrom zmqueue.patterns import polling",
        "cli/__init__.py": "from zmqueue import Client\nfrom zmqueue.node import loop",
        "__init__.py": "from zmqueue.client.sync import Client\nfrom zmqueue.node import loop",
    })
    assert breaches(package) == []


def test_breaches_are_found_through_the_link_of_a_checkout(tmp_path: Path) -> None:
    package = _plant(tmp_path, {"patterns/polling.py": "import zmqueue.core"})
    (package / "patterns").rename(tmp_path / "patterns")
    (package / "patterns").symlink_to(Path("..") / "patterns")
    assert [breach.module for breach in breaches(package)] == ["zmqueue.patterns.polling"]


def test_a_new_module_at_the_top_needs_a_row(tmp_path: Path) -> None:
    with pytest.raises(LookupError, match=r"zmqueue\.novelty is in no layer"):
        layer_of("zmqueue.novelty")


def _plant(folder: Path, changed: dict[str, str]) -> Path:
    """A small package that keeps the layers, but for what `changed` puts into its modules."""
    package = folder / "zmqueue"
    clean = ["__init__.py"]
    for layer, module in (("core", "ring"), ("core", "state"), ("store", "disk"), ("node", "loop"), ("client", "sync"),
                          ("patterns", "polling"), ("cli", "__init__")):
        clean += [f"{layer}/__init__.py", f"{layer}/{module}.py"]
    for name in {*clean, *changed}:
        path = package / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(changed.get(name, "") + "\n", encoding="utf-8")
    return package
