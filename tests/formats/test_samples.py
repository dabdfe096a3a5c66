"""The golden files: this version writes the bytes of its generation, and reads those of every generation before."""

from __future__ import annotations

from collections.abc import Callable

import msgspec
import pytest

from tests.core.shapes import members
from tests.formats import rewrite
from tests.formats.files import GENERATION, GENERATIONS, GOLDEN, Sample, agrees, checksum, read, released
from tests.formats.samples import meaning
from zmqueue.core import answers, operations, packets
from zmqueue.core.ballots import StateIs, Want
from zmqueue.core.changes import Change
from zmqueue.core.copies import COPIED
from zmqueue.core.operations import Operation
from zmqueue.core.packets import Packet
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Table
from zmqueue.store.records import unseal

AGAIN = "python -m tests.formats.rewrite writes the file anew; look at the diff before you commit it"


def packet(sample: Sample) -> object:
    return packets.decode_envelope(sample.data) if sample.name == "Envelope" else packets.decode(sample.data)


def row(sample: Sample) -> object:
    name, key = sample.name.split(" ")
    table = Table(name)
    return meaning(table, bytes.fromhex(key), unseal(table, bytes.fromhex(key), sample.data))


READERS: dict[str, Callable[[Sample], object]] = {
    "packets.txt": packet, "operations.txt": lambda sample: operations.decode(sample.data), "rows.txt": row}
SAMPLES = [(generation, file, sample) for generation in GENERATIONS for file in READERS
           for sample in read(generation, file)]


@pytest.mark.parametrize("file", READERS)
def test_this_version_writes_the_bytes_of_its_generation(file: str) -> None:
    assert read(GENERATION, file) == rewrite.current()[file], AGAIN


@pytest.mark.parametrize(("generation", "file", "sample"), SAMPLES,
                         ids=[f"{generation}-{sample.name}" for generation, _, sample in SAMPLES])
def test_what_a_generation_wrote_is_read(generation: str, file: str, sample: Sample) -> None:
    """And what it did not have yet is at its default."""
    value = READERS[file](sample)
    assert agrees(value, sample.says), value


def test_every_packet_and_every_change_has_a_sample() -> None:
    found = [packet(sample) for sample in read(GENERATION, "packets.txt")]
    assert {type(value) for value in found} >= set(members(Packet))
    wants = [value for value in found if isinstance(value, Want)]
    assert {type(change) for want in wants for change in want.changes} >= set(members(Change))


def test_every_operation_has_a_sample() -> None:
    assert {type(READERS["operations.txt"](sample)) for sample in read(GENERATION, "operations.txt")} == set(
        members(Operation))


def test_every_table_has_a_row() -> None:
    assert {sample.name.split(" ")[0] for sample in read(GENERATION, "rows.txt")} == {table.value for table in Table}


def test_no_field_of_a_packet_is_at_its_default_in_its_sample() -> None:
    """A field whose sample is its default would not be missed when it is moved, or left out."""
    for sample in read(GENERATION, "packets.txt"):
        value = packet(sample)
        if "," in sample.name:
            continue
        assert isinstance(value, msgspec.Struct)
        optional = value.__struct_fields__[len(value.__struct_fields__) - len(value.__struct_defaults__):]
        same = [name for name, default in zip(optional, value.__struct_defaults__, strict=True)
                if getattr(value, name) == default]
        assert not same, (sample.name, same)


def test_rows_of_plain_messages_are_the_same_bytes_in_all_generations() -> None:
    """Sums of rows are compared between versions, so what has nothing new to say is written as it always was."""
    first, *later = ({sample.name: sample.data for sample in read(generation, "rows.txt")
                      if Table(sample.name.split(" ")[0]) in COPIED} for generation in GENERATIONS)
    assert len(first) > 15
    for rows in later:
        assert {name: rows[name] for name in rows if name.split(" ")[1].startswith("00000001")} == first


def test_states_of_all_generations_can_be_computed_on() -> None:
    """They hold no field that this version lacks, and it writes the same bytes."""
    found = [packet(sample) for generation in GENERATIONS for sample in read(generation, "packets.txt")
             if sample.name.startswith("StateIs,")]
    assert len(found) == len(GENERATIONS)
    for said in found:
        assert isinstance(said, StateIs)
        state = ClusterState.from_bytes(said.state)
        assert state.computable and msgspec.structs.replace(state).to_bytes() == said.state


def test_what_was_released_is_never_written_again() -> None:
    changed = [name for name, known in released().items() if checksum(GOLDEN / name) != known]
    assert not changed, "files of a released generation differ: restore them, and open a new generation instead"
    there = {f"{path.parent.name}/{path.name}" for generation in GENERATIONS if generation != GENERATION
             for path in (GOLDEN / generation).iterdir()}
    assert there == {name for name in released() if name[:4] != GENERATION}


def test_a_released_generation_is_not_written_by_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rewrite, "GENERATION", "0001")
    assert rewrite.main([]) == 1


@pytest.mark.parametrize("said", [
    {"is": "NotPrimary", "request": 1, "epoch": 2, "unknown": False}, {"is": "NotPrimary", "request": 1},
    {"is": "NotPrimary", "request": 1, "epoch": 3, "unknown": True}, 7])
def test_a_sample_that_says_something_else_is_noticed(said: object) -> None:
    assert agrees(answers.NotPrimary(1, 2, True), {"is": "NotPrimary", "request": 1, "epoch": 2, "unknown": True})
    assert not agrees(answers.NotPrimary(1, 2, True), said)


def test_a_field_that_a_sample_does_not_have_yet_must_be_at_its_default() -> None:
    assert agrees(answers.Confirmed(1), {"is": "Confirmed", "request": 1})
    assert not agrees(answers.Confirmed(1, ((0, 1, "x"),)), {"is": "Confirmed", "request": 1})
