"""What is in the queues, one by one: find, workers."""

from __future__ import annotations

import dataclasses
import re
import time
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from zmqueue.cli.common import (
    connect,
    guarded,
    json_option,
    print_json,
    print_table,
    seeds_option,
    timeout_option,
)
from zmqueue.client.finding import Found

STATES = ("delayed", "ready", "leased", "done", "dead", "cancelled", "expired")

_AGO = re.compile(r"(\d+(?:\.\d+)?)([smhd])", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


if TYPE_CHECKING:
    _Type = click.ParamType[float]
else:
    _Type = click.ParamType            # it is generic only for type checkers, and since click 8.2


class Moment(_Type):
    """A point in time, as ISO 8601 or as how long ago."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if isinstance(value, float):
            return value
        if ago := _AGO.fullmatch(value):
            return time.time() - float(ago[1]) * _SECONDS[ago[2]]
        try:
            return datetime.fromisoformat(value).timestamp()
        except ValueError:
            self.fail(f"{value!r} is no point in time; write 90s, 15m, 2h, 7d (ago), or 2024-05-01T12:00", param, ctx)


def headers_of(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str] | None:
    """--header NAME=VALUE, as often as one likes."""
    for value in values:
        if not value.partition("=")[0] or "=" not in value:
            raise click.BadParameter(f"{value!r} is no header; write NAME=VALUE")
    return {value.partition("=")[0]: value.partition("=")[2] for value in values} or None


def filter_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Which requests are meant."""
    for option in (
            click.option("--limit", type=click.IntRange(min=1), default=None, metavar="N", help="At most so many."),
            click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", callback=headers_of,
                         help="With this header; may be repeated: with all of them."),
            click.option("--before", type=Moment(), default=None, metavar="WHEN", help="Submitted earlier than that."),
            click.option("--since", type=Moment(), default=None, metavar="WHEN",
                         help="Submitted then or later: 90s, 15m, 2h, 7d (ago), or 2024-05-01T12:00.")):
        command = option(command)
    return command


def facts(found: Found) -> dict[str, object]:
    """A request that was found, as JSON has it: moments in ISO 8601, UTC."""
    shallow = {field.name: getattr(found, field.name) for field in dataclasses.fields(found)}
    del shallow["held"], shallow["until"], shallow["payload"]
    return {**shallow, "drawn": _iso(found.drawn), "due": _iso(found.due), "ended": _iso(found.ended),
            "held_s": found.held, "until_s": found.until,
            "history": [{"ended": _iso(each.ended), "outcome": each.outcome, "error": each.error}
                        for each in found.history]}


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="milliseconds")


@click.command()
@click.argument("queue", required=False)
@click.option("--state", "states", multiple=True, type=click.Choice(STATES), help="May be repeated: any of them.")
@filter_options
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def find(queue: str | None, states: Sequence[str], since: float | None, before: float | None,
         headers: dict[str, str] | None, limit: int | None, timeout: float, seeds: str, as_json: bool) -> None:
    """Print the requests of QUEUE (or of all queues) that fit all that is said.

    \b
    zmqueue find thumbnails --state dead --since 2h
    zmqueue find --header user=7 --json | jq -r '.found[].token'
    """
    with connect(seeds, timeout) as client:
        found = client.find(queue, states, since, before, headers, limit)
        if as_json:
            print_json({"found": [facts(each) for each in found]})
            return
        print_table(("token", "queue", "state", "submitted", "deliveries", "error"), [
            (each.token, each.queue, each.state, each.drawn.astimezone().isoformat(sep=" ", timespec="seconds"),
             each.deliveries, line(each.error)) for each in found])


def line(error: str | None, most: int = 60) -> str:
    """The first line of an error, for a table."""
    first = (error or "-").partition("\n")[0]
    return first if len(first) <= most else first[:most - 3] + "..."


@click.command()
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def workers(timeout: float, seeds: str, as_json: bool) -> None:
    """Print who holds which leases, and for how long; a worker that holds none is not seen.

    \b
    zmqueue workers
    zmqueue workers --json | jq '.workers[].leases[] | select(.held_s > 600)'
    """
    with connect(seeds, timeout) as client:
        views = client.workers(timeout=timeout)
    if as_json:
        print_json({"workers": [
            {"name": view.name, "session": view.session, "queues": view.queues, "leases": [
                {"token": lease.token, "queue": lease.queue, "deliveries": lease.deliveries, "held_s": lease.held,
                 "until_s": lease.until} for lease in view.leases]} for view in views]})
        return
    print_table(("worker", "queue", "leases", "longest held"), [
        (view.name or view.session, queue, many, _held([lease.held for lease in view.leases if lease.queue == queue]))
        for view in views for queue, many in sorted(view.queues.items())])


def _held(seconds: Sequence[float | None]) -> str:
    """The longest time; what is not known, since a failover lies between, is longer than nothing that is known."""
    if None in seconds:
        return "since before a failover"
    return f"{max(held for held in seconds if held is not None):.1f} s"
