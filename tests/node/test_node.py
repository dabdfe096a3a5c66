"""An embedded node: its life, and every wrong thing that may be put before it."""

from __future__ import annotations

import multiprocessing
import shutil
import socket
import threading
import time
from pathlib import Path

import pytest
import zmq

import zmqueue
from tests.cluster.rig import eventually
from tests.node.conftest import QUICK, Make
from zmqueue.core.answers import Refused
from zmqueue.core.packets import Envelope, decode, encode
from zmqueue.core.requests import Submit


def test_one_node_takes_hands_out_and_answers(make: Make) -> None:
    node = make("a", found=True).start()
    with zmqueue.Client(node.endpoint) as client:
        ticket = client.submit("jobs", {"n": 1})
        assert ticket.status().state == "ready"
        message, = client.lease("jobs", wait=5.0)
        assert message.payload == {"n": 1}
        message.ack("done")
        assert ticket.result(timeout=5.0) == "done"


def test_a_restarted_node_still_has_what_it_confirmed(make: Make) -> None:
    node = make("a", found=True).start()
    with zmqueue.Client(node.endpoint) as client:
        tickets = client.submit_many("jobs", [f"{n}" for n in range(500)])
    endpoint = node.endpoint
    node.stop()
    again = make("a").start()              # neither found nor join: the directory has a cluster
    assert again.endpoint == endpoint, "a node that listens on any port keeps the one it had"
    assert again.id == node.id
    with zmqueue.Client(again.endpoint) as client:
        assert all(client.status(ticket.token).state == "ready" for ticket in tickets)


def test_an_empty_directory_needs_an_explicit_word(make: Make, tmp_path: Path) -> None:
    with pytest.raises(zmqueue.NodeFailed, match=r"--found.*--join"):
        make("a").start()
    (tmp_path / "b").mkdir()
    with pytest.raises(zmqueue.NodeFailed, match=r"--found.*--join"):
        make("b").start()


def test_two_nodes_cannot_have_one_address(make: Make) -> None:
    first = make("a", found=True).start()
    with pytest.raises(zmqueue.AddressInUse, match="in use"):
        make("b", listen=first.endpoint, found=True).start()
    with zmqueue.Client(first.endpoint) as client:
        assert client.submit("jobs", b"x").token


def test_two_nodes_cannot_have_one_directory(make: Make) -> None:
    make("a", found=True).start()
    with pytest.raises(zmqueue.DirectoryInUse):
        make("a").start()


def test_a_joiner_whose_seeds_are_silent_says_so(make: Make) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(zmqueue.NodeFailed, match="no member answered"):
        make("a", join=[f"tcp://127.0.0.1:{port}"]).start(wait=1.0)


@pytest.mark.parametrize("options", [
    {"listen": "127.0.0.1"}, {"listen": "tcp://0.0.0.0:0"}, {"join": "tcp://127.0.0.1:1"}, {"join": ["nonsense"]},
    {"advertise": "tcp://0.0.0.0:1"}, {"weight": -1}, {"heartbeat_port": 70_000}, {"found": True, "weight": 0},
])
def test_arguments_that_cannot_be_are_refused_at_once(make: Make, options: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"is|needs"):
        make("a", **options)


@pytest.mark.parametrize("wrong", [{"replicas": 1, "min_in_sync": 2}, {"buckets": 0}, {"suspicion_ms": 100},
                                   {"nonsense": 1}])
def test_settings_that_cannot_work_are_refused_with_the_reason(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError):
        zmqueue.Settings(**wrong)


def test_a_node_listens_on_ipv6_too(make: Make) -> None:
    if not socket.has_ipv6 or not _has_ipv6_loopback():
        pytest.skip("this machine has no IPv6 loopback address")
    node = make("a", listen="tcp://[::1]:0", found=True).start()
    with zmqueue.Client(node.endpoint) as client:
        assert client.submit("jobs", b"x").status().state == "ready"


def _has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6) as door:
            door.bind(("::1", 0))
    except OSError:
        return False
    return True


def test_what_is_advertised_may_differ_from_what_is_listened_on(make: Make) -> None:
    node = make("a", advertise="tcp://localhost:0", found=True).start()
    assert node.endpoint.startswith("tcp://localhost:")
    with zmqueue.Client(node.endpoint) as client:
        assert client.submit("jobs", b"x").token


def test_garbage_on_the_wire_harms_nobody(make: Make, stranger: zmq.Socket[bytes]) -> None:
    node = make("a", found=True).start()
    stranger.connect(node.endpoint)
    good = encode(Envelope())
    for frames in ([b""], [b"\x00"], [b"\x63rubbish"], [b"\x01\xff\xff"], [good, b""], [good, b"\x01\xc1"],
                   [good, b"\x09abc"], [good, b"\x01" + b"\x91" * 5000], [b"x" * 100_000, b"y"],
                   [good, encode(Submit(7, 999, "jobs", ()))], [good, encode(Submit(8, 0, "bad name!", ()))]):
        stranger.send_multipart(frames)
    seen = set()
    deadline = time.monotonic() + 10.0
    while not {7, 8} <= seen and time.monotonic() < deadline:
        if stranger.poll(100):
            for answer in map(decode, stranger.recv_multipart()[1:]):
                assert isinstance(answer, Refused)
                assert answer.text
                seen.add(answer.request)
    assert {7, 8} <= seen, "a request that cannot be is answered with the reason"
    assert 0 in seen, "a frame that is no packet is answered too"
    with socket.create_connection((node.endpoint[6:].rsplit(":", 1)[0], int(node.endpoint.rsplit(":", 1)[1]))) as raw:
        raw.sendall(b"GET / HTTP/1.0\r\n\r\n" * 50)
    with zmqueue.Client(node.endpoint) as client:
        assert client.submit("jobs", b"x").token
    assert int(node.statistics()["bad_frames"]) >= 6


