"""Agreement: how the members choose the next cluster state, one instance of Paxos per epoch (appendix A).

State e + 1 is chosen by the voters of state e. The natural proposer of e owns round 0 and may skip phase one;
everybody sends it what should be changed, and proposes for itself when no answer comes. Whatever is promised
or accepted is on disk before it is spoken of, a node's own answers to its own proposals included (C1);
nothing at all leaves under a state that is not on disk (C4: `Effects.hold`).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from zmqueue.core.acceptor import Acceptor
from zmqueue.core.ballots import (
    NO_BALLOT,
    Accept,
    Accepted,
    Hello,
    Join,
    Nack,
    Prepare,
    Promise,
    StateIs,
    Want,
)
from zmqueue.core.beliefs import Beliefs, Identity
from zmqueue.core.changes import Change, MemberJoined, Value, apply, effective
from zmqueue.core.effects import Effects
from zmqueue.core.generations import GENERATION, Generations
from zmqueue.core.proposer import Proposer
from zmqueue.core.sightings import Sightings
from zmqueue.core.state import Agreed, ClusterState, Member, digest, found
from zmqueue.core.suspicion import SuspicionView
from zmqueue.core.tables import Table, Tables
from zmqueue.core.wants import Wants

GATHER = 0.020
"""Seconds for which the natural proposer lets wants gather (C10): a boot is a few epochs, not one per replica."""

STAGGER = 0.300
"""Seconds that each voter in turn waits longer than the one before it, for an answer (C10)."""

SPREAD = 0.100
"""Seconds of chance on top of the stagger."""

REPEAT_EVERY = 0.2
"""Seconds between two askings for what the node wants by itself (C8: wants are repeated while they are meant)."""

HELLO_EVERY = 0.1
"""Seconds between two questions for a newer state that a peer has shown."""

_KEY = b"state"

Consensus = Hello | StateIs | Want | Prepare | Promise | Accept | Accepted | Nack | Join


class MustStop(Exception):
    """What the node has learned leaves it nothing to do but to stop, with this as its last word."""


class Cloned(MustStop):
    """Another process runs, or ran, from a copy of this node's disk (C11). This one must stop; nothing was done."""


class Outgrown(MustStop):
    """The cluster agreed on formats of a generation that this version cannot read. It must be upgraded."""


class Forked(MustStop):
    """Two states of one epoch are known: disks lost what they had confirmed. The node must stop (C11)."""


class OldDisk(MustStop):
    """Another member has seen more of this node than its disk holds (C11): what it confirmed is not there any more."""


class Superseded(MustStop):
    """The cluster was recovered without this disk (C12): another lineage of it goes on, and this one is over."""


