"""`zmqueue demo`: the main job on real input, with a node killed midway, and every result checked."""

from __future__ import annotations

import signal
import sys
import sysconfig
import tempfile
import time
from dataclasses import asdict
from pathlib import Path
from types import FrameType

import click

import zmqueue
from zmqueue.cli.common import FAILED, USAGE, fail, guarded, json_option, print_json, say
from zmqueue.cli.demo_cluster import Processes
from zmqueue.cli.demo_run import SUBMIT_S, Demo, Report, await_whole
from zmqueue.cli.demo_view import View

NODES_TO_KILL_ONE = 3                  # with fewer, no majority would be left


def sources(folder: Path | None, most: int | None) -> list[str]:
    """The files to work on: all under `folder`, or the sources of the standard library."""
    if folder is None:
        root = Path(sysconfig.get_paths()["stdlib"])
        found = (path for path in root.rglob("*.py") if not {"site-packages", "dist-packages"} & set(path.parts))
    else:
        found = (path for path in folder.rglob("*") if path.is_file())
    return sorted(str(path.absolute()) for path in found)[:most]


@click.command()
@click.argument("directory", required=False, metavar="[DIR]",
                type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--nodes", type=click.IntRange(1, 9), default=3, show_default=True, help="Node processes.")
@click.option("--workers", type=click.IntRange(2, 32), default=2, show_default=True, help="Worker processes.")
@click.option("--requests", type=click.IntRange(min=1), default=None, metavar="N", help="At most so many files.")
@click.option("--kill/--no-kill", default=None,
              help="Kill the busiest node midway  [default: --kill where there are 3 nodes or more]")
@json_option
@guarded
def demo(directory: Path | None, nodes: int, workers: int, requests: int | None, kill: bool | None,
         as_json: bool) -> None:
    """Start nodes and workers, submit every file under DIR as a request, kill a node, and check every result.

    Without DIR the input is the standard library's sources. The work is SHA-256 and the counts of the syntax tree's
    nodes, done in the worker processes; afterwards each result is compared with a direct computation. Exit status 0
    only if nothing was lost and nothing is wrong. Everything runs on this machine and is gone afterwards.

    \b
    zmqueue demo
    zmqueue demo ~/src --nodes 5 --workers 4
    zmqueue demo --requests 500 --no-kill --json
    """
    kill = nodes >= NODES_TO_KILL_ONE if kill is None else kill
    if kill and nodes < NODES_TO_KILL_ONE:
        fail(f"--kill with {nodes} nodes: no majority would be left; take {NODES_TO_KILL_ONE} or more, or --no-kill",
             USAGE, as_json=as_json)
    files = sources(directory, requests)
    if not files:
        fail(f"there are no files under {directory}", USAGE, as_json=as_json)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _interrupted)              # as Ctrl-C: what was started is ended
    report = Report(requests=len(files), nodes=nodes, workers=workers)
    began = time.monotonic()
    try:
        _run(files, report, kill=kill, quiet=as_json)
    except (zmqueue.ZmqueueError, OSError) as error:
        report.error = str(error) or type(error).__name__
        say(f"zmqueue: the demo could not be finished: {report.error}")
    except KeyboardInterrupt:
        report.error = "interrupted"
        say("zmqueue: interrupted")
    report.seconds = time.monotonic() - began
    if as_json:
        print_json(asdict(report))
    elif report.error is None:
        failover = "" if report.failover_ms is None else f"; failover {report.failover_ms:.0f} ms"
        click.echo(f"{report.requests} requests: {report.verified} verified, {report.lost} lost, {report.wrong} wrong, "
                   f"{report.duplicated} ran again{failover}; {report.seconds:.1f} s")
    sys.exit(0 if report.held else FAILED)


def _run(files: list[str], report: Report, *, kill: bool, quiet: bool) -> None:
    with (
        tempfile.TemporaryDirectory(prefix="zmqueue-demo-") as folder,
        View(len(files), report.nodes, quiet=quiet) as view,
        Processes(Path(folder)) as processes,
    ):
        for count in range(1, report.nodes + 1):
            view.happened(f"node {processes.start_node().id} serves")
            view.count("nodes", count)
        with zmqueue.Client(*processes.seeds, timeout=SUBMIT_S) as client:
            await_whole(client, report.nodes)
            for _ in range(report.workers):
                processes.start_worker()
            Demo(client, processes, files, view, report).run(kill=kill)
        processes.drain_workers()
        runs = processes.runs()
        report.duplicated = len(runs) - len(set(runs))


def _interrupted(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt
