"""The node's loop: one thread that takes turns.

A turn takes what has come, lets the engine decide, sends what needs no disk, makes the batch durable (one transaction,
one fsync for everything that was ready), sends what promised to be on disk, and lets the engine release its answers.
While the disk works, what comes waits in the sockets and goes into the next turn together: that is the group commit.

After a failed write or sync nothing is retried: the loop ends with a last word (R18), as it does after any error that
is not the world's: a queue that goes on after a failed commit lies. A damaged row costs its bucket's copy here, and
this run of the engine: see `restart`.
"""

from __future__ import annotations

import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable

import zmq

from zmqueue.core.agreement import MustStop
from zmqueue.core.answers import Code, Refused
from zmqueue.core.effects import Effects, Note
from zmqueue.core.engine import Engine, EngineConfig
from zmqueue.core.host import ALARM, BRANCH
from zmqueue.core.packets import BadFrame, Envelope, Heartbeat, decode, decode_all, decode_envelope
from zmqueue.core.state import Status
from zmqueue.core.tables import Damage
from zmqueue.node.disk import DiskWatch
from zmqueue.node.pulse import Pulse
from zmqueue.node.restart import Restarts
from zmqueue.node.sockets import Sockets
from zmqueue.store import LmdbStore, StoreError

log = logging.getLogger("zmqueue.node")

TICK_S = 0.025                         # how often the engine looks at its timers
LAZY_S = 0.05                          # a batch that nobody waits for is made durable after that
TURNS_MAX = 64                         # commits in a row for one turn's events; the rest waits for the next turn
DOOR_EVERY_S = 0.1                     # a silent peer's door is tried that often
ENVELOPES_MAX = 10_000                 # envelopes remembered as bytes, since a peer sends the same again and again
ENVELOPE_BYTES_MAX = 256               # ours have under 100; what is longer is read each time, and not remembered


