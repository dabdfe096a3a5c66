"""`zmqueue recover`: the last resort when a majority of the voters is lost for good (C12).

Nothing here talks to a cluster: the survivors are stopped, and their directories are read and written.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TypeVar

import click
import msgspec

from zmqueue.cli.common import FAILED, USAGE, agreed, fail, guarded, json_option, print_json, say, yes_option
from zmqueue.core.disaster import CannotRecover, Plan, Survivor, losses
from zmqueue.core.disaster import plan as make_plan
from zmqueue.node.stopped import Stopped, stopped

Document = TypeVar("Document", Survivor, Plan)

data_option = click.option("--data", required=True, type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
                           help="The directory of a survivor, whose node does not run.")


@click.group(invoke_without_command=True)
@click.option("--data", type=click.Path(path_type=Path, file_okay=False), metavar="DIR",
              help="Without a step: all three at once, for the only survivor.")
@yes_option
@json_option
@click.pass_context
@guarded
def recover(context: click.Context, data: Path | None, yes: bool, as_json: bool) -> None:
    """Let what survives of a cluster go on without the majority of its voters, which is lost for good.

    A last resort: what was confirmed, and is on none of the survivors' disks, is lost; what may be is told before
    anything is written. Bring the lost nodes back instead if there is any way to. Afterwards the cluster is of a new
    lineage, the lost disks are refused, and new nodes join as ever.

    \b
    zmqueue recover --data var/a                        the only survivor: all at once
    \b
    zmqueue recover collect --data var/a > a.json       several of them, all stopped: on each,
    zmqueue recover plan a.json b.json > plan.json      once,
    zmqueue recover apply --data var/a plan.json        and on each
    """
    if context.invoked_subcommand is not None:
        if data is not None:
            fail("--data stands behind the step: zmqueue recover collect --data DIR", USAGE, as_json=as_json)
        return
    if data is None:
        fail("name the survivor's directory with --data, or a step: collect, plan, apply (see --help)", USAGE,
             as_json=as_json)
    with stopped(data) as disk:
        try:
            _apply(disk, make_plan([disk.collect()], _wall()), yes=yes, as_json=as_json)
        except CannotRecover as error:
            fail(str(error), FAILED, as_json=as_json)


@recover.command()
@data_option
@guarded
def collect(data: Path) -> None:
    """Print what a survivor's disk holds, as one JSON document for `plan`. Writes nothing.

    \b
    zmqueue recover collect --data var/a > a.json
    """
    with stopped(data) as disk:
        _print(disk.collect())


@recover.command()
@click.argument("files", nargs=-1, required=True, metavar="FILE...",
                type=click.Path(path_type=Path, dir_okay=False, exists=True))
@guarded
def plan(files: tuple[Path, ...]) -> None:
    """Print the plan that recovers from these survivors, as one JSON document, and tell what may be lost.

    FILE is what `collect` printed on a survivor. The more survivors, the less is lost.

    \b
    zmqueue recover plan a.json b.json > plan.json
    """
    try:
        made = make_plan([_read(file, Survivor, "collect") for file in files], _wall())
    except CannotRecover as error:
        fail(str(error), FAILED)
    _tell(made)
    _print(made)


@recover.command()
@data_option
@click.argument("plan_file", metavar="PLAN", type=click.Path(path_type=Path, dir_okay=False, exists=True))
@yes_option
@json_option
@guarded
def apply(data: Path, plan_file: Path, yes: bool, as_json: bool) -> None:
    """Write the plan onto a survivor's disk, in one transaction. To be done on every survivor that the plan names.

    \b
    zmqueue recover apply --data var/a plan.json
    """
    made = _read(plan_file, Plan, "plan")
    with stopped(data) as disk:
        if disk.applied(made):
            say(f"the plan was applied to {data} before: nothing is to be done")
            _done(disk, made, as_json=as_json)
            return
        _apply(disk, made, yes=yes, as_json=as_json)


def _apply(disk: Stopped, made: Plan, *, yes: bool, as_json: bool) -> None:
    _tell(made)
    agreed(f"Write lineage {made.lineage} onto the disk of {disk.id}?", yes=yes, as_json=as_json)
    disk.apply(made)
    _done(disk, made, as_json=as_json)


def _done(disk: Stopped, made: Plan, *, as_json: bool) -> None:
    if as_json:
        print_json({
            "node": disk.id, "cluster_id": made.cluster_id, "lineage": made.lineage, "epoch": made.epoch,
            "survivors": [survivor.id for survivor in made.survivors], "lost": [member for member, _ in made.lost],
            "adopted": [{"bucket": one.bucket, "generation": one.generation, "member": one.member,
                         "end": None if one.copy is None else one.copy.end,
                         "unfinished": None if one.copy is None else one.copy.unfinished,
                         "in_sync": list(one.in_sync)} for one in made.adopted],
            "losses": losses(made)})
        return
    others = [survivor.id for survivor in made.survivors if survivor.id != disk.id]
    click.echo(f"cluster {made.cluster_id} goes on as lineage {made.lineage}, epoch {made.epoch}: start this node as "
               "before" + (f"; apply the plan to the others too: {', '.join(others)}" if others else ""))


def _tell(made: Plan) -> None:
    say(f"cluster {made.cluster_id}, lineage {made.lineage - 1}, would go on as lineage {made.lineage} with "
        f"{', '.join(survivor.id for survivor in made.survivors)} alone:")
    for sentence in losses(made):
        say(f"- {sentence}")


def _read(file: Path, kind: type[Document], step: str) -> Document:
    try:
        return msgspec.json.decode(file.read_bytes(), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise click.UsageError(f"{file} is not what `zmqueue recover {step}` printed: {error}") from None


def _print(document: Survivor | Plan) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(document) + b"\n")
    sys.stdout.buffer.flush()


def _wall() -> int:
    return int(time.time() * 1000)
