"""`zmqueue work QUEUE -- COMMAND...`: a worker whose handler is a program."""

from __future__ import annotations

import json
import os
import shutil
import subprocess

import click

import zmqueue
from zmqueue.cli.common import USAGE, connect, fail, guarded, json_option, print_json, say, seeds_option

ERROR_CHARACTERS = 4_000               # of the program's last words, kept with the message


def run_program(command: tuple[str, ...], message: zmqueue.Message) -> bytes:
    """Run it once: the payload is its standard input, its standard output the result; a status other than 0 raises."""
    payload = message.payload
    if isinstance(payload, str):
        payload = payload.encode()
    elif not isinstance(payload, bytes):
        payload = json.dumps(payload).encode()
    about = {"ZMQUEUE_TOKEN": message.token, "ZMQUEUE_QUEUE": message.queue,
             "ZMQUEUE_DELIVERIES": str(message.deliveries), "ZMQUEUE_FENCING": str(message.fencing)}
    done = subprocess.run(command, input=payload, capture_output=True, check=False, env={**os.environ, **about},
                          start_new_session=True)        # Ctrl-C drains: it is for the worker, not for what runs
    if done.returncode != 0:
        words = done.stderr.decode("utf-8", "replace")[-ERROR_CHARACTERS:].strip()
        raise RuntimeError(f"{command[0]} ended with status {done.returncode}: {words or 'it said nothing'}")
    return done.stdout


@click.command()
@click.argument("queue")
@click.argument("command", nargs=-1, required=True)
@click.option("--concurrency", type=click.IntRange(1, 1_000), default=1, show_default=True,
              help="How many run at a time.")
@click.option("--grace", type=click.FloatRange(min=0.0), default=30.0, show_default=True, metavar="SECONDS",
              help="How long running ones may take to end after SIGTERM.")
@seeds_option
@json_option
@guarded
def work(queue: str, command: tuple[str, ...], concurrency: int, grace: float, seeds: str, as_json: bool) -> None:
    """Run COMMAND for each message of QUEUE: payload on its standard input, result from its standard output.

    A status other than 0 is a failure: the message is tried again later, with the end of standard error as the reason.
    SIGTERM and Ctrl-C drain: what runs is finished, the rest goes to others at once; a second one ends it now. With
    --json, what was done is printed at the end. The program finds in its environment ZMQUEUE_TOKEN, ZMQUEUE_QUEUE,
    ZMQUEUE_DELIVERIES and ZMQUEUE_FENCING.

    \b
    zmqueue work shout -- tr a-z A-Z
    zmqueue work thumbnails --concurrency 4 -- convert - -resize 256 png:-
    """
    if shutil.which(command[0]) is None:
        fail(f"there is no program {command[0]!r}", USAGE, as_json=as_json)
    with connect(seeds) as client:
        client.members()                                 # says at once whether there is a cluster
        worker = zmqueue.Worker(client, {queue: lambda message: run_program(command, message)},
                                concurrency=concurrency, grace=grace)
        say(f"working {queue} with {' '.join(command)}; SIGTERM or Ctrl-C drains")
        worker.run()
        if as_json:
            print_json(worker.statistics)