class Loop:
    """The thread, and what other threads may ask of it."""

    def __init__(self, store: LmdbStore, config: EngineConfig, sockets: Sockets, publisher: zmq.Socket[bytes],
                 context: zmq.Context[zmq.Socket[bytes]]) -> None:
        self.error: BaseException | None = None
        self.ended = threading.Event()
        self.changed = threading.Condition()
        self.serving = False
        self.left = False
        self.turns = 0
        self.bad_frames = 0
        self.commit_s = 0.0                # seconds spent in commits
        self._store = store
        self._config = config
        self._sockets = sockets
        self._jobs: deque[Callable[[Engine, float], None]] = deque()
        self._stopping = False
        self._busy_since: float | None = None
        self._dirty_since: float | None = None
        self._door_at: dict[str, float] = {}
        self._heard_at: dict[str, float] = {}
        self._envelopes: dict[bytes, Envelope] = {}
        self._facts: dict[str, int] = {}
        self._disk = DiskWatch(store, config.id)
        self._pulse = Pulse(publisher, lambda: self._busy_since, self._refused)
        self._waker, self._wakee = _pair(context)
        self._wake_lock = threading.Lock()
        self._restarts = Restarts(store)
        self._poller = zmq.Poller()
        self._monitors: dict[zmq.Socket[bytes], str] = {}
        self._answers: dict[zmq.Socket[bytes], str] = {}
        self._epoch = -1                   # of the state that the connections follow
        self._tick_at = 0.0                # when the next tick is due
        self._thread = threading.Thread(target=self._run, name=f"zmqueue-node-{config.id[:6]}", daemon=True)

    # --- what other threads may call ---

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def call(self, job: Callable[[Engine, float], None]) -> None:
        """Have the loop do something in its next turn."""
        self._jobs.append(job)
        with self._wake_lock:
            try:
                self._waker.send(b"", zmq.NOBLOCK)
            except zmq.ZMQError:
                pass                       # it is awake, or it has ended

    def stop(self) -> None:
        """End the loop after its present turn, and wait for it."""
        self._stopping = True
        self.call(lambda engine, now: None)
        if self._thread.ident is not None:
            self._thread.join(10.0)

    def statistics(self) -> dict[str, int | float]:
        """The engine's counts as of the last tick, and the loop's own."""
        counts = self._sockets.counts
        return {**self._facts, **self._disk.facts, "turns": self.turns, "received": counts.received,
                "sent": counts.sent, "packets_sent": counts.packets_sent, "dropped": sum(counts.dropped.values()),
                "bad_frames": self.bad_frames, "commit_s": self.commit_s,
                "restarts": self._restarts.count}

    def _refused(self, node_id: str) -> None:
        self.call(lambda engine, now: engine.on_refused(node_id, now))

    # --- the thread ---

    def _run(self) -> None:
        try:
            self._take_turns()
        except (MustStop, StoreError) as error:
            self.error = error
            log.critical("node %s stops: %s", self._config.id, error)
        except BaseException as error:
            self.error = error
            log.critical("node %s stops after an error of its own", self._config.id, exc_info=True)
        finally:
            self._pulse.stop()
            self._sockets.close()
            self._wakee.close(0)
            with self._wake_lock:
                self._waker.close(0)
            try:
                self._store.close()
            except StoreError as error:
                log.error("node %s could not close its store: %s", self._config.id, error)
            with self.changed:
                self.serving = False
                self.ended.set()
                self.changed.notify_all()

    def _take_turns(self) -> None:
        for socket in (self._sockets.router, self._sockets.heartbeats, self._wakee):
            self._poller.register(socket, zmq.POLLIN)
        self._pulse.start()
        engine: Engine | None = None
        while not self._stopping:
            try:
                if engine is None:
                    engine = self._begin()
                self._take_turn(engine)
            except Damage as damage:
                # Batch and memory are torn: nothing of them is used, or sent, any more.
                engine = None
                self._config = self._restarts.after(damage, self._config, time.monotonic())

    def _begin(self) -> Engine:
        self._epoch, self._tick_at = -1, time.monotonic()
        self._busy_since = self._dirty_since = None
        engine = Engine(self._store, self._config, self._tick_at)
        self._disk.begin(engine, self._tick_at)
        self._perform(engine)
        return engine

    def _take_turn(self, engine: Engine) -> None:
        state = engine.state
        if state is not None and state.epoch != self._epoch and engine.shown_epoch == state.epoch:
            self._epoch = state.epoch
            self._sockets.connect(engine.peers())
            self._monitors = _watch(self._poller, self._monitors, self._sockets.monitors())
            self._answers = _watch(self._poller, self._answers, dict.fromkeys(self._sockets.answers(), ""))
        ready = dict(self._poller.poll(max(0, round((self._tick_at - time.monotonic()) * 1000))))
        now = time.monotonic()
        self._busy_since = now
        if self._wakee in ready:
            self._drain_wakes()
        while self._jobs:
            self._jobs.popleft()(engine, now)
        if self._sockets.heartbeats in ready:
            self._hear(engine, now)
        if self._sockets.router in ready:
            self._listen(engine, now)
        for socket in self._answers.keys() & ready.keys():
            self._hear_answers(engine, socket, now)
        for monitor in self._monitors.keys() & ready.keys():
            _drain(monitor)
            self._try_door(self._monitors[monitor])
        if now >= self._tick_at:
            self._disk.look(engine, now)
            engine.tick(now, _wall())
            self._tick_at = now + TICK_S
            self._look_around(engine, now)
        engine.finish(now)
        self._perform(engine)
        self._busy_since = None
        self.turns += 1
        if engine.over:
            raise _Forgotten("the cluster does not list this node any more; its data is kept: to join anew, start it "
                             "on an empty directory with --join")

    # --- what comes ---

    def _listen(self, engine: Engine, now: float) -> None:
        wall = _wall()
        for identity, *frames in self._sockets.receive(self._sockets.router):
            try:
                envelope = self._envelope(frames)
            except BadFrame as error:
                self._complain(engine, identity, [error])
                continue
            packets, bad = decode_all(frames[1:])
            if bad:
                self._complain(engine, identity, bad)
            if envelope.node:
                self._note_heard(envelope.node, now)
                self._sockets.called(envelope.node, identity)
                engine.on_peer(envelope, packets, now, wall)
            else:
                engine.on_client(identity, engine.admit(envelope, identity, packets), now, wall)

    def _hear_answers(self, engine: Engine, socket: zmq.Socket[bytes], now: float) -> None:
        """Members answer on their own line to this node. One that does not know it (any more) has only ours."""
        for frames in self._sockets.receive(socket):
            try:
                envelope = self._envelope(frames)
            except BadFrame:
                self.bad_frames += 1
                continue
            packets, bad = decode_all(frames[1:])
            self.bad_frames += len(bad)
            if envelope.node:
                engine.on_peer(envelope, packets, now, _wall())

    def _envelope(self, frames: list[bytes]) -> Envelope:
        if not frames:
            raise BadFrame("a message without frames; the first is an envelope, then follows one packet each")
        known = self._envelopes.get(frames[0])
        if known is None:
            known = decode_envelope(frames[0])
            if len(self._envelopes) >= ENVELOPES_MAX:
                self._envelopes.clear()
            if len(frames[0]) <= ENVELOPE_BYTES_MAX:
                self._envelopes[frames[0]] = known
        return known

    def _complain(self, engine: Engine, identity: bytes, bad: list[BadFrame]) -> None:
        """Count them and answer them: a client of a later version learns so what is not known here."""
        before, self.bad_frames = self.bad_frames, self.bad_frames + len(bad)
        if before.bit_length() != self.bad_frames.bit_length():    # the 1st, 2nd, 4th: a flood must not fill the log
            log.warning("node %s dropped bad frames (%d so far); the last: %s",
                        self._config.id, self.bad_frames, bad[-1])
        self._sockets.send(engine.envelope(), [
            (identity, Refused(error.request, Code.BAD_REQUEST, str(error))) for error in bad])

    def _hear(self, engine: Engine, now: float) -> None:
        for frames in self._sockets.receive(self._sockets.heartbeats):
            try:
                heartbeat = decode(frames[-1])
            except BadFrame as error:
                self.bad_frames += 1
                log.debug("a heartbeat that is none: %s", error)
                continue
            if isinstance(heartbeat, Heartbeat):
                self._note_heard(heartbeat.node, now)
                engine.on_heartbeat(heartbeat, now)

    def _note_heard(self, node_id: str, now: float) -> None:
        if node_id in self._heard_at:      # members only: anybody may write anything into an envelope
            self._heard_at[node_id] = now

    # --- what follows ---

    def _perform(self, engine: Engine) -> None:
        """Perform the effects of a turn, and of what the engine does when they are on disk."""
        store, sockets = self._store, self._sockets
        for _ in range(TURNS_MAX):
            effects = engine.take()
            self._note(effects)
            if not effects.hold:
                sockets.send(engine.envelope(), effects.now)
            if not effects.must_commit and not self._is_late():
                return
            started = time.monotonic()
            store.commit()
            ended = time.monotonic()
            self.commit_s += ended - started
            self._dirty_since = None
            self._disk.committed(engine, ended)
            if effects.hold:
                sockets.send(engine.envelope(), effects.now)
            sockets.send(engine.envelope(), effects.durable)
            engine.durable(time.monotonic())
        # More than that is left to the next turn, so that the sockets are read in between.

    def _is_late(self) -> bool:
        if not self._store.dirty:
            self._dirty_since = None
            return False
        now = time.monotonic()
        if self._dirty_since is None:
            self._dirty_since = now
        return now - self._dirty_since >= LAZY_S

    def _note(self, effects: Effects) -> None:
        for note in effects.notes:
            level = logging.ERROR if note.kind.startswith((ALARM, BRANCH)) else logging.INFO
            if note.warning:
                level = logging.WARNING
            log.log(level, "node %s: %s%s", self._config.id, note.kind, _facts(note),
                    extra={"node": self._config.id, "event": note.kind, "facts": note.facts})

    # --- once a tick ---

    def _look_around(self, engine: Engine, now: float) -> None:
        state = engine.state
        interval = 0.1 if state is None else state.settings.heartbeat_ms / 1000
        self._pulse.say(engine.heartbeat(now, _wall(), 0), interval)
        self._facts = engine.facts()
        if state is not None:
            self._heard_at = {member.id: self._heard_at.get(member.id, now) for member in state.members}
            endpoints = self._sockets.endpoints()
            for member in state.members:
                silent = now - self._heard_at[member.id] > 1.5 * interval
                if silent and member.status is Status.UP and member.id in endpoints:
                    self._try_door(member.id)
        serving, left = engine.serving, engine.left
        if (serving, left) != (self.serving, self.left):
            with self.changed:
                self.serving, self.left = serving, left
                self.changed.notify_all()

    def _try_door(self, node_id: str) -> None:
        now = time.monotonic()
        endpoint = self._sockets.endpoints().get(node_id)
        if endpoint is not None and now - self._door_at.get(node_id, 0.0) >= DOOR_EVERY_S:
            self._door_at[node_id] = now
            self._pulse.try_door(node_id, endpoint)

    def _drain_wakes(self) -> None:
        _drain(self._wakee)


