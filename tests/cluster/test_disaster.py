"""Real processes, real disks: holders and majorities that are gone for good, and the operator's tools against it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

import zmqueue
from tests.cli.running import zmqueue as run
from tests.cluster.rig import Cluster, NodeProcess, cluster, eventually, lost, state_of

SPARE = "buckets = 8\nreplicas = 2\nmin_in_sync = 1\n"


def rejoin(made: Cluster, name: str) -> NodeProcess:
    """A fresh node joins by the first one."""
    node = NodeProcess(made.folder / name, "--join", made.nodes[0].endpoint)
    made.nodes.append(node)
    return node.start()


def test_the_last_of_three_recovers_and_keeps_all_that_was_confirmed(tmp_path: Path) -> None:
    with cluster(tmp_path) as made, made.client() as client:
        tickets = client.submit_many("jobs", [f"{number}" for number in range(200)])
        message, = client.lease("jobs", wait=5.0)
        message.ack("answer")
        survivor, second, third = made.nodes
        refused = run("recover", "--data", str(survivor.folder), "--yes")
        assert refused.status == 1 and "in use" in refused.err

        for node in (second, third):
            node.kill()
        shutil.copytree(second.folder, tmp_path / "old")
        for node in (second, third):
            shutil.rmtree(node.folder)
        survivor.kill()
        made.nodes = [survivor]
        asked = run("recover", "--data", str(survivor.folder))
        assert asked.status == 2 and "--yes" in asked.err and "may be lost" in asked.err
        done = run("recover", "--data", str(survivor.folder), "--yes", "--json")
        assert done.status == 0, done.err
        assert done.document["lineage"] == 2 and len(done.document["lost"]) == 2 and done.document["adopted"] == []
        assert "may be lost" in done.err
        again = run("recover", "--data", str(survivor.folder), "--yes")
        assert again.status == 1 and "majority: start them" in again.err

        survivor.start()
        assert lost(client, [ticket.token for ticket in tickets]) == [], "this client knew the old lineage"
        assert client.result(message.token, timeout=20.0) == "answer"
        view = client.members()
        assert view.lineage == 2 and sorted(view.disasters[0].lost) == sorted(done.document["lost"])
        said = run("members", seeds=made.seeds).text
        assert "recovered as lineage 2" in said and all(member in said for member in done.document["lost"])
        rejoin(made, "fresh1")
        rejoin(made, "fresh2")
        made.await_whole(client, 3, 60.0)

        old = NodeProcess(tmp_path / "old")
        made.nodes.append(old)
        old.start(wait=0)
        eventually(lambda: not old.running, 30.0, lambda: "the old disk's node goes on")
        assert old.process is not None and old.process.returncode == 1
        assert "recovered as lineage 2" in old.log.read_text() and "empty directory" in old.log.read_text()
        assert client.submit("jobs", "after", timeout=20.0).token
        assert made.whole(client, 3)


def test_survivors_are_collected_planned_and_applied_one_by_one(tmp_path: Path) -> None:
    """Two of five: with each step on the command line, and what may go wrong between them."""
    settings = tmp_path / "zmqueue.toml"
    settings.write_text("buckets = 8\nreplicas = 5\n")
    with cluster(tmp_path, 5, "--config", str(settings)) as made, made.client() as client:
        tokens = [client.submit("jobs", f"{number}").token for number in range(30)]
        for node in made.nodes:
            node.kill()
        survivors = made.nodes[:2]
        files = []
        for node in survivors:
            collected = run("recover", "collect", "--data", str(node.folder))
            assert collected.status == 0 and collected.document["format"] == 1
            files.append(tmp_path / f"{node.folder.name}.json")
            files[-1].write_bytes(collected.out)
        planned = run("recover", "plan", *map(str, files))
        assert planned.status == 0 and "given up" in planned.err
        plan = tmp_path / "plan.json"
        plan.write_bytes(planned.out)
        wrong = run("recover", "apply", "--data", str(made.nodes[2].folder), str(plan), "--yes")
        assert wrong.status == 1 and "not name" in wrong.err
        garbled = run("recover", "apply", "--data", str(survivors[0].folder), str(files[0]), "--yes")
        assert garbled.status == 2 and "recover plan" in garbled.err
        for node in survivors:
            applied = run("recover", "apply", "--data", str(node.folder), str(plan), "--yes", "--json")
            assert applied.status == 0, applied.err
        twice = run("recover", "apply", "--data", str(survivors[0].folder), str(plan), "--json")
        assert twice.status == 0 and "applied" in twice.err
        made.nodes = survivors
        for node in survivors:
            node.start(wait=0)
        for node in survivors:
            node.await_serving()
        made.await_whole(client, 2, 60.0)
        assert lost(client, tokens) == []


def bereft(made: Cluster, client: zmqueue.Client) -> tuple[NodeProcess, NodeProcess, set[int], list[str]]:
    """The backup of some buckets is away while their primary confirms more; then that one dies, and the backup is back.

    -> the dead holder, the node of the older copies, these buckets, the tokens that were confirmed in between.
    """
    state = state_of(client)
    of_node = {member.endpoint: member.number for member in state.members}
    holder, older = made.nodes[1], made.nodes[2]
    pair = {of_node[holder.endpoint], of_node[older.endpoint]}
    buckets = {bucket for bucket in range(state.buckets) if set(state.in_sync[bucket]) == pair}
    assert buckets, state.in_sync
    older.kill()
    eventually(lambda: client.members().buckets_without_primary == 0 and status(client, older) == "down", 20.0,
               lambda: str(client.members()))
    tokens = [client.submit("jobs", f"{number}", timeout=20.0).token for number in range(60)]
    holder.kill()
    older.start()
    eventually(lambda: status(client, holder) == "down", 20.0, lambda: str(client.members()))
    return holder, older, buckets, tokens


def status(client: zmqueue.Client, node: NodeProcess) -> str:
    return next(member.status for member in client.members().members if member.endpoint == node.endpoint)


@pytest.fixture
def spare(tmp_path: Path) -> Path:
    settings = tmp_path / "zmqueue.toml"
    settings.write_text(SPARE)
    return settings


def test_buckets_are_adopted_and_the_dead_holder_gives_its_branch_up(tmp_path: Path, spare: Path) -> None:
    with cluster(tmp_path, 3, "--config", str(spare)) as made, made.client() as client:
        before = [client.submit("jobs", f"{number}").token for number in range(60)]
        holder, older, buckets, between = bereft(made, client)
        seeds = [made.nodes[0].endpoint]
        held = run("adopt", str(next(b for b in range(8) if b not in buckets)), "--from", older.endpoint, "--yes",
                   seeds=seeds)
        assert held.status == 1 and "up" in held.err
        asked = run("adopt", str(min(buckets)), "--from", older.endpoint, seeds=seeds)
        assert asked.status == 2 and "--yes" in asked.err and "is lost" in asked.err
        for bucket in sorted(buckets):
            done = run("adopt", str(bucket), "--from", older.endpoint, "--yes", "--json", seeds=seeds)
            assert done.status == 0, done.err
            assert (done.document["adopted"], done.document["generation"]) == (True, 2)
            assert [one["status"] for one in done.document["in_sync"]] == ["down"]
        eventually(lambda: client.members().buckets_without_primary == 0, 20.0, lambda: str(client.members()))
        eventually(lambda: sorted(bucket for mark in client.members().disasters for bucket in mark.adopted)
                   == sorted(buckets), 20.0, lambda: str(client.members()))
        assert lost(client, before) == [], "what the older copies had"
        gone = lost(client, between)
        from zmqueue.core.ids import bucket_of, parse_token
        assert gone and {bucket_of(parse_token(token), 8) for token in gone} <= buckets
        holder.start()
        made.await_whole(client, 3, 60.0)
        assert "lost branch" in holder.log.read_text()
        assert lost(client, gone) == gone, "they do not come back"


def test_a_member_is_weighed_drained_stopped_and_forgotten(tmp_path: Path, spare: Path) -> None:
    with cluster(tmp_path, 3, "--config", str(spare)) as made, made.client() as client:
        tokens = [client.submit("jobs", f"{number}").token for number in range(60)]
        leaver = made.nodes[0]
        zone = run("zone", made.nodes[1].endpoint, "cellar", "--json", seeds=made.seeds)
        assert zone.status == 0 and zone.document["zone"] == "cellar"
        weight = run("weight", made.nodes[1].endpoint, "3", "--json", seeds=made.seeds)
        assert (weight.status, weight.document["weight"], weight.document["zone"]) == (0, 3, "cellar")
        made.await_whole(client, 3)
        early = run("forget", leaver.endpoint, seeds=made.seeds)
        assert early.status == 1 and "stop it first" in early.err
        drained = run("drain", leaver.endpoint, "--json", seeds=made.seeds, wait=120.0)
        assert drained.status == 0 and drained.document["held"] == 0, drained.err
        leaver_id = drained.document["id"]
        assert leaver.stop() == 0
        made.nodes = made.nodes[1:]
        eventually(lambda: status(client, leaver) != "up", 20.0, lambda: str(client.members()))
        forgotten = run("forget", leaver_id[:6], "--json", seeds=made.seeds)
        assert forgotten.status == 0 and forgotten.document == {"id": leaver_id, "forgotten": True}
        eventually(lambda: leaver_id not in [member.id for member in client.members().members], 20.0,
                   lambda: str(client.members()))
        again = run("forget", leaver_id, seeds=made.seeds)
        assert again.status == 1 and "no member" in again.err
        assert lost(client, tokens) == []
