"""Schedules from a shell: what there is, and declaring, pausing and withdrawing them."""

from __future__ import annotations

import base64
from datetime import datetime

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


@click.command()
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def schedules(timeout: float, seeds: str, as_json: bool) -> None:
    """Print the schedules: when each is due, which queue it feeds, and when it fires next.

    \b
    zmqueue schedules
    zmqueue schedules --json | jq -r '.schedules[] | select(.paused) | .name'
    """
    with connect(seeds, timeout) as client:
        found = client.schedules()
    if as_json:
        print_json({"schedules": [_document(schedule) for schedule in found]})
        return
    print_table(("NAME", "QUEUE", "DUE", "NEXT", "MISSED"), [
        (schedule.name, schedule.queue, _due(schedule), "paused" if schedule.paused else _text(schedule.next) or "?",
         schedule.catch_up + ("" if schedule.overlap else ", one at a time")) for schedule in found])


@click.command()
@click.argument("name")
@click.argument("queue", required=False)
@click.argument("payload", required=False)
@click.option("--cron", default=None, metavar="TEXT", help="Minute, hour, day of month, month, day of week.")
@click.option("--every", type=click.FloatRange(min=1.0), default=None, metavar="SECONDS", help="From now on.")
@click.option("--zone", default="UTC", show_default=True, help="In which --cron is meant, such as Europe/Berlin.")
@click.option("--catch-up", type=click.Choice(["last", "skip", "all"]), default="last", show_default=True,
              help="Which of the ticks that were missed in an outage are made up for.")
@click.option("--no-overlap", is_flag=True, help="No tick while the message of an earlier one has not ended.")
@click.option("--pause", "word", flag_value="pause", help="Let the schedule NAME fire no more, until --resume.")
@click.option("--resume", "word", flag_value="resume", help="Let it fire again.")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def schedule(name: str, queue: str | None, payload: str | None, cron: str | None, every: float | None, zone: str,
             catch_up: str, no_overlap: bool, word: str | None, timeout: float, seeds: str, as_json: bool) -> None:
    """Have the text PAYLOAD submitted to QUEUE at certain moments, each time exactly once; or pause, or resume, that.

    \b
    zmqueue schedule nightly reports all --cron "30 2 * * *" --zone Europe/Berlin
    zmqueue schedule nightly --pause
    """
    if word is None and queue is None:
        raise click.UsageError("name the QUEUE, or say --pause or --resume")
    if word is not None and queue is not None:
        raise click.UsageError(f"--{word} is said of a schedule that there is: leave out QUEUE and PAYLOAD")
    with connect(seeds, timeout) as client:
        match word:
            case "pause":
                client.pause_schedule(name)
            case "resume":
                client.resume_schedule(name)
            case _:
                assert queue is not None
                client.schedule(name, queue, payload, cron=cron, every=every, zone=zone, catch_up=catch_up,
                                overlap=not no_overlap)
        found = next((each for each in client.schedules() if each.name == name), None)
    if found is None:
        raise zmqueue.UnknownSchedule(f"schedule {name!r} was withdrawn by somebody else meanwhile")
    if as_json:
        print_json(_document(found))
    else:
        click.echo("paused" if found.paused else f"next: {_text(found.next)}")


@click.command()
@click.argument("name")
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def unschedule(name: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Withdraw the schedule NAME. What it has queued stays.

    \b
    zmqueue unschedule nightly
    """
    with connect(seeds, timeout) as client:
        client.unschedule(name)
    if as_json:
        print_json({"name": name})


def _due(schedule: zmqueue.ScheduleView) -> str:
    return f"every {schedule.every:g} s" if schedule.cron is None else f"{schedule.cron} ({schedule.zone})"


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat(timespec="seconds")


def _document(schedule: zmqueue.ScheduleView) -> dict[str, object]:
    payload = schedule.payload
    return {"name": schedule.name, "queue": schedule.queue,
            "payload": None if isinstance(payload, bytes) else payload,
            **({"payload_base64": base64.b64encode(payload).decode()} if isinstance(payload, bytes) else {}),
            "cron": schedule.cron, "every_s": schedule.every, "zone": schedule.zone, "catch_up": schedule.catch_up,
            "overlap": schedule.overlap, "paused": schedule.paused, "next": _text(schedule.next)}
