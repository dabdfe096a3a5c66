"""One run of the demo: submit, kill under way, collect by token, compare; and the report of it."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import zmqueue
from zmqueue.cli.demo_cluster import NodeProcess, Processes
from zmqueue.cli.demo_probe import Probe, buckets_of
from zmqueue.cli.demo_view import View
from zmqueue.cli.demo_work import QUEUE, digest

CHUNK = 20                             # requests in one submit_many: the stream is a stream, not one batch
PAUSE_S = 0.02                         # between two chunks after the kill: so that submits go on through the failover
LOOK_EVERY_S = 0.3                     # how often it is looked how many are settled
BEFORE_S, AFTER_S = 1.0, 0.5           # how long the probe runs before the kill, and after the failover
WHOLE_S, FAILOVER_S = 30.0, 60.0       # then the cluster, or the failover, counts as stuck
STANDSTILL_S = 120.0                   # without any result for so long, what is left counts as lost
SUBMIT_S = 60.0


@dataclass(slots=True)
class Report:
    """What happened. What was not measured is None; `requests` = `verified` + `lost` + `wrong`."""

    requests: int = 0
    verified: int | None = None
    lost: int | None = None
    wrong: int | None = None
    duplicated: int | None = None
    killed: list[str] = field(default_factory=list)
    waiting_at_kill: int | None = None
    unsubmitted_at_kill: int | None = None
    failover_ms: float | None = None
    seconds: float = 0.0
    nodes: int = 0
    workers: int = 0
    probes: int | None = None
    probes_lost: int | None = None
    error: str | None = None

    @property
    def held(self) -> bool:
        """Nothing is lost, nothing is wrong, and it was looked at."""
        return self.error is None and self.verified == self.requests and not self.probes_lost


class Demo:
    """One run on a cluster that serves."""

    def __init__(self, client: zmqueue.Client, processes: Processes, files: Sequence[str], view: View,
                 report: Report) -> None:
        self._client, self._processes, self._view, self._report = client, processes, view, report
        self._paths = [os.fsencode(name) for name in files]
        self._tickets: list[zmqueue.Ticket] = []
        self._looked_at = 0.0

    def run(self, *, kill: bool) -> None:
        """Submit all, with a node killed when half is submitted; collect and check all."""
        if kill:
            self._kill_under_way()
        self._submit_to(len(self._paths))
        self._view.happened("all requests are submitted")
        self._check(self._collect())

    # --- submitting ---

    def _submit_to(self, many: int, pause: float = 0.0) -> None:
        """Submit until so many are."""
        while len(self._tickets) < many:
            self._submit(many)
            time.sleep(pause)                            # paces the stream; nothing waits for a state here

    def _submit(self, many: int) -> None:
        begin = len(self._tickets)
        chunk = self._paths[begin:min(begin + CHUNK, many)]
        self._tickets += self._client.submit_many(QUEUE, chunk, timeout=SUBMIT_S)
        self._view.count("submitted", len(self._tickets))
        if time.monotonic() - self._looked_at > LOOK_EVERY_S:
            self._view.count("settled", len(self._tickets) - self._waiting())
            self._looked_at = time.monotonic()

    def _waiting(self) -> int:
        return sum(view.ready + view.delayed + view.leased for view in self._client.queues() if view.name == QUEUE)

    # --- the kill ---

    def _kill_under_way(self) -> None:
        """Kill the primary of most buckets, while submits flow to each of these and half of the requests are out.

        The first half is submitted at once: when the node dies, the workers cannot have come far.
        """
        report, view = self._report, self._view
        with zmqueue.Client(*self._processes.seeds, timeout=SUBMIT_S) as second:
            victim, buckets, of = self._victim(second)
            probe = Probe(second, buckets, of)
            probe.start()
            try:
                probe.await_all(time.monotonic() + BEFORE_S, FAILOVER_S)
                self._submit_to(len(self._paths) // 2)
                report.waiting_at_kill = self._waiting()
                report.unsubmitted_at_kill = len(self._paths) - len(self._tickets)
                killed_at = time.monotonic()
                self._processes.kill(victim)
                report.killed.append(victim.id)
                view.count("nodes", len(self._processes.nodes) - 1)
                view.happened(f"killed node {victim.id}, primary of {len(buckets)} of {of} buckets, with "
                              f"{report.waiting_at_kill} requests unsettled and {report.unsubmitted_at_kill} to come")
                self._submit_to(len(self._paths), PAUSE_S)
                probe.await_all(time.monotonic() + AFTER_S, FAILOVER_S)
            finally:
                probe.stop()
            gap = probe.longest_gap(killed_at)
            report.failover_ms = None if gap is None else gap * 1000
            tokens = probe.tokens
            report.probes = len(tokens) + probe.failed
            report.probes_lost = probe.failed + sum(not _known(second, token) for token in tokens)
        view.happened("its buckets did not all come back" if gap is None
                      else f"its buckets confirmed submits again after {gap * 1000:.0f} ms at most")

    def _victim(self, client: zmqueue.Client) -> tuple[NodeProcess, list[int], int]:
        busiest = max(client.members().members, key=lambda member: member.primary)
        node = next(node for node in self._processes.nodes if node.id == busiest.id)
        return node, *buckets_of(client, busiest.id)

    # --- the results ---

    def _collect(self) -> list[object]:
        """The result of each request, by its token; an error where there is none."""
        results: list[object] = []
        until = time.monotonic() + STANDSTILL_S
        for ticket in self._tickets:
            try:
                results.append(self._client.result(ticket.token, timeout=max(0.5, until - time.monotonic())))
                until = time.monotonic() + STANDSTILL_S
            except zmqueue.ZmqueueError as error:
                results.append(error)
                self._view.happened(f"{ticket.token}: {error}")
            self._view.count("settled", len(results))
        return results

    def _check(self, results: Sequence[object]) -> None:
        """Compare each result with a computation of our own."""
        verified = lost = wrong = 0
        for number, (path, result) in enumerate(zip(self._paths, results, strict=True), 1):
            if isinstance(result, Exception) and not isinstance(result, zmqueue.RequestFailed):
                lost += 1
            elif result == digest(path):
                verified += 1
            else:
                wrong += 1
                self._view.happened(f"wrong: {os.fsdecode(path)}")
            self._view.count("verified", number)
        self._report.verified, self._report.lost, self._report.wrong = verified, lost, wrong


def await_whole(client: zmqueue.Client, nodes: int) -> None:
    """Wait until every bucket has a primary and all its replicas, and all nodes have a share."""
    deadline = time.monotonic() + WHOLE_S
    while True:
        view = client.members()
        busy = sum(member.primary > 0 for member in view.members)
        short = view.buckets_short if nodes >= view.replicas else 0
        if busy == nodes and not short and not view.buckets_without_primary:
            return
        if time.monotonic() > deadline:
            raise zmqueue.NodeFailed(f"the cluster was not whole within {WHOLE_S:g} s: {view}")
        time.sleep(0.05)                                 # polls; the deadline is above


def _known(client: zmqueue.Client, token: str) -> bool:
    try:
        client.status(token, timeout=SUBMIT_S)
    except zmqueue.ZmqueueError:
        return False
    return True