def test_a_request_for_another_cluster_is_refused_and_says_so(make: Make, stranger: zmq.Socket[bytes]) -> None:
    node = make("a", found=True).start()
    stranger.connect(node.endpoint)
    stranger.send_multipart([encode(Envelope(cluster="feedfeedfeedfeed", lineage=1)), encode(Submit(3, 0, "jobs", ()))])
    assert stranger.poll(5_000)
    answer = decode(stranger.recv_multipart()[-1])
    assert isinstance(answer, Refused)
    assert "feedfeedfeedfeed" in answer.text


def test_three_nodes_in_one_process_make_a_cluster(three: list[zmqueue.Node]) -> None:
    with zmqueue.Client(*[node.endpoint for node in three]) as client:
        eventually(lambda: client.members().buckets_short == 0, 20.0, lambda: str(client.members()))
        view = client.members()
        assert [member.status for member in view.members] == ["up"] * 3
        assert view.majority
        assert sum(member.primary for member in view.members) == view.buckets
        tickets = client.submit_many("jobs", [b"x"] * 200)
        assert {ticket.status().state for ticket in tickets} == {"ready"}


def test_a_node_that_stops_hands_its_buckets_over_first(three: list[zmqueue.Node]) -> None:
    with zmqueue.Client(*[node.endpoint for node in three]) as client:
        eventually(lambda: client.members().buckets_short == 0, 20.0, lambda: str(client.members()))
        tickets = client.submit_many("jobs", [b"x"] * 200)
        began = time.monotonic()
        three[2].stop()
        assert time.monotonic() - began < 5.0
        assert client.members().buckets_without_primary == 0
        client.submit("jobs", b"y", timeout=2.0)
        assert {ticket.status().state for ticket in tickets} == {"ready"}


def test_all_nodes_may_stop_and_start_again(three: list[zmqueue.Node], make: Make) -> None:
    with zmqueue.Client(*[node.endpoint for node in three]) as client:
        tickets = client.submit_many("jobs", [b"x"] * 300)
        message, = client.lease("jobs", wait=5.0)
        message.ack("kept")
        # What another node granted beside it goes back to others at once, before all stop.
        eventually(lambda: [client.status(ticket.token).state for ticket in tickets].count("ready") == 299, 5.0,
                   lambda: str(client.queues()))
    for node in reversed(three):
        node.stop()
    again = [make(name) for name in "abc"]
    for node in again:
        node.start(wait=0)
    eventually(lambda: all(node.serving for node in again), 30.0, lambda: str([n.statistics() for n in again]))
    with zmqueue.Client(again[0].endpoint) as client:
        states = [client.status(ticket.token).state for ticket in tickets]
        assert states.count("ready") == 299
        assert client.result(message.token, timeout=5.0) == "kept"


def test_an_emptied_directory_makes_a_clean_new_member(three: list[zmqueue.Node], make: Make, tmp_path: Path) -> None:
    old = three[2].id
    three[2].stop()
    shutil.rmtree(tmp_path / "c")
    new = make("c", join=[three[0].endpoint]).start()
    assert new.id != old
    with zmqueue.Client(three[0].endpoint) as client:
        assert client.submit("jobs", b"x").token
        by_id = {member.id: member.status for member in client.members().members}
        assert by_id[new.id] == "up"
        assert by_id[old] in ("down", "out")


def test_an_older_copy_of_a_directory_is_refused_and_harms_nobody(three: list[zmqueue.Node], make: Make,
                                                                   tmp_path: Path) -> None:
    three[2].stop()
    shutil.copytree(tmp_path / "c", tmp_path / "old")
    make("c").start().stop()               # the original lives on, twice, in newer epochs
    make("c").start().stop()
    shutil.rmtree(tmp_path / "c")
    shutil.copytree(tmp_path / "old", tmp_path / "c")
    with zmqueue.Client(three[0].endpoint, three[1].endpoint) as client:
        tickets = client.submit_many("jobs", [b"x"] * 50)
        with pytest.raises(zmqueue.NodeFailed, match=r"older|cop"):
            make("c").start(wait=4.0)
        assert client.submit("jobs", b"y").token
        assert {ticket.status().state for ticket in tickets} == {"ready"}


def test_a_forked_child_cannot_use_the_node_and_does_not_harm_it(make: Make) -> None:
    node = make("a", found=True).start()
    context = multiprocessing.get_context("fork")
    answers: multiprocessing.Queue[str] = context.Queue()

    def child() -> None:
        try:
            node.statistics()
            answers.put("no error")
        except zmqueue.NodeFailed as error:
            answers.put(str(error))

    process = context.Process(target=child)
    process.start()
    assert "fork" in answers.get(timeout=10.0)
    process.join(10.0)
    with zmqueue.Client(node.endpoint) as client:
        assert client.submit("jobs", b"x").token


def test_stopping_does_not_hang_where_nobody_else_answers(three: list[zmqueue.Node]) -> None:
    threads = [threading.Thread(target=node.stop) for node in three]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20.0)
    assert time.monotonic() - began < 15.0
    assert not any(thread.is_alive() for thread in threads)


def test_the_quick_settings_are_agreed(three: list[zmqueue.Node]) -> None:
    with zmqueue.Client(three[1].endpoint) as client:
        assert client.members().buckets == QUICK.buckets
