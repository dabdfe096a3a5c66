"""Examines a data directory that no node uses: is everything on it what was written? It reads, and never writes.

The file is read page by page and without LMDB (`store.pages`), since a damaged structure may end a process that trusts
it. What is found is told per bucket where it belongs to one: a damaged copy is mended by its node, from another one.
"""

from __future__ import annotations

import fcntl
import os
import struct
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec

from zmqueue.core.acceptor import Acceptor
from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.copies import COPIED, NO_COPY, Copies, Position
from zmqueue.core.damage import Mark, marks_in, tally_in
from zmqueue.core.keys import COPY_BYTES, copy_of
from zmqueue.core.state import ClusterState
from zmqueue.core.sums import MASK, Sum, digest_of
from zmqueue.core.tables import Table
from zmqueue.node import identity
from zmqueue.node.findings import FAULTS_KEPT, BucketFindings, Findings
from zmqueue.store.directory import DATA_NAME, LOCK_NAME, STORE_NAME
from zmqueue.store.errors import CorruptRecord, DirectoryInUse, StoreError
from zmqueue.store.lmdb_store import _FORMAT_DATABASE as FORMAT_TABLE
from zmqueue.store.lmdb_store import _FORMAT_KEY as FORMAT_KEY
from zmqueue.store.lmdb_store import STORE_FORMAT
from zmqueue.store.memory import MemoryStore
from zmqueue.store.pages import NotAStore, Pages
from zmqueue.store.records import unseal


def _name(table: Table) -> str:
    return f"table {table.value!r}"


_SUMMED = frozenset(map(_name, (Table.LOG, *COPIED)))
"""The tables of which each bucket knows how many rows it has."""

_BUCKET = struct.Struct(">H")
_SEQ = struct.Struct(">Q")


