"""What one turn of the protocol wants done, in the order in which it must be done.

The core changes the store's batch and its own memory at once; everything that leaves the node is put here. The shell
performs a turn's effects in this order: sends that need no disk, the commit of the batch, sends that promise what the
batch holds, then notes. Rule C4: while a batch holds a new cluster state, nothing at all leaves before it is on disk.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from zmqueue.core.packets import Packet

Address = str | bytes
"""Where a packet goes: a node's id (16 hex digits), or a client's ROUTER identity."""


class Effects:
    """Gathers sends and notes until the shell takes them."""

    __slots__ = ("durable", "hold", "must_commit", "notes", "now")

    def __init__(self) -> None:
        self.now: list[tuple[Address, Packet]] = []
        self.durable: list[tuple[Address, Packet]] = []
        self.notes: list[Note] = []
        self.hold = False          # the batch holds a new cluster state (C4)
        self.must_commit = False   # the batch holds something that somebody waits for

    def send(self, to: Address, packet: Packet) -> None:
        """Send at once, needing nothing of this batch."""
        self.now.append((to, packet))

    def send_durable(self, to: Address, packet: Packet) -> None:
        """Send when everything written so far is on disk."""
        self.durable.append((to, packet))
        self.must_commit = True

    def take(self) -> Effects:
        """Move everything gathered into a value of its own; this one is empty then, and goes on gathering."""
        taken = Effects()
        taken.now, self.now = self.now, []
        taken.durable, self.durable = self.durable, []
        taken.notes, self.notes = self.notes, []
        taken.hold, self.hold = self.hold, False
        taken.must_commit, self.must_commit = self.must_commit, False
        return taken

    def note(self, kind: str, **facts: object) -> None:
        """Tell the operator: becomes one structured log line. `kind` is a short sentence in lower case."""
        self.notes.append(Note(kind, facts))

    def warn(self, kind: str, **facts: object) -> None:
        """The same, where the operator has to do something, or had better look."""
        self.notes.append(Note(kind, facts, warning=True))


class Note:
    """One thing that an operator may want to know."""

    __slots__ = ("facts", "kind", "warning")

    def __init__(self, kind: str, facts: dict[str, object], *, warning: bool = False) -> None:
        self.kind = kind
        self.facts = facts
        self.warning = warning

    def __repr__(self) -> str:
        return f"Note({self.kind}: {self.facts})"
