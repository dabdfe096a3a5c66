"""`zmqueue work`: a worker whose handler is a program, or one for the tasks of an app."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping

import click

import zmqueue
from zmqueue.cli.common import USAGE, connect, fail, guarded, json_option, print_json, say, seeds_option
from zmqueue.cli.work_app import MIB, AppWork, reload_again_and_again

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
@click.argument("target", metavar="QUEUE|MODULE:APP")
@click.argument("command", nargs=-1)
@click.option("--concurrency", type=click.IntRange(1, 1_000), default=None,
              help="How many run at a time.  [default: 1 for a program, 8 for an app]")
@click.option("--grace", type=click.FloatRange(min=0.0), default=30.0, show_default=True, metavar="SECONDS",
              help="How long running ones may take to end after SIGTERM.")
@click.option("--queues", default="", metavar="NAME,...", help="App: work these queues only.")
@click.option("--executor", type=click.Choice(["thread", "process"]), default=None,
              help="App: where plain tasks run.  [default: thread]")
@click.option("--recycle-after", type=click.IntRange(min=1), default=None, metavar="MESSAGES",
              help="App, process: replace a process after so many messages.")
@click.option("--memory-limit", type=click.IntRange(min=1), default=None, metavar="MIB",
              help="App, process: replace a process that holds more, after its message.")
@click.option("--autoreload", is_flag=True, help="App: start anew when a Python file changes; for development.")
@seeds_option
@json_option
@guarded
def work(target: str, command: tuple[str, ...], concurrency: int | None, grace: float, queues: str,
         executor: str | None, recycle_after: int | None, memory_limit: int | None, autoreload: bool, seeds: str,
         as_json: bool) -> None:
    """Run COMMAND for each message of QUEUE, or the tasks of an app.

    With QUEUE -- COMMAND: the payload is the program's standard input, its standard output the result. A status other
    than 0 is a failure: the message is tried again later, with the end of standard error as the reason. The program
    finds in its environment ZMQUEUE_TOKEN, ZMQUEUE_QUEUE, ZMQUEUE_DELIVERIES and ZMQUEUE_FENCING.

    With MODULE:APP: the typed tasks of a zmqueue.App, looked for in this folder first. Seeds that the app names itself
    come before --seeds.

    SIGTERM and Ctrl-C drain: nothing more is leased, what runs is finished within the grace, the rest goes to others at
    once; a second one ends it now. With --json, what was done is printed at the end.

    \b
    zmqueue work shout -- tr a-z A-Z
    zmqueue work thumbnails --concurrency 4 -- convert - -resize 256 png:-
    zmqueue work shop.tasks:app --executor process --recycle-after 1000 --memory-limit 512
    """
    given = {"--queues": queues, "--executor": executor, "--recycle-after": recycle_after,
             "--memory-limit": memory_limit, "--autoreload": autoreload}
    if command:
        _refuse(given, f"{target} -- {command[0]} is a program")
        _run_command(target, command, concurrency or 1, grace, seeds, as_json=as_json)
        return
    if ":" not in target:
        raise click.UsageError(f"{target!r} is a queue, and needs a program: QUEUE -- COMMAND; an app is MODULE:APP")
    if autoreload:
        reload_again_and_again(grace, as_json=as_json)
        return
    options = {"concurrency": concurrency, "executor": executor, "recycle_after": recycle_after, "grace": grace,
               "memory_limit": memory_limit * MIB if memory_limit is not None else None}
    names = tuple(name.strip() for name in queues.split(",") if name.strip())
    work = AppWork(target, names, {name: value for name, value in options.items() if value is not None})
    work.run(seeds, as_json=as_json)


def _refuse(given: Mapping[str, object], why: str) -> None:
    for name, value in given.items():
        if value:
            raise click.UsageError(f"{name} is for apps; {why}")


def _run_command(queue: str, command: tuple[str, ...], concurrency: int, grace: float, seeds: str, *,
                 as_json: bool) -> None:
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
