"""The root of the command line: which commands there are. Each is imported only when it is called or asked for help."""

from __future__ import annotations

from collections.abc import Mapping

import click

import zmqueue

COMMANDS: Mapping[str, str] = {
    "demo": "See it work: real input, a node killed midway, every result checked.",
    "node": "Run one node.",
    "submit": "Submit a request; print its token.",
    "status": "How is a request? At once.",
    "result": "Wait for the result of a request.",
    "cancel": "Have a request not done any more.",
    "forget-result": "Throw the result of a request away.",
    "stream": "Follow a request: its progress, and its end.",
    "work": "Work a queue off with a program, or with the tasks of an app.",
    "members": "Who is in the cluster, and who holds what.",
    "queues": "What stands in the queues, and what is agreed for them.",
    "declare": "Have a policy agreed for a queue.",
    "undeclare": "Withdraw what is declared for a queue.",
    "pause": "Hand out nothing of a queue.",
    "resume": "Hand out the messages of a paused queue again.",
    "bind": "Let a queue have copies of what is published.",
    "unbind": "Take that back.",
    "publish": "Put a copy into each bound queue; print their tokens.",
    "find": "Which requests are in which state, by queue, header and time.",
    "workers": "Who holds which leases, and for how long.",
    "peek": "Look at dead letters.",
    "requeue": "Give dead letters another try.",
    "purge": "Throw dead letters away, or cancel what waits.",
    "schedules": "What is queued at certain moments, and when next.",
    "schedule": "Have something queued at certain moments.",
    "unschedule": "Withdraw a schedule.",
    "doctor": "Examine the directory of a node that does not run.",
    "adopt": "Let a bucket go on from an older copy: its in-sync replicas are dead.",
    "weight": "Change a member's share of the buckets.",
    "zone": "Change the zone of a member.",
    "drain": "Move everything that a member holds to the others.",
    "forget": "Remove a member that is gone for good.",
    "recover": "The last resort: a majority of the nodes is lost for good.",
}
"""The commands in the order of the help, with what they do."""


def _command(name: str) -> click.Command:
    match name:
        case "demo":
            from zmqueue.cli.demo import demo
            return demo
        case "node":
            from zmqueue.cli.node import node
            return node
        case "submit" | "status" | "result" | "cancel" | "forget-result":
            from zmqueue.cli import requests
            return {"submit": requests.submit, "status": requests.status, "result": requests.result,
                    "cancel": requests.cancel, "forget-result": requests.forget_result}[name]
        case "stream":
            from zmqueue.cli.streaming import stream
            return stream
        case "work":
            from zmqueue.cli.work import work
            return work
        case "members":
            from zmqueue.cli.cluster import members
            return members
        case "queues" | "declare" | "undeclare" | "pause" | "resume":
            from zmqueue.cli import queues
            return {"queues": queues.queues, "declare": queues.declare, "undeclare": queues.undeclare,
                    "pause": queues.pause, "resume": queues.resume}[name]
        case "bind" | "unbind" | "publish":
            from zmqueue.cli import topics
            return {"bind": topics.bind, "unbind": topics.unbind, "publish": topics.publish}[name]
        case "find" | "workers":
            from zmqueue.cli import finding
            return {"find": finding.find, "workers": finding.workers}[name]
        case "peek" | "requeue" | "purge":
            from zmqueue.cli import dead
            return {"peek": dead.peek, "requeue": dead.requeue, "purge": dead.purge}[name]
        case "schedules" | "schedule" | "unschedule":
            from zmqueue.cli import schedules
            return {"schedules": schedules.schedules, "schedule": schedules.schedule,
                    "unschedule": schedules.unschedule}[name]
        case "doctor":
            from zmqueue.cli.doctor import doctor
            return doctor
        case "adopt":
            from zmqueue.cli.adopt import adopt
            return adopt
        case "weight" | "zone" | "drain" | "forget":
            from zmqueue.cli import membership
            return {"weight": membership.weight, "zone": membership.zone, "drain": membership.drain,
                    "forget": membership.forget}[name]
        case "recover":
            from zmqueue.cli.recover import recover
            return recover
    raise LookupError(f"{name} stands in COMMANDS and is no command")


class Commands(click.Group):
    """The group; a command's module is imported when it is needed (start-up counts: shells call it in loops)."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        return _command(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(zmqueue.__version__, prog_name="zmqueue")
def cli() -> None:
    """A durable, replicated message queue without a broker.

    \b
    See it work:          zmqueue demo
    Found a cluster:      zmqueue node --data var/a --listen tcp://127.0.0.1:7400 --found
    Let another join:     zmqueue node --data var/b --listen tcp://127.0.0.1:7401 --join tcp://127.0.0.1:7400
    Use it:               export ZMQUEUE_SEEDS=tcp://127.0.0.1:7400,tcp://127.0.0.1:7401
                          zmqueue work shout -- tr a-z A-Z &
                          zmqueue result $(zmqueue submit shout hello)

    \b
    Exit status: 0 done, 1 it or a check failed, 2 wrong usage, 3 no cluster was reached.
    """


def main() -> None:
    """The console script."""
    cli(prog_name="zmqueue")