def examine(data: Path) -> Findings:
    """Look at everything. Raises DirectoryInUse where a node runs on it, StoreError where it is no data directory."""
    with _locked(data):
        path = data / STORE_NAME / DATA_NAME
        if not path.exists():
            raise StoreError(f"{data} holds no store: check the path")
        findings = Findings(str(data))
        try:
            pages = Pages(path)
        except NotAStore as error:
            findings.file_bytes = path.stat().st_size
            findings.faults.append(str(error))
            return findings
        with pages:
            _Examination(pages, findings).run()
        return findings


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    """Keep nodes away meanwhile. The lock file is not written to, and not made."""
    if not data.is_dir():
        raise StoreError(f"there is no data directory {data}: check the path")
    try:
        lock = os.open(data / LOCK_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        yield
        return
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
            raise DirectoryInUse(f"a node runs on {data}, process {holder}: stop it first; what is on a running node's "
                                 "disk, it examines itself (zmqueue members)") from None
        yield
    finally:
        os.close(lock)


class _Examination:
    """One pass over a file."""

    def __init__(self, pages: Pages, findings: Findings) -> None:
        self._pages = pages
        self._findings = findings
        self._told: Counter[str] = Counter()
        self._positions: dict[int, Position] = {}          # by copy
        self._of_copy: dict[int, BucketFindings] = {}
        self._sums: dict[int, list[int]] = {}              # copy -> [rows, digest]
        self._marks: dict[int, Mark] = {}
        self._stray = 0

    def run(self) -> None:
        findings, pages = self._findings, self._pages
        findings.file_bytes, findings.used_bytes = pages.file_bytes, pages.meta.used_bytes
        trees = pages.tables(self._file_fault)
        self._format(dict(pages.rows(trees.pop(FORMAT_TABLE), "the table of the format", self._file_fault))
                     if FORMAT_TABLE in trees else {})
        for table in Table:                                # META and BUCKETS first: they say what the rest is
            tree = trees.pop(table.value.encode(), None)
            if tree is None:
                self._file_fault(f"there is no table {table.value!r}")
                continue
            found = pages.rows(tree, _name(table), self._file_fault)
            match table:
                case Table.META:
                    self._meta(self._unsealed(table, found))
                case Table.BUCKETS:
                    self._buckets(self._unsealed(table, found))
                case _:
                    self._rows(table, found)
        findings.notes += [f"there is a table {name!r} that this version does not know" for name in trees]
        if not trees:
            pages.check_free(self._file_fault)
        self._judge()

    # --- what is wrong ---

    def _file_fault(self, what: str) -> None:
        self._tell(self._findings.faults, "the file", what)

    def _tell(self, faults: list[str], place: str, what: str) -> None:
        self._told[place] += 1
        if self._told[place] <= FAULTS_KEPT:
            faults.append(what)

    # --- the node's own rows ---

    def _format(self, rows: dict[bytes, bytes]) -> None:
        found = rows.get(FORMAT_KEY, b"")
        if not found.isdigit():
            self._file_fault(f"the row that tells the store's format is damaged: {found!r}")
            return
        self._findings.format = int(found)
        if int(found) > STORE_FORMAT:
            raise StoreError(f"{self._pages.path} has store format {int(found)}; this version reads formats up to "
                             f"{STORE_FORMAT}: use the version that wrote it, or a later one")

    def _unsealed(self, table: Table, rows: Iterator[tuple[bytes, bytes]]) -> dict[bytes, bytes]:
        found = {}
        for key, sealed in rows:
            self._findings.rows += 1
            try:
                found[key] = unseal(table, key, sealed)
            except CorruptRecord as error:
                self._file_fault(str(error))
        return found

    def _meta(self, rows: dict[bytes, bytes]) -> None:
        findings = self._findings
        readable = MemoryStore()           # so that they are read as a node reads them
        readable.put_many(Table.META, list(rows.items()))
        with self._readable("the identity"):
            named = identity.read(readable)
            if named is None:
                self._file_fault("the row that tells whose directory this is is not there")
            else:
                findings.id, findings.incarnation = named
        with self._readable("the acceptor record"):
            Acceptor(readable)
        with self._readable("the list of copies"):
            Copies(readable)
        with self._readable("the marks of damaged copies"):
            tally, self._marks = tally_in(readable), marks_in(readable)
            findings.corrupt, findings.repaired = tally.corrupt, tally.repaired
        if STATE_KEY not in rows:
            findings.notes.append("there is no cluster state: the node was not taken into a cluster yet")
            return
        with self._readable("the cluster state"):
            state = ClusterState.from_bytes(rows[STATE_KEY])
            findings.cluster_id, findings.lineage, findings.epoch = state.cluster_id, state.lineage, state.epoch

    @contextmanager
    def _readable(self, what: str) -> Iterator[None]:
        try:
            yield
        except (ValueError, struct.error) as error:        # a DecodeError is a ValueError
            self._file_fault(f"{what} cannot be read: {error}")

    def _buckets(self, rows: dict[bytes, bytes]) -> None:
        for key, value in rows.items():
            try:
                bucket, position = _BUCKET.unpack(key)[0], msgspec.msgpack.decode(value, type=Position)
            except (struct.error, msgspec.DecodeError) as error:
                self._file_fault(f"the position row {key.hex()} cannot be read: {error}")
                continue
            if position.copy in self._of_copy:
                self._file_fault(f"buckets {self._of_copy[position.copy].bucket} and {bucket} have one copy")
                continue
            mark = self._marks.get(bucket)
            found = BucketFindings(bucket, position.copy, position.base_seq, position.commit, position.base_seq,
                                   marked=mark is not None and mark.copy == position.copy)
            self._findings.buckets.append(found)
            if position.copy != NO_COPY:
                self._of_copy[position.copy], self._positions[position.copy] = found, position
                self._sums[position.copy] = [0, 0]

    # --- the rows of buckets ---

    def _rows(self, table: Table, rows: Iterator[tuple[bytes, bytes]]) -> None:
        number = COPIED.index(table) if table in COPIED else None
        for key, sealed in rows:
            self._findings.rows += 1
            copy = copy_of(key)
            bucket = None if copy is None else self._of_copy.get(copy)
            try:
                value = unseal(table, key, sealed)
            except CorruptRecord as error:
                if bucket is None:
                    self._stray += 1       # of a copy that is not live, or its key has rotted: then the sum tells
                else:
                    self._tell(bucket.faults, f"bucket {bucket.bucket}", str(error))
                continue
            if bucket is None or copy is None:
                continue
            if number is None:
                self._entry(bucket, key)
            else:
                total = self._sums[copy]
                total[0] += 1
                total[1] += digest_of(number, [(key, value)], COPY_BYTES)

    def _entry(self, bucket: BucketFindings, key: bytes) -> None:
        seq = _SEQ.unpack_from(key, COPY_BYTES)[0] if len(key) == COPY_BYTES + _SEQ.size else -1
        if seq != bucket.end + 1:
            self._tell(bucket.faults, f"bucket {bucket.bucket}", f"in its log, entry {bucket.end} is followed by {seq}")
        bucket.end = max(bucket.end, seq)

    def _judge(self) -> None:
        for name, (told, there) in self._pages.miscounted.items():
            # What a bucket has lost, its own sum tells. Of copies that are gone, only this is left.
            text = f"{name} should have {told:,} rows, and {there:,} can be reached"
            if name in _SUMMED and all(position.count >= 0 for position in self._positions.values()):
                self._findings.notes.append(f"{text}; where no bucket misses them, copies that are gone had them")
            else:
                self._file_fault(text)
        for copy, bucket in self._of_copy.items():
            position, found = self._positions[copy], Sum(self._sums[copy][0], self._sums[copy][1] & MASK)
            bucket.rows = found.rows
            place = f"bucket {bucket.bucket}"
            known = Sum(position.count, position.digest)
            if bucket.end < position.commit:
                self._tell(bucket.faults, place, f"its log ends at {bucket.end}, and {position.commit} are committed")
            if known.known and found.rows != known.rows:
                self._tell(bucket.faults, place, f"it has {found.rows:,} sound rows that can be reached, and should "
                                                 f"have {known.rows:,}")
            elif known.known and found != known:
                self._tell(bucket.faults, place, "its rows are sound, and are not those that were written last")
            if bucket.marked and not bucket.faults:
                self._tell(bucket.faults, place, "its node found it damaged, and makes it anew")
            if self._told[place] > FAULTS_KEPT:
                bucket.faults.append(f"... {self._told[place]} faults in all")
        if self._told["the file"] > FAULTS_KEPT:
            self._findings.faults.append(f"... {self._told['the file']} faults in all")
        if self._stray:
            self._findings.notes.append(f"{self._stray:,} damaged rows belong to copies that nothing reads any more")
