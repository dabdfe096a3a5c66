"""The client over real sockets, against fake nodes: what a program sees, the end of things, and forks."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

import zmqueue
from tests.client.serving import Served
from zmqueue.core.packets import Envelope
from zmqueue.core.requests import Submit
from zmqueue.core.state import Agreed


@pytest.fixture
def served() -> Iterator[Served]:
    with Served(3) as served:
        yield served


@pytest.fixture
def client(served: Served) -> Iterator[zmqueue.Client]:
    with zmqueue.Client(*served.endpoints) as client:
        yield client


def test_many_are_submitted_in_few_packets_and_their_tickets_come_in_order(served: Served,
                                                                           client: zmqueue.Client) -> None:
    tickets = client.submit_many("q", [str(number) for number in range(3000)])
    assert len(tickets) == 3000 and len(served.cluster.submits) == 3
    payloads = {stored.submission.id: stored.submission.payload for stored in served.cluster.stored.values()}
    assert [payloads[zmqueue.core.ids.parse_token(ticket.token)] for ticket in tickets[:3]] == [b"0", b"1", b"2"]
    assert client.submit_many("q", []) == []
    queue, = client.queues()
    assert (queue.name, queue.ready) == ("q", 3000)


def test_submits_from_many_threads_and_futures_all_arrive(served: Served, client: zmqueue.Client) -> None:
    with ThreadPoolExecutor(20) as pool:
        blocking = list(pool.map(lambda number: client.submit("q", number), range(500)))
    soon = [client.submit_soon("q", number) for number in range(2000)]
    assert len({*blocking, *(future.result(10) for future in soon)}) == 2500 == len(served.cluster.stored)


def test_a_deadline_says_that_the_fate_is_unknown_and_the_ticket_goes_with_it(served: Served,
                                                                             client: zmqueue.Client) -> None:
    client.submit("q", "x")
    served.drop = {0, 1, 2}
    with pytest.raises(zmqueue.SubmitTimeout) as caught:
        client.submit("q", "y", timeout=0.5)
    assert not caught.value.definite and caught.value.ticket.token == caught.value.token
    with pytest.raises(zmqueue.SubmitTimeout) as late:
        client.submit_soon("q", "y", timeout=0.2).result(5.0)
    assert late.value.ticket is not None
    with pytest.raises(zmqueue.SubmitManyFailed) as failed:
        client.submit_many("q", ["y"] * 3, timeout=0.2)
    assert not failed.value.definite and len(failed.value.tickets) == len(failed.value.errors) == 3
    with pytest.raises(zmqueue.ResultTimeout):
        caught.value.ticket.result(0.2)


def test_nodes_that_come_later_are_found() -> None:
    with Served(1) as other:
        endpoint = other.endpoints[0]
    with zmqueue.Client(endpoint) as client, ThreadPoolExecutor(1) as pool:
        ticket = pool.submit(client.submit, "q", "x")
        with pytest.raises(zmqueue.ClusterUnreachable):
            client.status(client.new_id(), timeout=0.3)
        with Served(1) as served:
            client2 = zmqueue.Client(endpoint, *served.endpoints)
            with client2:
                client2.submit("q", "x")
        client.close()
        with pytest.raises((zmqueue.Closed, zmqueue.ClusterUnreachable)):
            ticket.result(5.0)


def test_closing_does_not_hang_and_frees_those_who_wait(served: Served) -> None:
    client = zmqueue.Client(*served.endpoints)
    ticket = client.submit("q", "x")
    served.drop = {0, 1, 2}
    with ThreadPoolExecutor(4) as pool:
        waiting = [pool.submit(ticket.result, 60.0), pool.submit(client.lease, "none", 1, 60.0),
                   pool.submit(client.submit, "q", "y"), pool.submit(client.queues)]
        time.sleep(0.1)                                      # let them get going; nothing depends on how far
        began = time.monotonic()
        client.close()
        assert time.monotonic() - began < 2.0
        for future in waiting:
            with pytest.raises(zmqueue.ZmqueueError):
                future.result(5.0)
    client.close()
    assert client.closed and "closed" in repr(client)
    with pytest.raises(zmqueue.Closed):
        client.submit("q", "x")
    with pytest.raises(zmqueue.Closed):
        client.submit_soon("q", "x")


def test_closing_without_any_node_does_not_hang() -> None:
    client = zmqueue.Client("tcp://127.0.0.1:9", "tcp://no-such-host.invalid:1")
    began = time.monotonic()
    client.close()
    assert time.monotonic() - began < 2.0


def test_a_client_that_is_forgotten_closes_itself(served: Served) -> None:
    client = zmqueue.Client(*served.endpoints)
    client.submit("q", "x")
    thread = client._transport._thread
    del client
    gc.collect()
    thread.join(5.0)
    assert not thread.is_alive()


def test_a_program_that_forgets_to_close_ends_all_the_same(served: Served) -> None:
    program = ("import zmqueue, sys; client = zmqueue.Client(*sys.argv[1:]); client.submit('q', 'x');"
               "client.submit_soon('q', 'x'); print('end')")
    done = subprocess.run([sys.executable, "-c", program, *served.endpoints], capture_output=True, text=True,
                          timeout=20, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "end\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_is_told_to_make_its_own_and_the_parents_is_unharmed(served: Served,
                                                                          client: zmqueue.Client) -> None:
    client.submit("q", "x")
    child = os.fork()
    if child == 0:
        status = 1
        try:
            client.submit("q", "from the child")
        except zmqueue.Closed as error:
            status = 0 if "does not survive a fork" in str(error) else 2
        finally:
            client.close()
            os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    client.submit("q", "y")
    assert len(served.cluster.stored) == 2


def test_a_callback_of_a_future_may_not_wait_for_the_client(client: zmqueue.Client) -> None:
    raised: list[BaseException] = []
    done = threading.Event()

    def wait(future: object) -> None:
        try:
            client.submit("q", "x")
        except RuntimeError as error:
            raised.append(error)
        done.set()

    client.submit_soon("q", "x").add_done_callback(wait)
    assert done.wait(5.0) and "would wait for the thread" in str(raised[0])


def test_frames_that_are_no_packets_are_counted_and_harm_nobody(served: Served, client: zmqueue.Client) -> None:
    client.submit("q", "x")

    def noise(index: int, identity: bytes, replies: list[object]) -> None:
        router = served._routers[index]
        router.send_multipart([identity, b"\x07garbage"])
        router.send_multipart([identity, b""])
        router.send_multipart([identity, zmqueue.core.packets.encode(Envelope("another", 1)), b"\x01\x90"])
        original(index, identity, replies)  # type: ignore[arg-type]

    original = served._send
    served._send = noise  # type: ignore[method-assign,assignment]
    client.submit("q", "y")
    assert client.statistics().bad_frames >= 3


def test_answers_of_another_cluster_are_dropped_and_counted(served: Served, client: zmqueue.Client) -> None:
    client.submit("q", "x")
    served.cluster.envelope = lambda: Envelope("another", 1, "node", 1, 1)  # type: ignore[method-assign]
    with pytest.raises(zmqueue.SubmitTimeout):
        client.submit("q", "y", timeout=0.3)
    assert client.statistics().strangers >= 1


def test_a_clients_envelope_names_the_cluster_and_no_node(served: Served, client: zmqueue.Client) -> None:
    client.submit("q", "x")
    assert served.envelopes[0] == Envelope()
    assert served.envelopes[-1] == Envelope(served.cluster.state.cluster_id, 1, "", 0, 1)


def test_seeds_come_from_the_environment_and_are_checked(monkeypatch: pytest.MonkeyPatch, served: Served) -> None:
    monkeypatch.setenv("ZMQUEUE_SEEDS", " , ".join(served.endpoints))
    with zmqueue.Client() as client:
        client.submit("q", "x")
    monkeypatch.delenv("ZMQUEUE_SEEDS")
    with pytest.raises(ValueError, match="at least one seed"):
        zmqueue.Client()
    with pytest.raises(ValueError, match="a seed is 'localhost:7400'; it must look like tcp://"):
        zmqueue.Client("localhost:7400")
    with pytest.raises(TypeError, match="a seed is a text"):
        zmqueue.Client(7400)  # type: ignore[arg-type]


def test_a_body_over_the_limit_never_leaves() -> None:
    with Served(1, Agreed(replicas=1, min_in_sync=1, body_bytes_max=10)) as served, \
            zmqueue.Client(*served.endpoints) as client:
        with pytest.raises(zmqueue.BodyTooLarge, match=r"11 bytes; the limit is 10 \(settings.body_bytes_max\)"):
            client.submit("q", bytes(11))
        assert not [packet for _, packet in served.cluster.log if isinstance(packet, Submit)]
