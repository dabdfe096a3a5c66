"""A node without sockets, threads and files: the real engine, driven turn by turn as the shell drives it.

A turn takes everything that has come, lets the engine end it, and performs its effects in the shell's order: what
needs no disk leaves (unless the batch holds a new cluster state, C4), the batch is made durable, what waited for that
leaves. While the disk works the node is busy, as the shell's thread is; what comes meanwhile waits for the next turn.
"""

from __future__ import annotations

import random
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from msgspec.structs import replace

from zmqueue.core.agreement import MustStop
from zmqueue.core.damage import condemn
from zmqueue.core.effects import Address, Effects, Note
from zmqueue.core.engine import Engine, EngineConfig
from zmqueue.core.packets import Envelope, Heartbeat, Packet, Snap, decode, decode_envelope, encode
from zmqueue.core.state import Agreed
from zmqueue.core.tables import Damage
from zmqueue.store import StoreFailed
from zmqueue.testing.clock import LocalClock
from zmqueue.testing.disk import Disk, DiskSpeed, Image, Label
from zmqueue.testing.failpoints import Death, Failpoint, Fuse
from zmqueue.testing.media import Medium
from zmqueue.timetable import Timetable

if TYPE_CHECKING:
    from zmqueue.testing.cluster import VirtualCluster

LAZY_COMMIT = 0.05
"""Seconds after which a batch that nobody waits for is made durable."""

MESSAGES_PER_TURN = 64
"""Messages taken in one turn at most, as in the shell: so that a tick is never far away."""