class Agreement:
    """One node's part in the chain of cluster states.

    `on_install` is a list of callbacks (old state or None, new state); they run inside `install`, after the
    state and the blank acceptor record were written to the batch, and what they write goes into the same
    batch.
    """

    def __init__(self, me: str, incarnation: int, nonce: int, tables: Tables, effects: Effects,
                 jitter: Callable[[], float], *, endpoint: str, heartbeats: str, weight: int = 1,
                 zone: str = "") -> None:
        self.me = me
        self.identity = Identity(me, incarnation, nonce, endpoint, heartbeats, weight, zone)
        self.effects = effects
        self.on_install: list[Callable[[ClusterState | None, ClusterState], None]] = []
        self._tables = tables
        self._jitter = jitter
        self._acceptor = Acceptor(tables)
        self._proposer = Proposer(me, self._acceptor, effects, jitter)
        self._wants = Wants()
        self._beliefs = Beliefs(self.identity)
        self._sightings = Sightings(effects)
        self.generations = Generations(me)
        self._chance = jitter()                      # this instance's part of SPREAD
        self._accepted_since: float | None = None    # since when something accepted here waits to be decided
        self._asked_at = float("-inf")
        self._hello_at = float("-inf")
        data = tables.get(Table.META, _KEY)
        self.state: ClusterState | None = None if data is None else ClusterState.from_bytes(data)
        if self.state is not None:
            self._check_readable(self.state)
            self._check_not_cloned(self.state)
            self._note_unknown(None, self.state)

    # --- who I am ---

    @property
    def number(self) -> int | None:
        """This node's number in the newest state it knows; None while it is no member of it."""
        member = self._myself()
        return None if member is None else member.number

    def _myself(self) -> Member | None:
        return None if self.state is None else self.state.by_id(self.me)

    @property
    def forgotten(self) -> bool:
        """True where the newest state known here does not list this node (any more): it must stop, its data kept."""
        return self.state is not None and self.number is None

    def found(self, cluster_id: str, settings: Agreed, now: float) -> None:
        """Found a cluster with this node as its only member. Only on an explicit word (C12)."""
        assert self.state is None, "a node that has a cluster founds none"
        settings = msgspec.structs.replace(settings, generation=GENERATION)
        self.install(found(cluster_id, settings, self.identity.founder()), now)

    @property
    def leaving(self) -> bool:
        """True once a planned stop was asked for."""
        return self._beliefs.leaving

    def leave(self) -> None:
        """Ask, from the next tick on, for this node's own MemberDown: a planned stop."""
        self._beliefs.leaving = True
        self._asked_at = float("-inf")

    def drain(self) -> None:
        """Ask, from the next tick on, for this node's own MemberDown and then MemberOut: it leaves for good."""
        self._beliefs.draining = True
        self.leave()

    def seen(self, member_id: str, incarnation: int, epoch: int) -> bool:
        """Note what a peer shows of itself; False where it has shown more before and is to be refused (C11)."""
        return self._sightings.seen(member_id, incarnation, epoch)

    def most_seen(self, member_id: str) -> tuple[int, int]:
        """The highest (incarnation, epoch) that a peer has shown; (0, 0) where it is not known."""
        return self._sightings.most(member_id)

    # --- wants ---

    def want(self, now: float, *changes: Change) -> None:
        """Ask for the changes. Callers repeat this while they believe in them (C8); repetitions are cheap."""
        state = self.state
        if state is None or not changes:
            return
        for change in changes:
            self._wants.ask(change, self.number, now)
        others = self._proposers(state)
        due = self._wants.to_forward(changes, self.number, now) if others else ()
        for other in others if due else ():
            self.effects.send(other, Want(due))

    @property
    def _may_propose(self) -> bool:
        """A voter may, under a state that it can compute on; else it leaves that to those who can, and votes (C6)."""
        return self.state is not None and self.state.computable and self.number in self.state.voters

    def _proposers(self, state: ClusterState) -> list[str]:
        """The other nodes that wants are sent to: the natural proposer, which may be of a version that cannot do it;
        so who cannot do it either, once that one is silent, asks every voter at once."""
        asked = [state.natural] if self._may_propose else state.voters
        members = [state.member(number) for number in asked if number is not None]
        return [member.id for member in members if member is not None and member.id != self.me]

    def own_wants(self) -> tuple[Change, ...]:
        """What this node wants for itself: to be up as what it runs as, or, by plan, down and out."""
        return () if self.state is None else self._beliefs.about_me(self.state)

    # --- proposing ---

    def tick(self, now: float, suspicion: SuspicionView) -> None:
        """Repeat what the node wants by itself, and propose where it is its turn (C10). At least every 20 ms."""
        state, number = self.state, self.number
        if state is None or number is None:
            return
        if now - self._asked_at >= REPEAT_EVERY:
            self._asked_at = now
            self.want(now, *self.own_wants(), *self._beliefs.about_others(state, suspicion, now))
            if state.natural == number:
                self.want(now, *self.generations.raising(state))
        if not self._may_propose or not self._proposer.idle(now):
            return
        changes, since = self._wants.ready(state, suspicion, now)
        changes = tuple(change for change in changes if self.generations.understood(state, change))
        unfinished = self._unfinished_since(state, now)
        if not changes and unfinished is None:
            return
        if now < min(since, now if unfinished is None else unfinished) + self._patience(state, number, suspicion, now):
            return
        after = effective(state, changes)
        if after is None:
            self._wants.drop(changes)
        if after is not None or unfinished is not None:
            self._chance = self._jitter()
            self._proposer.propose(state, number, None if after is None else Value(changes, digest(after)), now)

    def _unfinished_since(self, state: ClusterState, now: float) -> float | None:
        """Since when something accepted here has waited to be decided: it may be chosen, and nobody know it.

        A mere promise needs no care: what was chosen was accepted by a majority, and each of those cares.
        """
        if self._acceptor.record(state.epoch + 1).accepted_ballot == NO_BALLOT:
            self._accepted_since = None
        elif self._accepted_since is None:
            self._accepted_since = now
        return self._accepted_since

    def _patience(self, state: ClusterState, number: int, suspicion: SuspicionView, now: float) -> float:
        """How long this voter leaves a want to others: by its rank among those that are not suspected (C10)."""
        natural = state.natural
        if natural == number:
            return GATHER
        order = [voter for voter in (natural, *(voter for voter in state.voters if voter != natural))
                 if voter is not None]
        rank = sum(1 for voter in order[:order.index(number)]
                   if not suspicion.majority_suspects(voter, now, state.voters))
        return GATHER + rank * STAGGER + self._chance * SPREAD

    def durable(self, now: float) -> None:
        """Everything written so far is on disk: this node's answers to its own proposals count now (C1)."""
        for answer in self._proposer.take_own():
            self.handle(self.me, answer, now)

    # --- what peers send ---

    def handle(self, sender: str, packet: Consensus, now: float) -> None:
        """Take one packet from the node `sender`."""
        match packet:
            case StateIs():
                self._on_state(packet, now)
            case Join():
                self._on_join(sender, packet, now)
            case Hello():
                self._on_hello(sender, packet)
            case Want():
                self._on_want(sender, packet, now)
            case Prepare():
                self._on_prepare(sender, packet)
            case Accept():
                self._on_accept(sender, packet)
            case Promise():
                self._on_promise(sender, packet, now)
            case Accepted():
                self._on_accepted(sender, packet, now)
            case Nack():
                self._proposer.nacked(packet, now)

    def _in_instance(self, sender: str, e1: int) -> int | None:
        """The gate (C3): the sender's number where this node may answer it in that instance, else None."""
        state = self.state
        if state is None or e1 > state.epoch + 1:
            self.effects.send(sender, Hello(0 if state is None else state.epoch))
            return None
        if e1 <= state.epoch:
            self.effects.send(sender, StateIs(state.to_bytes()))
            return None
        return self._voter(sender) if self.number in state.voters else None

    def _voter(self, sender: str) -> int | None:
        member = None if self.state is None else self.state.by_id(sender)
        return member.number if member is not None and member.voter else None

    def _on_prepare(self, sender: str, packet: Prepare) -> None:
        if self._in_instance(sender, packet.e1) is not None:
            self._reply(sender, self._acceptor.prepare(packet.e1, packet.ballot))

    def _on_accept(self, sender: str, packet: Accept) -> None:
        number = self._in_instance(sender, packet.e1)
        if number is None or self.state is None:
            return
        if packet.ballot[0] == 0 and number != self.state.natural:
            return                         # C2: round 0 has one owner, because it skips phase one
        self._reply(sender, self._acceptor.accept(packet.e1, packet.ballot, packet.value))

    def _reply(self, sender: str, answer: Promise | Accepted | Nack) -> None:
        if isinstance(answer, Nack):
            self.effects.send(sender, answer)
        else:
            self.effects.send_durable(sender, answer)

    def _on_promise(self, sender: str, packet: Promise, now: float) -> None:
        number = self._voter(sender)       # C3: only voters of the state count
        if self.state is not None and number is not None:
            self._proposer.promised(self.state, number, packet, now)

    def _on_accepted(self, sender: str, packet: Accepted, now: float) -> None:
        number, state = self._voter(sender), self.state
        if state is None or number is None:
            return
        value = self._proposer.accepted(state, number, packet, now)
        if value is None:
            return
        after = apply(state, value.changes)
        others = sorted({member.id for member in (*state.members, *after.members)} - {self.me})
        if digest(after) != value.digest:
            # C6: another version's proposal, whose outcome only that version can compute. It is chosen all
            # the same.
            self.effects.note("cannot compute a chosen state, asking for it", epoch=after.epoch)
            for other in others:
                self.effects.send(other, Hello(state.epoch))
            return
        self.install(after, now)
        for other in others:
            self.effects.send_durable(other, StateIs(after.to_bytes()))

    def _on_hello(self, sender: str, packet: Hello) -> None:
        if self.state is None or packet.epoch == self.state.epoch:
            return
        behind = packet.epoch < self.state.epoch
        self.effects.send(sender, StateIs(self.state.to_bytes()) if behind else Hello(self.state.epoch))

    def shown(self, sender: str, epoch: int, now: float) -> None:
        """A peer has shown that it knows a state of this epoch: ask for it if it is newer."""
        known = 0 if self.state is None else self.state.epoch
        if epoch > known and now - self._hello_at >= HELLO_EVERY:
            self._hello_at = now
            self.effects.send(sender, Hello(known))

    def _on_want(self, sender: str, packet: Want, now: float) -> None:
        member = None if self.state is None else self.state.by_id(sender)
        if member is not None:
            for change in packet.changes:
                self._wants.ask(change, member.number, now)

    def _on_join(self, sender: str, packet: Join, now: float) -> None:
        if self.state is None or packet.id != sender:
            return
        if self.state.by_id(packet.id) is not None:
            self.effects.send(sender, StateIs(self.state.to_bytes()))
            return
        self.want(now, MemberJoined(packet.id, packet.incarnation, packet.nonce, packet.endpoint, packet.heartbeats,
                                    packet.weight, packet.zone))

    # --- installing ---

    def _on_state(self, packet: StateIs, now: float) -> None:
        if self.state is not None and packet.state == self.state.to_bytes():
            return
        try:
            state = ClusterState.from_bytes(packet.state)
        except msgspec.DecodeError as error:
            self.effects.note("refused a state that cannot be read", reason=str(error))
            return
        if self.state is None and state.by_id(self.me) is None:
            return                         # a joiner waits for the state that lists it
        self.install(state, now)

    def install(self, state: ClusterState, now: float) -> None:
        """Make a decided state the newest one, unless it is not newer. Nothing leaves before it is on disk (C4).

        Raises Forked where another state of that epoch is known, Cloned where the state lists another run of
        this node.
        """
        old = self.state
        if old is not None and not self._follows(old, state):
            return
        self._check_readable(state)
        self._check_not_cloned(state)
        self._tables.put(Table.META, _KEY, state.to_bytes())
        self._acceptor.clear()
        self.effects.hold = True
        self.effects.must_commit = True
        self._note_unknown(old, state)
        self.state = state
        self._proposer.reset()
        self._wants.answered(now)
        self._sightings.keep(member.id for member in state.members)
        self.generations.keep(state)
        self._accepted_since = None
        self._asked_at = float("-inf")     # what is believed under the new state goes out with the next tick
        if self.forgotten:
            self.effects.note("this node is no member any more; it stops, and its data is kept", epoch=state.epoch)
        for callback in self.on_install:
            callback(old, state)

    def _note_unknown(self, old: ClusterState | None, state: ClusterState) -> None:
        if not state.computable and (old is None or old.computable):
            self.effects.note("the cluster state holds what this version does not know: it is kept, and only nodes of "
                              "a version that knows it propose the next one; upgrade this node", epoch=state.epoch)

    def _follows(self, old: ClusterState, new: ClusterState) -> bool:
        if (new.cluster_id, new.lineage) != (old.cluster_id, old.lineage):
            self.effects.note("refused a state of another cluster", cluster=new.cluster_id, lineage=new.lineage)
            return False
        if new.epoch == old.epoch and new != old:
            raise Forked(f"two states of epoch {new.epoch} are known, {digest(old).hex()} here and "
                         f"{digest(new).hex()}; some disk lost what it had confirmed")
        return new.epoch > old.epoch

    def _check_readable(self, state: ClusterState) -> None:
        """Nobody agrees on what an `up` member cannot read; this one was away, or went back to an earlier version."""
        agreed = state.settings.generation
        if agreed > GENERATION:
            raise Outgrown(f"the cluster agreed on formats of generation {agreed} in epoch {state.settings.since} or "
                           f"before; this version reads up to {GENERATION}. The data is kept: start this node with "
                           "the version that the others run")

    def _check_not_cloned(self, state: ClusterState) -> None:
        """C11, best effort: a copy of a disk that is started beside the original looks like a restart otherwise."""
        member, mine = state.by_id(self.me), self.identity
        if member is None or member.incarnation < mine.incarnation:
            return
        if member.incarnation > mine.incarnation or member.nonce != mine.nonce:
            raise Cloned(f"node {self.me} runs as incarnation {mine.incarnation}, but incarnation "
                         f"{member.incarnation} of another start is agreed: its data directory was copied or "
                         f"restored. Stop one of the two, and start it again with an empty directory")
