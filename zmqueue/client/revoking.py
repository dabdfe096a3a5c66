"""Revoking: requests that are not wanted any more, results that need not be kept any longer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import TypeVar

from zmqueue.client.core import ClientCore
from zmqueue.client.errands import Errand
from zmqueue.client.ticket import Result
from zmqueue.client.wishing import WHATEVER, Wish, WishCall
from zmqueue.core.ids import parse_token, token_of
from zmqueue.errors import RequestEnded, ZmqueueError

T = TypeVar("T")


class Revokes(ABC):
    """The part of a client that cancels and forgets what it knows by token."""

    _core: ClientCore

    @abstractmethod
    def _deadline(self, timeout: float | None) -> float:
        """Until when to wait."""

    def _to_cancel(self, token: str, timeout: float | None) -> Errand[bool]:
        message_id = parse_token(token)
        return self._to_wish(Wish.CANCEL, [message_id], timeout, lambda errors: _cancelled(errors.get(message_id)))

    def _to_cancel_many(self, tokens: Iterable[str], timeout: float | None) -> Errand[list[Result]]:
        ids = [parse_token(token) for token in tokens]

        def end(errors: dict[bytes, ZmqueueError]) -> list[Result]:
            return [_outcome(message_id, errors.get(message_id)) for message_id in ids]

        return self._to_wish(Wish.CANCEL, list(dict.fromkeys(ids)), timeout, end)

    def _to_forget(self, token: str, timeout: float | None) -> Errand[None]:
        message_id = parse_token(token)

        def end(errors: dict[bytes, ZmqueueError]) -> None:
            if message_id in errors:
                raise errors[message_id]

        return self._to_wish(Wish.ERASE, [message_id], timeout, end)

    def _to_wish(self, wish: Wish, ids: list[bytes], timeout: float | None,
                 end: Callable[[dict[bytes, ZmqueueError]], T]) -> Errand[T]:
        call = WishCall(wish, [(message_id, WHATEVER) for message_id in ids], self._deadline(timeout))
        return Errand(call, partial(self._core.wish, call), lambda: end(call.outcome()))


def _cancelled(error: ZmqueueError | None) -> bool:
    if error is None:
        return True
    if isinstance(error, RequestEnded):
        return False
    raise error


def _outcome(message_id: bytes, error: ZmqueueError | None) -> Result:
    token = token_of(message_id)
    if error is None or isinstance(error, RequestEnded):
        return Result(token, error is None)
    return Result(token, error=error)
