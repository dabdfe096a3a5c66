"""Topics from a shell: bind, unbind, publish."""

from __future__ import annotations

import click

from zmqueue.cli.common import connect, guarded, json_option, print_json, seeds_option, timeout_option
from zmqueue.cli.requests import body, headers_option


@click.command()
@click.argument("queue")
@click.argument("patterns", nargs=-1)
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def bind(queue: str, patterns: tuple[str, ...], timeout: float, seeds: str, as_json: bool) -> None:
    """Let QUEUE have a copy of what is published under topics like PATTERNS; print its patterns.

    In a pattern, * is one word of a topic, and # any number of them: quote them. Without PATTERNS it only prints.

    \b
    zmqueue bind mail 'orders.*' 'bills.#'
    """
    with connect(seeds, timeout) as client:
        if patterns:
            client.bind(queue, *patterns, timeout=timeout)
        _tell(queue, client.bindings(timeout=timeout).get(queue, ()), as_json=as_json)


@click.command()
@click.argument("queue")
@click.argument("patterns", nargs=-1, required=True)
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def unbind(queue: str, patterns: tuple[str, ...], timeout: float, seeds: str, as_json: bool) -> None:
    """Take PATTERNS back from QUEUE, and print those that are left. What stands in the queue stays.

    \b
    zmqueue unbind mail 'orders.*'
    """
    with connect(seeds, timeout) as client:
        client.unbind(queue, *patterns, timeout=timeout)
        _tell(queue, client.bindings(timeout=timeout).get(queue, ()), as_json=as_json)


def _tell(queue: str, patterns: tuple[str, ...], *, as_json: bool) -> None:
    if as_json:
        print_json({"queue": queue, "patterns": list(patterns)})
    else:
        for pattern in patterns:
            click.echo(pattern)


@click.command()
@click.argument("topic")
@click.argument("payload", default="-")
@click.option("--priority", type=click.IntRange(0, 255), default=0, show_default=True, help="Higher is served first.")
@headers_option
@click.option("--id", "token", default=None, metavar="TOKEN",
              help="Repeat what was not confirmed: each queue gets one copy.")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def publish(topic: str, payload: str, priority: int, headers: dict[str, str], token: str | None, timeout: float,
            seeds: str, as_json: bool) -> None:
    """Put a copy of PAYLOAD (a text; - or nothing: bytes from standard input) into each queue that is bound to TOPIC.

    Prints the tokens of the copies, one a line; none where nobody is bound.

    \b
    zmqueue publish orders.paid '{"order": 7}'
    """
    with connect(seeds, timeout) as client:
        tickets = client.publish(topic, body(payload), id=token, priority=priority, headers=headers, timeout=timeout)
    if as_json:
        print_json({"topic": topic, "copies": [ticket.token for ticket in tickets]})
    else:
        for ticket in tickets:
            click.echo(ticket.token)
