"""`zmqueue doctor`: examine a data directory that no node uses."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import click

from zmqueue.cli.common import FAILED, USAGE, fail, guarded, json_option, print_json, print_table
from zmqueue.node.doctor import examine
from zmqueue.node.findings import Findings
from zmqueue.store import DirectoryInUse, StoreError


@click.command()
@click.option("--data", required=True, type=click.Path(path_type=Path), metavar="DIR", help="The node's directory.")
@json_option
@guarded
def doctor(data: Path, as_json: bool) -> None:
    """Examine a node's directory while the node does not run: is everything there, and what was written?

    Reads the file page by page: its structure, each record's checksum, the logs, the sums of all rows, what the node
    itself needs. Never writes. Ends with 0 where all is sound, 1 where something is damaged, 2 where it cannot look.

    \b
    zmqueue doctor --data var/a
    zmqueue doctor --data var/a --json | jq .faults
    """
    try:
        findings = examine(data)
    except (DirectoryInUse, StoreError) as error:
        fail(str(error), USAGE, as_json=as_json)
    if as_json:
        print_json({**dataclasses.asdict(findings), "damaged": findings.damaged, "sound": findings.sound,
                    "advice": findings.advice()})
    else:
        _show(findings)
    if not findings.sound:
        sys.exit(FAILED)


def _show(findings: Findings) -> None:
    click.echo(f"node {findings.id or 'without a name'}, run {findings.incarnation or 0}, "
               f"cluster {findings.cluster_id or 'none'}, epoch {findings.epoch or 0}")
    click.echo(f"{findings.used_bytes:,} of {findings.file_bytes:,} bytes are used; {findings.rows:,} records read")
    if findings.buckets:
        print_table(("bucket", "copy", "log", "committed", "rows", "found"), [
            (bucket.bucket, bucket.copy, f"{bucket.base + 1}-{bucket.end}", bucket.commit, bucket.rows,
             f"{len(bucket.faults)} faults" if bucket.faults else "sound") for bucket in findings.buckets])
    for fault in findings.faults:
        click.echo(f"damaged: {fault}")
    for bucket in findings.buckets:
        for fault in bucket.faults:
            click.echo(f"damaged: bucket {bucket.bucket}: {fault}")
    for note in findings.notes:
        click.echo(f"note: {note}")
    if findings.corrupt:
        click.echo(f"so far the node found {findings.corrupt} damaged copies; {findings.repaired} were made anew")
    click.echo(("sound: " if findings.sound else "damaged: ") + findings.advice())
