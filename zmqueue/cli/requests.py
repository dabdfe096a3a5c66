"""Requests from a shell: submit, status, result, cancel, forget."""

from __future__ import annotations

import base64
import os
import sys
from typing import Any

import click

import zmqueue
from zmqueue.cli.common import (
    FAILED,
    connect,
    guarded,
    json_option,
    print_json,
    say,
    seeds_option,
    timeout_option,
)

LOOK_S = 10.0                          # finding the cluster and the first look take so long at most


_SECONDS = click.FloatRange(min=0.0, min_open=True)


def _headers(_: click.Context, __: click.Parameter, values: tuple[str, ...]) -> dict[str, str]:
    headers = {}
    for value in values:
        name, sign, text = value.partition("=")
        if not sign or not name:
            raise click.BadParameter(f"{value!r} is no header; write NAME=VALUE")
        headers[name] = text
    return headers


headers_option = click.option("--header", "headers", multiple=True, metavar="NAME=VALUE", callback=_headers,
                              help="May be repeated.")


def body(payload: str) -> str | bytes:
    """Standard input for "-"; else the text, or its bytes where the argument is no UTF-8."""
    if payload == "-":
        return sys.stdin.buffer.read()
    raw = os.fsencode(payload)
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw


@click.command()
@click.argument("queue")
@click.argument("payload", default="-")
@click.option("--priority", type=click.IntRange(0, 255), default=0, show_default=True, help="Higher is served first.")
@click.option("--delay", type=click.FloatRange(min=0.0), default=0.0, metavar="SECONDS",
              help="How long it rests before it is handed out.")
@headers_option
@click.option("--eta", type=click.DateTime(["%Y-%m-%dT%H:%M:%S%z"]), default=None, metavar="TIME",
              help="The same as a moment: 2026-12-24T18:00:00+0100.")
@click.option("--expires", type=_SECONDS, default=None, metavar="SECONDS", help="After which it is not begun any more.")
@click.option("--group", default=None, metavar="TEXT", help="Messages of one group run one at a time, in order.")
@click.option("--unique", default=None, metavar="KEY",
              help="Another message of the queue with this key is not stored: the token is that of the one that is "
                   "there.")
@click.option("--unique-scope", type=click.Choice(["done", "waiting"]), default=None,
              help="Until when the key holds: its message has ended (the default), or is handed out.")
@click.option("--unique-window", type=_SECONDS, default=None, metavar="SECONDS",
              help="Or for how long from its submit on, however it ends.")
@click.option("--attempts", type=click.IntRange(min=1), default=None, metavar="N",
              help="Failures after which it is a dead letter  [default: as its queue says]")
@click.option("--losses", type=click.IntRange(min=1), default=None, metavar="N",
              help="Lost workers and expired leases after which it is one  [default: as its queue says]")
@click.option("--deadline", type=_SECONDS, default=None, metavar="SECONDS",
              help="Hard limit for one run of its handler.")
@click.option("--result-ttl", type=_SECONDS, default=None, metavar="SECONDS", help="How long its result is kept.")
@click.option("--id", "token", default=None, metavar="TOKEN",
              help="Repeat a submit that was not confirmed: it is stored once.")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def submit(queue: str, payload: str, token: str | None, timeout: float, seeds: str, as_json: bool,
           **options: Any) -> None:
    """Submit PAYLOAD (a text; - or nothing: bytes from standard input) to QUEUE, and print the token.

    When the token is printed, the request is on the disks of all in-sync replicas, of two nodes at least by default.

    \b
    zmqueue submit thumbnails a.png
    zmqueue submit thumbnails --header width=64 - < a.png
    zmqueue submit mails --group ada@example.org --expires 3600 < mail.txt
    """
    said = {name: value for name, value in options.items() if value not in (None, {})}
    with connect(seeds, timeout) as client:
        try:
            ticket = client.submit(queue, body(payload), id=token, **said)
        except zmqueue.SubmitTimeout as error:
            say(f"zmqueue: {error}")
            say(f"It may be stored or not. Submit it again with --id {error.token}: it is stored once.")
            if as_json:
                print_json({"token": error.token, "queue": queue, "confirmed": False, "error": str(error)})
            sys.exit(FAILED)
    if as_json:
        print_json({"token": ticket.token, "queue": queue, "confirmed": True, "duplicate": ticket.duplicate,
                    "error": None})
    else:
        click.echo(ticket.token)
        if ticket.duplicate:
            say("It was not stored: this is the token of the message that has its unique key.")


