"""Who wants to be told when a queue has something to hand out. One hint ends a watch; nobody is told twice for one."""

from __future__ import annotations

from collections.abc import Sequence


class Watchers:
    """Sessions by the queues that they watch, in the order in which they came: the first one is told first."""

    __slots__ = ("_by_queue", "_by_session")

    def __init__(self) -> None:
        self._by_queue: dict[str, dict[bytes, None]] = {}
        self._by_session: dict[bytes, tuple[str, ...]] = {}

    def __len__(self) -> int:
        return len(self._by_session)

    def watch(self, session: bytes, queues: Sequence[str]) -> None:
        """The session watches these queues, and no others any more. It keeps its place where it watched before."""
        old, new = self._by_session.get(session, ()), tuple(dict.fromkeys(queues))
        for queue in set(old).difference(new):
            self._remove(session, queue)
        for queue in new:
            self._by_queue.setdefault(queue, {}).setdefault(session, None)
        if new:
            self._by_session[session] = new
        else:
            self._by_session.pop(session, None)

    def take(self, queue: str, most: int) -> list[bytes]:
        """The first sessions, at most that many, that watch the queue; their watches are over."""
        watching = self._by_queue.get(queue, {})
        taken = list(watching)[:max(0, most)]
        for session in taken:
            self.drop(session)
        return taken

    def drop(self, session: bytes) -> None:
        """The session watches nothing any more."""
        for queue in self._by_session.pop(session, ()):
            self._remove(session, queue)

    def queues(self) -> list[str]:
        """The queues that somebody watches."""
        return list(self._by_queue)

    def watched(self, queue: str) -> bool:
        """True where somebody watches the queue."""
        return queue in self._by_queue

    def _remove(self, session: bytes, queue: str) -> None:
        watching = self._by_queue[queue]
        del watching[session]
        if not watching:
            del self._by_queue[queue]
