"""What all commands share: the seeds, the JSON, and which error ends with which exit status."""

from __future__ import annotations

import dataclasses
import functools
import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, ParamSpec, TypeVar

import click

import zmqueue

P = ParamSpec("P")
T = TypeVar("T")

FAILED, USAGE, UNREACHABLE = 1, 2, 3
"""Exit statuses beside 0: it or a check failed; the call was wrong; no cluster was reached."""


def say(text: str) -> None:
    """Something for a person, beside the command's output."""
    click.echo(text, err=True)


def fail(text: str, status: int, *, as_json: bool = False) -> NoReturn:
    """End with a last word; where JSON was asked for, with a document as well."""
    say(f"zmqueue: {text}")
    if as_json:
        print_json({"error": text})
    sys.exit(status)


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Turn the world's errors into a clear line and the exit status that stands for them."""

    @functools.wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        as_json = bool(kwargs.get("as_json"))
        try:
            return command(*args, **kwargs)
        except zmqueue.ClusterUnreachable as error:
            fail(f"no cluster was reached: {error}", UNREACHABLE, as_json=as_json)
        except zmqueue.ZmqueueError as error:
            fail(str(error) or type(error).__name__, FAILED, as_json=as_json)
        except (zmqueue.BadToken, ValueError, TypeError) as error:
            fail(str(error), USAGE, as_json=as_json)
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())       # nobody reads: nothing to flush
            sys.exit(FAILED)
        except OSError as error:
            fail(str(error), FAILED, as_json=as_json)
        except KeyboardInterrupt:
            fail("interrupted", FAILED, as_json=as_json)

    return run


def seeds_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--seeds, or $ZMQUEUE_SEEDS."""
    return click.option("--seeds", envvar="ZMQUEUE_SEEDS", default="", metavar="ENDPOINT,...", show_envvar=True,
                        help="Nodes of the cluster to ask first, for example tcp://127.0.0.1:7400.")(command)


def json_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--json."""
    return click.option("--json", "as_json", is_flag=True,
                        help="Print one JSON document and nothing else on standard output.")(command)


def yes_option(command: Callable[..., Any]) -> Callable[..., Any]:
    """--yes."""
    return click.option("--yes", is_flag=True, help="Do not ask; needed where there is no terminal.")(command)


def agreed(question: str, *, yes: bool, as_json: bool) -> None:
    """Return where the operator says yes; end the command where nobody can be asked, or the answer is no."""
    if yes:
        return
    if as_json or not sys.stdin.isatty():
        fail("nothing was done: this needs your word, so say --yes where there is no terminal to ask at", USAGE,
             as_json=as_json)
    if not click.confirm(question, err=True):
        fail("nothing was done", FAILED)


def timeout_option(default: float) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """--timeout."""
    return click.option("--timeout", type=click.FloatRange(min=0.0), default=default, show_default=True,
                        metavar="SECONDS", help="How long to wait at most.")


def connect(seeds: str, timeout: float = 10.0) -> zmqueue.Client:
    """A client of the cluster that the seeds name."""
    names = [seed.strip() for seed in seeds.split(",") if seed.strip()]
    if not names:
        raise click.UsageError("no seeds: name a node with --seeds tcp://HOST:PORT or in $ZMQUEUE_SEEDS")
    return zmqueue.Client(*names, timeout=timeout)


def print_json(document: object) -> None:
    """One document on standard output."""
    click.echo(json.dumps(document, default=_plain))


def _plain(value: object) -> object:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    return str(value)


def print_table(headings: Sequence[str], rows: Sequence[Sequence[object]], *, err: bool = False) -> None:
    """Columns for a person; `err`: beside the command's output."""
    texts = [[str(cell) for cell in row] for row in (headings, *rows)]
    widths = [max(len(row[column]) for row in texts) for column in range(len(headings))]
    for row in texts:
        click.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip(), err=err)
