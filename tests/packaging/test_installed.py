"""The package that these tests import is the one that was built, whole and under one name."""

from __future__ import annotations

import importlib
import os
import re
import sysconfig
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

import pytest

import zmqueue


@pytest.fixture(scope="module")
def installed() -> Distribution:
    try:
        return distribution("zmqueue")
    except PackageNotFoundError:
        if "TOX_ENV_NAME" in os.environ:
            raise
        pytest.skip("zmqueue is imported from the checkout and not installed: pip install -e .")


@pytest.mark.skipif("TOX_ENV_NAME" not in os.environ, reason="in a checkout the folder is imported, on purpose")
def test_tox_tests_the_installed_package_and_not_the_checkout() -> None:
    site_packages = Path(sysconfig.get_path("purelib")).resolve()
    assert Path(zmqueue.__file__).resolve().parent == site_packages / "zmqueue"
    assert Path(importlib.import_module("zmqueue.patterns").__file__ or "").resolve().is_relative_to(site_packages)


def test_the_one_name_that_is_installed_is_zmqueue(installed: Distribution) -> None:
    assert (installed.read_text("top_level.txt") or "").split() == ["zmqueue"]


def test_the_version_is_the_one_that_the_package_says(installed: Distribution) -> None:
    assert installed.version == zmqueue.__version__


def test_the_command_is_installed(installed: Distribution) -> None:
    commands = {entry.name: entry.value for entry in installed.entry_points if entry.group == "console_scripts"}
    assert commands == {"zmqueue": "zmqueue.cli:main"}


def test_the_plugin_of_pytest_is_installed(installed: Distribution) -> None:
    plugins = {entry.name: entry.value for entry in installed.entry_points if entry.group == "pytest11"}
    assert plugins == {"zmqueue": "zmqueue.pytest_plugin"}


def test_types_reach_the_users() -> None:
    assert (Path(zmqueue.__file__).parent / "py.typed").is_file()


def test_the_core_install_stays_small(installed: Distribution) -> None:
    needed = {re.split(r"[^a-z]", line, maxsplit=1)[0] for line in installed.requires or () if "extra ==" not in line}
    assert needed == {"pyzmq", "pydantic", "lmdb", "msgspec", "click", "rich", "cronsim"}
