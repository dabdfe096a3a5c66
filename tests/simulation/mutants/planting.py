"""How a fault is planted: a method of the product gets other words in its source, or another one takes its place.

Both happen in memory, for the length of a run, through pytest's MonkeyPatch, which puts everything back. `rewrite` is
the usual way: what is planted is then the real method but for the words named, and where the product has changed so
that the words are no longer there, planting fails, and says so, instead of planting nothing.
"""

from __future__ import annotations

import inspect
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from types import ModuleType

import pytest

Plant = Callable[[pytest.MonkeyPatch], None]

CRASHED = "no exception"
"""The checker that sees an exception in a run."""

_FILES = re.compile(r'File "([^"]+)", line')


class CannotPlant(Exception):
    """The product is not what the fault was written for: plant it anew."""


@dataclass(frozen=True, slots=True)
class Mutant:
    """One planted fault. Caught by random seeds, or, where it is too deep for them, by the schedule of that name."""

    name: str
    rule: str
    plant: Plant
    checkers: frozenset[str]               # which may be the first to see it
    schedule: str = ""
    deep: bool = False                     # it takes more seeds than a short run has


def mutant(plant: Plant, rule: str, *checkers: str, schedule: str = "", deep: bool = False) -> Mutant:
    """A fault that is named like the function that plants it."""
    assert bool(checkers) != bool(schedule), "a fault is seen by checkers in random runs, or by its schedule"
    return Mutant(plant.__name__, rule, plant, frozenset(checkers), schedule, deep)


def rewrite(patch: pytest.MonkeyPatch, owner: type | ModuleType, name: str, *changes: tuple[str, str]) -> None:
    """Put in the place of a function, method or property the same one with other words: (what is there once, what is
    to be there instead) of each change. Raises CannotPlant where the words are not there exactly once."""
    function = _function(owner.__dict__[name])
    source = textwrap.dedent(inspect.getsource(function))
    for words, others in changes:
        if source.count(words) != 1:
            raise CannotPlant(f"{owner.__name__}.{name} has {source.count(words)} times, and not once: {words!r}")
        source = source.replace(words, others)
    code = compile(source, f"<{owner.__name__}.{name} with a fault>", "exec",
                   annotations.compiler_flag, dont_inherit=True)
    made: dict[str, object] = {}
    exec(code, function.__globals__, made)
    planted = made[name]
    if isinstance(planted, cached_property):
        planted.__set_name__(owner, name)  # type: ignore[arg-type]
    patch.setattr(owner, name, planted)


def _function(found: object) -> Callable[..., object]:
    match found:
        case property():
            function: object = found.fget
        case cached_property():
            function = found.func
        case staticmethod() | classmethod():
            function = found.__func__
        case _:
            function = found
    assert inspect.isfunction(function), f"{found!r} is no function"
    return function


def of_the_product(what: str) -> bool:
    """True where an exception, with its traceback, is an assertion of the product: it found out by itself that
    something is wrong."""
    files = _FILES.findall(what)
    return what.startswith("AssertionError(") and bool(files) and "/zmqueue/" in files[-1].replace("\\", "/")


def of_the_planting(what: str) -> bool:
    """True where an exception, with its traceback, tells of planted words that do not fit the product (any more)."""
    files = _FILES.findall(what)
    in_planted = bool(files) and (files[-1].endswith("with a fault>") or "/mutants/" in files[-1].replace("\\", "/"))
    return what.startswith(("TypeError(", "NameError(", "AttributeError(", "UnboundLocalError(")) or in_planted
