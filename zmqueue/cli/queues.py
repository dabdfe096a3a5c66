"""Queues: what stands in them, and what is agreed for them: queues, declare, undeclare, pause, resume."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from typing import Any, cast

import click

import zmqueue
from zmqueue.cli.common import (
    connect,
    guarded,
    json_option,
    print_json,
    print_table,
    seeds_option,
    timeout_option,
)
from zmqueue.client.queues import PolicyOptions, Shapes

WATCH_S = 1.0                          # between two looks


def facts(view: zmqueue.QueueView) -> dict[str, object]:
    """A queue as JSON has it."""
    shallow = {field.name: getattr(view, field.name) for field in dataclasses.fields(view)}
    return {**shallow, "policy": None if view.policy is None else view.policy.facts()}


@click.command()
@click.option("--watch", is_flag=True, help="Look again every second, until Ctrl-C; with --json, one line a look.")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def queues(watch: bool, timeout: float, seeds: str, as_json: bool) -> None:
    """Print each queue with the number of its messages by state, and how long the oldest ready one has waited.

    \b
    zmqueue queues --seeds tcp://127.0.0.1:7400
    zmqueue queues --json | jq '.queues[] | select(.dead > 0)'
    """
    show = _print_json if as_json else _print
    with connect(seeds, timeout) as client:
        show(client.queues(timeout=timeout))
        with contextlib.suppress(KeyboardInterrupt):         # the way to end a watch
            while watch:
                time.sleep(WATCH_S)
                if not as_json:
                    click.clear()
                show(client.queues(timeout=timeout))


def _print_json(views: list[zmqueue.QueueView]) -> None:
    print_json({"queues": [facts(view) for view in views]})


def _print(views: list[zmqueue.QueueView]) -> None:
    print_table(("queue", "ready", "delayed", "leased", "dead", "oldest", "in/s", "out/s", "done/s", "declared"), [
        (view.name, view.ready, view.delayed, view.leased, view.dead,
         "-" if view.oldest_s is None else f"{view.oldest_s:.1f} s", f"{view.submitted_per_s:.1f}",
         f"{view.delivered_per_s:.1f}", f"{view.settled_per_s:.1f}", _said(view)) for view in views])


def _said(view: zmqueue.QueueView) -> str:
    """What is agreed for the queue, as far as it is not the default."""
    words = ["paused"] if view.paused else []
    if view.policy is not None:
        words += [f"{name}={value}" for name, value in view.policy.facts().items()
                  if value not in (None, False, "reject") and name != "backoff"]
        if view.policy.backoff is not None:
            words.append(f"backoff={view.policy.backoff}")
    return " ".join(words) or "-"


def _policy_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """One option for each field of a policy."""
    for name, kind, text in reversed((
            ("attempts", int, "Failures after which a message is a dead letter."),
            ("losses", int, "Lost workers and expired leases after which it is one."),
            ("ageing", float, "Seconds of waiting for which a message counts one priority higher."),
            ("expires", float, "Seconds after which a message that was not begun never is."),
            ("deadline", float, "Hard limit, in seconds, for one run of a handler."),
            ("result-ttl", float, "Seconds for which an ended message is remembered."),
            ("result-bytes-max", int, "Size of a result."),
            ("dead-ttl", float, "Seconds for which a dead letter is kept."),
            ("messages-max", int, "Messages that may be delayed, ready or leased."),
            ("age-max", float, "Nothing is taken while a ready message has waited for so many seconds."))):
        command = click.option(f"--{name}", type=kind, metavar="N" if kind is int else "SECONDS", help=text)(command)
    return command


@click.command()
@click.argument("queue")
@_policy_options
@click.option("--halt/--no-halt", default=False, help="A dead letter halts its group.")
@click.option("--overflow", type=click.Choice(("reject", "block")), default="reject", show_default=True,
              help="What becomes of a submit to a full queue.")
@click.option("--backoff", metavar="FIRST[,SECOND...]",
              help="Seconds of rest after a failure; several are taken one after the other, then the last again.")
@click.option("--growth", type=click.Choice(("constant", "linear", "exponential")), default="constant",
              show_default=True, help="How one rest grows with the number of failures.")
@click.option("--backoff-most", type=float, metavar="SECONDS", help="No rest is longer.")
@click.option("--jitter", type=click.FloatRange(0.0, 1.0), default=0.0, metavar="FRACTION",
              help="By how much chance may shorten a rest.")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def declare(queue: str, backoff: str | None, growth: Shapes, backoff_most: float | None, jitter: float, timeout: float,
            seeds: str, as_json: bool, **options: object) -> None:
    """Have a policy agreed for QUEUE, in the place of the one that was declared before.

    What is not said is the default. A pause stays. It returns when every primary goes by it.

    \b
    zmqueue declare thumbnails --attempts 5 --backoff 1 --growth exponential --backoff-most 60 --jitter 0.2
    """
    if backoff is None and (growth != "constant" or backoff_most is not None or jitter):
        raise click.UsageError("--growth, --backoff-most and --jitter need --backoff")
    given = {name: value for name, value in options.items() if value is not None}
    if backoff is not None:
        delays = tuple(_seconds(text) for text in backoff.split(","))
        if len(delays) > 1 and growth != "constant":
            raise click.UsageError("--growth is for one rest; --backoff names several")
        given["backoff"] = zmqueue.Backoff(shape="list" if len(delays) > 1 else growth,
                                           delays=delays, most=backoff_most, jitter=jitter)
    _do_and_tell(queue, seeds, timeout,
                 lambda client: client.declare(queue, timeout=timeout, **cast(PolicyOptions, given)), as_json=as_json)


def _seconds(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise click.UsageError(f"--backoff is one number of seconds, or several with commas; not {text!r}") from None


def _do_and_tell(queue: str, seeds: str, timeout: float, do: Callable[[zmqueue.Client], None], *,
                 as_json: bool) -> None:
    """Have it done, and print what the queue is now."""
    with connect(seeds, timeout) as client:
        do(client)
        found = [view for view in client.queues(timeout=timeout) if view.name == queue]
    if as_json:
        print_json(facts(found[0]) if found else {"name": queue, "paused": False, "policy": None})
    else:
        click.echo(f"queue {queue}: {_said(found[0]) if found else '-'}")


@click.command()
@click.argument("queue")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def undeclare(queue: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Withdraw what is declared for QUEUE, a pause included. Its messages stay.

    \b
    zmqueue undeclare thumbnails
    """
    _do_and_tell(queue, seeds, timeout, lambda client: client.undeclare(queue, timeout=timeout), as_json=as_json)


@click.command()
@click.argument("queue")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def pause(queue: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Hand out nothing of QUEUE until it is resumed. It takes submits, and what is leased is settled.

    It returns when no node hands out any more, and holds through failovers and restarts.

    \b
    zmqueue pause thumbnails
    """
    _do_and_tell(queue, seeds, timeout, lambda client: client.pause(queue, timeout=timeout), as_json=as_json)


@click.command()
@click.argument("queue")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def resume(queue: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Hand out the messages of QUEUE again. Workers that wait are told at once.

    \b
    zmqueue resume thumbnails
    """
    _do_and_tell(queue, seeds, timeout, lambda client: client.resume(queue, timeout=timeout), as_json=as_json)
