"""The bytes of packets: read back as they were written, and never a cause of harm. Golden ones: tests/formats."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.core.shapes import members, strategy
from zmqueue.core import packets
from zmqueue.core.answers import Confirmed, Reply
from zmqueue.core.operations import Submission
from zmqueue.core.packets import BadFrame, Consensus, Envelope, Heartbeat, Mail, Notice, Packet, Replication
from zmqueue.core.requests import Request, Submit

KINDS = {kind.__name__: kind for kind in members(Packet)}


def test_every_packet_has_a_number_of_its_own_in_the_range_of_its_kind() -> None:
    ranges = ((Consensus, 1, 9), (Replication, 10, 18), (Notice, 19, 19),
              (Request, 20, 39), (Reply, 40, 59), (Mail, 60, 69), (Heartbeat, 0, 0))
    seen: set[int] = set()
    for union, first, last in ranges:
        for kind in members(union):
            tag = kind.__struct_config__.tag
            more = union is Request and isinstance(tag, int) and 70 <= tag <= 89
            assert isinstance(tag, int) and (first <= tag <= last or more) and tag not in seen, kind
            seen.add(tag)
    assert len(seen) == len(KINDS)


@given(strategy(Packet))
def test_packets_are_read_back_as_they_were_written(packet: Packet) -> None:
    assert packets.decode(packets.encode(packet)) == packet
    assert packets.decode(memoryview(packets.encode(packet))) == packet


@given(strategy(Envelope))
def test_envelopes_are_read_back_as_they_were_written(envelope: Envelope) -> None:
    assert packets.decode_envelope(packets.encode(envelope)) == envelope


@given(st.binary(max_size=200))
def test_garbage_is_a_bad_frame_or_by_chance_a_packet(data: bytes) -> None:
    for frame in (data, bytes((packets.WIRE_VERSION,)) + data):
        try:
            assert isinstance(packets.decode(frame), Packet)
        except BadFrame:
            pass


@given(strategy(Packet), st.data())
def test_a_packet_with_changed_bytes_is_a_packet_or_a_bad_frame(packet: Packet, draw: st.DataObject) -> None:
    frame = bytearray(packets.encode(packet))
    for _ in range(draw.draw(st.integers(1, 3))):
        frame[draw.draw(st.integers(0, len(frame) - 1))] = draw.draw(st.integers(0, 255))
    try:
        packets.decode(bytes(frame))
    except BadFrame:
        pass


@given(strategy(Packet), st.data())
def test_a_truncated_packet_is_a_bad_frame(packet: Packet, draw: st.DataObject) -> None:
    frame = packets.encode(packet)
    with pytest.raises(BadFrame):
        packets.decode(frame[:draw.draw(st.integers(0, len(frame) - 1))])


@pytest.mark.parametrize(("frame", "words"), [
    (b"", "an empty frame"),
    (b"\x02\x90", "frame of version 2; this program speaks version 1"),
    (b"\x01\x90", "no packet"),
    (b"\x01" + msgspec.msgpack.encode([99, 1]), "no packet"),
    (b"\x01" + msgspec.msgpack.encode([20]), "no packet"),
    (b"\x01" + msgspec.msgpack.encode([20, "one", 2]), "no packet"),
    (b"\x01" + b"\x91" * 10_000, "no packet"),
])
def test_a_bad_frame_says_what_is_wrong(frame: bytes, words: str) -> None:
    with pytest.raises(BadFrame, match=words):
        packets.decode(frame)


@pytest.mark.parametrize("frame", [b"", b"\x00", b"\x01\xc1", b"\x01\x93\x01\x02\x03"])
def test_a_bad_envelope_is_a_bad_frame(frame: bytes) -> None:
    with pytest.raises(BadFrame):
        packets.decode_envelope(frame)


def test_a_packet_of_a_later_version_with_more_fields_is_read() -> None:
    frame = b"\x01" + msgspec.msgpack.encode([41, 7, [], [], 0, "added later"])
    assert packets.decode(frame) == Confirmed(7)


def test_a_packet_of_an_earlier_version_with_fewer_fields_is_read() -> None:
    frame = b"\x01" + msgspec.msgpack.encode([21, 7, 3, "jobs", [[b"id", b"payload"]]])
    assert packets.decode(frame) == Submit(7, 3, "jobs", (Submission(b"id", b"payload"),))
