"""Reading and writing the disks of stopped nodes, for a recovery (C12): its first and its last step.

What is written is one batch: the state of the next lineage, a blank acceptor record, the generations of the copies that
are in-sync under it. So a disk is of the old lineage or of the new one, whenever the machine fails.
"""

from __future__ import annotations

import msgspec

from zmqueue.core.acceptor import Acceptor
from zmqueue.core.agreement import _KEY as STATE_KEY
from zmqueue.core.copies import NO_COPY, Copies, Position, position_in
from zmqueue.core.damage import Marks, marks_in
from zmqueue.core.disaster import CannotRecover, CopyFacts, Plan, Survivor
from zmqueue.core.log import Log
from zmqueue.core.rows import Rows
from zmqueue.core.state import ClusterState
from zmqueue.core.tables import Damage, Table, Tables


def collect(tables: Tables, node_id: str, incarnation: int) -> Survivor:
    """Read what a stopped node's disk holds. Raises CannotRecover."""
    state = _state(tables)
    damaged = marks_in(tables)
    copies = []
    for bucket in range(state.buckets):
        position = position_in(tables, bucket)
        if position.copy == NO_COPY:
            continue
        mark = damaged.get(bucket)
        marked = mark is not None and mark.copy == position.copy
        copies.append(CopyFacts(bucket, position.generation, 0, 0, 0, 0, damaged=True) if marked else
                      _facts(tables, bucket, position))
    return Survivor(node_id, incarnation, state.cluster_id, state.lineage, state.epoch, state.to_bytes(), tuple(copies))


def _facts(tables: Tables, bucket: int, position: Position) -> CopyFacts:
    try:
        log = Log(tables, position.copy, position.base_seq, position.base_term, position.commit)
        unfinished = Rows(tables, position.copy).unfinished()
        end_term = log.term_at(log.end)
    except Damage:                         # found here first: its node will find it too, and not use the copy
        return CopyFacts(bucket, position.generation, 0, 0, 0, 0, damaged=True)
    assert end_term is not None, "the end of a log is in it, or its base"
    return CopyFacts(bucket, position.generation, end_term, log.end, position.commit, unfinished)


def _state(tables: Tables) -> ClusterState:
    data = tables.get(Table.META, STATE_KEY)
    if data is None:
        raise CannotRecover("this directory holds no cluster: nothing is to be recovered from it")
    state = ClusterState.from_bytes(data)
    if not state.computable:
        raise CannotRecover("a later version wrote this directory's cluster state: use that version's command")
    return state


def applied(tables: Tables, made: Plan) -> bool:
    """True where this disk went through exactly that recovery already."""
    mark = ClusterState.from_bytes(made.state).disasters[-1]
    state = _state(tables)
    return state.cluster_id == made.cluster_id and mark in state.disasters


def apply(tables: Tables, node_id: str, made: Plan) -> None:
    """Write the plan into a stopped node's tables: one batch, to be committed as it is. Raises CannotRecover before
    anything is written."""
    old, new = _state(tables), ClusterState.from_bytes(made.state)
    _check(tables, node_id, made, old)
    me = new.by_id(node_id)
    assert me is not None, "a survivor is a member of the state that was planned"
    copies, marks = Copies(tables), Marks(tables)
    empty = {one.bucket for one in made.adopted if one.copy is None}
    tables.put(Table.META, STATE_KEY, made.state)
    Acceptor(tables).clear()               # what was promised and accepted belongs to the lineage that is over
    for bucket, in_sync in enumerate(new.in_sync):
        if me.number not in in_sync:
            continue
        if bucket in empty:
            copies.delete(bucket)
            marks.given_up(bucket)
        position = copies.position(bucket)
        if position.copy != NO_COPY and position.generation != new.generations[bucket]:
            copies.write(bucket, msgspec.structs.replace(position, generation=new.generations[bucket]))


def _check(tables: Tables, node_id: str, made: Plan, old: ClusterState) -> None:
    collected = next((survivor for survivor in made.survivors if survivor.id == node_id), None)
    if old.cluster_id != made.cluster_id:
        raise CannotRecover(f"this disk is of cluster {old.cluster_id}; the plan is for {made.cluster_id}")
    if collected is None:
        raise CannotRecover(f"the plan does not name {node_id} as a survivor: it was not collected. Plan anew with it, "
                            "or start it on an empty directory to join")
    if old.lineage >= made.lineage:
        raise CannotRecover(f"this disk is of lineage {old.lineage} already; the plan makes lineage {made.lineage}")
    if old.epoch != collected.epoch:
        raise CannotRecover(f"this disk knows epoch {old.epoch}, and knew {collected.epoch} when it was collected: its "
                            "node ran since. Collect all survivors and plan anew")
    now, state = collect(tables, node_id, collected.incarnation), ClusterState.from_bytes(made.state)
    me = state.by_id(node_id)
    for bucket, in_sync in enumerate(state.in_sync):
        if me is None or me.number not in in_sync:
            continue
        before, after = collected.copy(bucket), now.copy(bucket)
        if before is not None and not before.damaged and (
                after is None or after.damaged or after.rank < before.rank):
            raise CannotRecover(f"this disk holds less of bucket {bucket} than when it was collected: collect all "
                                "survivors and plan anew")
