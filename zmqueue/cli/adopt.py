"""`zmqueue adopt`: the in-sync replicas of a bucket are dead, and it goes on from an older copy (C12)."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

import click

from zmqueue.cli.common import (
    FAILED,
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
from zmqueue.client.operating import Operator, find
from zmqueue.core.amending import objection
from zmqueue.core.answers import CopyReply
from zmqueue.core.changes import BucketAdopted
from zmqueue.core.state import ClusterState, Member


@dataclass(frozen=True, slots=True)
class Report:
    """What is to be adopted, and what is known to be better."""

    bucket: int
    generation: int                        # the bucket's, once it is adopted
    member: str
    end: int                               # the copy's log goes up to there,
    commit: int                            # and is applied up to here
    unfinished: int                        # messages in it that have not ended
    in_sync: list[dict[str, str]]          # who is known to hold all that was confirmed: id, status
    better: list[str]                      # members that are up and have a copy with more in it
    adopted: bool = False


def _rank(reply: CopyReply) -> tuple[int, int, int, int]:
    return reply.generation, reply.end_term, reply.end, reply.commit


@click.command()
@click.argument("bucket", type=click.IntRange(min=0))
@click.option("--from", "member_id", required=True, metavar="MEMBER",
              help="Whose copy it goes on from: an id, its beginning, or an endpoint.")
@yes_option
@timeout_option(30.0)
@seeds_option
@json_option
@guarded
def adopt(bucket: int, member_id: str, yes: bool, timeout: float, seeds: str, as_json: bool) -> None:
    """Let BUCKET go on from MEMBER's copy, though that may lack what was confirmed.

    Only for a bucket of which no in-sync replica is up, and none can be brought back: `zmqueue members` counts such
    buckets as without primary. What MEMBER's copy holds is told first. The holders' copies are void from then on: one
    that comes back deletes its own, and copies anew. Make sure that they do not run, cut off: what such a one still
    answers is lost as well.

    \b
    zmqueue adopt 17 --from 5fce01a2
    zmqueue adopt 17 --from tcp://10.0.0.3:7400 --yes --json
    """
    with connect(seeds, timeout) as client:
        operator = Operator(client)
        state, report = _look(operator, bucket, member_id)
        if not as_json:
            _tell(report)
        agreed(f"Let bucket {bucket} go on from {report.member}?", yes=yes, as_json=as_json)
        state, again = _look(operator, bucket, report.member)    # a person may have taken a while
        if again != report:
            fail(f"bucket {bucket} is not as it was looked at: nothing was done, look again", FAILED, as_json=as_json)
        operator.amend(_change(state, bucket, find(state, report.member)))
    if as_json:
        print_json({**asdict(report), "adopted": True})
    else:
        click.echo(f"bucket {bucket} goes on from {report.member}, as generation {report.generation}")


def _change(state: ClusterState, bucket: int, member: Member) -> BucketAdopted:
    return BucketAdopted(bucket, member.number, state.generations[bucket] + 1, state.terms[bucket],
                         int(time.time() * 1000))


def _look(operator: Operator, bucket: int, member_id: str) -> tuple[ClusterState, Report]:
    """What there is to be adopted, and from whom. Ends the command where nothing can be."""
    state = operator.state()
    if bucket >= state.buckets:
        raise click.UsageError(f"there is no bucket {bucket}; this cluster has 0 to {state.buckets - 1}")
    state, copies = operator.copies(bucket)
    member = find(state, member_id)
    why_not = objection(state, _change(state, bucket, member))
    if why_not:
        fail(why_not, FAILED)
    said = copies.get(member.id)
    if said is None:
        fail(f"member {member.id} did not say what its copy of bucket {bucket} holds: try again", FAILED)
    if said.damaged:
        fail(f"the copy of member {member.id} is damaged: it cannot serve bucket {bucket}", FAILED)
    holders = [state.member(number) for number in state.in_sync[bucket]]
    return state, Report(
        bucket, state.generations[bucket] + 1, member.id, said.end, said.commit, said.unfinished,
        [{"id": holder.id, "status": holder.status.name.lower()} for holder in holders if holder is not None],
        [other for other, reply in sorted(copies.items()) if _rank(reply) > _rank(said) and not reply.damaged])


def _tell(report: Report) -> None:
    say(f"bucket {report.bucket}: all that was confirmed is known to be with "
        + ", ".join(f"{holder['id']} ({holder['status']})" for holder in report.in_sync) + " only")
    print_table(("from", "entries", "applied", "unfinished messages"),
                [(report.member, report.end, report.commit, report.unfinished)], err=True)
    say("what they confirmed beyond that is lost: results, settled messages that run again, requests that are nowhere")
    if report.end == 0:
        say(f"{report.member} has nothing of this bucket: it would begin empty")
    if report.better:
        say(f"more than this is in the copy of {', '.join(report.better)}: adopt that one instead")