class _Forgotten(StoreError):
    """The cluster does not list this node any more."""


def chance() -> Callable[[], float]:
    """Chance in [0, 1), seeded by the operating system."""
    return random.SystemRandom().random


def _wall() -> int:
    return int(time.time() * 1000)


def _facts(note: Note) -> str:
    return "".join(f" {key}={value}" for key, value in note.facts.items())


def _drain(socket: zmq.Socket[bytes]) -> None:
    while True:
        try:
            socket.recv_multipart(zmq.NOBLOCK)
        except zmq.Again:
            return


def _watch(poller: zmq.Poller, old: dict[zmq.Socket[bytes], str],
           new: dict[zmq.Socket[bytes], str]) -> dict[zmq.Socket[bytes], str]:
    """Poll the monitors of the present links, and no longer those that are closed."""
    for socket in old.keys() - new.keys():
        poller.unregister(socket)
    for socket in new.keys() - old.keys():
        poller.register(socket, zmq.POLLIN)
    return new


def _pair(context: zmq.Context[zmq.Socket[bytes]]) -> tuple[zmq.Socket[bytes], zmq.Socket[bytes]]:
    """Two ends of a line inside the process: what other threads wake the loop with."""
    wakee, waker = context.socket(zmq.PULL), context.socket(zmq.PUSH)
    address = f"inproc://wake-{id(wakee)}"
    wakee.bind(address)
    waker.connect(address)
    return waker, wakee
