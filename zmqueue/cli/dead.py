"""Dead letters from a shell: peek, requeue, purge."""

from __future__ import annotations

import base64
import sys
from collections.abc import Sequence
from typing import Any

import click

import zmqueue
from zmqueue.cli.common import (
    FAILED,
    USAGE,
    agreed,
    connect,
    fail,
    guarded,
    json_option,
    print_json,
    print_table,
    say,
    seeds_option,
    timeout_option,
    yes_option,
)
from zmqueue.cli.finding import facts, filter_options, line
from zmqueue.client.sweeping import Filters, Swept

REASONS_SHOWN = 5


@click.command()
@click.argument("queue")
@click.option("-n", "n", type=click.IntRange(1, 500), default=10, show_default=True, help="How many at most.")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def peek(queue: str, n: int, timeout: float, seeds: str, as_json: bool) -> None:
    """Print the first dead letters of QUEUE: payload, error, and what became of their last deliveries. They stay.

    \b
    zmqueue peek thumbnails
    zmqueue peek thumbnails -n 100 --json | jq -r '.letters[].error'
    """
    with connect(seeds, timeout) as client:
        letters = client.peek(queue, n)
    if as_json:
        print_json({"letters": [{**facts(letter), **_payload(letter.payload)} for letter in letters]})
        return
    print_table(("token", "submitted", "ended", "deliveries", "requeued", "error"), [
        (letter.token, _when(letter.drawn), _when(letter.ended), letter.deliveries, letter.requeued,
         line(letter.error)) for letter in letters])


def _when(moment: Any) -> str:
    return "-" if moment is None else moment.astimezone().isoformat(sep=" ", timespec="seconds")


def _payload(payload: object) -> dict[str, object]:
    """Bytes are text where they are UTF-8, and otherwise stand in payload_base64."""
    if not isinstance(payload, bytes):
        return {"payload": payload}
    try:
        return {"payload": payload.decode()}
    except UnicodeDecodeError:
        return {"payload": None, "payload_base64": base64.b64encode(payload).decode()}


@click.command()
@click.argument("queue")
@click.argument("tokens", nargs=-1)
@filter_options
@yes_option
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def requeue(queue: str, tokens: Sequence[str], since: float | None, before: float | None,
            headers: dict[str, str] | None, limit: int | None, yes: bool, timeout: float, seeds: str,
            as_json: bool) -> None:
    """Give dead letters of QUEUE another try: the TOKENs, or all that fit. Broken off, it may be called again.

    \b
    zmqueue requeue thumbnails $TOKEN
    zmqueue requeue thumbnails --since 2h --yes
    """
    filters = _filters(tokens, since, before, headers, limit)
    if not tokens:
        agreed(f"Requeue all dead letters of {queue!r} that fit?", yes=yes, as_json=as_json)
    with connect(seeds, timeout) as client:
        _tell("requeued", client.requeue(queue, tokens or None, **filters), as_json=as_json)


@click.command()
@click.argument("queue")
@click.argument("tokens", nargs=-1)
@click.option("--dead", is_flag=True, help="Throw its dead letters away (what happens where nothing is said).")
@click.option("--waiting", is_flag=True, help="Cancel what waits: ready and delayed. With --dead, both.")
@filter_options
@yes_option
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def purge(queue: str, tokens: Sequence[str], dead: bool, waiting: bool, since: float | None, before: float | None,
          headers: dict[str, str] | None, limit: int | None, yes: bool, timeout: float, seeds: str,
          as_json: bool) -> None:
    """Throw dead letters of QUEUE away, or cancel what waits there: the TOKENs, or all that fit.

    \b
    zmqueue purge thumbnails --before 30d --yes
    zmqueue purge thumbnails --waiting
    """
    filters = _filters(tokens, since, before, headers, limit)
    if waiting and tokens:
        fail("tokens of dead letters are purged, and what waits is cancelled as a whole (or by `zmqueue cancel`)",
             USAGE, as_json=as_json)
    if not tokens:
        what = ["all dead letters"] if dead or not waiting else []
        what += ["all that waits"] if waiting else []
        agreed(f"Purge {queue!r} of {' and '.join(what)}, as far as it fits?", yes=yes, as_json=as_json)
    with connect(seeds, timeout) as client:
        swept = Swept(0, 0, {})
        if waiting:
            swept = client.cancel_found(queue, **filters)
        if dead or not waiting:
            more = client.purge(queue, tokens or None, **filters)
            swept = Swept(swept.done + more.done, swept.not_done + more.not_done, {**swept.why, **more.why})
    _tell("purged" if not waiting else "purged or cancelled", swept, as_json=as_json)


def _filters(tokens: Sequence[str], since: float | None, before: float | None, headers: dict[str, str] | None,
             limit: int | None) -> Filters:
    given = {"since": since, "before": before, "headers": headers, "limit": limit}
    said = {name: value for name, value in given.items() if value is not None}
    if tokens and said:
        options = " and ".join("--" + name.removesuffix("s") for name in said)
        raise ValueError(f"{options} says which letters are meant, and so do tokens: not both")
    filters: Filters = {"progress": _progress} if sys.stderr.isatty() else {}
    filters.update(said)  # type: ignore[typeddict-item]  # each under its own name
    return filters


def _progress(swept: Swept) -> None:
    click.echo(f"\r{swept.done:,} done, {swept.not_done:,} not", err=True, nl=False)


def _tell(word: str, swept: zmqueue.Swept, *, as_json: bool) -> None:
    """What was done; exit status 1 where something was not."""
    if sys.stderr.isatty():
        say("")
    if as_json:
        print_json({"done": swept.done, "not_done": swept.not_done,
                    "why": {token: str(error) for token, error in swept.why.items()}})
    else:
        click.echo(f"{swept.done:,} {word}" + (f", {swept.not_done:,} not" if swept.not_done else ""))
        for token, error in list(swept.why.items())[:REASONS_SHOWN]:
            say(f"{token}: {error}")
    if swept.not_done:
        sys.exit(FAILED)
