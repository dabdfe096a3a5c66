"""A rolling upgrade: nodes and clients of two versions in one cluster, under load, there and back; nothing is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import zmq

import zmqueue
from tests.cluster.rig import Cluster, NodeProcess, eventually, state_of
from tests.formats.directories import dump
from tests.formats.versions import PRESENT, PREVIOUS, Program, Version
from zmqueue.core.answers import Confirmed, Refused
from zmqueue.core.changes import MemberChanged
from zmqueue.core.host import ALARM
from zmqueue.core.packets import Envelope, decode, encode
from zmqueue.core.requests import Amend

pytestmark = pytest.mark.timeout(300)
ROWS = {"bodies", "messages", "ready", "delayed", "leases", "dead", "ended", "counts"}
MEGABYTE = 1 << 20


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    made = Cluster(tmp_path)
    yield made
    made.end()


def grow(cluster: Cluster, version: Version, *arguments: str) -> None:
    """One node more, of that version."""
    how = ["--join", cluster.nodes[0].endpoint] if cluster.nodes else ["--found"]
    node = version.node(cluster.folder / f"node{len(cluster.nodes)}", *how, *arguments)
    cluster.nodes.append(node)
    node.start()


def replace(cluster: Cluster, index: int, version: Version, *, kill: bool = False) -> None:
    """Stop a node, in order or not, and start that version on its directory."""
    old = cluster.nodes[index]
    if kill:
        old.kill()
    else:
        assert old.stop() == 0
    cluster.nodes[index] = version.node(old.folder).start()


def test_the_versions_are_two() -> None:
    assert PREVIOUS.imported().endswith("0001/zmqueue.zip/zmqueue/__init__.py")
    assert PRESENT.imported() == zmqueue.__file__


def test_nodes_are_upgraded_one_by_one_and_one_of_them_back_under_load(cluster: Cluster, tmp_path: Path) -> None:
    """Every pair of versions replicates, hands buckets over, and serves clients of both."""
    for _ in range(3):
        grow(cluster, PREVIOUS)
    seeds = cluster.seeds
    programs = [Program(version, what, version.name, seeds, tmp_path / f"{what} {version.name}.txt")
                for version in (PREVIOUS, PRESENT) for what in ("submit", "work")]
    submitters = programs[::2]
    try:
        with cluster.client() as client:
            cluster.await_whole(client, 3)
            steps = [(0, PRESENT, False), (1, PRESENT, True), (0, PREVIOUS, False), (2, PRESENT, False),
                     (0, PRESENT, True)]
            answer: object = None
            for index, version, kill in steps:
                await_progress(submitters)
                replace(cluster, index, version, kill=kill)
                cluster.await_whole(client, 3)
                answer = asked_for_weight(cluster.nodes[index if version is PRESENT else 1], client)
                if (index, version, kill) != steps[-1]:
                    assert isinstance(answer, Refused) and "upgrade every node first" in answer.text
            assert isinstance(answer, Confirmed), "all understand it now"
            cluster.await_whole(client, 3)
            await_progress(submitters)
        for submitter in submitters:
            confirmed = sum(line.startswith("confirmed") for line in submitter.lines())
            said = submitter.finish()
            verified = re.fullmatch(r"verified (\d+)", said[-1])
            assert verified and int(verified[1]) >= confirmed > 100, said[-3:]
        for worker in programs[1::2]:
            worker.finish()
    finally:
        for program in programs:
            program.end()
    for node in cluster.nodes:
        assert ALARM not in node.log.read_text(), node.log


def asked_for_weight(node: NodeProcess, client: zmqueue.Client) -> object:
    """What a node of this version answers to an operator's change that the one before does not know."""
    client.members()
    state = state_of(client)
    member = state.members[-1]
    with zmq.Context() as context, context.socket(zmq.DEALER) as line:
        line.setsockopt(zmq.LINGER, 0)
        line.connect(node.endpoint)
        change = MemberChanged(member.number, member.since, member.weight + 1, member.zone)
        line.send_multipart([encode(Envelope(state.cluster_id, state.lineage)), encode(Amend(1, change))])
        assert line.poll(30_000), "no answer"
        return decode(line.recv_multipart()[1])


def await_progress(submitters: list[Program], more: int = 20) -> None:
    """Each of them has some more submits confirmed."""
    before = [len(submitter.lines()) for submitter in submitters]
    eventually(lambda: all(len(submitter.lines()) >= count + more
                           for submitter, count in zip(submitters, before, strict=True)), 60.0,
               lambda: str([submitter.lines()[-2:] for submitter in submitters]))


@pytest.mark.parametrize(("sender", "receiver"), [(PREVIOUS, PRESENT), (PRESENT, PREVIOUS)],
                         ids=lambda version: version.name)
def test_a_snapshot_goes_from_one_version_to_the_other(cluster: Cluster, tmp_path: Path, sender: Version,
                                                       receiver: Version) -> None:
    """More than the log keeps, so a new member is filled by a snapshot; its rows are those of the others."""
    settings = tmp_path / "settings.toml"
    settings.write_text("buckets = 1\n")
    grow(cluster, sender, "--config", str(settings))
    grow(cluster, sender)
    with cluster.client() as client:
        cluster.await_whole(client, 2)
        done = client.submit("done", "early")
        (message,) = client.lease("done", max=1, wait=10.0)
        message.ack("kept")
        for number in range(20):
            client.submit("large", bytes([number]) * (MEGABYTE - 1000), priority=number % 3)
        grow(cluster, receiver)
        cluster.await_whole(client, 3, wait=60.0)
        assert "a snapshot was installed" in cluster.nodes[2].log.read_text()
        (message,) = client.lease("large", max=1, wait=10.0)     # what comes after the snapshot is replicated too
        message.ack("after")
        assert client.result(done.token, timeout=10.0) == "kept"
        assert client.result(message.token, timeout=10.0) == "after"
    for node in cluster.nodes:
        node.stop()
    first, second, third = (rows_of(node.folder) for node in cluster.nodes)
    assert first == second == third and len(first) > 40


def rows_of(folder: Path) -> set[tuple[str, str, str]]:
    """The applied state of a stopped node: table, key without the number of the copy, value without its seal."""
    return {(name, key[8:], value[10:]) for name, key, value in (line.split(" ") for line in dump(folder / "store"))
            if name in ROWS}
