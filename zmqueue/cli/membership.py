"""Who is in the cluster, with which share and where: weight, zone, drain, forget."""

from __future__ import annotations

import time

import click

from zmqueue.cli.common import (
    FAILED,
    connect,
    fail,
    guarded,
    json_option,
    print_json,
    say,
    seeds_option,
    timeout_option,
)
from zmqueue.client.operating import Operator, find
from zmqueue.core.changes import MemberChanged, MemberForgotten, MemberOut
from zmqueue.core.state import WEIGHT_MAX, ClusterState, Member, Status

CALL_S = 30.0                          # for one of a drain's questions
LOOK_S = 0.5                           # between two looks at how far a member is drained


def _facts(member: Member, state: ClusterState) -> dict[str, object]:
    return {"id": member.id, "status": member.status.name.lower(), "weight": member.weight, "zone": member.zone,
            "held": sum(1 for in_sync in state.in_sync if member.number in in_sync)}


def _change(operator: Operator, name: str, *, weight: int | None = None, zone: str | None = None) -> Member:
    """Have a member's record changed, where it is not so already."""
    member = find(operator.state(), name)
    operator.amend(MemberChanged(member.number, member.since, member.weight if weight is None else weight,
                                 member.zone if zone is None else zone))
    return find(operator.state(), member.id)


def _change_and_tell(seeds: str, timeout: float, name: str, *, as_json: bool, weight: int | None = None,
                     zone: str | None = None) -> None:
    """Have it changed, and print what the member is now."""
    with connect(seeds, timeout) as client:
        operator = Operator(client)
        changed = _change(operator, name, weight=weight, zone=zone)
        state = operator.state()
    if as_json:
        print_json(_facts(changed, state))
    else:
        click.echo(f"member {changed.id} has weight {changed.weight}, in zone {changed.zone or '(none)'}")


@click.command()
@click.argument("member")
@click.argument("weight", type=click.IntRange(0, WEIGHT_MAX), metavar="N")
@timeout_option(30.0)
@seeds_option
@json_option
@guarded
def weight(member: str, weight: int, timeout: float, seeds: str, as_json: bool) -> None:
    """Give MEMBER (an id, its beginning, or an endpoint) the weight N, its share of the buckets relative to others.

    0 votes and holds nothing. Buckets move at once, and nothing waits for that: a copy is deleted only when the others
    are complete. `zmqueue members` shows how far it is.

    \b
    zmqueue weight 5fce01a2 2
    """
    _change_and_tell(seeds, timeout, member, as_json=as_json, weight=weight)


@click.command()
@click.argument("member")
@click.argument("zone", metavar="ZONE")
@timeout_option(30.0)
@seeds_option
@json_option
@guarded
def zone(member: str, zone: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Say that MEMBER (an id, its beginning, or an endpoint) stands in ZONE; replicas go to different zones.

    \b
    zmqueue zone 5fce01a2 cellar
    zmqueue zone 5fce01a2 ""
    """
    _change_and_tell(seeds, timeout, member, as_json=as_json, zone=zone)


@click.command()
@click.argument("member")
@timeout_option(600.0)
@seeds_option
@json_option
@guarded
def drain(member: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Move all that MEMBER (an id, its beginning, or an endpoint) holds to the others, and wait until it is done.

    It keeps its vote, and serves its buckets until others have them whole. Afterwards it holds nothing: stop it, and
    forget it when it is out, or give it a weight again. Ends with 1 where it is not done in time; it goes on.

    \b
    zmqueue drain 5fce01a2
    """
    with connect(seeds, min(timeout, CALL_S)) as client:
        operator = Operator(client)
        until = time.monotonic() + timeout
        changed = _change(operator, member, weight=0)
        last = -1
        while True:
            state = operator.state()
            facts = _facts(find(state, changed.id), state)
            held = facts["held"]
            assert isinstance(held, int)
            if held == 0 or time.monotonic() >= until:
                break
            if held != last and not as_json:
                say(f"member {changed.id} still holds {held} buckets")
            last = held
            time.sleep(LOOK_S)
    if as_json:
        print_json(facts)
    if held:
        fail(f"member {changed.id} still holds {held} buckets after {timeout:g} s; it goes on: ask again", FAILED)
    if not as_json:
        click.echo(f"member {changed.id} holds nothing any more: stop it, and then zmqueue forget {changed.id}")


@click.command()
@click.argument("member")
@timeout_option(30.0)
@seeds_option
@json_option
@guarded
def forget(member: str, timeout: float, seeds: str, as_json: bool) -> None:
    """Remove MEMBER (an id, its beginning, or an endpoint), which is gone for good, and its vote with it.

    It must not run: stop it first. Refused where it is the last that is known to hold what was confirmed, and where
    no majority of the remaining voters would be up. Its disk is of no use to the cluster from then on.

    \b
    zmqueue forget 5fce01a2
    """
    with connect(seeds, timeout) as client:
        operator = Operator(client)
        gone = find(operator.state(), member)
        if gone.status is Status.DOWN:
            operator.amend(MemberOut(gone.number, gone.incarnation, gone.since))
            gone = _out(operator.state(), gone)
        operator.amend(MemberForgotten(gone.number, gone.since))
    if as_json:
        print_json({"id": gone.id, "forgotten": True})
    else:
        click.echo(f"member {gone.id} is forgotten")


def _out(state: ClusterState, member: Member) -> Member:
    """The member's record as it is now, or was, if it is forgotten already."""
    return state.member(member.number) or member