Frames = tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds: between ticks, and that a turn takes to begin."""

    tick: float = 0.025
    turn: float = 0.00005


class VirtualNode:
    """One node: what is on its disk, and, while it runs, its engine."""

    def __init__(self, cluster: VirtualCluster, name: str, dice: random.Random, *, seeds: Sequence[str] = (),
                 found: Agreed | None = None, weight: int = 1, zone: str = "", speed: DiskSpeed | None = None,
                 pace: Pace | None = None, medium: Medium | None = None) -> None:
        self.name = name
        self.endpoint, self.heartbeats = f"tcp://{name}:7400", f"tcp://{name}:7401"
        self.seeds, self.found, self.weight, self.zone = tuple(seeds), found, weight, zone
        self.disk = Disk(cluster.time, dice, speed, medium, Label(f"{dice.getrandbits(64):016x}"))
        self.clock = LocalClock(cluster.time, start=dice.random() * 1_000)
        self.pace = Pace() if pace is None else pace
        self.nonce = 0
        self.engine: Engine | None = None
        self.paused = False
        self.ended = ""                    # why the process ended by itself, if it did
        self._fuses: dict[Failpoint, Fuse] = {}
        self._cluster = cluster
        self._random = dice
        self._life = 0                     # number of the present process: what was planned for another is void
        self._inbox: deque[Callable[[Engine, float, int], None]] = deque()
        self._busy = False
        self._planned = False              # a turn is planned
        self._tick_due = False
        self._said: Heartbeat | None = None      # what is published
        self._dirty_since: float | None = None
        self._synced: Effects | None = None      # a sync that ended while the node was paused
        self._chunk = False                # the turn has taken a chunk of a snapshot

    @property
    def id(self) -> str:
        """Drawn when the data directory was made."""
        return self.disk.label.id

    @property
    def incarnation(self) -> int:
        """How often a process has started on the disk."""
        return self.disk.label.incarnation

    @property
    def running(self) -> bool:
        return self.engine is not None

    # --- life ---

    def start(self) -> None:
        """Start the process, on what its disk holds."""
        assert self.engine is None, "it runs already"
        self._life += 1
        self.nonce = self._random.getrandbits(63)
        self.ended, self.paused = "", False
        self._busy = self._planned = self._tick_due = self._chunk = False
        self._said = None
        self._dirty_since = self._synced = None
        self._inbox.clear()
        self._step(self._begin)

    def _begin(self) -> None:
        label = self.disk.begin()          # on disk before anything else
        self._cluster.trace.add(self.name, "starts", f"incarnation {label.incarnation}")
        self._reach(Failpoint.BOOT)
        self.engine = self._cluster.make_engine(self.disk.store, self._config(), self.clock.monotonic())
        for observer in self._cluster.observers:
            observer.started(self)
        self._reach(Failpoint.RECOVERED)
        self._cluster.connected(self)
        life = self._life
        self._take_turn()
        self._every_tick(life)
        self._every_heartbeat(life)

    def _step(self, step: Callable[[], None]) -> None:
        """One step of the process: the one place where what ends a process is caught."""
        try:
            step()
        except Death as death:
            kept = self.disk.crash()
            self._cluster.trace.add(self.name, "dies", death.fuse.point.name,
                                    "its last batch is on the disk" if kept else "")
            self._stop("")
            if death.fuse.blown is not None:
                death.fuse.blown()
        except (MustStop, StoreFailed) as error:
            self._end(str(error))
        except Damage as damage:
            self._start_anew(damage)

    def _start_anew(self, damage: Damage) -> None:
        """A row is not what was written: as the shell does, drop batch and memory, condemn the copy, and begin anew in
        the same process."""
        self._cluster.trace.add(self.name, "finds damage", str(damage))
        store = self.disk.store
        store.abort()
        try:
            mendable = condemn(store, damage)
            store.commit()
        except (Damage, StoreFailed) as error:
            self._end(str(error))
            return
        if not mendable:
            self._end(f"the node itself needs what is damaged: {damage}")
            return
        self.engine = None
        for observer in self._cluster.observers:
            observer.stopped(self)
        self.start()

    def lay(self, fuse: Fuse) -> None:
        """From now on, the process dies when it gets to the fuse's failpoint; this one or one that starts later."""
        self._fuses[fuse.point] = fuse

    def clear(self) -> None:
        """Take all fuses away."""
        self._fuses.clear()

    def _reach(self, point: Failpoint) -> None:
        """The process is at this point; perhaps it dies here."""
        fuse = self._fuses.get(point)
        if fuse is None:
            return
        if fuse.skip:
            fuse.skip -= 1
            return
        del self._fuses[point]
        raise Death(fuse)

    def _config(self) -> EngineConfig:
        return EngineConfig(
            id=self.id, incarnation=self.incarnation, nonce=self.nonce, endpoint=self.endpoint,
            heartbeats=self.heartbeats, seeds=self.seeds, weight=self.weight, zone=self.zone, found=self.found,
            jitter=self._random.random, almanac=Timetable())

    def crash(self) -> None:
        """The process dies; the disk forgets what was not synced."""
        if self.engine is None:
            return
        kept = self.disk.crash()
        self._cluster.trace.add(self.name, "crashes", "its last batch is on the disk" if kept else "")
        self._stop("")

    def wipe(self) -> None:
        """An empty disk is put in, under the old name and address: a new node, which has to join. While none runs."""
        assert self.engine is None, "end the process first"
        self.disk.erase(Label(f"{self._random.getrandbits(64):016x}"))
        self.found, self.seeds = None, tuple(self._cluster.endpoints_beside(self))
        self._cluster.trace.add(self.name, "has an empty disk")
        self._cluster.renamed(self)

    def restore(self, image: Image) -> None:
        """An old copy of its disk is put in. While no process runs on it."""
        assert self.engine is None, "end the process first"
        self.disk.restore(image)
        self._cluster.trace.add(self.name, "has an old disk", f"incarnation {image.label.incarnation}")
        self._cluster.renamed(self)

    def _end(self, why: str) -> None:
        """The engine will not go on, or its disk does not let it."""
        self.disk.crash()
        self._cluster.trace.add(self.name, "stops", why)
        self._stop(why)

    def _stop(self, why: str) -> None:
        self.engine = self._synced = None
        self.paused = False
        self.ended = why
        self._life += 1
        self._inbox.clear()
        for observer in self._cluster.observers:
            observer.stopped(self)
        self._cluster.disconnected(self)

    def leave(self, *, for_good: bool = False) -> None:
        """Begin a planned stop: the engine asks to be down, or out. `crash` it when that is agreed."""
        if self.engine is None:
            return
        self._cluster.trace.add(self.name, "leaves for good" if for_good else "leaves")
        self._inbox.append(lambda engine, now, wall: engine.drain(now) if for_good else engine.leave(now))
        self._plan_turn()

    def pause(self) -> None:
        """Stop to run, as after SIGSTOP; the disk goes on."""
        self.paused = self.engine is not None
        self._cluster.trace.add(self.name, "is paused")

    def resume(self) -> None:
        """Run on."""
        if not self.paused:
            return
        self.paused = False
        self._cluster.trace.add(self.name, "runs on")
        if self._synced is not None:
            effects, self._synced = self._synced, None
            self._step(lambda: self._after_sync(effects))
        else:
            self._plan_turn()

    # --- what comes ---

    def receive(self, frames: Frames, client: bytes | None) -> None:
        """A multipart message arrived, of a peer or of a client."""
        if self.engine is None:
            return
        envelope, packets = decode_envelope(frames[0]), tuple(map(decode, frames[1:]))
        if client is None:
            self._inbox.append(partial(self._from_peer, envelope, packets))
        else:
            self._inbox.append(lambda engine, now, wall: engine.on_client(
                client, engine.admit(envelope, client, packets), now, wall))
        self._plan_turn()

    def _from_peer(self, envelope: Envelope, packets: Sequence[Packet], engine: Engine, now: float, wall: int) -> None:
        self._chunk = self._chunk or any(isinstance(packet, Snap) for packet in packets)
        engine.on_peer(envelope, packets, now, wall)

    def hear(self, frame: bytes) -> None:
        """A heartbeat arrived."""
        if self.engine is None:
            return
        heartbeat = decode(frame)
        assert isinstance(heartbeat, Heartbeat)
        self._inbox.append(lambda engine, now, wall: engine.on_heartbeat(heartbeat, now))
        self._plan_turn()

    def refused(self, node_id: str) -> None:
        """Nothing listens at that node's address."""
        if self.engine is not None:
            self._inbox.append(lambda engine, now, wall: engine.on_refused(node_id, now))
            self._plan_turn()

    # --- turns ---

    def _every_tick(self, life: int) -> None:
        if life != self._life:
            return                         # of a process that has ended
        self._tick_due = True
        self._plan_turn()
        self._cluster.time.after(self.pace.tick, partial(self._every_tick, life))

    def _plan_turn(self) -> None:
        if self._busy or self.paused or self._planned or self.engine is None:
            return
        self._planned = True
        life = self._life
        self._cluster.time.after(self.pace.turn, lambda: self._planned_turn(life))

    def _planned_turn(self, life: int) -> None:
        if life == self._life:
            self._planned = False
            if not self.paused and not self._busy:
                self._step(self._take_turn)

    def _take_turn(self) -> None:
        """Take what has come, and perform what follows from it."""
        engine = self.engine
        assert engine is not None
        now, wall = self.clock.monotonic(), self.clock.wall()
        for _ in range(min(len(self._inbox), MESSAGES_PER_TURN)):
            self._inbox.popleft()(engine, now, wall)
        if self._tick_due:
            self._tick_due = False
            engine.disk_has(self.disk.room)
            engine.tick(now, wall)
            self._said = engine.heartbeat(now, wall, 0)
        engine.finish(now)
        if self._fuses:
            self._reach_after_events(engine)
        self._perform(engine.take())
        self._end_if_forgotten(engine)

    def _reach_after_events(self, engine: Engine) -> None:
        if engine.state is not None and engine.state.epoch != engine.shown_epoch:
            self._reach(Failpoint.STATE_IN_MEMORY)
        if self._chunk:
            self._reach(Failpoint.CHUNK_TAKEN)

    def _end_if_forgotten(self, engine: Engine) -> None:
        if engine.over and not self._busy:
            self._end("the cluster does not list this node any more")

    def _perform(self, effects: Effects) -> None:
        for observer in self._cluster.observers:
            observer.turned(self)
        for note in effects.notes:
            self._note(note)
        store, now = self.disk.store, self._cluster.time.now
        if not effects.hold:
            self._send(effects.now, Failpoint.BEFORE_SENDS, Failpoint.BETWEEN_SENDS)
        if store.dirty and self._dirty_since is None:
            self._dirty_since = now
        late = self._dirty_since is not None and now - self._dirty_since >= LAZY_COMMIT
        if effects.must_commit or late:
            if effects.now and not effects.hold:
                self._reach(Failpoint.SENT_NOT_COMMITTED)
            self._reach(Failpoint.BEFORE_COMMIT)
            self._busy = True
            self._dirty_since = None
            self.disk.sync(partial(self._sync_ended, effects), self._sync_failed)
            self._reach(Failpoint.IN_COMMIT)
        elif self._inbox or self._tick_due:
            self._plan_turn()

    def _sync_failed(self, error: StoreFailed) -> None:
        self._end(str(error))

    def _sync_ended(self, effects: Effects) -> None:
        for observer in self._cluster.observers:
            observer.synced(self)
        if self.paused:
            self._synced = effects
        else:
            self._step(lambda: self._after_sync(effects))

    def _after_sync(self, effects: Effects) -> None:
        engine = self.engine
        assert engine is not None
        self._busy = False
        if self._fuses:
            self._reach_after_sync(engine)
        self._chunk = False
        if effects.hold:
            self._send(effects.now, Failpoint.BEFORE_SENDS, Failpoint.BETWEEN_SENDS)
        self._send(effects.durable, None, Failpoint.BETWEEN_PROMISES)
        if effects.durable:
            self._reach(Failpoint.AFTER_PROMISES)
        engine.durable(self.clock.monotonic())
        self._perform(engine.take())
        self._end_if_forgotten(engine)

    def _reach_after_sync(self, engine: Engine) -> None:
        self._reach(Failpoint.AFTER_COMMIT)
        if engine.state is not None and engine.state.epoch != engine.shown_epoch:
            self._reach(Failpoint.STATE_ON_DISK)
        if self._chunk:
            self._reach(Failpoint.CHUNK_ON_DISK)

    def _note(self, note: Note) -> None:
        self._cluster.trace.add(self.name, "notes", note.kind, *(f"{key}={value}" for key, value in note.facts.items()))
        self._cluster.notes.append((self.name, note))
        for observer in self._cluster.observers:
            observer.noted(self, note)

    # --- what leaves ---

    def _send(self, packets: Sequence[tuple[Address, Packet]], before: Failpoint | None, between: Failpoint) -> None:
        """One multipart message to each: all that is for it, in order."""
        if not packets or self.engine is None:
            return
        if before is not None:
            self._reach(before)
        by_target: dict[Address, list[Packet]] = {}
        for to, packet in packets:
            by_target.setdefault(to, []).append(packet)
        envelope = encode(self.engine.envelope())
        for number, (to, of_target) in enumerate(by_target.items()):
            if self._fuses:
                self._reach_at_send(between if number else None, of_target)
            for observer in self._cluster.observers:
                observer.left(self, to, of_target)
            self._cluster.deliver(self, to, (envelope, *map(encode, of_target)), of_target)
            if Failpoint.CHUNK_SENT in self._fuses and _has_chunk(of_target):
                self._reach(Failpoint.CHUNK_SENT)

    def _reach_at_send(self, between: Failpoint | None, packets: Sequence[Packet]) -> None:
        if between is not None:
            self._reach(between)
        if _has_chunk(packets):
            self._reach(Failpoint.CHUNK_READ)

    def _every_heartbeat(self, life: int) -> None:
        """Publish what the engine said of itself at the last tick, with the age of what the disk is busy with (C9)."""
        if life != self._life:
            return
        if self._said is not None and not self.paused:
            self._cluster.publish(self, encode(replace(
                self._said, disk_age=int(self.disk.age * 1_000), wall=self.clock.wall())))
        self._cluster.time.after(self._cluster.heartbeat_s, partial(self._every_heartbeat, life))


def _has_chunk(packets: Sequence[Packet]) -> bool:
    return any(isinstance(packet, Snap) for packet in packets)
