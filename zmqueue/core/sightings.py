"""What peers have shown of themselves: a member that comes back with less than it had runs on an old disk (C11)."""

from __future__ import annotations

from collections.abc import Iterable

from zmqueue.core.effects import Effects

STRANGERS_MAX = 1_000
"""Peers remembered that are no members (yet): joiners. More are forgotten, the oldest first."""


class Sightings:
    """The highest (incarnation, epoch) that each peer has shown, since this node started."""

    __slots__ = ("_effects", "_refused", "_shown")

    def __init__(self, effects: Effects) -> None:
        self._effects = effects
        self._shown: dict[str, tuple[int, int]] = {}
        self._refused: dict[str, tuple[int, int]] = {}

    def seen(self, member_id: str, incarnation: int, epoch: int) -> bool:
        """Note what the peer shows; False where it is to be refused.

        A lower epoch within one incarnation is only a packet that was slow. A later incarnation that knows
        less than an earlier one had on disk is a restored copy; an earlier incarnation is a copy too, or a
        very late packet.
        """
        highest = self._shown.get(member_id)
        if highest is not None and (incarnation < highest[0] or (incarnation > highest[0] and epoch < highest[1])):
            self._refuse(member_id, (incarnation, epoch), highest)
            return False
        if highest is None and len(self._shown) >= STRANGERS_MAX:
            del self._shown[next(iter(self._shown))]
        if highest is None or (incarnation, epoch) > highest:
            self._shown[member_id] = (incarnation, epoch)
        return True

    def most(self, member_id: str) -> tuple[int, int]:
        """The most that the peer has shown; (0, 0) where it is not known."""
        return self._shown.get(member_id, (0, 0))

    def keep(self, member_ids: Iterable[str]) -> None:
        """Forget all but these peers."""
        ids = set(member_ids)
        self._shown = {peer: shown for peer, shown in self._shown.items() if peer in ids}
        self._refused = {peer: shown for peer, shown in self._refused.items() if peer in ids}

    def _refuse(self, member_id: str, shown: tuple[int, int], highest: tuple[int, int]) -> None:
        if self._refused.get(member_id, (0, 0))[0] == shown[0]:
            return                         # said once for each incarnation
        self._refused[member_id] = shown
        self._effects.note("refused a peer that shows less than it had shown", node=member_id,
                           incarnation=shown[0], epoch=shown[1], had_incarnation=highest[0], had_epoch=highest[1])
