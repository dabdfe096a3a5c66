"""Following a request from a shell: one line for each event, and then its end."""

from __future__ import annotations

import base64
import json
import sys

import click

import zmqueue
from zmqueue.cli.common import FAILED, connect, guarded, print_json, say, seeds_option, timeout_option

LOOK_S = 10.0                          # finding the cluster and the first look take so long at most


@click.command()
@click.argument("token")
@click.option("--after", type=click.IntRange(min=0), default=0, show_default=True, metavar="INDEX",
              help="Go on after this event.")
@timeout_option(30.0)
@seeds_option
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document a line, one for each event.")
@guarded
def stream(token: str, after: int, timeout: float, seeds: str, as_json: bool) -> None:
    """Follow the request with this TOKEN: print what its handler tells while it happens, and last its end.

    Each line is the event's index, a tab, and what was told. Exit status: 0 it ended with a result, 1 it did not, or
    nothing happened for --timeout seconds; the last line says after which event to go on.

    \b
    zmqueue stream $TOKEN
    zmqueue stream $TOKEN --after 12 --timeout 3600 --json
    """
    with connect(seeds, LOOK_S) as client:
        client.status(token)           # finds the cluster, apart from the time to wait
        error = None
        try:
            for event in client.stream(token, after=after, timeout=timeout):
                after, error = event.index, event.error
                _print(event, as_json=as_json)
        except zmqueue.ResultTimeout as late:
            say(f"zmqueue: {late}")
            say(f"Go on with --after {after}.")
            sys.exit(FAILED)
    if error is not None:
        say(f"zmqueue: {error}")
        sys.exit(FAILED)


def _print(event: zmqueue.Event, *, as_json: bool) -> None:
    if as_json:
        print_json({"index": event.index, "kind": event.kind, **_in_json(event.data), "delivery": event.delivery})
    else:
        click.echo(f"{event.index}\t{_line(event.data)}")
    sys.stdout.flush()                 # who reads it from a pipe follows, too


def _in_json(data: object) -> dict[str, object]:
    if not isinstance(data, bytes):
        return {"data": data}
    try:
        return {"data": data.decode()}
    except UnicodeDecodeError:
        return {"data": None, "data_base64": base64.b64encode(data).decode()}


def _line(data: object) -> str:
    """For a person: text as it is, where it is one line."""
    if isinstance(data, bytes):
        data = data.decode(errors="backslashreplace")
    return data if isinstance(data, str) and data.isprintable() else json.dumps(data)