@click.command()
@click.argument("token")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def status(token: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Print the state of the request with this TOKEN: delayed, ready, leased, done, dead, cancelled or expired.

    \b
    zmqueue status $TOKEN
    zmqueue status $TOKEN --json | jq -r .state
    """
    with connect(seeds, timeout) as client:
        found = client.status(token)
    if as_json:
        print_json({"token": found.token, "queue": found.queue, "state": found.state, "deliveries": found.deliveries,
                    "error": found.error})
        return
    click.echo(found.state)
    if found.error:
        say(found.error)


@click.command()
@click.argument("token")
@timeout_option(30.0)
@seeds_option
@json_option
@guarded
def result(token: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Wait for the result of the request with this TOKEN and print it; fail if it failed, or is late.

    The node answers the moment it is there (a long poll). A result of bytes is written as it is; with --json it is text
    where it is UTF-8, and otherwise stands in result_base64. --timeout 0 looks once.

    \b
    zmqueue result $TOKEN
    zmqueue result $TOKEN --timeout 300 > thumbnail.png
    """
    with connect(seeds, LOOK_S) as client:
        document: dict[str, Any] = {"token": token, "state": None, "result": None, "error": None}
        try:
            document["state"] = client.status(token).state       # finds the cluster, apart from the time to wait
            value = client.result(token, timeout=LOOK_S if document["state"] == "done" else timeout)
        except (zmqueue.RequestFailed, zmqueue.ResultTimeout) as error:
            document["error"] = str(error)
            if isinstance(error, zmqueue.RequestFailed):
                document["state"] = error.state
            say(f"zmqueue: {error}")
            if as_json:
                print_json(document)
            sys.exit(FAILED)
    if as_json:
        print_json({**document, "state": "done", **_in_json(value)})
    else:
        _write(value)


@click.command()
@click.argument("tokens", nargs=-1, required=True, metavar="TOKEN...")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def cancel(tokens: tuple[str, ...], timeout: float, seeds: str, as_json: bool) -> None:
    """Have the requests with these TOKENs not done any more.

    What waits never runs; a running handler is told. Fails where one of them had ended before, or is unknown.

    \b
    zmqueue cancel $TOKEN
    """
    with connect(seeds, timeout) as client:
        outcomes = client.cancel_many(tokens)
    if as_json:
        print_json({"requests": [{"token": outcome.token, "cancelled": outcome.value is True,
                                  "error": None if outcome.error is None else str(outcome.error)}
                                 for outcome in outcomes]})
    for outcome in outcomes:
        if outcome.error is not None:
            say(f"zmqueue: {outcome.token}: {outcome.error}")
        elif not outcome.value:
            say(f"{outcome.token} had ended before")
        elif not as_json:
            click.echo(f"{outcome.token} cancelled")
    if not all(outcome.value is True for outcome in outcomes):
        sys.exit(FAILED)


@click.command("forget-result")
@click.argument("token")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def forget_result(token: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Throw away the result of the request with this TOKEN. That it is done stays known.

    \b
    zmqueue forget-result $TOKEN
    """
    with connect(seeds, timeout) as client:
        client.forget(token)
    if as_json:
        print_json({"token": token, "forgotten": True})


def _in_json(value: object) -> dict[str, object]:
    if not isinstance(value, bytes):
        return {"result": value}
    try:
        return {"result": value.decode()}
    except UnicodeDecodeError:
        return {"result": None, "result_base64": base64.b64encode(value).decode()}


def _write(value: object) -> None:
    if isinstance(value, bytes):
        sys.stdout.buffer.write(value)
        sys.stdout.buffer.flush()
    elif isinstance(value, str):
        click.echo(value)
    elif value is not None:
        print_json(value)
