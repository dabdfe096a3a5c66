"""Errands: what a client has its thread do, and what the user gets when it is done."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from zmqueue.client.calls import Call

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Errand(Generic[T]):
    """One thing that a client is to do."""

    call: Call[Any]
    begin: Callable[..., None]         # in the transport's thread: begin(now=...)
    end: Callable[[], T]               # once the call is finished: what the user gets; raises the call's error
