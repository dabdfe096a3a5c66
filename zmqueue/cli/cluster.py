"""What the cluster is: its members, and what is not as it should be."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Iterator

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

NAMED_MOST = 20                        # buckets that a sentence names one by one


@click.command()
@timeout_option(10.0)
@seeds_option
@json_option
@guarded
def members(timeout: float, seeds: str, as_json: bool) -> None:
    """Print the members: status, vote, and of how many buckets each is primary and backup.

    Ends with 0 also without a majority: one node that answers is enough to look.

    \b
    zmqueue members --seeds tcp://127.0.0.1:7400
    zmqueue members --json | jq .buckets_short
    """
    with connect(seeds, timeout) as client:
        view = client.members(timeout=timeout)
    if as_json:
        print_json(dataclasses.asdict(view))
        return
    click.echo(f"cluster {view.cluster_id}, epoch {view.epoch}: {view.buckets} buckets, {view.replicas} replicas, "
               f"at least {view.min_in_sync} in-sync")
    print_table(("id", "endpoint", "status", "vote", "run", "weight", "zone", "primary", "backup", "catching up"), [
        (member.id, member.endpoint, member.status, "yes" if member.voter else "no", member.incarnation,
         member.weight, member.zone or "-", member.primary, member.backup, member.catching_up)
        for member in view.members])
    for sentence in sentences(view):
        click.echo(sentence)


def sentences(view: zmqueue.MembersView) -> Iterator[str]:
    """What is not as it should be, what still works, and what to do; nothing where all is well."""
    endpoints = {member.id: member.endpoint for member in view.members}
    if not view.majority:
        missing = ", ".join(f"{member} ({endpoints[member]})" for member in view.missing)
        yield ("no majority of the voters is heard: nothing can be agreed, so no bucket gets another primary or "
               f"another replica. Not heard: {missing or 'each is heard by somebody, but nobody hears enough of them'}")
        going_on = view.buckets - view.buckets_without_primary - len(view.halted)
        yield (f"of {view.buckets} buckets, {going_on} may go on (their in-sync replicas are all heard); "
               f"{view.buckets - going_on} stand still. Bring the missing nodes back")
    elif view.missing:
        yield "voters that nobody hears: " + ", ".join(f"{member} ({endpoints[member]})" for member in view.missing)
    if view.buckets_without_primary:
        bereft = [bucket for bucket, primary in enumerate(view.primaries) if primary is None]
        yield (f"{view.buckets_without_primary} buckets have no primary, and what lies in them waits for a member that "
               f"holds it: {_some(bereft)}")
    if view.buckets_short:
        yield f"{view.buckets_short} buckets have fewer than {view.replicas} in-sync replicas"
    for member in view.members:
        if member.disk_short:
            yield (f"{member.id} ({member.endpoint}) is short of disk: submits to its buckets are refused, the rest "
                   "goes on; free space on its disk, or work off what stands in queues")
        if member.damaged:
            yield (f"{member.id} ({member.endpoint}) makes its damaged copies of {len(member.damaged)} buckets anew "
                   f"from other replicas: {', '.join(map(str, member.damaged))}")
        if member.corrupt:
            yield (f"{member.id} ({member.endpoint}) found {member.corrupt} damaged copies so far, {member.repaired} "
                   "were made anew: its disk returns something else than was written; replace it")
        if member.status == "out" and member.voter:
            yield (f"{member.id} ({member.endpoint}) is out and keeps its vote, so it still counts where a majority is "
                   f"needed; if it is gone for good: zmqueue forget {member.id}")
    for mark in view.disasters:
        when = datetime.datetime.fromtimestamp(mark.at_ms / 1_000, datetime.UTC).isoformat(" ", "seconds")
        if mark.lost:
            yield f"recovered as lineage {mark.lineage} at {when}, without {', '.join(mark.lost)}"
        if mark.adopted:
            yield f"at {when} these buckets went on from older copies: {_some(mark.adopted)}"


def _some(buckets: list[int]) -> str:
    """Their numbers, or the first of them."""
    more = len(buckets) - NAMED_MOST
    return ", ".join(map(str, buckets[:NAMED_MOST])) + (f" and {more} more" if more > 0 else "")
