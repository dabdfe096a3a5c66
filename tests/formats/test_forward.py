"""What a later version says is read as far as this one understands it, and the rest does no harm."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec
import pytest
import zmq

import zmqueue
from tests.core.shapes import example, members
from zmqueue.core import operations, packets
from zmqueue.core.acceptor import Record as AcceptorRecord
from zmqueue.core.answers import Code, Refused, StateReply
from zmqueue.core.copies import Position
from zmqueue.core.operations import Operation
from zmqueue.core.packets import BadFrame, Envelope, Packet, decode, encode
from zmqueue.core.records import Record
from zmqueue.core.requests import GetState

LATER = (7, "added later", [1, b"2"], None)
"""Fields that no version has."""


def lengthened(data: bytes) -> bytes:
    """The msgpack array with more items at its end."""
    return msgspec.msgpack.encode([*msgspec.msgpack.decode(data), *LATER])


@pytest.mark.parametrize("kind", members(Packet), ids=lambda kind: kind.__name__)
def test_fields_that_a_later_version_appended_to_a_packet_are_skipped(kind: type[msgspec.Struct]) -> None:
    packet = example(kind)
    frame = encode(packet)
    assert decode(frame[:1] + lengthened(frame[1:])) == packet


def test_fields_that_a_later_version_appended_to_the_envelope_are_skipped() -> None:
    frame = encode(example(Envelope))
    assert packets.decode_envelope(frame[:1] + lengthened(frame[1:])) == example(Envelope)


@pytest.mark.parametrize("kind", members(Operation), ids=lambda kind: kind.__name__)
def test_fields_that_a_later_version_appended_to_an_operation_are_skipped(kind: type[msgspec.Struct]) -> None:
    operation = example(kind)
    assert operations.decode(lengthened(operations.encode(operation))) == operation


@pytest.mark.parametrize("kind", [Position, Record, AcceptorRecord], ids=lambda kind: kind.__module__)
def test_fields_that_a_later_version_appended_to_a_row_are_skipped(kind: type[msgspec.Struct]) -> None:
    row = example(kind)
    assert msgspec.msgpack.decode(lengthened(msgspec.msgpack.encode(row)), type=kind) == row


KNOWN = {kind.__struct_config__.tag for kind in members(Packet)}
REQUESTS, ANSWERS, OTHERS = (*range(20, 40), *range(70, 90)), range(40, 60), range(60, 70)


def unknown(kinds: Iterable[int], *fields: object) -> bytes:
    """A frame of a kind that this version does not have."""
    tag = max(set(kinds) - KNOWN)
    return bytes((packets.WIRE_VERSION,)) + msgspec.msgpack.encode([tag, *fields])


def test_a_frame_that_cannot_be_read_costs_itself_alone() -> None:
    known = [encode(example(kind)) for kind in members(Packet)[:3]]
    read, bad = packets.decode_all([known[0], unknown(OTHERS, 1, 2), known[1], b"", b"\x09", known[2]])
    assert read == [decode(frame) for frame in known] and len(bad) == 3


@pytest.mark.parametrize(("frame", "request_number"), [
    (unknown(REQUESTS, 77, "later"), 77), (unknown(REQUESTS, "no number"), 0), (unknown(OTHERS, 77), 0),
    (unknown(ANSWERS, 77), 0),
    (b"\x01" + msgspec.msgpack.encode([21, 77]), 77), (b"", 0), (b"\x02\x92\x27\x4d", 0)])
def test_a_bad_frame_tells_the_number_of_the_request_that_it_seems_to_be(frame: bytes, request_number: int) -> None:
    with pytest.raises(BadFrame) as raised:
        decode(frame)
    assert raised.value.request == request_number


@pytest.fixture
def line(tmp_path: Path) -> Iterator[zmq.Socket[bytes]]:
    """A raw line to a node."""
    with (zmqueue.Node(data=tmp_path / "a", listen="tcp://127.0.0.1:0", found=True) as node,
          zmq.Context() as context, context.socket(zmq.DEALER) as socket):
        socket.setsockopt(zmq.LINGER, 0)
        socket.connect(node.endpoint)
        yield socket


def test_a_request_that_a_node_does_not_know_is_refused_by_number_and_the_others_are_served(
        line: zmq.Socket[bytes]) -> None:
    line.send_multipart([
        encode(Envelope()), unknown(REQUESTS, 5, "later"), encode(GetState(6, 0)), unknown(REQUESTS, 7)])
    answers: dict[int, object] = {}
    while len(answers) < 3:
        assert line.poll(10_000), answers
        envelope, *frames = line.recv_multipart()
        assert packets.decode_envelope(envelope).cluster, "a client of the cluster takes no answer without its name"
        answers.update({answer.request: answer for answer in map(decode, frames)
                        if isinstance(answer, StateReply | Refused)})
    assert isinstance(answers[6], StateReply)
    for number in (5, 7):
        refused = answers[number]
        assert isinstance(refused, Refused) and refused.code == Code.BAD_REQUEST
